//! Batches of numbered producers, many under way at once, over the wire.

use broker::BrokerConfig;
use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode, Field as _, Reader,
    batch::{Producer, Record, encode},
    messages::{
        ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic, ProducedPartition,
    },
    request,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::fixture::{Fixture, PATIENCE, broker};

/// A batch of two records.
fn batch(id: i64, base_sequence: i32) -> Bytes {
    let record = || Record { value: Some("x".into()), ..Record::default() };
    encode(&[record(), record()], Some(Producer { id, epoch: 0, base_sequence }))
}

fn produce(correlation: i32, partition: i32, records: Bytes) -> Bytes {
    let partitions = vec![ProducePartition { partition, records }];
    let topics = vec![ProduceTopic { name: "orders".to_owned(), partitions }];
    let question = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 5_000, topics };
    request(ApiKey::Produce, correlation, "test", &question)
}

async fn answer(stream: &mut TcpStream, correlation: i32) -> ProducedPartition {
    let length = usize::try_from(stream.read_i32().await.unwrap()).unwrap();
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await.unwrap();
    let mut reader = Reader::new(frame.into());
    assert_eq!(reader.i32(), Ok(correlation), "answers come in the order of the questions");
    let version = ApiKey::Produce.latest();
    let answer = ProduceResponse::read(&mut reader, version).unwrap();
    answer.topics[0].partitions[0].clone()
}

fn orders() -> Fixture {
    orders_with(|_| {})
}

fn orders_with(set: impl FnOnce(&mut BrokerConfig)) -> Fixture {
    broker(|it| {
        set(it);
        it.topics = vec![broker::TopicConfig {
            name: "orders".to_owned(),
            partitions: 2,
            synced: true,
            retention_ms: None,
            retention_bytes: None,
        }];
    })
}

#[tokio::test]
async fn batches_that_are_sent_at_once_stand_in_their_order_each_once() {
    let fixture = orders();
    let mut stream = TcpStream::connect(fixture.broker.address).await.unwrap();
    // Each twice, as a client sends that heard nothing: both get the same place.
    let sequences = [0, 2, 4, 0, 6, 8, 6, 2, 4, 8];
    let frames = (0..).zip(sequences).map(|(id, sequence)| produce(id, 0, batch(1, sequence)));
    let all: Vec<u8> = frames.flatten().collect();
    stream.write_all(&all).await.unwrap();
    for (id, sequence) in (0..).zip(sequences) {
        let produced = answer(&mut stream, id).await;
        let (error, at) = (produced.error, produced.base_offset);
        assert_eq!((error, at), (ErrorCode::None, i64::from(sequence)), "question {id}");
    }
}

#[tokio::test]
async fn a_batch_that_is_missing_is_asked_for_and_those_behind_it_are_refused() {
    let fixture = orders();
    let mut stream = TcpStream::connect(fixture.broker.address).await.unwrap();
    let sequences = [0, 4, 6, 2, 4];
    let frames = (0..).zip(sequences).map(|(id, sequence)| produce(id, 1, batch(1, sequence)));
    let all: Vec<u8> = frames.flatten().collect();
    stream.write_all(&all).await.unwrap();
    let mut ended = Vec::new();
    for id in 0..5 {
        let produced = answer(&mut stream, id).await;
        ended.push((produced.error, produced.base_offset));
    }
    let refused = (ErrorCode::OutOfOrderSequenceNumber, -1);
    let taken = |offset| (ErrorCode::None, offset);
    assert_eq!(ended, [taken(0), refused, refused, taken(2), taken(4)]);
}

/// One that ended the connection instead would be sent again for as long as the client likes.
#[tokio::test]
async fn a_producer_whose_frame_is_too_long_is_told_so_and_goes_on() {
    let fixture = orders_with(|it| it.frame_bytes_max = 4 << 10);
    let mut stream = TcpStream::connect(fixture.broker.address).await.unwrap();
    let long = Record { value: Some(vec![7; 1 << 20].into()), ..Record::default() };
    let frames = [
        produce(0, 1, encode(std::slice::from_ref(&long), None)),
        produce(1, 1, batch(1, 0)),
        produce(2, 0, encode(&[long], None)),
    ];
    stream.write_all(&frames.concat()).await.unwrap();
    let mut ended = Vec::new();
    for id in 0..3 {
        let produced = answer(&mut stream, id).await;
        ended.push((produced.partition, produced.error, produced.base_offset));
    }
    let refused = |partition| (partition, ErrorCode::MessageTooLarge, -1);
    assert_eq!(ended, [refused(1), (1, ErrorCode::None, 0), refused(0)]);
}

#[tokio::test]
async fn a_frame_that_is_too_long_and_no_producers_ends_its_connection() {
    let fixture = orders_with(|it| it.frame_bytes_max = 4 << 10);
    for (key, length) in [(ApiKey::Fetch, 1 << 20), (ApiKey::Produce, i32::MAX)] {
        let mut stream = TcpStream::connect(fixture.broker.address).await.unwrap();
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(key.key().to_be_bytes());
        frame.extend([0, 3, 0, 0, 0, 1, 0xff, 0xff]);
        stream.write_all(&frame).await.unwrap();
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap();
        assert!(!matches!(read, Ok(1..)), "{key:?}: {read:?}");
    }
}
