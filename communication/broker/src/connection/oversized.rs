//! A producer's frame that is longer than any that is taken: it is read past, so that the producer hears
//! that its batch is too large, instead of losing its connection and sending the same again.
//!
//! Kept of it is what the answer names. Any other frame of such a length ends its connection.

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_wire::{
    ApiKey, ErrorCode, WireError,
    messages::{ProduceResponse, ProducedPartition, ProducedTopic},
    response,
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{ConnectionError, FIRST_BYTES};
use crate::dispatch::Question;

/// Longest frame that is read past, as Kafka's `socket.request.max.bytes`.
pub(super) const PASSED_BYTES_MAX: usize = 100 << 20;
/// Partitions that one frame may name.
const PARTITIONS_MAX: usize = 1_024;

/// Reads past the frame, whose length was read already.
pub(super) async fn refuse(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    bytes: usize,
) -> Result<Question, ConnectionError> {
    let too_long = || WireError::TooLong {
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        bytes_max: PASSED_BYTES_MAX,
    };
    let mut frame = Passing { stream, buffer, left: bytes };
    let (key, version, id) = (frame.i16().await?, frame.i16().await?, frame.i32().await?);
    let api = ApiKey::Produce;
    if key != api.key() || !api.speaks(version) {
        return Err(too_long().into());
    }
    let _client_id = frame.text().await?;
    let _transactional_id = frame.text().await?;
    let (acks, _timeout) = (frame.i16().await?, frame.i32().await?);
    let (mut answer, mut named) = (ProduceResponse::default(), 0);
    for _ in 0..frame.i32().await? {
        let mut topic = ProducedTopic { name: frame.text().await?, partitions: Vec::new() };
        for _ in 0..frame.i32().await? {
            named += 1;
            if named > PARTITIONS_MAX {
                return Err(too_long().into());
            }
            let partition = frame.i32().await?;
            let records = usize::try_from(frame.i32().await?).unwrap_or(0);
            frame.pass(records).await?;
            topic.partitions.push(ProducedPartition {
                partition,
                error: ErrorCode::MessageTooLarge,
                base_offset: -1,
                log_append_time: -1,
            });
        }
        answer.topics.push(topic);
    }
    if frame.left > 0 {
        return Err(WireError::Left(frame.left).into());
    }
    tracing::warn!(bytes, "a producer's frame is too long, and was refused");
    let bytes = (acks != 0).then(|| response(id, version, &answer));
    Ok(Question { api, answer: Box::pin(async move { bytes }) })
}

/// A frame that is read as it comes.
struct Passing<'a, S> {
    stream: &'a mut S,
    buffer: &'a mut BytesMut,
    /// Bytes of it that were not read.
    left: usize,
}

impl<S: AsyncRead + Unpin> Passing<'_, S> {
    async fn arrive(&mut self) -> Result<(), ConnectionError> {
        self.buffer.reserve(FIRST_BYTES);
        let read = self.stream.read_buf(self.buffer).await?;
        if read == 0 { Err(WireError::Short.into()) } else { Ok(()) }
    }

    fn claim(&mut self, bytes: usize) -> Result<(), WireError> {
        self.left = self.left.checked_sub(bytes).ok_or(WireError::Short)?;
        Ok(())
    }

    async fn take(&mut self, bytes: usize) -> Result<Bytes, ConnectionError> {
        self.claim(bytes)?;
        while self.buffer.len() < bytes {
            self.arrive().await?;
        }
        Ok(self.buffer.split_to(bytes).freeze())
    }

    async fn pass(&mut self, mut bytes: usize) -> Result<(), ConnectionError> {
        self.claim(bytes)?;
        loop {
            let here = bytes.min(self.buffer.len());
            self.buffer.advance(here);
            bytes -= here;
            if bytes == 0 {
                return Ok(());
            }
            self.arrive().await?;
        }
    }

    async fn i16(&mut self) -> Result<i16, ConnectionError> {
        Ok(self.take(2).await?.get_i16())
    }

    async fn i32(&mut self) -> Result<i32, ConnectionError> {
        Ok(self.take(4).await?.get_i32())
    }

    /// A text; one that is none is empty.
    async fn text(&mut self) -> Result<String, ConnectionError> {
        let length = usize::try_from(self.i16().await?).unwrap_or(0);
        let bytes = self.take(length).await?;
        Ok(String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Text)?)
    }
}
