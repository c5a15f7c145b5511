//! What a segment's bytes hold: every whole frame, and the damage between them. Pure.
//!
//! A write that the power cut off is told from damage by what stands behind it. A group is written
//! when the one before it is on stable storage, and each frame says where its group began: bytes
//! before the last group that are no frame were acknowledged once, so they are damage, and what is
//! whole around them counts. Within the last group nobody can tell; nothing of it from the first
//! bad byte on was acknowledged, unless the file was damaged there since.

use std::ops::Range;

use crate::{
    frame::{self, FrameHead},
    header::{HEADER_BYTES, SegmentHeader},
    index::{Entry, Index},
};

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) index: Index,
    /// Next offset of each partition.
    pub(crate) next: Vec<u64>,
    /// Where the next frame would stand.
    pub(crate) end: u64,
    pub(crate) frames: usize,
    /// Bytes before the end that hold no whole frame.
    pub(crate) damage: Vec<Range<u64>>,
    /// Whether something was begun behind the end.
    pub(crate) torn: bool,
    /// Where the last group began.
    group: u64,
}

/// Reads a segment that another follows. Frames from `bounds`, its first offsets, on were never
/// acknowledged.
pub(crate) fn scan_sealed(bytes: &[u8], header: &SegmentHeader, bounds: &[u64]) -> Scanned {
    let mut scanned = Walk::new(header, Some(bounds)).run(bytes);
    scanned.torn = false;
    if scanned.next != bounds {
        scanned.damage.push(scanned.end..bytes.len() as u64);
    }
    scanned
}

/// Reads the last segment.
pub(crate) fn scan_last(bytes: &[u8], header: &SegmentHeader) -> Scanned {
    let whole = Walk::new(header, None).run(bytes);
    let group = whole.group;
    let cut = whole.damage.iter().map(|it| it.start).find(|it| *it >= group);
    // Frames of an older format say nothing of their group: what is whole counts.
    match cut.filter(|_| header.format.has_groups()) {
        None => whole,
        Some(cut) => {
            let cut = usize::try_from(cut).map_or(bytes.len(), |it| it.min(bytes.len()));
            Scanned { torn: true, ..Walk::new(header, None).run(&bytes[..cut]) }
        }
    }
}

struct Walk<'a> {
    header: &'a SegmentHeader,
    bounds: Option<&'a [u64]>,
    scanned: Scanned,
    /// Damaged bytes since the end of a partition was certain.
    unsure: Vec<u64>,
}

struct WholeFrame<'a> {
    position: usize,
    head: FrameHead,
    body: &'a [u8],
}

impl<'a> Walk<'a> {
    fn new(header: &'a SegmentHeader, bounds: Option<&'a [u64]>) -> Self {
        let scanned = Scanned {
            index: Index::new(header.first_offsets.len()),
            next: header.first_offsets.clone(),
            end: HEADER_BYTES as u64,
            frames: 0,
            damage: Vec::new(),
            torn: false,
            group: HEADER_BYTES as u64,
        };
        Self { header, bounds, scanned, unsure: vec![0; header.first_offsets.len()] }
    }

    fn run(mut self, bytes: &[u8]) -> Scanned {
        let mut at = HEADER_BYTES;
        while let Some(found) = self.find(bytes, at) {
            at = found.position + self.header.format.frame_bytes(found.body.len());
            if self.is_void(&found) {
                continue;
            }
            if found.position as u64 > self.scanned.end {
                self.pass_damage(self.scanned.end..found.position as u64);
            }
            self.take(&found);
            self.scanned.end = at as u64;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        self.scanned.torn |= frame::is_nearly_begun(rest, self.header.nonce);
        if self.bounds.is_none() {
            // Nothing says how many records the damage had: they were fewer than its bytes.
            for (next, unsure) in self.scanned.next.iter_mut().zip(&self.unsure) {
                *next = next.saturating_add(*unsure);
            }
        }
        self.scanned
    }

    /// The first whole frame from a place on. Frames stand on multiples of eight.
    fn find<'b>(&mut self, bytes: &'b [u8], from: usize) -> Option<WholeFrame<'b>> {
        self.scanned.torn = false;
        let mut from = from;
        while let Some(position) = frame::next_begun(bytes, from, self.header.nonce) {
            let rest = &bytes[position..];
            from = position + 8;
            let read = frame::read(rest, self.header.nonce, self.header.format);
            if let Some((mut head, body)) = read {
                if !self.header.format.has_groups() {
                    head.group = position as u64;
                }
                let found = WholeFrame { position, head, body };
                if self.fits(&found) {
                    return Some(found);
                }
            }
            self.scanned.torn = true;
        }
        None
    }

    /// Whether a frame can stand there. What does not fit was left by a write that failed.
    fn fits(&self, found: &WholeFrame<'_>) -> bool {
        let head = &found.head;
        let ordered = head.group >= self.scanned.group && head.group <= found.position as u64;
        let follows = if head.is_checkpoint() {
            frame::ends(found.body).is_some_and(|it| {
                it.len() == self.scanned.next.len()
                    && it.iter().zip(&self.scanned.next).all(|(end, next)| end >= next)
            })
        } else {
            let next = self.scanned.next.get(head.partition as usize);
            head.records > 0 && next.is_some_and(|it| head.base_offset >= *it)
        };
        ordered && follows
    }

    /// Whether the next segment says that this was never acknowledged.
    fn is_void(&self, found: &WholeFrame<'_>) -> bool {
        let Some(bounds) = self.bounds else { return false };
        if found.head.is_checkpoint() {
            let ends = frame::ends(found.body).unwrap_or_default();
            return ends.iter().zip(bounds).any(|(end, bound)| end > bound);
        }
        let bound = bounds.get(found.head.partition as usize);
        bound.is_some_and(|it| found.head.base_offset >= *it)
    }

    fn pass_damage(&mut self, range: Range<u64>) {
        for unsure in &mut self.unsure {
            *unsure += range.end - range.start;
        }
        self.scanned.damage.push(range);
    }

    fn take(&mut self, found: &WholeFrame<'_>) {
        let WholeFrame { position, head, body } = found;
        self.scanned.group = head.group;
        if head.is_checkpoint() {
            self.scanned.next = frame::ends(body).unwrap_or_default();
            self.unsure.fill(0);
            return;
        }
        let partition = head.partition as usize;
        // Longer than a body may be it is not, so it fits.
        let bytes = self.header.format.frame_bytes(body.len());
        let entry = Entry {
            base_offset: head.base_offset,
            position: *position as u64,
            time: head.time,
            records: head.records,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        self.scanned.next[partition] = entry.offsets().end;
        self.unsure[partition] = 0;
        self.scanned.index.add(head.partition, entry);
        self.scanned.frames += 1;
    }
}

#[cfg(test)]
mod tests;
