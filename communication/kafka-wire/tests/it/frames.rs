use std::fmt::Debug;

use bytes::Bytes;
use fastrand::Rng;
use kafka_wire::{ApiKey, ErrorCode, Field, Reader, Writer, messages::*};

fn body<T: Field>(message: &T, version: i16) -> Bytes {
    let mut writer = Writer::part();
    message.write(&mut writer, version);
    writer.into_bytes()
}

/// Reads what was written, then a thousand versions of it that lie.
#[track_caller]
fn check<T: Field + PartialEq + Debug>(message: &T, api: ApiKey, version: i16) {
    assert!(api.speaks(version), "{api:?} {version} is not advertised");
    let bytes = body(message, version);
    let mut reader = Reader::new(bytes.clone());
    assert_eq!(T::read(&mut reader, version).as_ref(), Ok(message), "{api:?} {version}");
    assert_eq!(reader.end(), Ok(()), "{api:?} {version}");
    for length in 0..bytes.len() {
        let cut = T::read(&mut Reader::new(bytes.slice(..length)), version);
        assert!(cut.is_err(), "{api:?} {version} cut at {length}: {cut:?}");
    }
    let mut random = Rng::with_seed(u64::from(version.unsigned_abs()));
    for _ in 0..1_000 {
        let mut lying = bytes.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..lying.len().max(1));
            if let Some(byte) = lying.get_mut(at) {
                let any = random.u8(..);
                *byte = *random.choice(&[0, 1, 0x7f, 0x80, 0xff, any]).unwrap();
            }
        }
        // Whatever it says: an error or a message, never a panic, never more memory than it has.
        drop(T::read(&mut Reader::new(lying.into()), version));
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn produce_and_fetch_are_read_as_written() {
    let records = Bytes::from_static(b"batches");
    let partition = ProducePartition { partition: 3, records: records.clone() };
    let topic = ProduceTopic { name: text("orders"), partitions: vec![partition] };
    let produce =
        ProduceRequest { acks: -1, timeout_ms: 9, topics: vec![topic], ..Default::default() };
    check(&produce, ApiKey::Produce, 3);
    let partition = ProducedPartition {
        partition: 3,
        error: ErrorCode::KafkaStorageError,
        base_offset: -1,
        log_append_time: -1,
    };
    let topic = ProducedTopic { name: text("orders"), partitions: vec![partition] };
    check(&ProduceResponse { topics: vec![topic], throttle_ms: 1 }, ApiKey::Produce, 3);
    let partition = FetchPartition { partition: 1, offset: 77, bytes_max: 1 << 20 };
    let topic = FetchTopic { name: text("orders"), partitions: vec![partition] };
    let fetch = FetchRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    check(&fetch, ApiKey::Fetch, 4);
    let partition = FetchedPartition { partition: 1, records, ..Default::default() };
    let topic = FetchedTopic { name: text("orders"), partitions: vec![partition] };
    check(&FetchResponse { throttle_ms: 0, topics: vec![topic] }, ApiKey::Fetch, 4);
}

#[test]
fn topics_and_offsets_are_read_as_written() {
    for version in 1..=4 {
        let request = MetadataRequest {
            topics: vec![text("a"), text("b")],
            allow_auto_topic_creation: version >= 4,
        };
        check(&request, ApiKey::Metadata, version);
        let partition =
            MetadataPartition { replicas: vec![0], in_sync: vec![0], ..Default::default() };
        let topic =
            MetadataTopic { name: text("a"), partitions: vec![partition], ..Default::default() };
        let broker = MetadataBroker { host: text("h"), port: 1, ..Default::default() };
        let cluster_id = (version >= 2).then(|| text("c"));
        let response = MetadataResponse {
            brokers: vec![broker],
            topics: vec![topic],
            cluster_id,
            ..Default::default()
        };
        check(&response, ApiKey::Metadata, version);
    }
    let setting = TopicSetting { name: text("retention.ms"), value: Some(text("5")) };
    let topic =
        NewTopic { name: text("a"), partitions: 4, settings: vec![setting], ..Default::default() };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    check(&request, ApiKey::CreateTopics, 2);
    let partition = ListOffsetsPartition { partition: 1, timestamp: -2 };
    let topic = ListOffsetsTopic { name: text("a"), partitions: vec![partition] };
    check(&ListOffsetsRequest { replica_id: -1, topics: vec![topic] }, ApiKey::ListOffsets, 1);
}

#[test]
fn groups_are_read_as_written() {
    for version in 0..=5 {
        let group_instance_id = (version >= 5).then(|| text("i"));
        let protocol = JoinProtocol { name: text("range"), metadata: Bytes::from_static(b"m") };
        let join = JoinGroupRequest {
            group_id: text("g"),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: if version >= 1 { 9_000 } else { 0 },
            group_instance_id: group_instance_id.clone(),
            protocols: vec![protocol],
            ..Default::default()
        };
        check(&join, ApiKey::JoinGroup, version);
        let metadata = Bytes::from_static(b"m");
        let member = JoinedMember { member_id: text("m"), group_instance_id, metadata };
        let joined = JoinGroupResponse { members: vec![member], ..Default::default() };
        check(&joined, ApiKey::JoinGroup, version);
    }
    for version in 0..=3 {
        let group_instance_id = (version >= 3).then(|| text("i"));
        let assignment =
            SyncAssignment { member_id: text("m"), assignment: Bytes::from_static(b"a") };
        let sync = SyncGroupRequest {
            group_id: text("g"),
            group_instance_id: group_instance_id.clone(),
            assignments: vec![assignment],
            ..Default::default()
        };
        check(&sync, ApiKey::SyncGroup, version);
        let beat =
            HeartbeatRequest { group_id: text("g"), group_instance_id, ..Default::default() };
        check(&beat, ApiKey::Heartbeat, version);
    }
    let partition = CommitPartition { partition: 1, offset: 5, metadata: None };
    let topic = CommitTopic { name: text("a"), partitions: vec![partition] };
    let commit =
        OffsetCommitRequest { group_id: text("g"), topics: vec![topic], ..Default::default() };
    check(&commit, ApiKey::OffsetCommit, 2);
    let topic = OffsetFetchTopic { name: text("a"), partitions: vec![1, 2] };
    check(&OffsetFetchRequest { group_id: text("g"), topics: vec![topic] }, ApiKey::OffsetFetch, 1);
}
