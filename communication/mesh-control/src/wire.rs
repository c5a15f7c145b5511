//! The wire: one JSON object a line, both ways, over one connection. `docs/control-plane.md` has it in full.
//!
//! A line has a bound that is held while it is read. What one side does not know is an error: both
//! name the version of the wire first.

use std::{fmt, io};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use crate::{instance::Registration, state::Snapshot};

/// The version of the wire.
pub(crate) const WIRE: u32 = 2;
/// The one before, which tells of no trust. It is spoken with who knows no other.
pub(crate) const WIRE_BEFORE: u32 = 1;
/// Bytes of a line of a proxy: a registration has a few hundred.
pub(crate) const SAID_BYTES_MAX: usize = 16 << 10;
/// Bytes of a reason that are kept.
pub(crate) const REASON_BYTES_MAX: usize = 2_000;
/// Bytes of the name of a proxy that are kept.
pub(crate) const NAME_BYTES_MAX: usize = 128;
/// Bytes of a line of the control plane: 5,000 endpoints have about a megabyte, policies some.
pub(crate) const TOLD_BYTES_MAX: usize = 32 << 20;

/// What a proxy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Said {
    /// First of all: which wire, and who it is for those who look.
    Subscribe { wire: u32, name: String },
    /// An instance is here, and for one more lease.
    Register(Registration),
    /// An instance is about to end.
    Withdraw { service: String, instance: String },
    /// The state of that number is in force.
    Acknowledge { version: u64 },
    /// It is not, and the one before stays.
    Refuse { version: u64, reason: String },
    /// Nothing, but it is still here.
    Alive {},
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Told {
    /// First of all: which wire, and how long a registration holds.
    Welcome { wire: u32, lease_ms: u64 },
    /// What holds from now on.
    Snapshot(Snapshot),
    /// An instance is not registered.
    Rejected { service: String, instance: String, reason: String },
    /// Nothing, but it is still here.
    Alive {},
}

/// Lines that come in.
pub(crate) struct Lines<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    bytes_max: usize,
}

impl<R> fmt::Debug for Lines<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lines").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(from: R, bytes_max: usize) -> Self {
        Self { from: BufReader::new(from), line: Vec::new(), bytes_max }
    }

    /// The next line. Cancel-safe: what has come of it is kept.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        loop {
            let read = self.from.fill_buf().await?;
            if read.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let end = read.iter().position(|it| *it == b'\n');
            let taken = end.map_or(read.len(), |it| it + 1);
            if self.line.len() + taken > self.bytes_max {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
            }
            self.line.extend_from_slice(&read[..taken]);
            self.from.consume(taken);
            if end.is_some() {
                let parsed = serde_json::from_slice(&self.line);
                self.line = Vec::new();
                return parsed.map_err(|it| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("no line of this wire: {it}"),
                    )
                });
            }
        }
    }
}

/// The text without what is too long of it.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// Writes a line; answers its bytes. Not cancel-safe.
pub(crate) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    line: &T,
) -> io::Result<usize> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    to.write_all(&text).await?;
    to.flush().await?;
    Ok(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_read_whole_and_one_that_is_too_long_never() {
        let text = b"{\"alive\":{}}\n{\"acknowledge\":{\"version\":7}}\n";
        let mut lines = Lines::new(&text[..], 64);
        assert_eq!(lines.next::<Said>().await.unwrap(), Said::Alive {});
        assert_eq!(lines.next::<Said>().await.unwrap(), Said::Acknowledge { version: 7 });
        let ended = lines.next::<Said>().await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);

        let endless = tokio::io::repeat(b'{');
        let refused = Lines::new(endless, 64 << 10).next::<Said>().await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aä".to_owned(), 2), "a");
        assert_eq!(cut("aä".to_owned(), 3), "aä");
    }

    #[tokio::test]
    async fn what_the_wire_does_not_know_is_an_error() {
        for text in ["{}\n", "{\"alive\":{\"x\":1}}\n", "{\"hello\":{}}\n", "\n", "[1]\n"] {
            let refused = Lines::new(text.as_bytes(), 64).next::<Said>().await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{text}");
        }
    }
}
