//! The handle: opens a directory, takes appends, serves reads.

use std::{
    collections::VecDeque,
    fs, io,
    ops::Range,
    path::Path,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use base::{SharedClock, Timestamp};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    committer::{Committer, Job, begin, first_header},
    config::LogConfig,
    disk::{Disk, DiskFile, RealDisk},
    error::{AppendError, OpenError, ReadError},
    frame::{BODY_BYTES_MAX, HEADER_BYTES as FRAME_BYTES},
    header::{HEADER_BYTES, HeaderError, PARTITIONS_MAX, SegmentHeader},
    recovery::{self, Recovery},
    segment::{Segment, read_whole},
    state::{Active, Shared, View},
    stats::LogStats,
};

/// Name of a retired file that waits for its next life.
const SPARE: &str = "spare.log";

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
pub struct Pending(oneshot::Receiver<Result<Appended, AppendError>>);

impl Pending {
    /// Waits until the append is as durable as the log promises.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub async fn acknowledged(self) -> Result<Appended, AppendError> {
        self.0.await.unwrap_or(Err(AppendError::Closed))
    }
}

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

/// One log; a cheap clone. Its thread ends with the last handle.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
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
        check(&config)?;
        let opened = Opening { disk: &**disk, config: &config, now: clock.now() }.run()?;
        let Opened { sealed, active, next, position, spare, recovery } = opened;
        let (file, header) = (Arc::clone(&active.file), active.header.clone());
        let view = View { sealed, active, next: next.clone() };
        let shared = Arc::new(Shared::new(Arc::clone(disk), view, spare));
        let (jobs, queue) = mpsc::channel(config.appends_max);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let committer = Committer {
            shared: Arc::clone(&shared),
            config: config.clone(),
            clock: clock.clone(),
            file,
            header,
            position,
            next,
            given_up: false,
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
        let version = shared.version.subscribe();
        let log = Self { shared, config: Arc::new(config), clock, jobs, queued_bytes, version };
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
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job::Append(append, reply)) {
            Ok(()) => Ok(Pending(answer)),
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
        let segment = usize::try_from(self.config.segment_bytes).unwrap_or(usize::MAX);
        (segment - HEADER_BYTES - FRAME_BYTES - 8).min(BODY_BYTES_MAX - FRAME_BYTES - 8)
    }

    /// Whole frames from the one that holds `offset`: as many as fit into `bytes_max`, but one
    /// when there is any; empty at the readable end. Reads the page cache, seldom the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        partition: u32,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        self.shared.read(partition, offset, bytes_max)
    }

    /// First kept offset to the next that will be readable; empty for a partition that is none.
    #[must_use]
    pub fn range(&self, partition: u32) -> Range<u64> {
        self.shared.view().range(partition).unwrap_or(0..0)
    }

    /// First offset whose frame is not older than `time`; none when all are older.
    #[must_use]
    pub fn offset_at(&self, partition: u32, time: Timestamp) -> Option<u64> {
        self.shared.offset_at(partition, time)
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
        self.shared.counters.read(self.shared.view().sealed.len() + 1)
    }

    /// Retires whole segments that are past their time or beyond the bound of bytes, oldest first;
    /// never the one that is being written. The caller does it now and then.
    ///
    /// # Errors
    /// A file cannot be renamed or removed; what was retired before stays retired.
    pub fn enforce_retention(&self) -> io::Result<usize> {
        let mut retired = 0;
        while let Some(segment) = self.pop_expired() {
            self.retire(&segment)?;
            retired += 1;
        }
        if retired > 0 {
            self.shared.disk.sync_names()?;
        }
        Ok(retired)
    }

    fn pop_expired(&self) -> Option<Arc<Segment>> {
        let mut view = self.shared.view_mut();
        view.sealed.front()?;
        let age = self.clock.now().saturating_since(view.sealed_at(0)).as_millis();
        let is_old = self.config.retention_ms.is_some_and(|it| age > u128::from(it));
        let bytes = (view.sealed.len() as u64 + 1).saturating_mul(self.config.segment_bytes);
        let is_much = self.config.retention_bytes.is_some_and(|it| bytes > it);
        if is_old || is_much { view.sealed.pop_front() } else { None }
    }

    fn retire(&self, segment: &Segment) -> io::Result<()> {
        let mut spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = segment.file.bytes()? == self.config.segment_bytes;
        if spare.is_none() && fits {
            self.shared.disk.rename(&segment.name, SPARE)?;
            *spare = Some(SPARE.to_owned());
            Ok(())
        } else {
            self.shared.disk.remove(&segment.name)
        }
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

fn check(config: &LogConfig) -> Result<(), OpenError> {
    if config.partitions == 0 || config.partitions > PARTITIONS_MAX {
        return Err(OpenError::Settings("a log has 1 to 500 partitions"));
    }
    if config.segment_bytes < 64 << 10 || config.segment_bytes > 1 << 30 {
        return Err(OpenError::Settings("a segment has 64 KiB to 1 GiB"));
    }
    if config.appends_max == 0 {
        return Err(OpenError::Settings("at least one append must be able to wait"));
    }
    Ok(())
}

/// A log being opened.
struct Opening<'a> {
    disk: &'a dyn Disk,
    config: &'a LogConfig,
    now: Timestamp,
}

struct Opened {
    sealed: VecDeque<Arc<Segment>>,
    active: Active,
    next: Vec<u64>,
    position: u64,
    spare: Option<String>,
    recovery: Recovery,
}

