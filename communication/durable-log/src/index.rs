//! Where the frames of a segment stand, and where offsets have none. Pure.

use std::ops::Range;

use base::Timestamp;

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

impl Entry {
    /// The offsets that it holds.
    pub(crate) const fn offsets(&self) -> Range<u64> {
        self.base_offset..self.base_offset.saturating_add(self.records as u64)
    }
}

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Frames that follow each other; empty behind the last.
    Frames(Vec<Entry>),
    /// These offsets were given out, and no whole frame has them.
    Gap(Range<u64>),
}

/// Every whole frame of a segment, by partition and offset.
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

    /// Frames from the one that holds `offset` up to the next gap, as many as fit into
    /// `bytes_max`, one at the least. `segment` is what the partition has in this segment.
    pub(crate) fn find(
        &self,
        partition: u32,
        offset: u64,
        bytes_max: usize,
        segment: Range<u64>,
    ) -> Found {
        let entries = self.0.get(partition as usize).map_or(&[][..], Vec::as_slice);
        let from = entries.partition_point(|it| it.offsets().end <= offset);
        let (before, rest) = entries.split_at(from);
        if rest.first().is_none_or(|it| it.base_offset > offset) {
            let start = before.last().map_or(segment.start, |it| it.offsets().end);
            let end = rest.first().map_or(segment.end, |it| it.base_offset);
            return if offset < end { Found::Gap(start..end) } else { Found::Frames(Vec::new()) };
        }
        let mut total = 0;
        let mut next = rest[0].base_offset;
        let fits = |it: &&Entry| {
            let follows = it.base_offset == next;
            next = it.offsets().end;
            total += it.bytes as usize;
            follows && (total <= bytes_max || total == it.bytes as usize)
        };
        Found::Frames(rest.iter().take_while(fits).copied().collect())
    }

    /// Every frame, in the order in which they stand in the file.
    pub(crate) fn in_file_order(&self) -> Vec<Entry> {
        let mut all: Vec<Entry> = self.0.iter().flatten().copied().collect();
        all.sort_unstable_by_key(|it| it.position);
        all
    }

    /// Offsets between what each partition begins and ends with that no frame has.
    pub(crate) fn gaps(&self, first: &[u64], ends: &[u64]) -> Vec<(u32, Range<u64>)> {
        let mut gaps = Vec::new();
        for (partition, entries) in (0..).zip(&self.0) {
            let at = partition as usize;
            let (Some(mut next), Some(end)) = (first.get(at).copied(), ends.get(at)) else {
                continue;
            };
            for offsets in entries.iter().map(Entry::offsets).chain(std::iter::once(*end..*end)) {
                if next < offsets.start {
                    gaps.push((partition, next..offsets.start));
                }
                next = offsets.end;
            }
        }
        gaps
    }

    /// First offset whose frame is not older than `time`.
    pub(crate) fn at_time(&self, partition: u32, time: Timestamp) -> Option<u64> {
        let entries = self.0.get(partition as usize)?;
        entries.iter().find(|it| it.time >= time).map(|it| it.base_offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(frames: &[(u64, u32)]) -> Index {
        let mut index = Index::new(1);
        for (at, (base_offset, records)) in frames.iter().enumerate() {
            let time = Timestamp::from_millis(0);
            let position = at as u64 * 100;
            let (base_offset, records) = (*base_offset, *records);
            index.add(0, Entry { base_offset, position, time, records, bytes: 100 });
        }
        index
    }

    #[track_caller]
    fn check(offset: u64, expected: Result<&[u64], Range<u64>>) {
        // Offsets 5 to 6, 12 to 13 and 20 to 29 have no frame.
        let index = index(&[(7, 3), (10, 2), (14, 6)]);
        let found = match index.find(0, offset, 1_000, 5..30) {
            Found::Frames(frames) => Ok(frames.iter().map(|it| it.base_offset).collect()),
            Found::Gap(gap) => Err(gap),
        };
        assert_eq!(found, expected.map(<[u64]>::to_vec), "offset {offset}");
    }

    #[test]
    fn frames_are_found_up_to_the_next_gap_and_a_gap_is_named_whole() {
        check(5, Err(5..7));
        check(6, Err(5..7));
        check(7, Ok(&[7, 10]));
        check(9, Ok(&[7, 10]));
        check(11, Ok(&[10]));
        check(13, Err(12..14));
        check(14, Ok(&[14]));
        check(25, Err(20..30));
        check(30, Ok(&[]));
    }
}
