//! What consumers meet when the log's files are not what was written.

use std::{collections::BTreeSet, fs, path::Path};

use telemetry::Telemetry;

use crate::fixture::{Fixture, Memory, eventually, message};
use messaging::Subscription;

const COUNT: u32 = 40;

fn write(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Bytes of a segment that are used.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|it| *it != 0).unwrap() + 1
}

async fn publish(client: &messaging::Messaging, key: &str, count: u32) {
    for number in 0..count {
        // The producer's own batches may be what is lost: then one publish is refused, and not
        // acknowledged.
        eventually("it is acknowledged", || async {
            let message = message(&format!("{key}{}", number % 7), number);
            client.publish("orders", message).await.is_ok()
        })
        .await;
    }
}

/// Everything is processed and committed, the log is damaged while the broker is down, and more is
/// published: all of that is processed.
async fn check_nothing_new_is_lost(what: &str, damage: impl FnOnce(&Path)) {
    let mut fixture = Fixture::new();
    let client = fixture.client("one", &fixture.tasks);
    let memory = Memory::default();
    client.subscribe(&Subscription::new(["orders"], "g"), memory.clone(), &fixture.tasks).unwrap();
    publish(&client, "old", COUNT).await;
    eventually("nothing is behind", || async {
        client.lag("g", "orders").await.is_ok_and(|it| it.records == 0)
    })
    .await;
    fixture.stop_broker().await;
    damage(fixture.segments("orders").last().unwrap());
    fixture.start_broker();
    publish(&client, "new", COUNT).await;
    eventually(&format!("{what}: every new message is processed"), || async {
        let ids: BTreeSet<_> =
            memory.ids().into_iter().filter(|it| it.starts_with("new")).collect();
        ids.len() == COUNT as usize
    })
    .await;
}

#[tokio::test]
async fn a_request_that_comes_after_a_lost_segment_is_processed() {
    check_nothing_new_is_lost("removed", |it| fs::remove_file(it).unwrap()).await;
}

#[tokio::test]
async fn a_request_that_comes_after_a_lost_topic_is_processed() {
    check_nothing_new_is_lost("topic", |it| fs::remove_dir_all(it.parent().unwrap()).unwrap())
        .await;
}

#[tokio::test]
async fn a_request_that_comes_after_a_cut_segment_is_processed() {
    check_nothing_new_is_lost("cut", |it| {
        write(it, |bytes| bytes.truncate(4_096 + (used(bytes) - 4_096) / 3));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_comes_after_a_flipped_bit_is_processed() {
    check_nothing_new_is_lost("flipped", |it| {
        write(it, |bytes| {
            let byte = 4_096 + (used(bytes) - 4_096) / 3;
            bytes[byte] ^= 1;
        });
    })
    .await;
}

#[tokio::test]
async fn a_damaged_record_costs_itself_alone_and_is_counted() {
    let mut fixture = Fixture::new();
    let telemetry = Telemetry::disabled();
    let client = fixture.measured_client("one", &fixture.tasks, &telemetry);
    publish(&client, "a", COUNT).await;
    fixture.stop_broker().await;
    write(fixture.segments("orders").last().unwrap(), |bytes| {
        let byte = 4_096 + (used(bytes) - 4_096) / 3;
        bytes[byte] ^= 1;
    });
    fixture.start_broker();
    let memory = Memory::default();
    client.subscribe(&Subscription::new(["orders"], "g"), memory.clone(), &fixture.tasks).unwrap();
    memory.has(COUNT as usize - 1).await;
    eventually("nothing is behind", || async {
        client.lag("g", "orders").await.is_ok_and(|it| it.records == 0)
    })
    .await;
    assert_eq!(memory.seen().len(), COUNT as usize - 1);
    let shown = telemetry.metrics().encode();
    let line = r#"messaging_lost_records_total{topic="orders",group="g"} 1"#;
    assert!(shown.lines().any(|it| it == line), "{line} is not in:\n{shown}");
}
