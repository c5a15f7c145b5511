//! What readers may see: complete segments, the one being written, and where each partition ends.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use base::Timestamp;
use tokio::sync::watch;

use crate::{
    disk::{Disk, DiskFile},
    error::ReadError,
    header::SegmentHeader,
    log::Frame,
    segment::{Entry, Index, Segment, read_frames},
    stats::Counters,
};

/// Indexes of complete segments that are kept; another is made by reading its file once.
const INDEXES_MAX: usize = 8;

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
pub(crate) struct View {
    pub(crate) sealed: VecDeque<Arc<Segment>>,
    pub(crate) active: Active,
    /// Readable end of each partition.
    pub(crate) next: Vec<u64>,
}

/// Shared by the committer and every reader.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) view: RwLock<View>,
    pub(crate) version: watch::Sender<u64>,
    pub(crate) counters: Counters,
    /// Segments whose index is loaded, oldest use first.
    loaded: Mutex<VecDeque<Arc<Segment>>>,
    /// A retired file that the next segment may take, by name.
    pub(crate) spare: Mutex<Option<String>>,
}

/// Where a read goes.
enum Place {
    Active(Arc<dyn DiskFile>, SegmentHeader, Vec<Entry>),
    Sealed(Arc<Segment>, Vec<u64>),
}

impl Shared {
    pub(crate) fn new(disk: Arc<dyn Disk>, view: View, spare: Option<String>) -> Self {
        Self {
            disk,
            view: RwLock::new(view),
            version: watch::Sender::new(0),
            counters: Counters::default(),
            loaded: Mutex::default(),
            spare: Mutex::new(spare),
        }
    }

    pub(crate) fn view(&self) -> std::sync::RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn view_mut(&self) -> std::sync::RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets readers see what was committed, and wakes those who wait.
    pub(crate) fn publish(&self, committed: Vec<(u32, Entry)>) {
        let mut view = self.view_mut();
        for (partition, entry) in committed {
            view.next[partition as usize] = entry.base_offset + u64::from(entry.records);
            view.active.index.add(partition, entry);
        }
        drop(view);
        self.version.send_modify(|it| *it += 1);
    }

    /// Makes the active segment a complete one and `next` the active one.
    pub(crate) fn roll(&self, next: Active) {
        let mut view = self.view_mut();
        let Active { header, name, file, index } = std::mem::replace(&mut view.active, next);
        let segment = Arc::new(Segment::new(header, name, file));
        segment.keep_index(Some(Arc::new(index)));
        view.sealed.push_back(Arc::clone(&segment));
        drop(view);
        self.used(segment);
    }

    pub(crate) fn read(
        &self,
        partition: u32,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        match self.place(partition, offset, bytes_max)? {
            None => Ok(Vec::new()),
            Some(Place::Active(file, header, entries)) => read_frames(&*file, &header, &entries),
            Some(Place::Sealed(segment, bounds)) => {
                let index = self.index_of(&segment, &bounds)?;
                let entries = index.find(partition, offset, bytes_max);
                read_frames(&*segment.file, &segment.header, &entries)
            }
        }
    }

    fn place(
        &self,
        partition: u32,
        offset: u64,
        bytes_max: usize,
    ) -> Result<Option<Place>, ReadError> {
        let view = self.view();
        let range = view.range(partition).ok_or(ReadError::NoPartition)?;
        if offset == range.end {
            return Ok(None);
        }
        if !range.contains(&offset) {
            return Err(ReadError::OutOfRange { range });
        }
        let active = &view.active;
        if active.header.first_offsets[partition as usize] <= offset {
            let entries = active.index.find(partition, offset, bytes_max);
            return Ok(Some(Place::Active(
                Arc::clone(&active.file),
                active.header.clone(),
                entries,
            )));
        }
        let begun = |it: &Arc<Segment>| it.header.first_offsets[partition as usize] <= offset;
        let at = view.sealed.partition_point(begun).saturating_sub(1);
        Ok(Some(Place::Sealed(Arc::clone(&view.sealed[at]), view.bounds(at).to_vec())))
    }

    fn index_of(&self, segment: &Arc<Segment>, bounds: &[u64]) -> Result<Arc<Index>, ReadError> {
        let (index, loaded) = segment.index(bounds)?;
        if loaded {
            self.used(Arc::clone(segment));
        }
        Ok(index)
    }

    fn used(&self, segment: Arc<Segment>) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.push_back(segment);
        if loaded.len() > INDEXES_MAX
            && let Some(oldest) = loaded.pop_front()
        {
            oldest.keep_index(None);
        }
    }

    pub(crate) fn offset_at(&self, partition: u32, time: Timestamp) -> Option<u64> {
        let (sealed, end) = {
            let view = self.view();
            let end = view.range(partition)?.end;
            // A segment that was complete before that time has nothing of it.
            let sealed: Vec<_> = (0..view.sealed.len())
                .filter(|it| view.sealed_at(*it) + SKEW_MAX >= time)
                .map(|it| (Arc::clone(&view.sealed[it]), view.bounds(it).to_vec()))
                .collect();
            (sealed, end)
        };
        for (segment, bounds) in sealed {
            let index = self.index_of(&segment, &bounds).ok()?;
            if let Some(offset) = index.at_time(partition, time) {
                return Some(offset);
            }
        }
        self.view().active.index.at_time(partition, time).filter(|it| *it < end)
    }
}

impl View {
    pub(crate) fn range(&self, partition: u32) -> Option<Range<u64>> {
        let end = *self.next.get(partition as usize)?;
        let first = self.sealed.front().map_or(&self.active.header, |it| &it.header);
        Some(first.first_offsets[partition as usize]..end)
    }

    /// First offsets of the segment after a complete one.
    fn bounds(&self, at: usize) -> &[u64] {
        let next = self.sealed.get(at + 1).map_or(&self.active.header, |it| &it.header);
        &next.first_offsets
    }

    /// When a complete segment was complete.
    pub(crate) fn sealed_at(&self, at: usize) -> Timestamp {
        self.sealed.get(at + 1).map_or(self.active.header.created_at, |it| it.header.created_at)
    }
}
