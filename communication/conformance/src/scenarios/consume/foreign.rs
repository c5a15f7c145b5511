//! Records that other clients wrote.

use bytes::Bytes;
use kafka_wire::{
    ErrorCode,
    batch::{self, Codec, Record},
    partition_of,
};
use messaging::{Delivered, Failure};

use crate::{
    capability::MAKES,
    judge::{Judged, Stop, same},
    memory::Memory,
    scenario::{Scenario, scenario},
    stage::{Stage, publish},
};

#[rustfmt::skip]
pub(crate) const ALL: &[Scenario] = &[
    scenario!(Consume, a_batch_compressed_with_gzip_is_read, [MAKES],
        "Records that were compressed with gzip are processed like others.",
        "a group gets the fifty records of a raw batch"),
    scenario!(Consume, a_batch_compressed_with_snappy_is_read, [MAKES],
        "The same with snappy.",
        "a group gets the fifty records of a raw batch"),
    scenario!(Consume, a_batch_compressed_with_lz4_is_read, [MAKES],
        "The same with lz4.",
        "a group gets the fifty records of a raw batch"),
    scenario!(Consume, a_batch_compressed_with_zstd_is_read, [MAKES],
        "The same with zstd.",
        "a group gets the fifty records of a raw batch"),
    scenario!(Consume, codecs_mix_in_one_partition, [MAKES],
        "Batches of every codec and plain ones stand in their order in one partition.",
        "offsets and bodies of five raw batches"),
    scenario!(Consume, reading_begins_within_a_compressed_batch, [MAKES],
        "An offset within a compressed batch is found.",
        "offsets read from 23 on"),
    scenario!(Consume, a_record_without_our_headers_is_known_by_its_place, [MAKES],
        "A foreign record has an id: topic, partition and offset.",
        "id, source and type of a raw record"),
    scenario!(Consume, a_missing_value_is_an_empty_body, [MAKES],
        "A record without a value is processed, and not lost.",
        "a group gets a raw tombstone"),
    scenario!(Consume, a_missing_key_is_none, [MAKES],
        "A record without a key is processed.",
        "a group gets a raw record"),
    scenario!(Consume, a_header_without_a_value_is_empty, [MAKES],
        "A header that has no value, or one that is no text, does not stop the message.",
        "headers of a raw record"),
    scenario!(Consume, a_key_that_is_no_text_is_processed, [MAKES],
        "A key of any bytes does not stop the message.",
        "a group gets a raw record with the key FF 00 80"),
    scenario!(Consume, a_key_in_a_foreign_partition_comes_home, [MAKES],
        "A record that a foreign partitioner put elsewhere is processed in its key's own partition, once.",
        "where a group gets a raw record from the wrong partition"),
    scenario!(Consume, foreign_and_own_records_keep_their_order, [MAKES],
        "Records of one key by two kinds of clients are processed in their order.",
        "offsets of a key that both wrote"),
    scenario!(Consume, what_our_client_writes_a_raw_client_reads, [MAKES],
        "Messages are CloudEvents in binary mode, for every other client to read.",
        "key, value and `ce_` headers of a raw fetch"),
    scenario!(Consume, a_rejected_foreign_record_keeps_its_bytes, [MAKES],
        "A foreign record that is given up is kept byte for byte.",
        "key, value and headers of the raw dead letter"),
];

fn record(stage: &Stage, number: usize) -> Record {
    Record {
        key: Some(Bytes::from_static(b"a")),
        value: Some(format!("{number}: {}", "x".repeat(100)).into()),
        timestamp: stage.an_hour_ago(),
        ..Record::default()
    }
}

/// Puts a batch into the first partition.
async fn put(stage: &Stage, topic: &str, batch: Bytes) -> Judged {
    put_in(stage, topic, 0, batch).await
}

async fn put_in(stage: &Stage, topic: &str, partition: u32, batch: Bytes) -> Judged {
    let mut wire = stage.wire_to(topic, partition).await?;
    same("the answer", wire.produce(topic, partition, -1, batch).await?.error, ErrorCode::None)
}

