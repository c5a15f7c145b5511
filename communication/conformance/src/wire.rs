//! A client that is not ours: it says what a scenario has it say, word for word, and retries nothing.

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode, Field, Reader, asked_in,
    batch::{self, Record},
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, FetchPartition, FetchRequest, FetchResponse,
        FetchTopic, FetchedPartition, FindCoordinatorRequest, FindCoordinatorResponse,
        InitProducerIdRequest, MetadataRequest, MetadataResponse, ProducePartition, ProduceRequest,
        ProduceResponse, ProduceTopic, ProducedPartition,
        number::{FLEXIBLE_NUMBER, FlexibleNumberRequest, FlexibleNumberResponse},
    },
    request, request_in,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    backend::{Backend, Stream},
    judge::{LOOK, Stop, holds},
};

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Longest answer that is taken.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes that one fetch asks for.
const FETCH_BYTES: i32 = 8 << 20;

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    next: i32,
}

impl Wire {
    /// Connects to the first address that answers.
    pub(crate) async fn open(backend: &Backend) -> Result<Self, Stop> {
        let mut last = Stop("no address".to_owned());
        for address in &backend.bootstrap {
            match Self::to(backend, address).await {
                Ok(wire) => return Ok(wire),
                Err(stop) => last = stop,
            }
        }
        Err(last)
    }

    /// Connects to one broker.
    async fn to(backend: &Backend, address: &str) -> Result<Self, Stop> {
        Ok(Self { stream: backend.enter(address).await?, next: 0 })
    }

    /// Connects to the broker that leads a partition.
    pub(crate) async fn to_leader(
        backend: &Backend,
        topic: &str,
        partition: u32,
    ) -> Result<Self, Stop> {
        let mut wire = Self::open(backend).await?;
        let question =
            MetadataRequest { topics: vec![topic.to_owned()], allow_auto_topic_creation: false };
        let answer: MetadataResponse = wire.ask(ApiKey::Metadata, &question).await?;
        let topics = answer.topics.iter().flat_map(|it| &it.partitions);
        let wanted = i32::try_from(partition).unwrap_or(i32::MAX);
        let leader = topics.filter(|it| it.partition == wanted).map(|it| it.leader).next();
        let leader = leader.ok_or_else(|| Stop(format!("{topic}/{partition} has no leader")))?;
        let mut brokers = answer.brokers.iter().filter(|it| it.node_id == leader);
        match brokers.next() {
            Some(broker) => Self::to(backend, &format!("{}:{}", broker.host, broker.port)).await,
            None => Err(Stop(format!("nobody is broker {leader}"))),
        }
    }

