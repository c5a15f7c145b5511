//! What a process and the authority say to each other over a Unix socket: one JSON request and one
//! reply a connection, each behind its length as four bytes, most significant first.
//!
//! The length is checked before anything is allocated. No key of a service travels: a request names a public
//! one. That of a branch goes to whoever ordered it.

use std::io;

use base::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{
    bundle::{Bundle, SignedBundle},
    bytes::Bytes,
    name::SpiffeId,
    order::Order,
    token::JoinToken,
};

/// A request has about two kilobytes.
pub(crate) const REQUEST_BYTES_MAX: u32 = 16 << 10;
/// One that tells whom to trust has as much as a bundle. So much is read of users alone who were let in before,
/// or may be.
pub(crate) const TELLING_BYTES_MAX: u32 = 4 << 20;
/// A bundle with a full deny list has about a megabyte.
pub(crate) const REPLY_BYTES_MAX: u32 = 4 << 20;

/// What a process asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// A first identity.
    Join { token: JoinToken, request: Bytes },
    /// An identity for the user that the process runs as.
    Claim { id: SpiffeId, request: Bytes },
    /// The next identity: the chain of the current one as PEM, and a signature by its key.
    Renew { chain: String, request: Bytes, proof: Bytes },
    /// Whom to trust, where it is another than this version.
    Look { version: u64 },
    /// The same in the form in which it can be carried to other machines.
    LookSigned {},
    /// Whom to trust, as somebody carried it here.
    Tell { signed: SignedBundle },
    /// What a person wants done.
    Order { order: Order },
}

/// What the authority answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Reply {
    /// An identity, its chain as PEM.
    Issued { chain: String, bundle: Bundle, now: Timestamp },
    /// Whom to trust; nothing where that has not changed.
    Trust { bundle: Option<Bundle>, now: Timestamp },
    /// The same as it can be carried.
    Signed { signed: SignedBundle },
    /// What was told is known now, or was before.
    Heard {},
    /// What it stands on once an order is carried out.
    Stands { on: serde_json::Value },
    /// Nothing, and why.
    Refused { reason: String },
}

impl Request {
    /// The word in the metric.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Claim { .. } => "claim",
            Self::Renew { .. } => "renew",
            Self::Look { .. } => "look",
            Self::LookSigned {} => "look_signed",
            Self::Tell { .. } => "tell",
            Self::Order { .. } => "order",
        }
    }
}

/// Reads one message. Not cancel-safe: dropped, it leaves the connection in the middle of one.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    bytes_max: u32,
) -> io::Result<T> {
    let length = from.read_u32().await?;
    if length > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let mut text = Vec::new();
    let read = from.take(u64::from(length)).read_to_end(&mut text).await?;
    if read < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // What stands there may be secret: the error names the place alone.
    serde_json::from_slice(&text).map_err(|error| {
        let place = format!("the message does not fit at column {}", error.column());
        io::Error::new(io::ErrorKind::InvalidData, place)
    })
}

/// Writes one message. Not cancel-safe.
pub(crate) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_u32(length).await?;
    to.write_all(&text).await?;
    to.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_length_that_nobody_may_claim_is_refused_before_anything_is_read() {
        let claimed = (REQUEST_BYTES_MAX + 1).to_be_bytes();
        let error = read::<Request>(&mut &claimed[..], REQUEST_BYTES_MAX).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let short = [&8_u32.to_be_bytes()[..], b"{}"].concat();
        let error = read::<Request>(&mut &short[..], REQUEST_BYTES_MAX).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn an_error_does_not_repeat_what_it_read() {
        let text = br#"{"join":{"token":"secret","request":"zz"}}"#;
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        let message = [&length[..], text].concat();
        let error = read::<Request>(&mut &message[..], REQUEST_BYTES_MAX).await.unwrap_err();
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    }
}
