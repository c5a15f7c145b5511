//! Record batches of format 2: what a produce request carries and the log keeps.
//!
//! ```text
//! base offset i64 | length i32 | leader epoch i32 | magic i8 | crc32c u32 | attributes i16 |
//! last offset delta i32 | first time i64 | last time i64 | producer id i64 | producer epoch i16 |
//! base sequence i32 | records i32 | records
//! ```
//! The base offset stands outside the checksum, so a broker sets it without touching the rest.

mod compression;

use std::io;

use bytes::Bytes;

pub use self::compression::{Codec, EXPANDED_BYTES_MAX};
use crate::{error::WireError, reader::Reader, writer::Writer};

/// Bytes before the first record.
pub const HEAD_BYTES: usize = 61;
/// Bytes before the length counts.
const LENGTH_FROM: usize = 12;
/// Where the checksum stands, and what it covers.
const CRC_AT: usize = 17;
const COVERED_FROM: usize = 21;
/// Where the attributes stand.
const ATTRIBUTES_AT: usize = 21;
/// The lowest number of bytes that a record takes.
const RECORD_BYTES_MIN: usize = 7;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// What its partition and its order hang on.
    pub key: Option<Bytes>,
    /// The body; none is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in their order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// By what a repeated batch is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Its number.
    pub id: i64,
    /// Its life.
    pub epoch: i16,
    /// Number of the first record in this partition.
    pub base_sequence: i32,
}

/// What a batch says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHead {
    /// Offset of its first record, once it is in a log.
    pub base_offset: i64,
    /// Whole length in bytes.
    pub bytes: usize,
    /// How many records it holds.
    pub records: u32,
    /// Newest time in it.
    pub max_timestamp: i64,
    /// Its producer, when that numbers its batches.
    pub producer: Option<Producer>,
    /// Whether its records are compressed.
    pub is_compressed: bool,
}

/// Why a batch cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// It is not whole, or not well formed.
    #[error("the batch is malformed")]
    Malformed(#[from] WireError),
    /// An older format.
    #[error("the batch has format {0}, only 2 is spoken")]
    Format(i8),
    /// The checksum does not fit.
    #[error("the checksum of the batch does not fit")]
    Checksum,
    /// The number of records contradicts the offsets.
    #[error("the number of records does not fit")]
    Count,
    /// A compression that is none of the protocol's.
    #[error("the records are compressed by codec {0}, which is not spoken")]
    Codec(i16),
    /// What is compressed cannot be expanded.
    #[error("the compressed records are malformed")]
    Expansion,
    /// It would grow too large.
    #[error("the records are longer than {bytes_max} bytes when they are expanded")]
    Expanded {
        /// The bound.
        bytes_max: usize,
    },
}

/// Writes a batch. Offsets count from 0; a broker sets the base.
#[must_use]
pub fn encode(records: &[Record], producer: Option<Producer>) -> Bytes {
    let first = records.first().map_or(0, |it| it.timestamp);
    let last = records.iter().map(|it| it.timestamp).max().unwrap_or(first);
    let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
    let mut writer = Writer::part();
    writer.i64(0);
    writer.i32(0);
    writer.i32(-1);
    writer.i8(2);
    writer.i32(0);
    writer.i16(0);
    writer.i32(count - 1);
    writer.i64(first);
    writer.i64(last);
    writer.i64(producer.map_or(-1, |it| it.id));
    writer.i16(producer.map_or(-1, |it| it.epoch));
    writer.i32(producer.map_or(-1, |it| it.base_sequence));
    writer.i32(count);
    for (delta, record) in (0..).zip(records) {
        encode_record(&mut writer, record, delta, first);
    }
    let length = i32::try_from(writer.len() - LENGTH_FROM).unwrap_or(i32::MAX);
    writer.put_at(8, &length.to_be_bytes());
    let crc = crc32c::crc32c(writer.written(COVERED_FROM));
    writer.put_at(CRC_AT, &crc.to_be_bytes());
    writer.into_bytes()
}

