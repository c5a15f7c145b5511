//! Kafka's protocol, lean: one batch under way, what waits meanwhile is the next; long polls.

use std::{collections::VecDeque, io};

use bytes::{Bytes, BytesMut};
use kafka_wire::{
    ApiKey, ErrorCode, FRAME_HEAD_BYTES, Field, Reader, asked_in,
    batch::{self, Record},
    frame_bytes,
    messages::{
        CommitPartition, CommitTopic, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
        ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
        OffsetCommitRequest, OffsetCommitResponse, ProducePartition, ProduceRequest,
        ProduceResponse, ProduceTopic,
    },
    request,
};

use super::{
    TOPIC,
    lean::{Connection, Publish, Subscribe, Ticket},
};
use crate::broken;

const CLIENT: &str = "bench";
/// Longest answer that is taken.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// The broker answers as soon as there is something, after so long at the latest.
const FETCH_WAIT_MS: i32 = 500;
const FETCH_BYTES_MAX: i32 = 1 << 20;

/// The whole answer at the front of what came.
fn take<T: Field>(api: ApiKey, came: &mut BytesMut) -> io::Result<Option<T>> {
    let Some(head) = came.first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
    let bytes = frame_bytes(*head, FRAME_BYTES_MAX).map_err(io::Error::other)?;
    if came.len() < FRAME_HEAD_BYTES + bytes {
        return Ok(None);
    }
    let mut frame = came.split_to(FRAME_HEAD_BYTES + bytes).freeze();
    let mut reader = Reader::new(frame.split_off(FRAME_HEAD_BYTES));
    reader.i32().map_err(io::Error::other)?;
    let answer = T::read(&mut reader, asked_in(api)).map_err(io::Error::other)?;
    Ok(Some(answer))
}

/// Publishes to the one partition.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    waiting: Vec<Record>,
    tickets: Vec<Ticket>,
    under_way: Vec<Ticket>,
    number: i32,
}

impl Publisher {
    pub(super) fn new() -> Self {
        Self::default()
    }
}

impl Publish for Publisher {
    async fn prepare(&mut self, _connection: &mut Connection) -> io::Result<()> {
        Ok(())
    }

    fn publish(&mut self, ticket: Ticket, body: &[u8], _out: &mut Vec<u8>) {
        self.tickets.push(ticket);
        self.waiting
            .push(Record { value: Some(Bytes::copy_from_slice(body)), ..Record::default() });
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if !self.under_way.is_empty() || self.waiting.is_empty() {
            return;
        }
        let records = batch::encode(&self.waiting, None);
        self.waiting.clear();
        self.under_way.append(&mut self.tickets);
        let partitions = vec![ProducePartition { partition: 0, records }];
        let topics = vec![ProduceTopic { name: TOPIC.to_owned(), partitions }];
        let body = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 5_000, topics };
        self.number = self.number.wrapping_add(1);
        out.extend_from_slice(&request(ApiKey::Produce, self.number, CLIENT, &body));
    }

    fn acknowledged(
        &mut self,
        came: &mut BytesMut,
        _out: &mut Vec<u8>,
        acknowledged: &mut Vec<Ticket>,
    ) -> io::Result<()> {
        while let Some(answer) = take::<ProduceResponse>(ApiKey::Produce, came)? {
            let parts = answer.topics.iter().flat_map(|it| &it.partitions);
            if let Some(refused) = parts.map(|it| it.error).find(|it| *it != ErrorCode::None) {
                return Err(broken(format!("a batch was refused: {refused:?}")));
            }
            acknowledged.append(&mut self.under_way);
        }
        Ok(())
    }
}

/// Reads the one partition.
#[derive(Debug)]
pub(super) struct Subscriber {
    offset: i64,
    /// Messages after which the group's place is noted; without, it is not.
    settle: Option<u16>,
    unsettled: u16,
    /// What was asked and not answered; the broker answers one after the other.
    asked: VecDeque<ApiKey>,
}

impl Subscriber {
    pub(super) const fn new(settle: Option<u16>) -> Self {
        Self { offset: 0, settle, unsettled: 0, asked: VecDeque::new() }
    }