    /// Connects to the broker that coordinates a group.
    pub(crate) async fn to_coordinator(backend: &Backend, group: &str) -> Result<Self, Stop> {
        let mut wire = Self::open(backend).await?;
        let question = FindCoordinatorRequest { key: group.to_owned() };
        // A log that has never had a group may have to make room for them first.
        for _ in 0..100 {
            let found: FindCoordinatorResponse =
                wire.ask(ApiKey::FindCoordinator, &question).await?;
            if found.error == ErrorCode::None {
                return Self::to(backend, &format!("{}:{}", found.host, found.port)).await;
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(Stop(format!("{group} has no coordinator")))
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask<Q: Field, A: Field>(
        &mut self,
        api: ApiKey,
        question: &Q,
    ) -> Result<A, Stop> {
        self.ask_in(api, asked_in(api), question).await
    }

    async fn ask_in<Q: Field, A: Field>(
        &mut self,
        api: ApiKey,
        version: i16,
        question: &Q,
    ) -> Result<A, Stop> {
        self.next += 1;
        self.send(&request_in(api, version, self.next, "conformance", question)).await?;
        let mut reader = Reader::new(self.answer().await?);
        let number = reader.i32()?;
        holds(number == self.next, format!("{api:?}: an answer to another question"))?;
        let answer = A::read(&mut reader, version).map_err(|it| Stop(format!("{api:?}: {it}")))?;
        reader.end().map_err(|it| Stop(format!("{api:?}: {it}")))?;
        Ok(answer)
    }

    /// Says something, and waits for no answer.
    pub(crate) async fn tell<Q: Field>(&mut self, api: ApiKey, what: &Q) -> Result<(), Stop> {
        self.next += 1;
        self.send(&request(api, self.next, "conformance", what)).await
    }

    /// A number that no other producer has, and its life; asked for as our client does.
    pub(crate) async fn number(&mut self) -> Result<(i64, i16), Stop> {
        let api = ApiKey::InitProducerId;
        let spoken: ApiVersionsResponse =
            self.ask(ApiKey::ApiVersions, &ApiVersionsRequest {}).await?;
        let number = if spoken.speaks(api, FLEXIBLE_NUMBER) {
            let asked = self.ask_in(api, FLEXIBLE_NUMBER, &FlexibleNumberRequest);
            let FlexibleNumberResponse(number) = asked.await?;
            number
        } else {
            let plain = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 0 };
            self.ask(api, &plain).await?
        };
        holds(number.error == ErrorCode::None, format!("no number: {:?}", number.error))?;
        Ok((number.producer_id, number.producer_epoch))
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(ANSWER_WITHIN, sent).await??;
        Ok(())
    }

    /// The next frame without its length.
    pub(crate) async fn answer(&mut self) -> Result<Bytes, Stop> {
        let read = async {
            let length = usize::try_from(self.stream.read_i32().await?).unwrap_or(usize::MAX);
            if length > ANSWER_BYTES_MAX {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let mut frame = vec![0; length];
            self.stream.read_exact(&mut frame).await?;
            Ok::<_, std::io::Error>(Bytes::from(frame))
        };
        let read = timeout(ANSWER_WITHIN, read).await;
        Ok(read.map_err(|_| Stop("no answer in time".to_owned()))??)
    }

    /// Waits until the other side has closed the connection.
    pub(crate) async fn closed(&mut self) -> Result<(), Stop> {
        let mut sink = [0; 4_096];
        let ended = async {
            // An end and a reset are both one.
            while matches!(self.stream.read(&mut sink).await, Ok(1..)) {}
        };
        let ended = timeout(ANSWER_WITHIN, ended).await;
        ended.map_err(|_| Stop("the connection was not closed".to_owned()))
    }

    /// Hands batches in for one partition.
    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        partition: u32,
        acks: i16,
        records: Bytes,
    ) -> Result<ProducedPartition, Stop> {
        let question = produce(topic, partition, acks, records);
        let answer: ProduceResponse = self.ask(ApiKey::Produce, &question).await?;
        let found = answer.topics.into_iter().flat_map(|it| it.partitions).next();
        found.ok_or_else(|| Stop("the answer to Produce names no partition".to_owned()))
    }

    /// Reads one partition from an offset on; waits so long for a first record.
    pub(crate) async fn fetch(
        &mut self,
        topic: &str,
        partition: u32,
        offset: i64,
        wait: Duration,
    ) -> Result<FetchedPartition, Stop> {
        self.fetch_bytes(topic, partition, offset, wait, FETCH_BYTES).await
    }

    /// The same, of so many bytes at the most.
    pub(crate) async fn fetch_bytes(
        &mut self,
        topic: &str,
        partition: u32,
        offset: i64,
        wait: Duration,
        bytes_max: i32,
    ) -> Result<FetchedPartition, Stop> {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        let partitions = vec![FetchPartition { partition, offset, bytes_max }];
        let question = FetchRequest {
            replica_id: -1,
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            bytes_min: 1,
            bytes_max,
            isolation_level: 0,
            topics: vec![FetchTopic { name: topic.to_owned(), partitions }],
        };
        let answer: FetchResponse = self.ask(ApiKey::Fetch, &question).await?;
        let found = answer.topics.into_iter().flat_map(|it| it.partitions).next();
        found.ok_or_else(|| Stop("the answer to Fetch names no partition".to_owned()))
    }

    /// Every record of a partition from its beginning on, each with its offset.
    pub(crate) async fn records(
        &mut self,
        topic: &str,
        partition: u32,
    ) -> Result<Vec<(i64, Record)>, Stop> {
        let (mut found, mut next) = (Vec::new(), 0);
        loop {
            let part = self.fetch(topic, partition, next, Duration::from_millis(100)).await?;
            holds(part.error == ErrorCode::None, format!("Fetch: {:?}", part.error))?;
            let before = found.len();
            for batch in batch::split(part.records) {
                found.extend(batch::decode(&batch)?.into_iter().filter(|it| it.0 >= next));
            }
            match found.last() {
                Some((offset, _)) if found.len() > before => next = offset + 1,
                _ => return Ok(found),
            }
        }
    }
}

/// The question that hands batches in for one partition.
pub(crate) fn produce(topic: &str, partition: u32, acks: i16, records: Bytes) -> ProduceRequest {
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    let partitions = vec![ProducePartition { partition, records }];
    let topics = vec![ProduceTopic { name: topic.to_owned(), partitions }];
    ProduceRequest { transactional_id: None, acks, timeout_ms: 10_000, topics }
}
