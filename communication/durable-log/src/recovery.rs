//! What a segment's bytes hold: every whole frame up to the first that is not. Pure.

use base::Timestamp;

use crate::{
    frame,
    header::{HEADER_BYTES, SegmentHeader},
    segment::{Entry, Index},
};

/// What opening a log found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Segments that are kept.
    pub segments: usize,
    /// Frames of the last segment, the only one that was read.
    pub frames: usize,
    /// Where in the last segment an append was cut off; it was never acknowledged.
    pub torn_at: Option<u64>,
}

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) index: Index,
    /// Next offset of each partition.
    pub(crate) next: Vec<u64>,
    /// Where the first frame that is not whole would stand.
    pub(crate) end: u64,
    pub(crate) frames: usize,
    /// Whether something was begun there.
    pub(crate) torn: bool,
    pub(crate) last_time: Timestamp,
}

/// Reads frame after frame. Offsets must follow each other in each partition: what does not fit is
/// left over from a write that was never acknowledged. Frames from `bounds` on are left out.
pub(crate) fn scan(bytes: &[u8], header: &SegmentHeader, bounds: Option<&[u64]>) -> Scanned {
    let mut scanned = Scanned {
        index: Index::new(header.first_offsets.len()),
        next: header.first_offsets.clone(),
        end: HEADER_BYTES as u64,
        frames: 0,
        torn: false,
        last_time: header.created_at,
    };
    let mut at = HEADER_BYTES;
    while let Some(rest) = bytes.get(at..) {
        let Some((head, body)) = frame::read(rest, header.nonce) else {
            scanned.torn = frame::is_begun(rest, header.nonce);
            break;
        };
        let partition = head.partition as usize;
        let length = frame::frame_bytes(body.len());
        let expected = scanned.next.get(partition).copied();
        let void =
            bounds.is_some_and(|it| it.get(partition).is_some_and(|it| head.base_offset >= *it));
        if void {
            at += length;
            continue;
        }
        if expected != Some(head.base_offset) || head.records == 0 {
            scanned.torn = true;
            break;
        }
        scanned.next[partition] = head.base_offset + u64::from(head.records);
        // Longer than a body may be it is not, so it fits.
        let frame_bytes = u32::try_from(length).unwrap_or(u32::MAX);
        let entry = Entry {
            base_offset: head.base_offset,
            position: at as u64,
            time: head.time,
            records: head.records,
            bytes: frame_bytes,
        };
        scanned.index.add(head.partition, entry);
        scanned.frames += 1;
        scanned.last_time = head.time;
        at += length;
        scanned.end = at as u64;
    }
    scanned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameHead;

    fn header() -> SegmentHeader {
        SegmentHeader {
            number: 1,
            nonce: 42,
            created_at: Timestamp::from_millis(0),
            first_offsets: vec![10, 20],
        }
    }

    fn segment(frames: &[(u32, u64, u32)]) -> Vec<u8> {
        let mut bytes = header().write();
        for (partition, base_offset, records) in frames {
            let body = format!("{partition}/{base_offset}");
            let head = FrameHead {
                partition: *partition,
                records: *records,
                base_offset: *base_offset,
                time: Timestamp::from_millis(1),
                body_bytes: u32::try_from(body.len()).unwrap(),
            };
            frame::write(&mut bytes, 42, &head, body.as_bytes());
        }
        bytes
    }

    #[test]
    fn frames_of_each_partition_follow_each_other() {
        let mut bytes = segment(&[(0, 10, 2), (1, 20, 1), (0, 12, 1)]);
        bytes.resize(bytes.len() + 100, 0);
        let scanned = scan(&bytes, &header(), None);
        assert_eq!((scanned.frames, scanned.next, scanned.torn), (3, vec![13, 21], false));
        assert_eq!(scanned.index.find(0, 11, usize::MAX).len(), 2);
        assert_eq!(scanned.index.find(0, 12, 1).len(), 1, "one at the least");
        assert_eq!(scanned.index.find(0, 13, 1), []);
    }

    #[test]
    fn a_cut_at_any_byte_keeps_the_frames_before_it() {
        let whole = segment(&[(0, 10, 1), (0, 11, 1), (0, 12, 1)]);
        let frame = (whole.len() - HEADER_BYTES) / 3;
        for length in HEADER_BYTES..whole.len() {
            let mut bytes = whole[..length].to_vec();
            bytes.resize(whole.len() + 64, 0);
            let scanned = scan(&bytes, &header(), None);
            // The padding of a frame reads as zeros whether it was cut off or not.
            let whole_frames = (length - HEADER_BYTES + (frame - frame::HEADER_BYTES - 4)) / frame;
            assert!(scanned.frames.abs_diff(whole_frames) <= 1, "length {length}");
            assert!(scanned.frames >= (length - HEADER_BYTES) / frame, "length {length}");
        }
    }

    #[test]
    fn a_frame_that_does_not_follow_is_what_a_failed_write_left() {
        let scanned = scan(&segment(&[(0, 10, 1), (0, 12, 1)]), &header(), None);
        assert_eq!((scanned.frames, scanned.torn), (1, true));
    }

    #[test]
    fn what_the_next_segment_begins_anew_was_never_acknowledged_here() {
        let bytes = segment(&[(0, 10, 1), (0, 11, 1), (1, 20, 1)]);
        let scanned = scan(&bytes, &header(), Some(&[11, 21]));
        assert_eq!((scanned.frames, scanned.next), (2, vec![11, 21]));
    }
}
