//! What readers may see: complete segments, the one being written, and where each partition ends.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::AtomicU64,
    },
    time::Duration,
};

use base::Timestamp;
use tokio::sync::watch;

use crate::{
    append::Frame,
    config::LogConfig,
    disk::{Disk, DiskFile},
    error::ReadError,
    header::SegmentHeader,
    index::{Entry, Found, Index},
    segment::{Loaded, Segment, read_frames},
    stats::Counters,
};

/// Complete segments that are open for reading, with their index; another is opened and read once.
const LOADED_MAX: usize = 8;
/// Gaps that are told once each; past it one may be told again.
const GAPS_TOLD_MAX: usize = 4_096;
/// How far the clocks of those who append may run ahead of ours.
const SKEW_MAX: Duration = Duration::from_secs(3_600);

/// The segment that is being written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) header: SegmentHeader,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) index: Index,
}

#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) sealed: VecDeque<Arc<Segment>>,
    pub(crate) active: Active,
    /// Readable end of each partition.
    pub(crate) next: Vec<u64>,
}

/// Shared by the committer and every reader.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) disk: Arc<dyn Disk>,
    segments: RwLock<Segments>,
    pub(crate) version: watch::Sender<u64>,
    /// Grows with every group that was not committed.
    pub(crate) life: AtomicU64,
    pub(crate) counters: Counters,
    /// Segments that are loaded, oldest use first.
    loaded: Mutex<VecDeque<Arc<Segment>>>,
    /// Gaps that were told, by partition and first offset.
    told: Mutex<BTreeSet<(u32, u64)>>,
}

/// Where a read goes.
enum Place {
    Active(Arc<dyn DiskFile>, SegmentHeader, Found),
    Sealed(Arc<Segment>, Vec<u64>),
}

impl View {
    pub(crate) fn new(disk: Arc<dyn Disk>, segments: Segments) -> Self {
        Self {
            disk,
            segments: RwLock::new(segments),
            version: watch::Sender::new(0),
            life: AtomicU64::new(0),
            counters: Counters::default(),
            loaded: Mutex::default(),
            told: Mutex::default(),
        }
    }

    pub(crate) fn segments(&self) -> RwLockReadGuard<'_, Segments> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn segments_mut(&self) -> RwLockWriteGuard<'_, Segments> {
        self.segments.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets readers see what was committed, and wakes those who wait.
    pub(crate) fn publish(&self, committed: Vec<(u32, Entry)>) {
        let mut segments = self.segments_mut();
        for (partition, entry) in committed {
            segments.next[partition as usize] = entry.offsets().end;
            segments.active.index.add(partition, entry);
        }
        drop(segments);
        self.version.send_modify(|it| *it += 1);
    }

    /// Makes the active segment a complete one and `next` the active one.
    pub(crate) fn roll(&self, next: Active) {
        let mut segments = self.segments_mut();
        let Active { header, name, file, index } = std::mem::replace(&mut segments.active, next);
        let loaded = Loaded { index: Arc::new(index), file };
        let segment = Arc::new(Segment::new(header, name, Some(loaded)));
        segments.sealed.push_back(Arc::clone(&segment));
        drop(segments);
        self.used(&segment);
    }

    /// As [`crate::Log::read`].
    pub(crate) fn read(
        &self,
        partition: u32,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let read = self.read_now(partition, offset, bytes_max);
        if matches!(read, Err(ReadError::Lost { .. } | ReadError::Io(_))) {
            // Its file may have been retired, and written anew, meanwhile.
            let range = self.segments().range(partition).ok_or(ReadError::NoPartition)?;
            if offset < range.start {
                return Err(ReadError::OutOfRange { range });
            }
        }
        if let Err(ReadError::Lost { lost }) = &read {
            self.tell(partition, lost);
        }
        read
    }

    fn read_now(
        &self,
        partition: u32,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let (file, header, found) = match self.place(partition, offset, bytes_max)? {
            Place::Active(file, header, found) => (file, header, found),
            Place::Sealed(segment, bounds) => {
                let Loaded { index, file } = self.load(&segment, &bounds)?;
                let at = partition as usize;
                let here = segment.header.first_offsets[at]..bounds[at];
                let found = index.find(partition, offset, bytes_max, here);
                (file, segment.header.clone(), found)
            }
        };
        match found {
            Found::Gap(lost) => Err(ReadError::Lost { lost }),
            Found::Frames(entries) => read_frames(&*file, &header, &entries),
        }
    }

    fn place(&self, partition: u32, offset: u64, bytes_max: usize) -> Result<Place, ReadError> {
        let segments = self.segments();
        let range = segments.range(partition).ok_or(ReadError::NoPartition)?;
        if !range.contains(&offset) && offset != range.end {
            return Err(ReadError::OutOfRange { range });
        }
        let at = partition as usize;
        let active = &segments.active;
        if active.header.first_offsets[at] <= offset {
            let here = active.header.first_offsets[at]..range.end;
            let found = active.index.find(partition, offset, bytes_max, here);
            return Ok(Place::Active(Arc::clone(&active.file), active.header.clone(), found));
        }
        let begun = |it: &Arc<Segment>| it.header.first_offsets[at] <= offset;
        let place = segments.sealed.partition_point(begun).saturating_sub(1);
        Ok(Place::Sealed(Arc::clone(&segments.sealed[place]), segments.bounds(place).to_vec()))
    }

    fn load(&self, segment: &Arc<Segment>, bounds: &[u64]) -> Result<Loaded, ReadError> {
        let loaded = segment.load(&*self.disk, bounds)?;
        self.used(segment);
        Ok(loaded)
    }

    fn loaded(&self) -> MutexGuard<'_, VecDeque<Arc<Segment>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self, segment: &Arc<Segment>) {
        let mut loaded = self.loaded();
        loaded.retain(|it| !Arc::ptr_eq(it, segment));
        loaded.push_back(Arc::clone(segment));
        if loaded.len() > LOADED_MAX
            && let Some(oldest) = loaded.pop_front()
        {
            oldest.unload();
        }
    }