    /// Counts a message, and notes the place of the group when so many have come.
    fn taken(&mut self, out: &mut Vec<u8>) {
        let Some(settle) = self.settle else { return };
        self.unsettled += 1;
        if self.unsettled < settle {
            return;
        }
        self.unsettled = 0;
        let partitions =
            vec![CommitPartition { partition: 0, offset: self.offset, metadata: None }];
        let body = OffsetCommitRequest {
            group_id: CLIENT.to_owned(),
            generation_id: -1,
            member_id: String::new(),
            retention_ms: -1,
            topics: vec![CommitTopic { name: TOPIC.to_owned(), partitions }],
        };
        self.asked.push_back(ApiKey::OffsetCommit);
        out.extend_from_slice(&request(ApiKey::OffsetCommit, 0, CLIENT, &body));
    }

    /// Takes messages from an answer.
    fn fetched(
        &mut self,
        answer: FetchResponse,
        out: &mut Vec<u8>,
        bodies: &mut Vec<Bytes>,
    ) -> io::Result<()> {
        for part in answer.topics.into_iter().flat_map(|it| it.partitions) {
            if part.error != ErrorCode::None {
                return Err(broken(format!("a fetch was refused: {:?}", part.error)));
            }
            for batch in batch::split(part.records) {
                // A reader trusts no checksum but its own, in every client of this protocol.
                batch::check(&batch).map_err(io::Error::other)?;
                for (offset, record) in batch::decode(&batch).map_err(io::Error::other)? {
                    // A batch comes whole, also from its middle on.
                    if offset >= self.offset {
                        self.offset = offset + 1;
                        bodies.push(record.value.unwrap_or_default());
                        self.taken(out);
                    }
                }
            }
        }
        Ok(())
    }

    fn fetch(&self) -> Bytes {
        let bytes_max = FETCH_BYTES_MAX;
        let partitions = vec![FetchPartition { partition: 0, offset: self.offset, bytes_max }];
        let body = FetchRequest {
            replica_id: -1,
            max_wait_ms: FETCH_WAIT_MS,
            bytes_min: 1,
            bytes_max,
            isolation_level: 0,
            topics: vec![FetchTopic { name: TOPIC.to_owned(), partitions }],
        };
        request(ApiKey::Fetch, 0, CLIENT, &body)
    }
}

impl Subscribe for Subscriber {
    async fn prepare(&mut self, connection: &mut Connection) -> io::Result<()> {
        let partitions = vec![ListOffsetsPartition { partition: 0, timestamp: -1 }];
        let topics = vec![ListOffsetsTopic { name: TOPIC.to_owned(), partitions }];
        let body = ListOffsetsRequest { replica_id: -1, topics };
        let said = request(ApiKey::ListOffsets, 0, CLIENT, &body);
        let answer: ListOffsetsResponse =
            connection.ask(&said, |came| take(ApiKey::ListOffsets, came)).await?;
        let end = answer.topics.first().and_then(|it| it.partitions.first()).map(|it| it.offset);
        self.offset = end.filter(|it| *it >= 0).ok_or_else(|| broken("no end of the log"))?;
        Ok(())
    }

    fn received(
        &mut self,
        came: &mut BytesMut,
        out: &mut Vec<u8>,
        bodies: &mut Vec<Bytes>,
    ) -> io::Result<()> {
        while let Some(asked) = self.asked.front() {
            if *asked == ApiKey::OffsetCommit {
                let answer = take::<OffsetCommitResponse>(ApiKey::OffsetCommit, came)?;
                let Some(answer) = answer else { break };
                let parts = answer.topics.iter().flat_map(|it| &it.partitions);
                if let Some(refused) = parts.map(|it| it.error).find(|it| *it != ErrorCode::None) {
                    return Err(broken(format!("a place was refused: {refused:?}")));
                }
            } else {
                let answer = take::<FetchResponse>(ApiKey::Fetch, came)?;
                let Some(answer) = answer else { break };
                self.fetched(answer, out, bodies)?;
            }
            self.asked.pop_front();
        }
        if !self.asked.contains(&ApiKey::Fetch) {
            self.asked.push_back(ApiKey::Fetch);
            out.extend_from_slice(&self.fetch());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_group_is_noted_after_so_many_messages() {
        let mut subscriber = Subscriber::new(Some(2));
        let mut out = Vec::new();
        for offset in 1..=5 {
            subscriber.offset = offset;
            subscriber.taken(&mut out);
        }
        assert_eq!(subscriber.asked, [ApiKey::OffsetCommit; 2], "at 2 and at 4");
        assert!(!out.is_empty());
        let mut reader = Subscriber::new(None);
        reader.taken(&mut out);
        assert!(reader.asked.is_empty(), "who settles nothing asks for nothing");
    }
}
