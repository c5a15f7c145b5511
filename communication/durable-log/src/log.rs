//! The handle: opens a directory, takes appends, serves reads.

use std::{
    fs, io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base::{SharedClock, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    append::{Append, Appended, Frame, Pending},
    committer::{Committer, Handed, Job, append_bytes_max},
    config::LogConfig,
    disk::{Disk, RealDisk},
    error::{AppendError, OpenError, ReadError},
    open::{Opened, Opening, Recovery},
    retention::Retention,
    stats::LogStats,
    view::View,
};

/// One log; a cheap clone. Its thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Log {
    view: Arc<View>,
    retention: Arc<Retention>,
    config: Arc<LogConfig>,
    clock: SharedClock,
    jobs: mpsc::Sender<Job>,
    queued_bytes: Arc<AtomicUsize>,
    version: watch::Receiver<u64>,
}

impl Log {
    /// Opens the directory, or makes it. Reads the last segment only; blocks for as long as that
    /// takes.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed that acknowledged records hang on.
    pub fn open(
        directory: &Path,
        config: LogConfig,
        clock: SharedClock,
    ) -> Result<(Self, Recovery), OpenError> {
        let io = |source| OpenError::Io { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(io)?;
        if let Some(parent) = directory.parent().filter(|it| !it.as_os_str().is_empty()) {
            fs::File::open(parent).and_then(|it| it.sync_all()).map_err(io)?;
        }
        let disk: Arc<dyn Disk> = Arc::new(RealDisk(directory.to_owned()));
        Self::open_on(&disk, config, clock)
    }

    pub(crate) fn open_on(
        disk: &Arc<dyn Disk>,
        config: LogConfig,
        clock: SharedClock,
    ) -> Result<(Self, Recovery), OpenError> {
        let opened = Opening { disk: &**disk, config: &config, now: clock.now() }.run()?;
        let Opened { segments, position, spare, recovery } = opened;
        let (jobs, queue) = mpsc::channel(config.appends_max);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let file = Arc::clone(&segments.active.file);
        let (header, next) = (segments.active.header.clone(), segments.next.clone());
        let view = Arc::new(View::new(Arc::clone(disk), segments));
        for (partition, lost) in &recovery.raised {
            view.tell(*partition, lost);
        }
        let retention = Arc::new(Retention::new(Arc::clone(&view), spare));
        let committer = Committer {
            view: Arc::clone(&view),
            retention: Arc::clone(&retention),
            config: config.clone(),
            clock: clock.clone(),
            file,
            header,
            next,
            given_up: position.is_none(),
            position: position.unwrap_or_default(),
            checkpoint: None,
        };
        let queued = Arc::clone(&queued_bytes);
        thread::Builder::new()
            .name("log committer".to_owned())
            .spawn(move || {
                committer.run(queue, &|bytes| {
                    queued.fetch_sub(bytes, Ordering::Relaxed);
                });
            })
            .map_err(|source| OpenError::Io { path: disk.place(""), source })?;
        let version = view.version.subscribe();
        let config = Arc::new(config);
        let log = Self { view, retention, config, clock, jobs, queued_bytes, version };
        Ok((log, recovery))
    }

    /// Appends; answers when the append is as durable as the log promises. Dropping the future
    /// leaves it open whether it was appended.
    ///
    /// # Errors
    /// [`AppendError`]; only after [`AppendError::Failed`] may the record turn up all the same.
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.enqueue(append)?.acknowledged().await
    }

    /// Hands an append to the committer, behind all that were handed in before it.
    ///
    /// # Errors
    /// It cannot be taken; nothing was appended.
    pub fn enqueue(&self, append: Append) -> Result<Pending, AppendError> {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have gone; the record is there all the same.
        self.enqueue_then(append, None, |ended| drop(reply.send(ended)))?;
        Ok(Pending(answer))
    }

