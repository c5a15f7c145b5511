//! One append on disk. Pure.
//!
//! ```text
//! crc32c u32 | body bytes u32 | nonce u64 | partition u32 | records u32 | base offset u64 | time i64 |
//! group u64 | body | padding to 8
//! ```
//! Little-endian. The checksum covers everything after itself. The nonce is the segment's: bytes
//! that a recycled file held before never pass for frames of its new life. The group is the byte of
//! the segment at which the write began that this frame was part of: nothing before it was under
//! way any more. Format 1 had no group.
//!
//! A *checkpoint* is a frame of no partition: its body is the next offset of each. It stands first
//! in a segment, after each start, now and then between, and last when a log was closed: what was
//! lost before it can be counted.

use base::Timestamp;
use bytes::Bytes;

/// The partition of a checkpoint.
const NO_PARTITION: u32 = u32::MAX;
/// Bits of a nonce that damage may have turned before it is taken for another.
const NONCE_BITS_TURNED_MAX: u32 = 4;
/// Longest body. A group is bounded by it too.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;

/// What stands before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) partition: u32,
    pub(crate) records: u32,
    pub(crate) base_offset: u64,
    pub(crate) time: Timestamp,
    /// Where its group began.
    pub(crate) group: u64,
    pub(crate) body_bytes: u32,
}

impl FrameHead {
    pub(crate) const fn is_checkpoint(&self) -> bool {
        self.partition == NO_PARTITION
    }
}

/// How frames are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Read, and not written any more.
    One,
    /// With groups and checkpoints.
    Two,
}

impl Format {
    /// What this program writes.
    pub(crate) const NEWEST: Self = Self::Two;

    pub(crate) const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    pub(crate) const fn has_groups(self) -> bool {
        matches!(self, Self::Two)
    }

    /// Bytes before a body.
    pub(crate) const fn head_bytes(self) -> usize {
        match self {
            Self::One => 40,
            Self::Two => 48,
        }
    }

    /// Bytes that a frame takes, padding included.
    pub(crate) const fn frame_bytes(self, body: usize) -> usize {
        (self.head_bytes() + body).next_multiple_of(8)
    }
}

/// Bytes of a checkpoint of so many partitions.
pub(crate) const fn checkpoint_bytes(partitions: usize) -> usize {
    Format::NEWEST.frame_bytes(partitions * 8)
}

/// Appends a checkpoint to a buffer.
pub(crate) fn write_checkpoint(
    buffer: &mut Vec<u8>,
    nonce: u64,
    group: u64,
    time: Timestamp,
    next: &[u64],
) {
    let body: Vec<u8> = next.iter().flat_map(|it| it.to_le_bytes()).collect();
    let head = FrameHead {
        partition: NO_PARTITION,
        records: 0,
        base_offset: 0,
        time,
        group,
        // Eight for each of at most 500 partitions.
        body_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
    };
    write(buffer, nonce, &head, &body);
}

/// What a checkpoint says.
pub(crate) fn ends(body: &[u8]) -> Option<Vec<u64>> {
    let (whole, rest) = body.as_chunks();
    rest.is_empty().then(|| whole.iter().map(|it| u64::from_le_bytes(*it)).collect())
}

/// Appends a frame to a buffer. The body is no longer than [`BODY_BYTES_MAX`].
pub(crate) fn write(buffer: &mut Vec<u8>, nonce: u64, head: &FrameHead, body: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&head.body_bytes.to_le_bytes());
    buffer.extend_from_slice(&nonce.to_le_bytes());
    buffer.extend_from_slice(&head.partition.to_le_bytes());
    buffer.extend_from_slice(&head.records.to_le_bytes());
    buffer.extend_from_slice(&head.base_offset.to_le_bytes());
    buffer.extend_from_slice(&head.time.as_millis().to_le_bytes());
    buffer.extend_from_slice(&head.group.to_le_bytes());
    buffer.extend_from_slice(body);
    let crc = crc32c::crc32c(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(start + Format::NEWEST.frame_bytes(body.len()), 0);
}

/// Reads the frame that `bytes` begins with; `None` when none stands there whole.
pub(crate) fn read(bytes: &[u8], nonce: u64, format: Format) -> Option<(FrameHead, &[u8])> {
    let head = read_head(bytes, nonce, format)?;
    let start = format.head_bytes();
    let end = start.checked_add(usize::try_from(head.body_bytes).ok()?)?;
    let covered = bytes.get(4..end)?;
    let stored = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    (crc32c::crc32c(covered) == stored).then(|| (head, &bytes[start..end]))
}

/// The same over shared bytes, without a copy of the body.
pub(crate) fn read_shared(bytes: &Bytes, nonce: u64, format: Format) -> Option<(FrameHead, Bytes)> {
    let (head, body) = read(bytes, nonce, format)?;
    Some((head, bytes.slice_ref(body)))
}

/// Where the next frame of this segment's life may stand: frames stand on multiples of eight.
pub(crate) fn next_begun(bytes: &[u8], from: usize, nonce: u64) -> Option<usize> {
    let nonce = nonce.to_le_bytes();
    let (words, _) = bytes.get(from + 8..)?.as_chunks::<8>();
    words.iter().position(|it| *it == nonce).map(|it| from + it * 8)
}

/// Whether a frame of this segment's life may stand here, even if its nonce is what was damaged.
pub(crate) fn is_nearly_begun(bytes: &[u8], nonce: u64) -> bool {
    let found = bytes.get(8..16).and_then(|it| it.try_into().ok()).map(u64::from_le_bytes);
    found.is_some_and(|it| (it ^ nonce).count_ones() <= NONCE_BITS_TURNED_MAX)
}

fn read_head(bytes: &[u8], nonce: u64, format: Format) -> Option<FrameHead> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let body_bytes = u32_at(4)?;
    if u64_at(8)? != nonce || usize::try_from(body_bytes).ok()? > BODY_BYTES_MAX {
        return None;
    }
    Some(FrameHead {
        partition: u32_at(16)?,
        records: u32_at(20)?,
        base_offset: u64_at(24)?,
        time: Timestamp::from_millis(u64_at(32)?.cast_signed()),
        group: if format.has_groups() { u64_at(40)? } else { 0 },
        body_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 0x1234_5678_9abc_def0;

    fn framed(body: &[u8]) -> Vec<u8> {
        let head = FrameHead {
            partition: 2,
            records: 3,
            base_offset: 77,
            time: Timestamp::from_millis(5),
            group: 4_096,
            body_bytes: u32::try_from(body.len()).unwrap(),
        };
        let mut buffer = Vec::new();
        write(&mut buffer, NONCE, &head, body);
        buffer
    }

    #[test]
    fn what_was_written_is_read_and_ends_on_a_multiple_of_eight() {
        let bytes = framed(b"hello");
        assert_eq!(bytes.len(), 56);
        let (head, body) = read(&bytes, NONCE, Format::Two).unwrap();
        assert_eq!(
            (head.partition, head.records, head.base_offset, head.group, body),
            (2, 3, 77, 4_096, &b"hello"[..])
        );
    }

    #[test]
    fn a_frame_of_another_life_of_the_file_is_none() {
        assert_eq!(read(&framed(b"hello"), NONCE + 1, Format::Two), None);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let whole = framed(b"hello");
        for bit in 0..(Format::Two.head_bytes() + 5) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes, NONCE, Format::Two), None, "bit {bit}");
        }
        for length in 0..Format::Two.head_bytes() + 5 {
            assert_eq!(read(&whole[..length], NONCE, Format::Two), None, "length {length}");
        }
    }
}
