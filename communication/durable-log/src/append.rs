//! What is handed to a log, and what comes back.

use base::Timestamp;
use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::AppendError;

/// What is to be appended: bytes that hold so many records of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// Which stream.
    pub partition: u32,
    /// How many offsets it takes; 1 at the least.
    pub records: u32,
    /// The time to find it by.
    pub time: Timestamp,
    /// What is kept, as it is.
    pub body: Bytes,
}

/// An append that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: u64,
}

/// An append that waits for its commit.
#[derive(Debug)]
pub struct Pending(pub(crate) oneshot::Receiver<Result<Appended, AppendError>>);

impl Pending {
    /// Waits until the append is as durable as the log promises.
    ///
    /// # Errors
    /// As [`crate::Log::append`].
    pub async fn acknowledged(self) -> Result<Appended, AppendError> {
        self.0.await.unwrap_or(Err(AppendError::Closed))
    }
}

/// Is told how an append ended, on the log's own thread and in the order of the log: it must not wait.
pub(crate) type Done = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// An append as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which stream.
    pub partition: u32,
    /// Offset of its first record.
    pub base_offset: u64,
    /// How many offsets it takes.
    pub records: u32,
    /// The time that it was appended with.
    pub time: Timestamp,
    /// What was appended.
    pub body: Bytes,
}