    /// The life of the log: it grows whenever a group of appends is not committed.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.view.life.load(Ordering::Acquire)
    }

    /// Hands an append in, and tells `done` how it ended, on the log's own thread and in the order of
    /// the log: `done` must not wait. One that expects a life is refused once that is over, so that
    /// nothing stands in the log whose predecessor does not.
    ///
    /// # Errors
    /// It cannot be taken; nothing was appended, and `done` is told nothing.
    pub fn enqueue_then(
        &self,
        append: Append,
        life: Option<u64>,
        done: impl FnOnce(Result<Appended, AppendError>) + Send + 'static,
    ) -> Result<(), AppendError> {
        let bytes = append.body.len();
        let bytes_max = self.append_bytes_max();
        if bytes > bytes_max {
            return Err(AppendError::TooLarge { bytes_max });
        }
        if append.partition >= self.config.partitions || append.records == 0 {
            return Err(AppendError::Invalid);
        }
        if self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
            > self.config.append_bytes_max
        {
            self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(AppendError::Overloaded);
        }
        match self.jobs.try_send(Job::Append(Handed { append, life, done: Box::new(done) })) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(match error {
                    mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
                    mpsc::error::TrySendError::Closed(_) => AppendError::Closed,
                })
            }
        }
    }

    /// Longest body that the log takes.
    #[must_use]
    pub fn append_bytes_max(&self) -> usize {
        append_bytes_max(&self.config)
    }

    /// Whole frames from the one that holds `offset`: as many as fit into `bytes_max`, but one
    /// when there is any, and none behind a gap; empty at the readable end. Reads the page cache,
    /// seldom the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        partition: u32,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        self.view.read(partition, offset, bytes_max)
    }

    /// The same for those who pass what is lost: frames from the first whole one at `offset` or
    /// behind it.
    ///
    /// # Errors
    /// As [`Log::read`], but never [`ReadError::Lost`].
    pub fn read_past_gaps(
        &self,
        partition: u32,
        mut offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        loop {
            match self.read(partition, offset, bytes_max) {
                // A gap has an end behind what was asked for.
                Err(ReadError::Lost { lost }) => offset = lost.end,
                read => return read,
            }
        }
    }

    /// First kept offset to the next that will be readable; empty for a partition that is none.
    #[must_use]
    pub fn range(&self, partition: u32) -> Range<u64> {
        self.view.segments().range(partition).unwrap_or(0..0)
    }

    /// First offset whose frame is not older than `time`; none when all are older.
    #[must_use]
    pub fn offset_at(&self, partition: u32, time: Timestamp) -> Option<u64> {
        self.view.offset_at(partition, time)
    }

    /// Grows with every group that became readable.
    #[must_use]
    pub fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// Waits until something is readable that was not at `seen`. Cancel-safe.
    pub async fn changed(&self, seen: u64) -> u64 {
        let mut version = self.version.clone();
        let newer = version.wait_for(|it| *it > seen).await.map(|it| *it);
        match newer {
            Ok(version) => version,
            // The sender lives as long as this handle: an error cannot come.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.config.partitions
    }

    /// Numbers since it was opened.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.view.counters.read(self.view.segments().sealed.len() + 1)
    }

    /// Retires whole segments whose last record is past its time, or that are beyond the bound of
    /// bytes, oldest first; never the one that is being written. The caller does it now and then;
    /// one call retires 64 at the most.
    ///
    /// # Errors
    /// A file cannot be renamed or removed; what was retired before stays retired.
    pub fn enforce_retention(&self) -> io::Result<usize> {
        self.retention.enforce(&self.config, self.clock.now())
    }

    /// The same by other bounds than those that it was opened with.
    ///
    /// # Errors
    /// As [`enforce_retention`](Self::enforce_retention).
    pub fn enforce_retention_of(
        &self,
        retention_ms: Option<u64>,
        retention_bytes: Option<u64>,
    ) -> io::Result<usize> {
        let config = LogConfig { retention_ms, retention_bytes, ..(*self.config).clone() };
        self.retention.enforce(&config, self.clock.now())
    }

    /// Commits what waits and ends the thread; later appends are refused.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(reply)).await.is_ok() {
            // An error means that the thread has ended already.
            closed.await.ok();
        }
    }
}

#[cfg(test)]
mod tests;