impl Opening<'_> {
    fn run(&self) -> Result<Opened, OpenError> {
        let names = self.disk.list().map_err(|it| self.io("", it))?;
        let mut spare = names.iter().find(|it| *it == SPARE).cloned();
        let mut numbers: Vec<u64> = names.iter().filter_map(|it| number_of(it)).collect();
        numbers.sort_unstable();
        let mut segments = Vec::new();
        for (at, number) in numbers.iter().enumerate() {
            let last = at + 1 == numbers.len();
            match self.segment(*number, last)? {
                Some(segment) => segments.push(segment),
                None => {
                    // It was being begun; nothing was acknowledged in it.
                    let name = crate::committer::segment_name(*number);
                    self.disk.remove(&name).map_err(|it| self.io(&name, it))?;
                    self.disk.sync_names().map_err(|it| self.io(&name, it))?;
                }
            }
        }
        if spare.is_some() && !self.spare_fits() {
            self.disk.remove(SPARE).map_err(|it| self.io(SPARE, it))?;
            spare = None;
        }
        let Some(last) = segments.pop() else { return self.first(spare) };
        self.resume(segments, last, spare)
    }

    fn io(&self, name: &str, source: io::Error) -> OpenError {
        OpenError::Io { path: self.disk.place(name), source }
    }

    fn spare_fits(&self) -> bool {
        let bytes = self.disk.open(SPARE).and_then(|it| it.bytes());
        bytes.is_ok_and(|it| it == self.config.segment_bytes)
    }

    /// Opens a segment; `None` for a last one that was only being begun.
    fn segment(&self, number: u64, last: bool) -> Result<Option<Segment>, OpenError> {
        let name = crate::committer::segment_name(number);
        let file = self.disk.open(&name).map_err(|it| self.io(&name, it))?;
        let mut block = vec![0; HEADER_BYTES];
        let read = file.read_at(&mut block, 0).map_err(|it| self.io(&name, it))?;
        let path = self.disk.place(&name);
        let header = match SegmentHeader::read(&block[..read]) {
            // A recycled file whose new header did not reach the disk still has its old one.
            Ok(header) if header.number == number => header,
            Err(HeaderError::Format(found)) => {
                let known = crate::header::FORMAT;
                return Err(OpenError::Format { path, found, known });
            }
            Ok(_) | Err(HeaderError::Torn) => {
                let only =
                    number == 1 && self.has_content(&*file).map_err(|it| self.io(&name, it))?;
                if last && !only {
                    return Ok(None);
                }
                return Err(OpenError::Damaged { path, reason: "its header is not whole" });
            }
        };
        let found = u32::try_from(header.first_offsets.len()).unwrap_or(u32::MAX);
        if found != self.config.partitions {
            return Err(OpenError::Partitions { found, wanted: self.config.partitions });
        }
        Ok(Some(Segment::new(header, name, file)))
    }

    /// Whether anything but zeros stands after the header: then it is no file that was being begun.
    fn has_content(&self, file: &dyn DiskFile) -> io::Result<bool> {
        let bytes = read_whole(file)?;
        Ok(bytes.get(HEADER_BYTES..).is_some_and(|it| it.iter().any(|byte| *byte != 0)))
    }

    fn first(&self, spare: Option<String>) -> Result<Opened, OpenError> {
        let header = first_header(self.config.partitions, self.now);
        let (name, file) = begin(self.disk, &header, self.config.segment_bytes, spare)
            .map_err(|it| self.io("", it))?;
        let next = header.first_offsets.clone();
        let index = crate::segment::Index::new(next.len());
        Ok(Opened {
            sealed: VecDeque::new(),
            active: Active { header, name, file, index },
            next,
            position: HEADER_BYTES as u64,
            spare: None,
            recovery: Recovery { segments: 1, frames: 0, torn_at: None },
        })
    }

    fn resume(
        &self,
        sealed: Vec<Segment>,
        last: Segment,
        spare: Option<String>,
    ) -> Result<Opened, OpenError> {
        let (name, file) = (last.name.clone(), Arc::clone(&last.file));
        let io = |it| self.io(&name, it);
        let bytes = read_whole(&*file).map_err(io)?;
        let scanned = recovery::scan(&bytes, &last.header, None);
        settle(&*file, &bytes, scanned.end).map_err(io)?;
        let recovery = Recovery {
            segments: sealed.len() + 1,
            frames: scanned.frames,
            torn_at: scanned.torn.then_some(scanned.end),
        };
        if let Some(at) = recovery.torn_at {
            tracing::warn!(path = %self.disk.place(&name).display(), at, "an unacknowledged append was cut off");
        }
        Ok(Opened {
            sealed: sealed.into_iter().map(Arc::new).collect(),
            active: Active { header: last.header, name: name.clone(), file, index: scanned.index },
            next: scanned.next,
            position: scanned.end,
            spare,
            recovery,
        })
    }
}

/// Makes durable what is served from now on, and overwrites what a write that was cut off may have
/// left behind it: a later frame must not be followed by one of an earlier try.
///
/// The bytes are written again: after a failed sync of an earlier process they are in the page
/// cache, marked clean, and on no disk, so that a sync alone would do nothing.
fn settle(file: &dyn DiskFile, bytes: &[u8], end: u64) -> io::Result<()> {
    let from = usize::try_from(end).map_err(io::Error::other)?.min(bytes.len());
    file.write_at(&bytes[..from], 0)?;
    // One group is all that can have been under way.
    let to = (from + BODY_BYTES_MAX + FRAME_BYTES + 8).min(bytes.len());
    let tail = &bytes[from..to];
    if let Some(last) = tail.iter().rposition(|it| *it != 0) {
        file.write_at(&vec![0; last + 1], end)?;
    }
    file.sync()
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests;
