//! The one thread that writes a log: takes what waits, writes it once, syncs it once, answers.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use base::SharedClock;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    append::{Append, Appended, Done},
    config::{Durability, LogConfig},
    disk::DiskFile,
    error::{AppendError, is_full},
    frame::{self, BODY_BYTES_MAX, Format, FrameHead},
    header::{HEADER_BYTES, SegmentHeader},
    index::{Entry, Index},
    retention::Retention,
    segment::{new_header, take_file, write_header},
    view::{Active, View},
};

/// Bytes of frames behind which the next group begins with a checkpoint.
const CHECKPOINT_EVERY_BYTES: u64 = 256 << 10;

/// What a log's handles ask of it.
pub(crate) enum Job {
    Append(Handed),
    /// End when everything before this is committed.
    Close(oneshot::Sender<()>),
}

/// An append that was handed in.
pub(crate) struct Handed {
    pub(crate) append: Append,
    /// The life of the log that it expects.
    pub(crate) life: Option<u64>,
    pub(crate) done: Done,
}

/// An append that is being committed, and where it will stand.
struct Placed {
    append: Append,
    done: Done,
    base_offset: u64,
}

pub(crate) struct Committer {
    pub(crate) view: Arc<View>,
    pub(crate) retention: Arc<Retention>,
    pub(crate) config: LogConfig,
    pub(crate) clock: SharedClock,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    /// Where the next frame goes.
    pub(crate) position: u64,
    pub(crate) next: Vec<u64>,
    /// The file must not be written any more: a write or a sync of it failed, or its successor may
    /// stand on the disk.
    pub(crate) given_up: bool,
    /// Where the last checkpoint of this life of the process ends in the file.
    pub(crate) checkpoint: Option<u64>,
}

