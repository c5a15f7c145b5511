//! The handle: opens the file, starts the threads, takes closures.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use base::SharedClock;
use telemetry::Telemetry;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    connection::{Opener, Turnstile, create_directory, directory, sync_directory},
    copying::Copying,
    error::{OpenError, ReadError, SqlError, Unavailable, WriteError},
    metrics::StoreMetrics,
    migrate::{self, Migration},
    query::{Reader, Transaction},
    readers::{self, Read},
    settings::StoreSettings,
    writer::{Job, Write, Writer, checkpoint},
};

/// How long an opening waits for other processes that open the same file.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a wait for pushed messages takes at the most: another process may have pushed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// One service's database; a cheap clone. Its threads end with the last handle.
#[derive(Debug, Clone)]
pub struct Store {
    writes: mpsc::Sender<Box<dyn Job>>,
    reads: mpsc::Sender<Read>,
    pushes: watch::Receiver<u64>,
    retry_after: Duration,
}

impl Store {
    /// Opens or makes the file, brings its tables up to date, and starts the threads. Blocks for
    /// as long as that takes; meant for the start of a process.
    ///
    /// # Errors
    /// The file cannot be used, is somebody else's, or was changed by a newer program.
    pub fn open(
        path: impl AsRef<Path>,
        migrations: &[Migration],
        settings: StoreSettings,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let boot_id = match settings.boot_id.clone() {
            Some(boot_id) => boot_id,
            None => runtime::boot_id().map_err(OpenError::BootId)?,
        };
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        create_directory(directory(path)).map_err(io)?;
        let turnstile = Turnstile::beside(path).map_err(io)?;
        let copying = Copying::beside(path).map_err(io)?;
        let opener = Opener { path: path.to_owned(), log_bytes_max: settings.log_bytes_max };
        let sql = |source| OpenError::Sql { path: path.to_owned(), source };
        let turn = turnstile.enter_for(OPEN_PATIENCE);
        let (connection, patience, log) = opener.metered_writer().map_err(sql)?;
        patience.set(OPEN_PATIENCE);
        migrate::run(&connection, path, migrations, clock.now())?;
        drop(turn);
        sync_directory(directory(path)).map_err(io)?;

        let (writes, queue) = mpsc::channel(settings.writes_max.get());
        let (reads, read_queue) = mpsc::channel(settings.reads_max.get());
        let (pushes, pushed) = watch::channel(0);
        let (grown, grown_notes) = mpsc::channel(1);
        let retry_after = Duration::from_millis(settings.retry_after_ms);
        let read_queue = Arc::new(Mutex::new(read_queue));
        for _ in 0..settings.readers.get() {
            let (reader, queue) = (opener.reader().map_err(sql)?, Arc::clone(&read_queue));
            start("store reader", path, move || readers::run(&reader, &queue))?;
        }
        let copying = Arc::new(Mutex::new(copying));
        let (own, shared) = (opener.clone(), Arc::clone(&copying));
        start("store checkpoint", path, move || checkpoint(&own, &shared, grown_notes))?;
        let writer = Writer {
            opener,
            connection,
            patience,
            log,
            turnstile,
            settings,
            boot_id: boot_id.into(),
            clock,
            pushes,
            metrics: StoreMetrics::new(telemetry),
            grown,
            copying,
        };
        start("store writer", path, move || writer.run(queue))?;
        Ok(Self { writes, reads, pushes: pushed, retry_after })
    }

    /// Runs a closure as part of the next group commit; answers when that is on stable storage.
    ///
    /// Dropping the future does not take the write back.
    ///
    /// # Errors
    /// [`WriteError::Refused`] with the closure's own error, after what it did was undone; else
    /// what kept the group from being committed.
    pub async fn write<T, E>(
        &self,
        closure: impl FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Write::new(closure, reply));
        let refuse = |reason| WriteError::Unavailable { reason, retry_after: self.retry_after };
        match self.writes.try_send(job) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(refuse(Unavailable::Closed))),
            Err(mpsc::error::TrySendError::Full(_)) => Err(refuse(Unavailable::Overloaded)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(refuse(Unavailable::Closed)),
        }
    }

    /// Runs a closure that only reads, on what was committed last.
    ///
    /// # Errors
    /// What the closure failed with, or that no reader is free.
    pub async fn read<T: Send + 'static>(
        &self,
        closure: impl FnOnce(&Reader<'_>) -> Result<T, SqlError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let (reply, answer) = oneshot::channel();
        let refuse = |reason| readers::refused(reason, self.retry_after);
        match self.reads.try_send(readers::read(closure, reply)) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(refuse(Unavailable::Closed))),
            Err(mpsc::error::TrySendError::Full(_)) => Err(refuse(Unavailable::Overloaded)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(refuse(Unavailable::Closed)),
        }
    }

    /// Whether the file can be read.
    ///
    /// # Errors
    /// It cannot.
    pub async fn ping(&self) -> Result<(), ReadError> {
        self.read(|reader| reader.query_one("SELECT 1", &[], |row| row.get::<i64>(0)))
            .await
            .map(|_| ())
    }

    /// Waits until this process committed messages after `seen`, or for a quarter of a second,
    /// since another process may have. Gives the number to pass next. Cancel-safe.
    pub async fn outbox_changed(&self, seen: u64) -> u64 {
        let mut pushes = self.pushes.clone();
        let newer = pushes.wait_for(|it| *it > seen);
        match tokio::time::timeout(LOOK_EVERY, newer).await {
            Ok(Ok(number)) => *number,
            // The writer is gone: the caller will hear of it at its next read.
            Ok(Err(_)) | Err(_) => seen,
        }
    }
}

fn start(name: &str, path: &Path, work: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: PathBuf::from(path), source };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(|_| ()).map_err(io)
}