async fn compressed(stage: &Stage, codec: Codec) -> Judged {
    let topic = stage.topic(1).await?;
    let records: Vec<Record> = (0..50).map(|it| record(stage, it)).collect();
    put(stage, &topic, batch::compress(&batch::encode(&records, None), codec)?).await?;
    let memory = Memory::default();
    stage.client("one").join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has(50).await?;
    let found: Vec<_> = memory.seen().into_iter().map(|it| Some(it.message.body)).collect();
    same("bodies", found, records.into_iter().map(|it| it.value).collect())
}

async fn a_batch_compressed_with_gzip_is_read(stage: &Stage) -> Judged {
    compressed(stage, Codec::Gzip).await
}

async fn a_batch_compressed_with_snappy_is_read(stage: &Stage) -> Judged {
    compressed(stage, Codec::Snappy).await
}

async fn a_batch_compressed_with_lz4_is_read(stage: &Stage) -> Judged {
    compressed(stage, Codec::Lz4).await
}

async fn a_batch_compressed_with_zstd_is_read(stage: &Stage) -> Judged {
    compressed(stage, Codec::Zstd).await
}

/// Ten records in each of five batches: plain, then each codec.
async fn mixed(stage: &Stage) -> Result<String, Stop> {
    let topic = stage.topic(1).await?;
    for (at, codec) in [None].into_iter().chain(Codec::ALL.map(Some)).enumerate() {
        let records: Vec<Record> = (at * 10..at * 10 + 10).map(|it| record(stage, it)).collect();
        let plain = batch::encode(&records, None);
        let batch = codec.map_or(Ok(plain.clone()), |it| batch::compress(&plain, it))?;
        put(stage, &topic, batch).await?;
    }
    Ok(topic)
}

async fn codecs_mix_in_one_partition(stage: &Stage) -> Judged {
    let topic = mixed(stage).await?;
    let found = stage.all(&stage.client("one"), &topic).await?;
    let offsets: Vec<u64> = found.iter().map(|it| it.offset).collect();
    same("offsets", offsets, (0..50).collect())?;
    let bodies: Vec<_> = found.into_iter().map(|it| Some(it.message.body)).collect();
    same("bodies", bodies, (0..50).map(|it| record(stage, it).value).collect())
}

async fn reading_begins_within_a_compressed_batch(stage: &Stage) -> Judged {
    let topic = mixed(stage).await?;
    let read = stage.client("one").read(&topic, 0, 23, 4).await?;
    let offsets: Vec<u64> = read.iter().map(|it| it.offset).collect();
    same("offsets", offsets, vec![23, 24, 25, 26])
}

/// What a group gets of one raw record.
async fn given(stage: &Stage, record: Record) -> Result<Delivered, Stop> {
    let topic = stage.topic(1).await?;
    put(stage, &topic, batch::encode(&[record], None)).await?;
    let memory = Memory::default();
    stage.client("one").join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has(1).await?;
    memory.seen().into_iter().next().ok_or_else(|| Stop("nothing came".to_owned()))
}

async fn a_record_without_our_headers_is_known_by_its_place(stage: &Stage) -> Judged {
    let found = given(stage, record(stage, 1)).await?;
    let id = format!("{}/0/0", found.topic);
    let message = found.message;
    let known = (message.id, message.source, message.kind);
    same("id, source and type", known, (id, "kafka".to_owned(), String::new()))
}

async fn a_missing_value_is_an_empty_body(stage: &Stage) -> Judged {
    let found = given(stage, Record { value: None, ..record(stage, 1) }).await?;
    same("the body", found.message.body, Bytes::new())
}

async fn a_missing_key_is_none(stage: &Stage) -> Judged {
    let found = given(stage, Record { key: None, ..record(stage, 1) }).await?;
    same("the key", found.message.key, None)
}

async fn a_header_without_a_value_is_empty(stage: &Stage) -> Judged {
    let headers = vec![
        ("none".to_owned(), None),
        ("bytes".to_owned(), Some(Bytes::from_static(b"\xff"))),
        ("text".to_owned(), Some(Bytes::from_static(b"1"))),
    ];
    let found = given(stage, Record { headers, ..record(stage, 1) }).await?.message.headers;
    let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    same("headers", found, vec![("bytes", ""), ("none", ""), ("text", "1")])
}