impl Committer {
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>, released: &(dyn Fn(usize) + Send)) {
        let mut jobs = Vec::new();
        let group_bytes_max = group_bytes_max(&self.config);
        while queue.blocking_recv_many(&mut jobs, self.config.appends_max) > 0 {
            let mut group = Vec::with_capacity(jobs.len());
            let mut bytes = 0;
            let mut closing = None;
            for job in jobs.drain(..) {
                match job {
                    Job::Append(handed) => {
                        released(handed.append.body.len());
                        let length = Format::NEWEST.frame_bytes(handed.append.body.len());
                        if bytes + length > group_bytes_max && !group.is_empty() {
                            self.commit(std::mem::take(&mut group));
                            bytes = 0;
                        }
                        bytes += length;
                        group.push(handed);
                    }
                    Job::Close(reply) => closing = Some(reply),
                }
            }
            if !group.is_empty() {
                self.commit(group);
            }
            if let Some(reply) = closing {
                self.end(reply);
                return;
            }
        }
        self.sync_at_the_end();
    }

    fn end(&mut self, reply: oneshot::Sender<()>) {
        if let Err(error) = self.write_last_checkpoint() {
            tracing::warn!(%error, "a log could not be marked as ended in order");
        }
        self.sync_at_the_end();
        // Whoever asked may have gone.
        reply.send(()).ok();
    }

    /// Says behind the last group that it was acknowledged: from then on a part of it that is not
    /// whole is damage, and what is lost can be counted.
    fn write_last_checkpoint(&mut self) -> io::Result<()> {
        let mut buffer = Vec::new();
        let (nonce, group, time) = (self.header.nonce, self.position, self.clock.now());
        frame::write_checkpoint(&mut buffer, nonce, group, time, &self.next);
        let end = self.position + buffer.len() as u64;
        let marked = self.checkpoint == Some(self.position);
        if self.given_up || marked || end > self.config.segment_bytes {
            return Ok(());
        }
        self.given_up = true;
        self.file.write_at(&buffer, self.position)?;
        self.sync(&*self.file)
    }

    /// What was buffered is synced when the log is closed in order.
    fn sync_at_the_end(&self) {
        if self.config.durability == Durability::Buffered
            && let Err(error) = self.sync(&*self.file)
        {
            tracing::warn!(%error, "a buffered log could not be synced at its end");
        }
    }

    fn commit(&mut self, group: Vec<Handed>) {
        let mut next = self.next.clone();
        let life = self.view.life.load(Ordering::Acquire);
        let (group, outlived): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|it| it.life.is_none_or(|it| it == life));
        for handed in outlived {
            (handed.done)(Err(AppendError::Outlived));
        }
        if group.is_empty() {
            return;
        }
        let placed: Vec<Placed> = group
            .into_iter()
            .map(|Handed { append, done, .. }| {
                let slot = &mut next[append.partition as usize];
                let base_offset = *slot;
                *slot += u64::from(append.records);
                Placed { append, done, base_offset }
            })
            .collect();
        match self.write(&placed) {
            Ok((entries, bytes)) => {
                self.next = next;
                self.view.counters.committed(placed.len(), bytes);
                self.view.publish(entries);
                for Placed { done, base_offset, .. } in placed {
                    done(Ok(Appended { base_offset }));
                }
            }
            Err(error) => {
                tracing::warn!(%error, appends = placed.len(), "a group was not committed");
                // Before anybody is told: what expects this life must not be handed in any more
                // behind what is missing.
                self.view.life.fetch_add(1, Ordering::AcqRel);
                for Placed { done, .. } in placed {
                    done(Err(error.clone()));
                }
            }
        }
    }

    /// Writes and syncs a group; gives where its frames stand, and their bytes.
    fn write(&mut self, group: &[Placed]) -> Result<(Vec<(u32, Entry)>, usize), AppendError> {
        let length = |it: &Placed| Format::NEWEST.frame_bytes(it.append.body.len());
        let bytes: usize = group.iter().map(length).sum();
        let checkpoint_bytes = frame::checkpoint_bytes(self.next.len());
        let whole = (bytes + checkpoint_bytes) as u64;
        if self.given_up || self.position + whole > self.config.segment_bytes {
            self.roll().map_err(|error| failure(&error))?;
        }
        let mut buffer = Vec::with_capacity(bytes + checkpoint_bytes);
        let due = self.checkpoint.is_none_or(|it| self.position - it >= CHECKPOINT_EVERY_BYTES);
        if due {
            let (nonce, time) = (self.header.nonce, self.clock.now());
            frame::write_checkpoint(&mut buffer, nonce, self.position, time, &self.next);
        }
        let marked = self.position + buffer.len() as u64;
        let entries = group.iter().map(|it| self.frame(&mut buffer, it)).collect();
        let written = self.file.write_at(&buffer, self.position).and_then(|()| {
            match self.config.durability {
                Durability::Synced => self.sync(&*self.file),
                Durability::Buffered => Ok(()),
            }
        });
        if let Err(error) = written {
            // What reached the file is unknown, and a later sync would not tell: the next group
            // goes to another file, whose header says that this one ends before this group.
            self.given_up = true;
            return Err(AppendError::Failed { message: error.to_string() });
        }
        self.position += buffer.len() as u64;
        if due {
            self.checkpoint = Some(marked);
        }
        Ok((entries, bytes))
    }

    /// Appends a frame to the buffer of the group; gives its partition and where it will stand.
    fn frame(&self, buffer: &mut Vec<u8>, placed: &Placed) -> (u32, Entry) {
        let Placed { append, base_offset, .. } = placed;
        let at = buffer.len();
        let head = FrameHead {
            partition: append.partition,
            records: append.records,
            base_offset: *base_offset,
            time: append.time,
            group: self.position,
            // Bounded when it was taken in.
            body_bytes: u32::try_from(append.body.len()).unwrap_or(u32::MAX),
        };
        frame::write(buffer, self.header.nonce, &head, &append.body);
        let entry = Entry {
            base_offset: *base_offset,
            position: self.position + at as u64,
            time: append.time,
            records: append.records,
            bytes: u32::try_from(buffer.len() - at).unwrap_or(u32::MAX),
        };
        (append.partition, entry)
    }

    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        let started = Instant::now();
        let synced = file.sync();
        self.view.counters.synced(started.elapsed(), synced.is_ok());
        synced
    }

    /// Begins the next segment. Until its header is on stable storage the old one stays.
    fn roll(&mut self) -> io::Result<()> {
        if self.config.durability == Durability::Buffered && !self.given_up {
            self.sync(&*self.file)?;
        }
        let header = new_header(self.header.number + 1, self.next.clone(), self.clock.now());
        let (disk, bytes) = (&*self.view.disk, self.config.segment_bytes);
        let (name, file) = take_file(disk, header.number, bytes, self.retention.take_spare())?;
        // From here on the next segment may stand on the disk, whatever is answered: what this one
        // took after where the next begins would be void at the next start.
        self.given_up = true;
        write_header(disk, &*file, &header)?;
        self.position = HEADER_BYTES as u64;
        self.file = Arc::clone(&file);
        self.header = header.clone();
        self.given_up = false;
        self.checkpoint = None;
        let index = Index::new(header.first_offsets.len());
        self.view.roll(Active { header, name, file, index });
        Ok(())
    }
}

/// Bytes of the frames of one group: it is written at once, into one segment.
fn group_bytes_max(config: &LogConfig) -> usize {
    let segment = usize::try_from(config.segment_bytes).unwrap_or(usize::MAX);
    let checkpoint = frame::checkpoint_bytes(config.partitions as usize);
    segment.saturating_sub(HEADER_BYTES + checkpoint).min(BODY_BYTES_MAX)
}

/// Longest body that fits into a group.
pub(crate) fn append_bytes_max(config: &LogConfig) -> usize {
    group_bytes_max(config) - Format::NEWEST.head_bytes() - 8
}

fn failure(error: &io::Error) -> AppendError {
    if is_full(error) {
        AppendError::Full
    } else {
        AppendError::Failed { message: error.to_string() }
    }
}
