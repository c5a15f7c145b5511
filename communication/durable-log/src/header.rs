//! The first block of a segment: what it is, and where each partition stood when it began. Pure.

use base::Timestamp;

use crate::frame::Format;

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = 4_096;
/// Partitions whose offsets fit.
pub(crate) const PARTITIONS_MAX: u32 = 500;
const MAGIC: &[u8; 8] = b"SKEINLOG";

/// What a segment says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// How its frames are laid out.
    pub(crate) format: Format,
    /// Its number: one more than the segment before.
    pub(crate) number: u64,
    /// Drawn anew for each life of the file.
    pub(crate) nonce: u64,
    pub(crate) created_at: Timestamp,
    /// First offset of each partition in it.
    pub(crate) first_offsets: Vec<u64>,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// It is not whole.
    Torn,
    /// Another format.
    Format(u32),
}

impl SegmentHeader {
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.format.number().to_le_bytes());
        // At most PARTITIONS_MAX, checked when the log is opened.
        let partitions = u32::try_from(self.first_offsets.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&partitions.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.nonce.to_le_bytes());
        bytes.extend_from_slice(&self.created_at.as_millis().to_le_bytes());
        for offset in &self.first_offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.resize(HEADER_BYTES - 4, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header. The format is judged before the checksum: a newer one may check otherwise.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let block = bytes.get(..HEADER_BYTES).ok_or(HeaderError::Torn)?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
        if &block[..8] != MAGIC {
            return Err(HeaderError::Torn);
        }
        let format = Format::of(u32_at(8)).ok_or(HeaderError::Format(u32_at(8)))?;
        let partitions = u32_at(12);
        if crc32c::crc32c(&block[..HEADER_BYTES - 4]) != u32_at(HEADER_BYTES - 4)
            || partitions > PARTITIONS_MAX
        {
            return Err(HeaderError::Torn);
        }
        let first_offsets = (0..partitions as usize).map(|it| u64_at(40 + it * 8)).collect();
        Ok(Self {
            format,
            number: u64_at(16),
            nonce: u64_at(24),
            created_at: Timestamp::from_millis(u64_at(32).cast_signed()),
            first_offsets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            format: Format::NEWEST,
            number: 7,
            nonce: 99,
            created_at: Timestamp::from_millis(1_000),
            first_offsets: vec![1, 2, u64::from(u32::MAX) + 5],
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for format in [Format::One, Format::Two] {
            let header = SegmentHeader { format, ..header() };
            let bytes = header.write();
            assert_eq!(bytes.len(), HEADER_BYTES);
            assert_eq!(SegmentHeader::read(&bytes), Ok(header));
        }
    }

    #[test]
    fn another_format_is_named_and_a_flipped_byte_is_found() {
        let mut newer = header().write();
        newer[8] = 9;
        assert_eq!(SegmentHeader::read(&newer), Err(HeaderError::Format(9)));
        let mut torn = header().write();
        torn[50] ^= 1;
        assert_eq!(SegmentHeader::read(&torn), Err(HeaderError::Torn));
        assert_eq!(SegmentHeader::read(&[0; HEADER_BYTES]), Err(HeaderError::Torn));
        assert_eq!(SegmentHeader::read(&[]), Err(HeaderError::Torn));
    }
}
