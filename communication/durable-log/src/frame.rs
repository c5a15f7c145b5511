//! One append on disk. Pure.
//!
//! ```text
//! crc32c u32 | body bytes u32 | nonce u64 | partition u32 | records u32 | base offset u64 | time i64 | body | padding to 8
//! ```
//! Little-endian. The checksum covers everything after itself. The nonce is the segment's: bytes
//! that a recycled file held before never pass for frames of its new life.

use base::Timestamp;
use bytes::Bytes;

/// Bytes before the body.
pub(crate) const HEADER_BYTES: usize = 40;
/// Longest body. A group is bounded by it too.
pub(crate) const BODY_BYTES_MAX: usize = 4 << 20;

/// What stands before a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) partition: u32,
    pub(crate) records: u32,
    pub(crate) base_offset: u64,
    pub(crate) time: Timestamp,
    pub(crate) body_bytes: u32,
}

/// Bytes that a frame takes, padding included.
pub(crate) const fn frame_bytes(body: usize) -> usize {
    (HEADER_BYTES + body).next_multiple_of(8)
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
    buffer.extend_from_slice(body);
    let crc = crc32c::crc32c(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(start + frame_bytes(body.len()), 0);
}

/// Reads the frame that `bytes` begins with; `None` when none stands there whole.
pub(crate) fn read(bytes: &[u8], nonce: u64) -> Option<(FrameHead, &[u8])> {
    let head = read_head(bytes, nonce)?;
    let end = HEADER_BYTES.checked_add(usize::try_from(head.body_bytes).ok()?)?;
    let covered = bytes.get(4..end)?;
    let stored = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    (crc32c::crc32c(covered) == stored).then(|| (head, &bytes[HEADER_BYTES..end]))
}

/// The same over shared bytes, without a copy of the body.
pub(crate) fn read_shared(bytes: &Bytes, nonce: u64) -> Option<(FrameHead, Bytes)> {
    let (head, body) = read(bytes, nonce)?;
    Some((head, bytes.slice_ref(body)))
}

/// Whether something of this segment's life stands here, even if it is torn.
pub(crate) fn is_begun(bytes: &[u8], nonce: u64) -> bool {
    bytes.get(8..16).is_some_and(|it| it == nonce.to_le_bytes())
}

fn read_head(bytes: &[u8], nonce: u64) -> Option<FrameHead> {
    let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let body_bytes = u32_at(4)?;
    if u64_at(8)? != nonce || usize::try_from(body_bytes).ok()? > BODY_BYTES_MAX {
        return None;
    }
    let time = i64::from_le_bytes(bytes.get(32..40)?.try_into().ok()?);
    Some(FrameHead {
        partition: u32_at(16)?,
        records: u32_at(20)?,
        base_offset: u64_at(24)?,
        time: Timestamp::from_millis(time),
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
            body_bytes: u32::try_from(body.len()).unwrap(),
        };
        let mut buffer = Vec::new();
        write(&mut buffer, NONCE, &head, body);
        buffer
    }

    #[test]
    fn what_was_written_is_read_and_ends_on_a_multiple_of_eight() {
        let bytes = framed(b"hello");
        assert_eq!(bytes.len(), 48);
        let (head, body) = read(&bytes, NONCE).unwrap();
        assert_eq!(
            (head.partition, head.records, head.base_offset, body),
            (2, 3, 77, &b"hello"[..])
        );
    }

    #[test]
    fn a_frame_of_another_life_of_the_file_is_none() {
        assert_eq!(read(&framed(b"hello"), NONCE + 1), None);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let whole = framed(b"hello");
        for bit in 0..(HEADER_BYTES + 5) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bytes, NONCE), None, "bit {bit}");
        }
        for length in 0..HEADER_BYTES + 5 {
            assert_eq!(read(&whole[..length], NONCE), None, "length {length}");
        }
    }
}
