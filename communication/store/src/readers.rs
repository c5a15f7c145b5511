//! Threads that read. Readers never wait for the writer, nor it for them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{ReadError, SqlError, Unavailable},
    query::Reader,
};

/// A read with its answer.
pub(crate) type Read = Box<dyn FnOnce(&Reader<'_>) + Send>;

/// Takes reads from a queue that all reading threads share, until every handle is gone.
pub(crate) fn run(connection: &Connection, queue: &Arc<Mutex<mpsc::Receiver<Read>>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(read) = next else { return };
        read(&Reader::new(connection));
    }
}

/// Wraps a closure: its panic is the answer of its caller alone.
pub(crate) fn read<T: Send + 'static>(
    closure: impl FnOnce(&Reader<'_>) -> Result<T, SqlError> + Send + 'static,
    reply: oneshot::Sender<Result<T, ReadError>>,
) -> Read {
    Box::new(move |reader| {
        let result = match catch_unwind(AssertUnwindSafe(|| closure(reader))) {
            Ok(result) => result.map_err(ReadError::Sql),
            Err(_) => Err(ReadError::Panicked),
        };
        // Whoever asked may have stopped waiting.
        drop(reply.send(result));
    })
}

/// The queue cannot take a read.
pub(crate) const fn refused(reason: Unavailable, retry_after: Duration) -> ReadError {
    ReadError::Unavailable { reason, retry_after }
}
