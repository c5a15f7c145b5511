//! How an order reaches an authority that another process runs.

use std::{io, path::Path, time::Duration};

use serde_json::Value;
use tokio::{net::UnixStream, time::timeout};

use crate::{
    order::Order,
    wire::{self, REPLY_BYTES_MAX, Reply, Request},
};

/// An authority writes to the disk before it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why an order over the socket brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendOrderError {
    /// Nobody answers there. Whether the order was carried out is not known.
    #[error("the authority does not answer")]
    Away(#[from] io::Error),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

impl Order {
    /// Sends it to an authority that takes orders; gives what it stands on then.
    ///
    /// # Errors
    /// It refuses, or does not answer in five seconds.
    pub async fn send(&self, socket: &Path) -> Result<Value, SendOrderError> {
        let asking = async {
            let mut stream = UnixStream::connect(socket).await?;
            wire::write(&mut stream, &Request::Order { order: self.clone() }).await?;
            wire::read::<Reply>(&mut stream, REPLY_BYTES_MAX).await
        };
        let answered = timeout(ANSWER_WITHIN, asking).await.map_err(io::Error::from)?;
        match answered? {
            Reply::Stands { on } => Ok(on),
            Reply::Refused { reason } => Err(SendOrderError::Refused(reason)),
            Reply::Issued { .. } | Reply::Trust { .. } | Reply::Signed { .. } | Reply::Heard {} => {
                Err(io::Error::from(io::ErrorKind::InvalidData).into())
            }
        }
    }
}
