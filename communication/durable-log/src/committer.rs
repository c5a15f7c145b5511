//! The one thread that writes a log: takes what waits, writes it once, syncs it once, answers.

use std::{io, sync::Arc};

use base::{SharedClock, Timestamp};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    config::{Durability, LogConfig},
    disk::{Disk, DiskFile},
    error::AppendError,
    frame::{self, BODY_BYTES_MAX, FrameHead},
    header::{HEADER_BYTES, SegmentHeader},
    log::{Append, Appended},
    segment::{Entry, Index},
    state::{Active, Shared},
};

/// What a log's handles ask of it.
#[derive(Debug)]
pub(crate) enum Job {
    Append(Append, oneshot::Sender<Result<Appended, AppendError>>),
    /// End when everything before this is committed.
    Close(oneshot::Sender<()>),
}

/// An append that is being committed, and where it will stand.
struct Placed {
    append: Append,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    base_offset: u64,
}

pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: LogConfig,
    pub(crate) clock: SharedClock,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    /// Where the next frame goes.
    pub(crate) position: u64,
    pub(crate) next: Vec<u64>,
    /// The file must not be written any more: a write or a sync of it failed.
    pub(crate) given_up: bool,
}

impl Committer {
    pub(crate) fn run(mut self, mut queue: mpsc::Receiver<Job>, released: &(dyn Fn(usize) + Send)) {
        let mut jobs = Vec::new();
        while queue.blocking_recv_many(&mut jobs, self.config.appends_max) > 0 {
            let mut group = Vec::with_capacity(jobs.len());
            let mut bytes = 0;
            let mut closing = None;
            for job in jobs.drain(..) {
                match job {
                    Job::Append(append, reply) => {
                        released(append.body.len());
                        let length = frame::frame_bytes(append.body.len());
                        if bytes + length > BODY_BYTES_MAX && !group.is_empty() {
                            self.commit(std::mem::take(&mut group));
                            bytes = 0;
                        }
                        bytes += length;
                        group.push((append, reply));
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

    fn end(&self, reply: oneshot::Sender<()>) {
        self.sync_at_the_end();
        // Whoever asked may have gone.
        reply.send(()).ok();
    }

    /// What was buffered is synced when the log is closed in order.
    fn sync_at_the_end(&self) {
        if self.config.durability == Durability::Buffered
            && let Err(error) = self.sync(&*self.file)
        {
            tracing::warn!(%error, "a buffered log could not be synced at its end");
        }
    }

    fn commit(&mut self, group: Vec<(Append, oneshot::Sender<Result<Appended, AppendError>>)>) {
        let mut next = self.next.clone();
        let placed: Vec<Placed> = group
            .into_iter()
            .map(|(append, reply)| {
                let slot = &mut next[append.partition as usize];
                let base_offset = *slot;
                *slot += u64::from(append.records);
                Placed { append, reply, base_offset }
            })
            .collect();
        match self.write(&placed) {
            Ok((entries, bytes)) => {
                self.next = next;
                self.shared.counters.committed(placed.len(), bytes);
                self.shared.publish(entries);
                for Placed { reply, base_offset, .. } in placed {
                    // Whoever asked may have gone; the record is there all the same.
                    reply.send(Ok(Appended { base_offset })).ok();
                }
            }
            Err(error) => {
                tracing::warn!(%error, appends = placed.len(), "a group was not committed");
                for Placed { reply, .. } in placed {
                    reply.send(Err(error.clone())).ok();
                }
            }
        }
    }

    /// Writes and syncs a group; gives where its frames stand, and their bytes.
    fn write(&mut self, group: &[Placed]) -> Result<(Vec<(u32, Entry)>, usize), AppendError> {
        let bytes: usize = group.iter().map(|it| frame::frame_bytes(it.append.body.len())).sum();
        if self.given_up || self.position + bytes as u64 > self.config.segment_bytes {
            self.roll().map_err(|error| failure(&error))?;
        }
        let mut buffer = Vec::with_capacity(bytes);
        let mut entries = Vec::with_capacity(group.len());
        for Placed { append, base_offset, .. } in group {
            let at = buffer.len();
            let head = FrameHead {
                partition: append.partition,
                records: append.records,
                base_offset: *base_offset,
                time: append.time,
                // Bounded when it was taken in.
                body_bytes: u32::try_from(append.body.len()).unwrap_or(u32::MAX),
            };
            frame::write(&mut buffer, self.header.nonce, &head, &append.body);
            let length = u32::try_from(buffer.len() - at).unwrap_or(u32::MAX);
            entries.push((
                append.partition,
                Entry {
                    base_offset: *base_offset,
                    position: self.position + at as u64,
                    time: append.time,
                    records: append.records,
                    bytes: length,
                },
            ));
        }
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
        Ok((entries, buffer.len()))
    }

    fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        let started = Instant::now();
        let synced = file.sync();
        self.shared.counters.synced(started.elapsed(), synced.is_ok());
        synced
    }

    /// Begins the next segment. Until its header is on stable storage the old one stays.
    fn roll(&mut self) -> io::Result<()> {
        if self.config.durability == Durability::Buffered && !self.given_up {
            self.sync(&*self.file)?;
        }
        let header = SegmentHeader {
            number: self.header.number + 1,
            nonce: draw_nonce(),
            created_at: self.clock.now(),
            first_offsets: self.next.clone(),
        };
        let spare =
            self.shared.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let disk = &*self.shared.disk;
        let (name, file) = take_file(disk, header.number, self.config.segment_bytes, spare)?;
        // From here on the next segment may stand on the disk, whatever is answered: what this one
        // took after where the next begins would be void at the next start.
        self.given_up = true;
        write_header(disk, &*file, &header)?;
        self.position = HEADER_BYTES as u64;
        self.file = Arc::clone(&file);
        self.header = header.clone();
        self.given_up = false;
        let index = Index::new(header.first_offsets.len());
        self.shared.roll(Active { header, name, file, index });
        Ok(())
    }
}

fn failure(error: &io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::Full,
        _ => AppendError::Failed { message: error.to_string() },
    }
}

/// A number that no earlier life of a file has.
pub(crate) fn draw_nonce() -> u64 {
    runtime::random_from_os().bits()
}

/// Name of a segment file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("segment-{number:020}.log")
}

/// Makes a segment file, or takes a retired one, and makes its header and its name durable.
pub(crate) fn begin(
    disk: &dyn Disk,
    header: &SegmentHeader,
    bytes: u64,
    spare: Option<String>,
) -> io::Result<(String, Arc<dyn DiskFile>)> {
    let (name, file) = take_file(disk, header.number, bytes, spare)?;
    write_header(disk, &*file, header)?;
    Ok((name, file))
}

/// Makes the file, or takes the retired one when it can be had.
fn take_file(
    disk: &dyn Disk,
    number: u64,
    bytes: u64,
    spare: Option<String>,
) -> io::Result<(String, Arc<dyn DiskFile>)> {
    let name = segment_name(number);
    let renamed = spare.is_some_and(|it| disk.rename(&it, &name).is_ok());
    let file = if renamed { disk.open(&name)? } else { disk.create(&name, bytes)? };
    Ok((name, file))
}

fn write_header(disk: &dyn Disk, file: &dyn DiskFile, header: &SegmentHeader) -> io::Result<()> {
    file.write_at(&header.write(), 0)?;
    file.sync()?;
    disk.sync_names()
}

/// A header for the very first segment.
pub(crate) fn first_header(partitions: u32, now: Timestamp) -> SegmentHeader {
    SegmentHeader {
        number: 1,
        nonce: draw_nonce(),
        created_at: now,
        first_offsets: vec![0; partitions as usize],
    }
}
