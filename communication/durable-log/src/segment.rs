//! One segment file, and the index that finds its frames.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use base::Timestamp;
use bytes::Bytes;

use crate::{disk::DiskFile, error::ReadError, frame, header::SegmentHeader, log::Frame, recovery};

/// Where one frame stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base_offset: u64,
    pub(crate) position: u64,
    pub(crate) time: Timestamp,
    pub(crate) records: u32,
    /// Padding included.
    pub(crate) bytes: u32,
}

/// Every frame of a segment, by partition and offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index(Vec<Vec<Entry>>);

impl Index {
    pub(crate) fn new(partitions: usize) -> Self {
        Self(vec![Vec::new(); partitions])
    }

    pub(crate) fn add(&mut self, partition: u32, entry: Entry) {
        if let Some(entries) = self.0.get_mut(partition as usize) {
            entries.push(entry);
        }
    }

    /// Frames from the one that holds `offset`, as many as fit into `bytes_max`, one at the least.
    pub(crate) fn find(&self, partition: u32, offset: u64, bytes_max: usize) -> Vec<Entry> {
        let Some(entries) = self.0.get(partition as usize) else { return Vec::new() };
        let from = entries.partition_point(|it| it.base_offset + u64::from(it.records) <= offset);
        let mut total = 0;
        let fits = |it: &&Entry| {
            total += it.bytes as usize;
            total <= bytes_max || total == it.bytes as usize
        };
        entries[from..].iter().take_while(fits).copied().collect()
    }

    /// First offset whose frame is not older than `time`.
    pub(crate) fn at_time(&self, partition: u32, time: Timestamp) -> Option<u64> {
        let entries = self.0.get(partition as usize)?;
        entries.iter().find(|it| it.time >= time).map(|it| it.base_offset)
    }
}

/// One segment file that is complete.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Loaded when somebody reads, dropped when others are read.
    index: Mutex<Option<Arc<Index>>>,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, name: String, file: Arc<dyn DiskFile>) -> Self {
        Self { header, name, file, index: Mutex::new(None) }
    }

    pub(crate) fn keep_index(&self, index: Option<Arc<Index>>) {
        *self.index.lock().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// The index, and whether it had to be loaded. `bounds` are the first offsets of the segment
    /// that follows: what stands here from them on was never acknowledged.
    pub(crate) fn index(&self, bounds: &[u64]) -> Result<(Arc<Index>, bool), ReadError> {
        let mut kept = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*kept {
            return Ok((Arc::clone(index), false));
        }
        let bytes = read_whole(&*self.file).map_err(ReadError::Io)?;
        let scanned = recovery::scan(&bytes, &self.header, Some(bounds));
        if scanned.next != bounds {
            let (segment, position) = (self.header.number, scanned.end);
            return Err(ReadError::Damaged { segment, position });
        }
        let index = Arc::new(scanned.index);
        *kept = Some(Arc::clone(&index));
        Ok((index, true))
    }
}

/// Reads frames whose places are known.
pub(crate) fn read_frames(
    file: &dyn DiskFile,
    header: &SegmentHeader,
    entries: &[Entry],
) -> Result<Vec<Frame>, ReadError> {
    let mut frames = Vec::with_capacity(entries.len());
    // Frames that stand one after the other are read at once.
    let follows = |one: &Entry, next: &Entry| one.position + u64::from(one.bytes) == next.position;
    for run in entries.chunk_by(follows) {
        let bytes: usize = run.iter().map(|it| it.bytes as usize).sum();
        let mut buffer = vec![0; bytes];
        let start = run[0].position;
        let read = file.read_at(&mut buffer, start).map_err(ReadError::Io)?;
        buffer.truncate(read);
        let buffer = Bytes::from(buffer);
        let mut at = 0;
        for entry in run {
            let rest = buffer.slice(at.min(buffer.len())..);
            let damaged =
                || ReadError::Damaged { segment: header.number, position: entry.position };
            let (head, body) = frame::read_shared(&rest, header.nonce).ok_or_else(damaged)?;
            if head.base_offset != entry.base_offset {
                return Err(damaged());
            }
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

/// The whole of a file.
pub(crate) fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(file.bytes()?).map_err(io::Error::other)?;
    let mut buffer = vec![0; bytes];
    let read = file.read_at(&mut buffer, 0)?;
    buffer.truncate(read);
    Ok(buffer)
}