const NO_TEXT: &[u8] = b"\xff\x00\x80";

async fn a_key_that_is_no_text_is_processed(stage: &Stage) -> Judged {
    let found =
        given(stage, Record { key: Some(Bytes::from_static(NO_TEXT)), ..record(stage, 1) }).await?;
    same("the place", (found.partition, found.offset), (0, 0))
}

async fn a_key_in_a_foreign_partition_comes_home(stage: &Stage) -> Judged {
    let topic = stage.topic(4).await?;
    let home = partition_of(b"a", 4);
    put_in(stage, &topic, (home + 1) % 4, batch::encode(&[record(stage, 1)], None)).await?;
    let (client, group, memory) = (stage.client("one"), stage.group("g"), Memory::default());
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(1).await?;
    stage.committed_all(&client, &group, &topic).await?;
    let found: Vec<_> = memory.seen().iter().map(|it| it.partition).collect();
    same("partitions", found, vec![home])
}

async fn foreign_and_own_records_keep_their_order(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    let client = stage.client("one");
    for number in 0..5 {
        publish(&client, &topic, "a", number..number + 1).await?;
        put(stage, &topic, batch::encode(&[record(stage, number)], None)).await?;
    }
    let memory = Memory::default();
    client.join(&stage.subscription(&topic, &stage.group("g")), &memory)?;
    memory.has(10).await?;
    let offsets: Vec<u64> = memory.seen().iter().map(|it| it.offset).collect();
    same("offsets", offsets, (0..10).collect())
}

async fn what_our_client_writes_a_raw_client_reads(stage: &Stage) -> Judged {
    let topic = stage.topic(1).await?;
    publish(&stage.client("one"), &topic, "a", 7..8).await?;
    let mut wire = stage.wire_to(&topic, 0).await?;
    let records = wire.records(&topic, 0).await?;
    let (_, found) = records.into_iter().next().ok_or_else(|| Stop("no record".to_owned()))?;
    same("key and value", (found.key, found.value), (Some("a".into()), Some("7".into())))?;
    for (name, promised) in [
        ("ce_specversion", "1.0"),
        ("ce_id", "a/7"),
        ("ce_source", "/conformance"),
        ("ce_type", "com.example.Ordered.v1"),
        ("ce_subject", "a"),
        ("content-type", "application/json"),
        ("operation", "order"),
    ] {
        let header = found.headers.iter().find(|it| it.0 == name).and_then(|it| it.1.clone());
        same(name, header, Some(promised.into()))?;
    }
    Ok(())
}

async fn a_rejected_foreign_record_keeps_its_bytes(stage: &Stage) -> Judged {
    let (topic, group) = (stage.topic(1).await?, stage.group("g"));
    let headers = vec![
        ("x".to_owned(), Some(Bytes::from_static(b"\xfe"))),
        ("x".to_owned(), None),
        ("x".to_owned(), Some(Bytes::from_static(b"again"))),
    ];
    let sent = Record {
        key: Some(Bytes::from_static(NO_TEXT)),
        value: None,
        headers: headers.clone(),
        timestamp: stage.an_hour_ago(),
    };
    put(stage, &topic, batch::encode(std::slice::from_ref(&sent), None)).await?;
    let (client, memory) = (stage.client("one"), Memory::default());
    memory.fail(&format!("{topic}/0/0"), Failure::Rejected("nobody reads this".to_owned()));
    client.join(&stage.subscription(&topic, &group), &memory)?;
    memory.has(1).await?;
    stage.committed_all(&client, &group, &topic).await?;
    let dead = messaging::dead_letter_topic(&topic, &group);
    let mut wire = stage.wire_to(&dead, 0).await?;
    let records = wire.records(&dead, 0).await?;
    let (_, found) = records.into_iter().next().ok_or_else(|| Stop("no letter".to_owned()))?;
    same("key and value", (found.key, found.value), (sent.key, sent.value))?;
    same("its own headers", found.headers.into_iter().take(3).collect(), headers)
}
