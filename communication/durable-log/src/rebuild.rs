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