/// The same batch with its records compressed, as other clients send them. What it holds behind one
/// batch is left out.
///
/// # Errors
/// It is no plain batch, or the codec failed.
pub fn compress(plain: &Bytes, codec: Codec) -> io::Result<Bytes> {
    let head = check(plain).ok().filter(|it| !it.is_compressed);
    let head = head.ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = plain[..HEAD_BYTES].to_vec();
    bytes.extend(codec.pack(&plain[HEAD_BYTES..head.bytes])?);
    seal(bytes, codec.attributes())
}

/// The batch with these attributes, its length and its checksum as they must be.
fn seal(mut bytes: Vec<u8>, attributes: i16) -> io::Result<Bytes> {
    let length = i32::try_from(bytes.len() - LENGTH_FROM).map_err(io::Error::other)?;
    bytes[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    bytes[8..LENGTH_FROM].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[COVERED_FROM..]);
    bytes[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
    Ok(bytes.into())
}

fn encode_record(writer: &mut Writer, record: &Record, delta: i64, first_time: i64) {
    let mut body = Writer::part();
    body.i8(0);
    body.varint(record.timestamp.saturating_sub(first_time));
    body.varint(delta);
    body.varint_bytes(record.key.as_deref());
    body.varint_bytes(record.value.as_deref());
    body.varint(i64::try_from(record.headers.len()).unwrap_or(i64::MAX));
    for (name, value) in &record.headers {
        body.varint_bytes(Some(name.as_bytes()));
        body.varint_bytes(value.as_deref());
    }
    writer.varint(i64::try_from(body.len()).unwrap_or(i64::MAX));
    writer.raw(&body.into_bytes());
}

/// The checksum that the protocol uses, of any bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Checks a batch, and gives what it says about itself. Records are not looked at.
///
/// # Errors
/// [`BatchError`]; bytes that follow the batch are none of its business.
pub fn check(batch: &Bytes) -> Result<BatchHead, BatchError> {
    let head = read_head(batch)?;
    let covered = batch.get(COVERED_FROM..head.bytes).ok_or(WireError::Short)?;
    let mut crc = Reader::new(batch.slice(CRC_AT..));
    if crc32c::crc32c(covered) != crc.u32()? {
        return Err(BatchError::Checksum);
    }
    Ok(head)
}

fn read_head(batch: &Bytes) -> Result<BatchHead, BatchError> {
    let mut reader = Reader::new(batch.clone());
    let base_offset = reader.i64()?;
    let length = usize::try_from(reader.i32()?).map_err(|_| WireError::Negative)?;
    let _leader_epoch = reader.i32()?;
    let magic = reader.i8()?;
    if magic != 2 {
        return Err(BatchError::Format(magic));
    }
    let _crc = reader.u32()?;
    let attributes = reader.i16()?;
    let last_delta = reader.i32()?;
    let _first_time = reader.i64()?;
    let max_timestamp = reader.i64()?;
    let (id, epoch, base_sequence) = (reader.i64()?, reader.i16()?, reader.i32()?);
    let count = reader.i32()?;
    let bytes = LENGTH_FROM + length;
    if bytes < HEAD_BYTES || bytes > batch.len() {
        return Err(WireError::Short.into());
    }
    let records = u32::try_from(count).ok().filter(|it| *it > 0).ok_or(BatchError::Count)?;
    let is_compressed = Codec::of(attributes)?.is_some();
    let fits = is_compressed || records as usize <= (bytes - HEAD_BYTES) / RECORD_BYTES_MIN;
    if last_delta != count - 1 || !fits {
        return Err(BatchError::Count);
    }
    let producer = (id >= 0).then_some(Producer { id, epoch, base_sequence });
    if producer.is_some_and(|it| it.epoch < 0 || it.base_sequence < 0) {
        return Err(WireError::Negative.into());
    }
    Ok(BatchHead { base_offset, bytes, records, max_timestamp, producer, is_compressed })
}

/// The batches of a record set, each as its own bytes. A part at the end is left out, as the
/// protocol asks.
pub fn split(mut set: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length: [u8; 4] = set.get(8..LENGTH_FROM)?.try_into().ok()?;
        let bytes = LENGTH_FROM + usize::try_from(i32::from_be_bytes(length)).ok()?;
        (bytes >= HEAD_BYTES && bytes <= set.len()).then(|| set.split_to(bytes))
    })
}

