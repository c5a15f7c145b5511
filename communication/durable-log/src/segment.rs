//! One segment file: its name, its birth, and how it is read.

use std::{
    io,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use base::Timestamp;
use bytes::Bytes;

use crate::{
    append::Frame,
    disk::{Disk, DiskFile},
    error::ReadError,
    frame::{self, Format},
    header::SegmentHeader,
    index::{Entry, Index},
    scan,
};

/// Bytes that are read at once where a medium fails.
const BLOCK_BYTES: usize = 4_096;

/// Name of a segment file.
pub(crate) fn segment_name(number: u64) -> String {
    format!("segment-{number:020}.log")
}

/// The number in the name of a segment file.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?.strip_suffix(".log")?.parse().ok()
}

/// Name of a copy of what was taken out of a segment, from a byte of it on.
pub(crate) fn aside_name(segment: &str, position: u64) -> String {
    format!("{segment}.damaged-{position}")
}

/// Whether a file is such a copy, of that segment.
pub(crate) fn is_aside_of(name: &str, segment: &str) -> bool {
    name.strip_prefix(segment).is_some_and(|it| it.starts_with(".damaged"))
}

/// A header for a segment that begins now.
pub(crate) fn new_header(number: u64, next: Vec<u64>, now: Timestamp) -> SegmentHeader {
    SegmentHeader {
        format: Format::NEWEST,
        number,
        // A number that no earlier life of a file has.
        nonce: runtime::random_from_os().bits(),
        created_at: now,
        first_offsets: next,
    }
}

/// Makes the file of a segment, or takes the retired one when it can be had.
pub(crate) fn take_file(
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

/// Makes a segment's header and its name durable.
pub(crate) fn write_header(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    header: &SegmentHeader,
) -> io::Result<()> {
    file.write_at(&header.write(), 0)?;
    file.sync()?;
    disk.sync_names()
}

/// Keeps a copy of bytes beside a segment, durably, before they are overwritten.
pub(crate) fn set_aside(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(name, bytes.len() as u64)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.sync_names()
}

/// The parts of a segment that reading needs.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) index: Arc<Index>,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// One segment file that is complete. It holds no descriptor unless somebody read it lately.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) name: String,
    loaded: Mutex<Option<Loaded>>,
    /// Its damage was logged.
    told: AtomicBool,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, name: String, loaded: Option<Loaded>) -> Self {
        Self { header, name, loaded: Mutex::new(loaded), told: AtomicBool::new(false) }
    }

    pub(crate) fn unload(&self) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What reading needs; made by reading the file once. `bounds` are the first offsets of the
    /// segment that follows: what stands here from them on was never acknowledged.
    pub(crate) fn load(&self, disk: &dyn Disk, bounds: &[u64]) -> Result<Loaded, ReadError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*loaded {
            return Ok(loaded.clone());
        }
        let file = disk.open(&self.name).map_err(ReadError::Io)?;
        let bytes = read_what_is_readable(&*file).map_err(ReadError::Io)?;
        let scanned = scan::scan_sealed(&bytes, &self.header, bounds);
        if !scanned.damage.is_empty() && !self.told.swap(true, Ordering::Relaxed) {
            let (path, damage) = (disk.place(&self.name), &scanned.damage);
            tracing::error!(path = %path.display(), bytes = ?damage, "a segment is damaged; what is whole is served");
        }
        let made = Loaded { index: Arc::new(scanned.index), file };
        *loaded = Some(made.clone());
        Ok(made)
    }
}

/// Reads frames whose places are known, up to the first that is damaged.
///
/// # Errors
/// The first is damaged: its offsets are lost.
pub(crate) fn read_frames(
    file: &dyn DiskFile,
    header: &SegmentHeader,
    entries: &[Entry],
) -> Result<Vec<Frame>, ReadError> {
    let mut frames = Vec::with_capacity(entries.len());
    // Frames that stand one after the other are read at once.
    let follows = |one: &Entry, next: &Entry| one.position + u64::from(one.bytes) == next.position;
    for run in entries.chunk_by(follows) {
        let start = run[0].position;
        let end = run.last().map_or(start, |it| it.position + u64::from(it.bytes));
        let buffer = read_range(file, start..end).map_err(ReadError::Io)?;
        let mut at = 0;
        for entry in run {
            let rest = buffer.slice(at.min(buffer.len())..);
            let whole = frame::read_shared(&rest, header.nonce, header.format)
                .filter(|it| it.0.base_offset == entry.base_offset);
            let Some((head, body)) = whole else {
                let lost = entry.offsets();
                return if frames.is_empty() { Err(ReadError::Lost { lost }) } else { Ok(frames) };
            };
            at += entry.bytes as usize;
            frames.push(Frame {
                partition: head.partition,
                base_offset: head.base_offset,
                records: head.records,
                time: head.time,
                body,
            });
        }
    }
    Ok(frames)
}

fn read_range(file: &dyn DiskFile, range: Range<u64>) -> io::Result<Bytes> {
    let bytes = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut buffer = vec![0; bytes];
    let read = match file.read_at(&mut buffer, range.start) {
        Err(error) if is_of_the_medium(&error) => read_blocks(file, range.start, &mut buffer)?,
        read => read?,
    };
    buffer.truncate(read);
    Ok(Bytes::from(buffer))
}

/// The whole of a file.
pub(crate) fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(file.bytes()?).map_err(io::Error::other)?;
    let mut buffer = vec![0; bytes];
    let read = file.read_at(&mut buffer, 0)?;
    buffer.truncate(read);
    Ok(buffer)
}

/// The same of a file on a medium that fails: what cannot be read is zeros, and so damage.
pub(crate) fn read_what_is_readable(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let end = file.bytes()?;
    read_range(file, 0..end).map(Vec::from)
}

fn is_of_the_medium(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

fn read_blocks(file: &dyn DiskFile, start: u64, buffer: &mut [u8]) -> io::Result<usize> {
    for (at, block) in buffer.chunks_mut(BLOCK_BYTES).enumerate() {
        match file.read_at(block, start + (at * BLOCK_BYTES) as u64) {
            Ok(_) => {}
            Err(error) if is_of_the_medium(&error) => block.fill(0),
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.len())
}
