//! A segment's header that is not whole, made again from what stands behind it. Pure.

use crate::{
    frame::{self, Format},
    header::{HEADER_BYTES, SegmentHeader},
};

/// What a file without a whole header is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rebuilt {
    /// A segment: its first frame says everything.
    Header(SegmentHeader),
    /// Nothing was acknowledged in it: it was being begun. What a file that is used again still
    /// holds lies before the segment before it.
    Unused,
    /// It holds records, and nobody can tell which.
    Unknown,
}

/// Looks at the whole bytes of a file. `before` is the header of the segment before it.
pub(crate) fn rebuild(number: u64, bytes: &[u8], before: Option<&SegmentHeader>) -> Rebuilt {
    let floor = |partition: u32| match before {
        None => Some(0),
        Some(before) => before.first_offsets.get(partition as usize).copied(),
    };
    let frames = bytes.get(HEADER_BYTES..).unwrap_or_default();
    // As the first frame has it, and as the header may still have it.
    let nonces = [nonce_at(frames, 8), nonce_at(bytes, 24)];
    for nonce in nonces.into_iter().flatten().filter(|it| *it != 0) {
        if let Some((head, body)) = frame::read(frames, nonce, Format::Two)
            && head.is_checkpoint()
            && let Some(first_offsets) = frame::ends(body)
        {
            let follows = |at: u32, it: &u64| floor(at).is_none_or(|floor| *it >= floor);
            if !(0..).zip(&first_offsets).all(|(at, it)| follows(at, it)) {
                return Rebuilt::Unused;
            }
            let (format, created_at) = (Format::Two, head.time);
            let header = SegmentHeader { format, number, nonce, created_at, first_offsets };
            return Rebuilt::Header(header);
        }
        let mut begun = std::iter::successors(frame::next_begun(frames, 0, nonce), |it| {
            frame::next_begun(frames, it + 8, nonce)
        });
        let holds_records = begun.any(|at| {
            let whole = |format| frame::read(&frames[at..], nonce, format);
            [Format::Two, Format::One]
                .into_iter()
                .filter_map(whole)
                .any(|(head, _)| floor(head.partition).is_some_and(|it| head.base_offset >= it))
        });
        if holds_records {
            return Rebuilt::Unknown;
        }
    }
    let is_empty = frames.iter().all(|it| *it == 0);
    if before.is_none() && !is_empty { Rebuilt::Unknown } else { Rebuilt::Unused }
}

fn nonce_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    const NONCE: u64 = 0x1234_5678_9abc_def0;

    fn header(number: u64, first_offsets: &[u64]) -> SegmentHeader {
        let created_at = Timestamp::from_millis(9);
        let first_offsets = first_offsets.to_vec();
        SegmentHeader { format: Format::Two, number, nonce: NONCE, created_at, first_offsets }
    }

    /// A segment with a checkpoint and nothing else, whose header was flipped a bit.
    fn file(header: &SegmentHeader) -> Vec<u8> {
        let mut bytes = header.write();
        let (at, time) = (bytes.len() as u64, header.created_at);
        frame::write_checkpoint(&mut bytes, header.nonce, at, time, &header.first_offsets);
        bytes[50] ^= 1;
        bytes.resize(bytes.len() + 500, 0);
        bytes
    }

    #[test]
    fn a_header_is_made_again_from_the_first_checkpoint() {
        let wanted = header(7, &[5, 8]);
        let bytes = file(&wanted);
        let rebuilt = rebuild(7, &bytes, Some(&header(6, &[5, 3])));
        assert_eq!(rebuilt, Rebuilt::Header(wanted.clone()));
        assert_eq!(rebuild(7, &bytes, None), Rebuilt::Header(wanted));
    }

    #[test]
    fn what_a_file_held_in_its_life_before_is_not_taken_for_its_own() {
        let bytes = file(&header(3, &[5, 2]));
        assert_eq!(rebuild(7, &bytes, Some(&header(6, &[5, 3]))), Rebuilt::Unused);
    }

    #[test]
    fn records_of_its_own_without_a_checkpoint_are_never_called_unused() {
        let mut bytes = file(&header(7, &[5, 8]));
        let head = frame::FrameHead {
            partition: 1,
            records: 1,
            base_offset: 8,
            time: Timestamp::from_millis(9),
            group: HEADER_BYTES as u64,
            body_bytes: 4,
        };
        let mut record = Vec::new();
        frame::write(&mut record, NONCE, &head, b"body");
        // Behind the checkpoint of two partitions, which is damaged.
        let at = HEADER_BYTES + frame::checkpoint_bytes(2);
        bytes.splice(at..at + record.len(), record);
        bytes[HEADER_BYTES + 50] ^= 1;
        assert_eq!(rebuild(7, &bytes, Some(&header(6, &[5, 3]))), Rebuilt::Unknown);
        assert_eq!(rebuild(7, &bytes, Some(&header(6, &[5, 9]))), Rebuilt::Unused);
    }

    #[test]
    fn a_file_that_was_being_begun_is_unused() {
        let bytes = vec![0; 2 * HEADER_BYTES];
        assert_eq!(rebuild(7, &bytes, Some(&header(6, &[5, 3]))), Rebuilt::Unused);
        assert_eq!(rebuild(1, &bytes, None), Rebuilt::Unused);
    }
}