/// Reads the records of a batch, each with its offset.
///
/// # Errors
/// [`BatchError`]; compressed records are expanded to [`EXPANDED_BYTES_MAX`] at the most.
pub fn decode(batch: &Bytes) -> Result<Vec<(i64, Record)>, BatchError> {
    let head = check(batch)?;
    let body = body(batch, &head)?;
    let mut first_time = Reader::new(batch.slice(27..));
    let first_time = first_time.i64()?;
    if head.records as usize > body.len() / RECORD_BYTES_MIN {
        return Err(BatchError::Count);
    }
    let mut reader = Reader::new(body);
    let mut records = Vec::with_capacity(head.records as usize);
    for _ in 0..head.records {
        let length = usize::try_from(reader.varint()?).map_err(|_| WireError::Negative)?;
        let mut record = Reader::new(reader.take(length)?);
        records.push(decode_record(&mut record, head.base_offset, first_time)?);
    }
    reader.end()?;
    Ok(records)
}

/// The records of a batch, expanded.
fn body(batch: &Bytes, head: &BatchHead) -> Result<Bytes, BatchError> {
    let body = batch.slice(HEAD_BYTES..head.bytes);
    let mut attributes = Reader::new(batch.slice(ATTRIBUTES_AT..));
    match Codec::of(attributes.i16()?)? {
        None => Ok(body),
        Some(codec) => codec.expand(&body, EXPANDED_BYTES_MAX),
    }
}

/// Whether compressed records can be expanded within the bound, and are as many as the batch says:
/// their offsets are given out by that number. Plain records are bounded by their bytes.
///
/// # Errors
/// They cannot, or are not.
pub fn check_compressed(batch: &Bytes, head: &BatchHead) -> Result<(), BatchError> {
    if !head.is_compressed {
        return Ok(());
    }
    let mut reader = Reader::new(body(batch, head)?);
    for _ in 0..head.records {
        if reader.left() == 0 {
            return Err(BatchError::Count);
        }
        let length = usize::try_from(reader.varint()?).map_err(|_| WireError::Negative)?;
        reader.take(length)?;
    }
    if reader.left() == 0 { Ok(()) } else { Err(BatchError::Count) }
}

/// The first record of a batch in a log that stands at `from` or behind it and is not older than
/// `time`: its offset and its time. The base offset is told beside the batch.
///
/// # Errors
/// As [`decode`].
pub fn offset_at(
    batch: &Bytes,
    base_offset: u64,
    from: u64,
    time: i64,
) -> Result<Option<(u64, i64)>, BatchError> {
    let records = decode(batch)?;
    let first = records.first().map_or(0, |it| it.0);
    let mut placed = records.into_iter().map(|(offset, record)| {
        let delta = u64::try_from(offset.saturating_sub(first)).unwrap_or(0);
        (base_offset.saturating_add(delta), record.timestamp)
    });
    Ok(placed.find(|(offset, at)| *offset >= from && *at >= time))
}

