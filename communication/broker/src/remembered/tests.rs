//! What a repeated batch meets after a restart.

use std::{collections::BTreeMap, sync::Arc};

use base::{ManualClock, Timestamp};
use kafka_wire::{
    ErrorCode,
    batch::{Producer, Record, encode},
    messages::{ProducePartition, ProduceRequest, ProduceTopic, ProducedPartition},
};
use tempfile::TempDir;

use super::*;
use crate::{config::BrokerConfig, produce::produce, topics::Topics};

fn open(directory: &TempDir) -> Topics {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
    let config = BrokerConfig::new(directory.path());
    let topics = Topics::open(&config, clock, BTreeMap::new()).unwrap();
    let topic = topics.described("orders".to_owned(), Some(2), &BTreeMap::new()).unwrap();
    // It is there after the first start.
    topics.create(topic).ok();
    topics
}

async fn send(topics: &Topics, producer: Option<Producer>, records: usize) -> ProducedPartition {
    let record = Record { value: Some("x".into()), ..Record::default() };
    let records = encode(&vec![record; records], producer);
    let partitions = vec![ProducePartition { partition: 0, records }];
    let named = vec![ProduceTopic { name: "orders".to_owned(), partitions }];
    let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 0, topics: named };
    produce(topics, request).await.topics[0].partitions[0].clone()
}

fn numbered(base_sequence: i32) -> Option<Producer> {
    Some(Producer { id: 7, epoch: 0, base_sequence })
}

async fn close(topics: &Topics) {
    topics.find("orders").unwrap().log.close().await;
}

/// Three batches of one producer, and ten thousand records of others behind them.
async fn filled(directory: &TempDir) -> Topics {
    let topics = open(directory);
    for sequence in 0..3 {
        send(&topics, numbered(sequence), 1).await;
    }
    for _ in 0..10 {
        send(&topics, None, 1_000).await;
    }
    topics
}

async fn repeat_is_known(directory: &TempDir) {
    let again = open(directory);
    for sequence in [0, 2] {
        let repeated = send(&again, numbered(sequence), 1).await;
        let known = (ErrorCode::None, i64::from(sequence));
        assert_eq!((repeated.error, repeated.base_offset), known, "appended a second time");
    }
    let next = send(&again, numbered(3), 1).await;
    assert_eq!((next.error, next.base_offset), (ErrorCode::None, 10_003));
}

#[tokio::test]
async fn a_batch_that_is_repeated_after_a_restart_is_known_however_much_came_behind_it() {
    let directory = TempDir::new().unwrap();
    close(&filled(&directory).await).await;
    repeat_is_known(&directory).await;
}

#[tokio::test]
async fn what_was_written_is_gone_on_from_and_damage_to_it_forgets_nothing() {
    let directory = TempDir::new().unwrap();
    let topics = filled(&directory).await;
    topics.remember();
    send(&topics, None, 1).await;
    let path = path_of(directory.path(), "orders");
    let written = read(&path, 2).unwrap();
    assert_eq!((written[0].to, written[0].producers.len()), (10_003, 1));
    close(&topics).await;
    drop(topics);
    let mut content = fs::read(&path).unwrap();
    let at = content.len() - 5;
    content[at] ^= 1;
    fs::write(&path, content).unwrap();
    assert_eq!(read(&path, 2), None, "a flipped bit is believed");
    // The one record behind what was written.
    let again = open(&directory);
    let next = send(&again, numbered(3), 1).await;
    assert_eq!((next.error, next.base_offset), (ErrorCode::None, 10_004));
    let repeated = send(&again, numbered(1), 1).await;
    assert_eq!((repeated.error, repeated.base_offset), (ErrorCode::None, 1));
}

/// The log has let go of the batch; the file knows it.
#[tokio::test]
async fn what_was_written_counts_without_the_log() {
    let directory = TempDir::new().unwrap();
    let topics = filled(&directory).await;
    topics.remember();
    close(&topics).await;
    let log = &topics.find("orders").unwrap().log;
    let path = path_of(directory.path(), "orders");
    let mut written = read(&path, 2).unwrap();
    let there = restore(log, &path);
    assert_eq!(remembered(&there[0], 10_003), written[0]);
    // A log that ends before a batch has lost it.
    written[0].producers[0].batches[2].2 = 20_000;
    write(&path, written.clone()).unwrap();
    let mut lost = written[0].clone();
    lost.producers[0].batches.truncate(2);
    assert_eq!(remembered(&restore(log, &path)[0], 10_003), lost);
}
