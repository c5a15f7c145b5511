//! Compressed records: what their attributes say, and how they are expanded within a bound.
//!
//! A batch of some hundred bytes can claim gigabytes. Nothing is expanded past the bound, whatever
//! the codec says about the length, and no window is larger than 8 MiB.

use std::io::{self, Read, Write as _};

use bytes::Bytes;
use flate2::{read::MultiGzDecoder, write::GzEncoder};

use super::BatchError;

/// Longest that the records of one batch may be when they are expanded: eight times the longest
/// frame that our broker takes.
pub const EXPANDED_BYTES_MAX: usize = 64 << 20;
/// As RFC 8878 3.1.1.1.2 asks decoders to support at the least: 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What stands before the blocks of the Java client's snappy: a mark and two versions of four bytes.
const XERIAL: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEAD_BYTES: usize = 16;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// RFC 1952.
    Gzip,
    /// One raw block.
    Snappy,
    /// The frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The low bits of the attributes that name it.
    pub(super) const fn attributes(self) -> i16 {
        match self {
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Compresses records.
    pub(super) fn pack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Snappy => snap::raw::Encoder::new().compress_vec(bytes).map_err(io::Error::other),
            Self::Lz4 => {
                let mut encoder = lz4::EncoderBuilder::new().build(Vec::new())?;
                encoder.write_all(bytes)?;
                let (whole, ended) = encoder.finish();
                ended.map(|()| whole)
            }
            Self::Zstd => zstd::encode_all(bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
        }
    }

    /// The codec that the low bits of the attributes name; none for plain records.
    pub(super) fn of(attributes: i16) -> Result<Option<Self>, BatchError> {
        Ok(Some(match attributes & 0x07 {
            0 => return Ok(None),
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => return Err(BatchError::Codec(other)),
        }))
    }

    /// Expands what may become so many bytes.
    pub(super) fn expand(self, bytes: &Bytes, bytes_max: usize) -> Result<Bytes, BatchError> {
        let expanded = match self {
            Self::Gzip => read(MultiGzDecoder::new(&bytes[..]), bytes_max)?,
            Self::Snappy => snappy(bytes, bytes_max)?,
            Self::Lz4 => {
                read(lz4::Decoder::new(&bytes[..]).map_err(|_| BatchError::Expansion)?, bytes_max)?
            }
            Self::Zstd => {
                let decoder = zstd::Decoder::with_buffer(&bytes[..]);
                let mut decoder = decoder.map_err(|_| BatchError::Expansion)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| BatchError::Expansion)?;
                read(decoder, bytes_max)?
            }
        };
        Ok(expanded.into())
    }
}

/// Grows with what comes out, never to what is claimed.
fn read(decoder: impl Read, bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let mut expanded = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(most).read_to_end(&mut expanded).map_err(|_| BatchError::Expansion)?;
    if expanded.len() > bytes_max {
        return Err(BatchError::Expanded { bytes_max });
    }
    Ok(expanded)
}

/// Either one raw block, or the Java client's row of blocks, each with its length before it.
fn snappy(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, BatchError> {
    let mut expanded = Vec::new();
    if !bytes.starts_with(XERIAL) {
        snappy_block(bytes, bytes_max, &mut expanded)?;
        return Ok(expanded);
    }
    let mut rest = bytes.get(XERIAL_HEAD_BYTES..).ok_or(BatchError::Expansion)?;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length =
            usize::try_from(u32::from_be_bytes(*length)).map_err(|_| BatchError::Expansion)?;
        let (block, behind) = behind.split_at_checked(length).ok_or(BatchError::Expansion)?;
        snappy_block(block, bytes_max, &mut expanded)?;
        rest = behind;
    }
    if rest.is_empty() { Ok(expanded) } else { Err(BatchError::Expansion) }
}

/// A block says before how long it becomes; it is believed only within the bound.
fn snappy_block(block: &[u8], bytes_max: usize, expanded: &mut Vec<u8>) -> Result<(), BatchError> {
    let length = snap::raw::decompress_len(block).map_err(|_| BatchError::Expansion)?;
    if length > bytes_max - expanded.len() {
        return Err(BatchError::Expanded { bytes_max });
    }
    // Six bytes become 64 at the most.
    if length > block.len().saturating_mul(64) {
        return Err(BatchError::Expansion);
    }
    let from = expanded.len();
    expanded.resize(from + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut expanded[from..]);
    if written.is_ok_and(|it| it == length) { Ok(()) } else { Err(BatchError::Expansion) }
}