fn decode_record(
    reader: &mut Reader,
    base_offset: i64,
    first_time: i64,
) -> Result<(i64, Record), BatchError> {
    let _attributes = reader.i8()?;
    let timestamp = first_time.saturating_add(reader.varint()?);
    let offset = base_offset.saturating_add(reader.varint()?);
    let (key, value) = (reader.varint_bytes()?, reader.varint_bytes()?);
    let count = usize::try_from(reader.varint()?).map_err(|_| WireError::Negative)?;
    if count > reader.left() / 2 {
        return Err(WireError::Short.into());
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::try_from(reader.varint()?).map_err(|_| WireError::Negative)?;
        let name = reader.text(length)?;
        headers.push((name, reader.varint_bytes()?));
    }
    reader.end()?;
    Ok((offset, Record { key, value, headers, timestamp }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        let record = |number: i64| Record {
            key: Some(Bytes::from(number.to_string())),
            value: (number != 1).then(|| Bytes::from_static(b"body")),
            headers: vec![
                ("ce_id".to_owned(), Some(Bytes::from_static(b"7"))),
                ("x".to_owned(), None),
            ],
            timestamp: 1_000 + number,
        };
        (0..3).map(record).collect()
    }

    const PRODUCER: Producer = Producer { id: 9, epoch: 1, base_sequence: 40 };

    #[test]
    fn what_was_encoded_is_decoded() {
        let batch = encode(&records(), Some(PRODUCER));
        let head = check(&batch).unwrap();
        assert_eq!((head.records, head.max_timestamp), (3, 1_002));
        assert_eq!(head.producer, Some(PRODUCER));
        let decoded = decode(&batch).unwrap();
        assert_eq!(decoded.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(decoded.into_iter().map(|it| it.1).collect::<Vec<_>>(), records());
    }

    /// Taken as a number it would overflow where batches are told apart.
    #[test]
    fn a_numbered_batch_with_a_negative_number_is_refused() {
        for producer in [
            Producer { base_sequence: -1, ..PRODUCER },
            Producer { base_sequence: i32::MIN, ..PRODUCER },
            Producer { epoch: -1, ..PRODUCER },
        ] {
            let batch = encode(&records(), Some(producer));
            assert_eq!(check(&batch), Err(BatchError::Malformed(WireError::Negative)));
        }
    }

    #[test]
    fn a_set_is_split_and_a_part_at_its_end_left_out() {
        let batch = encode(&records(), None);
        let mut set = [&batch[..], &batch[..]].concat();
        set.extend_from_slice(&batch[..batch.len() - 1]);
        assert_eq!(split(set.into()).collect::<Vec<_>>(), [batch.clone(), batch]);
    }

    #[test]
    fn any_flipped_bit_is_found_and_no_cut_panics() {
        let batch = encode(&records(), Some(PRODUCER));
        // The base offset and the leader epoch are the broker's to set.
        for bit in 16 * 8..batch.len() * 8 {
            let mut bytes = batch.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bytes.into()).is_err(), "bit {bit}");
        }
        for length in 0..batch.len() {
            assert!(decode(&batch.slice(..length)).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_batch_that_claims_more_records_than_it_holds_is_refused() {
        let mut bytes = encode(&records(), None).to_vec();
        bytes[57..61].copy_from_slice(&1_000_000_i32.to_be_bytes());
        bytes[23..27].copy_from_slice(&999_999_i32.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[COVERED_FROM..]);
        bytes[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(check(&bytes.into()), Err(BatchError::Count));
    }

    /// The records of a plain batch, compressed, as another client sends them.
    fn compressed((codec, pack): Packing, records: &[Record]) -> Bytes {
        let plain = encode(records, None);
        let mut bytes = plain[..HEAD_BYTES].to_vec();
        bytes.extend(pack(codec, &plain[HEAD_BYTES..]));
        seal(bytes, codec.attributes()).unwrap()
    }

    type Pack = fn(Codec, &[u8]) -> Vec<u8>;
    type Packing = (Codec, Pack);

    fn pack(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        codec.pack(bytes).unwrap()
    }

    /// As the Java client writes it, in blocks of 32 KiB.
    fn xerial(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut whole = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in bytes.chunks(32 << 10) {
            let block = pack(codec, block);
            whole.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
            whole.extend(block);
        }
        whole
    }

    const PACKINGS: [Packing; 5] = [
        (Codec::Gzip, pack),
        (Codec::Snappy, pack),
        (Codec::Snappy, xerial),
        (Codec::Lz4, pack),
        (Codec::Zstd, pack),
    ];

    #[test]
    fn what_another_client_compressed_is_decoded() {
        let long = Record { value: Some(vec![7; 100_000].into()), ..Record::default() };
        for records in [records(), vec![long; 3]] {
            for packing @ (codec, _) in PACKINGS {
                let batch = compressed(packing, &records);
                let head = check(&batch).unwrap();
                assert_eq!(check_compressed(&batch, &head), Ok(()), "{codec:?}");
                let decoded = decode(&batch).unwrap();
                let decoded: Vec<_> = decoded.into_iter().map(|it| it.1).collect();
                assert_eq!(decoded, records, "{codec:?}");
            }
        }
    }

    #[test]
    fn a_plain_batch_is_compressed_and_a_compressed_one_is_refused() {
        for codec in Codec::ALL {
            let packed = compress(&encode(&records(), Some(PRODUCER)), codec).unwrap();
            let head = check(&packed).unwrap();
            assert_eq!((head.is_compressed, head.producer), (true, Some(PRODUCER)), "{codec:?}");
            let decoded: Vec<_> = decode(&packed).unwrap().into_iter().map(|it| it.1).collect();
            assert_eq!(decoded, records(), "{codec:?}");
            assert!(compress(&packed, codec).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn what_grows_past_the_bound_is_refused_by_every_codec() {
        for (codec, pack) in PACKINGS {
            let mut bytes = encode(&records(), None)[..HEAD_BYTES].to_vec();
            bytes.extend(pack(codec, &vec![0; EXPANDED_BYTES_MAX + 1]));
            let batch = seal(bytes, codec.attributes()).unwrap();
            let head = check(&batch).unwrap();
            let refused = Err(BatchError::Expanded { bytes_max: EXPANDED_BYTES_MAX });
            assert_eq!(check_compressed(&batch, &head), refused, "{codec:?}");
            assert_eq!(decode(&batch).map(|it| it.len()), refused.map(|()| 0), "{codec:?}");
        }
    }

    #[test]
    fn compressed_records_that_are_fewer_or_more_than_the_batch_says_are_refused() {
        for packing @ (codec, _) in PACKINGS {
            for claimed in [1_i32, 2, 4, i32::MAX] {
                let mut bytes = compressed(packing, &records()).to_vec();
                bytes[57..61].copy_from_slice(&claimed.to_be_bytes());
                bytes[23..27].copy_from_slice(&(claimed - 1).to_be_bytes());
                let batch = seal(bytes, codec.attributes()).unwrap();
                let head = check(&batch).unwrap();
                let refused = check_compressed(&batch, &head);
                assert_eq!(refused, Err(BatchError::Count), "{codec:?}: {claimed}");
                assert!(decode(&batch).is_err(), "{codec:?}: {claimed}");
            }
        }
        let unknown = seal(encode(&records(), None).to_vec(), 5).unwrap();
        assert_eq!(check(&unknown), Err(BatchError::Codec(5)));
    }

    #[test]
    fn no_cut_and_no_flipped_byte_of_compressed_records_panics() {
        let mut random = fastrand::Rng::with_seed(7);
        for packing @ (codec, _) in PACKINGS {
            let whole = compressed(packing, &records()).to_vec();
            for _ in 0..2_000 {
                let mut bytes = whole.clone();
                bytes.truncate(random.usize(HEAD_BYTES..=whole.len()));
                for _ in 0..random.usize(0..4) {
                    let at = random.usize(HEAD_BYTES..=whole.len()).min(bytes.len() - 1);
                    if at >= HEAD_BYTES {
                        bytes[at] = random.u8(..);
                    }
                }
                let batch = seal(bytes, codec.attributes()).unwrap();
                if let Ok(head) = check(&batch) {
                    check_compressed(&batch, &head).ok();
                    decode(&batch).ok();
                }
            }
        }
    }
}