    /// Lets go of a segment that is kept no longer.
    pub(crate) fn forget(&self, segment: &Arc<Segment>) {
        self.loaded().retain(|it| !Arc::ptr_eq(it, segment));
        segment.unload();
    }

    /// Counts and logs a gap, once.
    pub(crate) fn tell(&self, partition: u32, lost: &Range<u64>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.insert((partition, lost.start)) {
            return;
        }
        if told.len() > GAPS_TOLD_MAX {
            told.pop_first();
        }
        drop(told);
        self.counters.lost(lost.end - lost.start);
        let path = self.disk.place("");
        tracing::error!(path = %path.display(), partition, from = lost.start, to = lost.end, "records are lost");
    }

    pub(crate) fn offset_at(&self, partition: u32, time: Timestamp) -> Option<u64> {
        let (sealed, end) = {
            let segments = self.segments();
            let end = segments.range(partition)?.end;
            // A segment that was complete before that time has nothing of it.
            let sealed: Vec<_> = (0..segments.sealed.len())
                .filter(|it| segments.sealed_at(*it) + SKEW_MAX >= time)
                .map(|it| (Arc::clone(&segments.sealed[it]), segments.bounds(it).to_vec()))
                .collect();
            (sealed, end)
        };
        for (segment, bounds) in sealed {
            let loaded = self.load(&segment, &bounds).ok()?;
            if let Some(offset) = loaded.index.at_time(partition, time) {
                return Some(offset);
            }
        }
        self.segments().active.index.at_time(partition, time).filter(|it| *it < end)
    }
}

impl Segments {
    pub(crate) fn range(&self, partition: u32) -> Option<Range<u64>> {
        let end = *self.next.get(partition as usize)?;
        let first = self.sealed.front().map_or(&self.active.header, |it| &it.header);
        Some(first.first_offsets[partition as usize]..end)
    }

    /// First offsets of the segment after a complete one.
    pub(crate) fn bounds(&self, at: usize) -> &[u64] {
        let next = self.sealed.get(at + 1).map_or(&self.active.header, |it| &it.header);
        &next.first_offsets
    }

    /// The oldest complete segment, when its last record is past its time or there is too much.
    pub(crate) fn expired(&self, config: &LogConfig, now: Timestamp) -> Option<&Arc<Segment>> {
        let oldest = self.sealed.front()?;
        let age = now.saturating_since(self.sealed_at(0)).as_millis();
        let is_old = config.retention_ms.is_some_and(|it| age > u128::from(it));
        let bytes = (self.sealed.len() as u64 + 1).saturating_mul(config.segment_bytes);
        let is_much = config.retention_bytes.is_some_and(|it| bytes > it);
        (is_old || is_much).then_some(oldest)
    }

    /// When a complete segment took its last record, at the latest: the next was begun then.
    pub(crate) fn sealed_at(&self, at: usize) -> Timestamp {
        self.sealed.get(at + 1).map_or(self.active.header.created_at, |it| it.header.created_at)
    }
}
