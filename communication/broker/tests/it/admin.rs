//! What administrators ask, over the wire.

use kafka_wire::{
    ApiKey, ErrorCode,
    batch::{Record, encode},
    messages::{
        CommitPartition, CommitTopic, CreateTopicsRequest, CreateTopicsResponse, FetchPartition,
        FetchRequest, FetchResponse, FetchTopic, JoinGroupRequest, JoinGroupResponse, JoinProtocol,
        LeaveGroupRequest, LeaveGroupResponse, LeavingMember, ListOffsetsPartition,
        ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic, MetadataRequest,
        MetadataResponse, NewTopic, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
        OffsetFetchResponse, OffsetFetchTopic, ProducePartition, ProduceRequest, ProduceResponse,
        ProduceTopic, SyncAssignment, SyncGroupRequest, SyncGroupResponse, TopicSetting,
        admin::{
            AlteredResource, AlteredSetting, CreatePartitionsRequest, CreatePartitionsResponse,
            DeleteGroupsRequest, DeleteGroupsResponse, DeleteRecordsPartition,
            DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic, DeleteTopicsRequest,
            DeleteTopicsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
            DescribeGroupsRequest, DescribeGroupsResponse, DescribedResource,
            IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListGroupsRequest,
            ListGroupsResponse, MorePartitions, OffsetDeletePartition, OffsetDeleteRequest,
            OffsetDeleteResponse, OffsetDeleteTopic,
        },
    },
};

use crate::fixture::{Client, broker};

const ORDERS: &str = "orders";

async fn create(client: &mut Client, change: impl FnOnce(&mut NewTopic)) -> ErrorCode {
    let mut topic =
        NewTopic { name: ORDERS.to_owned(), partitions: 2, replication: 1, ..NewTopic::default() };
    change(&mut topic);
    let question = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let answer: CreateTopicsResponse = client.ask(ApiKey::CreateTopics, &question).await;
    answer.topics[0].error
}

/// Appends a batch of records with these times; gives the offset of the first.
async fn produce(client: &mut Client, times: &[i64]) -> (ErrorCode, i64) {
    let record = |time: &i64| Record { timestamp: *time, ..Record::default() };
    let records = encode(&times.iter().map(record).collect::<Vec<_>>(), None);
    let partitions = vec![ProducePartition { partition: 0, records }];
    let question = ProduceRequest {
        acks: -1,
        topics: vec![ProduceTopic { name: ORDERS.to_owned(), partitions }],
        ..ProduceRequest::default()
    };
    let answer: ProduceResponse = client.ask(ApiKey::Produce, &question).await;
    let part = &answer.topics[0].partitions[0];
    (part.error, part.base_offset)
}

async fn offset_at(client: &mut Client, timestamp: i64) -> (i64, i64) {
    let partitions = vec![ListOffsetsPartition { partition: 0, timestamp }];
    let topics = vec![ListOffsetsTopic { name: ORDERS.to_owned(), partitions }];
    let question = ListOffsetsRequest { replica_id: -1, topics };
    let answer: ListOffsetsResponse = client.ask(ApiKey::ListOffsets, &question).await;
    let part = &answer.topics[0].partitions[0];
    assert_eq!(part.error, ErrorCode::None);
    (part.timestamp, part.offset)
}

async fn commit(client: &mut Client, offset: i64) -> ErrorCode {
    let partitions = vec![CommitPartition { partition: 0, offset, metadata: None }];
    let question = OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id: -1,
        topics: vec![CommitTopic { name: ORDERS.to_owned(), partitions }],
        ..OffsetCommitRequest::default()
    };
    let answer: OffsetCommitResponse = client.ask(ApiKey::OffsetCommit, &question).await;
    answer.topics[0].partitions[0].error
}

async fn committed(client: &mut Client) -> i64 {
    let topics = vec![OffsetFetchTopic { name: ORDERS.to_owned(), partitions: vec![0] }];
    let question = OffsetFetchRequest { group_id: "g".to_owned(), topics };
    let answer: OffsetFetchResponse = client.ask(ApiKey::OffsetFetch, &question).await;
    answer.topics[0].partitions[0].offset
}

async fn known_topics(client: &mut Client) -> Vec<String> {
    let question = MetadataRequest::default();
    let answer: MetadataResponse = client.ask(ApiKey::Metadata, &question).await;
    answer.topics.into_iter().map(|it| it.name).collect()
}

#[tokio::test]
async fn a_topic_that_was_deleted_is_gone_and_its_name_begins_anew() {
    let fixture = broker(|_| {});
    let mut client = fixture.client().await;
    for version in [0, 1] {
        assert_eq!(create(&mut client, |_| {}).await, ErrorCode::None);
        assert_eq!(produce(&mut client, &[1, 2, 3]).await, (ErrorCode::None, 0));
        assert_eq!(commit(&mut client, 3).await, ErrorCode::None);
        let names = vec![ORDERS.to_owned(), "nothing".to_owned()];
        let question = DeleteTopicsRequest { names, timeout_ms: 0 };
        let answer: DeleteTopicsResponse =
            client.ask_in(ApiKey::DeleteTopics, version, &question).await;
        let errors: Vec<_> = answer.topics.iter().map(|it| it.error).collect();
        assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
        assert!(known_topics(&mut client).await.is_empty());
        assert_eq!(committed(&mut client).await, -1);
    }
    let fixture = fixture.restarted().await;
    let mut client = fixture.client().await;
    assert!(known_topics(&mut client).await.is_empty());
    // A commit that outlived it would let it begin at 3.
    assert_eq!(create(&mut client, |_| {}).await, ErrorCode::None);
    assert_eq!(produce(&mut client, &[1]).await, (ErrorCode::None, 0));
}

async fn delete_records(client: &mut Client, offset: i64) -> (ErrorCode, i64) {
    let partitions = vec![DeleteRecordsPartition { partition: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: ORDERS.to_owned(), partitions }];
    let question = DeleteRecordsRequest { topics, timeout_ms: 0 };
    let answer: DeleteRecordsResponse = client.ask(ApiKey::DeleteRecords, &question).await;
    let part = &answer.topics[0].partitions[0];
    (part.error, part.low_watermark)
}

async fn fetch(client: &mut Client, offset: i64) -> ErrorCode {
    let partitions = vec![FetchPartition { partition: 0, offset, bytes_max: 1 << 20 }];
    let question = FetchRequest {
        replica_id: -1,
        bytes_max: 1 << 20,
        topics: vec![FetchTopic { name: ORDERS.to_owned(), partitions }],
        ..FetchRequest::default()
    };
    let answer: FetchResponse = client.ask(ApiKey::Fetch, &question).await;
    answer.topics[0].partitions[0].error
}

#[tokio::test]
async fn deleted_records_are_read_no_more_also_after_a_restart() {
    let fixture = broker(|_| {});
    let mut client = fixture.client().await;
    create(&mut client, |_| {}).await;
    for _ in 0..3 {
        produce(&mut client, &[1, 2]).await;
    }
    assert_eq!(delete_records(&mut client, 7).await, (ErrorCode::OffsetOutOfRange, -1));
    assert_eq!(delete_records(&mut client, 3).await, (ErrorCode::None, 3));
    assert_eq!(delete_records(&mut client, 1).await, (ErrorCode::None, 3), "it goes back");
    let fixture = fixture.restarted().await;
    let mut client = fixture.client().await;
    assert_eq!(offset_at(&mut client, -2).await, (-1, 3));
    assert_eq!(fetch(&mut client, 2).await, ErrorCode::OffsetOutOfRange);
    assert_eq!(fetch(&mut client, 3).await, ErrorCode::None);
    assert_eq!(offset_at(&mut client, 1).await, (2, 3), "the first that is left");
    assert_eq!(delete_records(&mut client, -1).await, (ErrorCode::None, 6));
    assert_eq!(offset_at(&mut client, -2).await, (-1, 6));
}

#[tokio::test]
async fn a_time_within_a_batch_leads_to_its_record() {
    let fixture = broker(|_| {});
    let mut client = fixture.client().await;
    create(&mut client, |_| {}).await;
    produce(&mut client, &[2, 4, 6, 8]).await;
    produce(&mut client, &[10]).await;
    let expected = [(1, (2, 0)), (2, (2, 0)), (3, (4, 1)), (6, (6, 2)), (8, (8, 3)), (9, (10, 4))];
    for (time, found) in expected {
        assert_eq!(offset_at(&mut client, time).await, found, "time {time}");
    }
    assert_eq!(offset_at(&mut client, 11).await, (-1, -1));
}

fn setting(name: &str, value: &str) -> TopicSetting {
    TopicSetting { name: name.to_owned(), value: Some(value.to_owned()) }
}

#[tokio::test]
async fn what_a_topic_cannot_have_is_refused_and_makes_none() {
    let fixture = broker(|_| {});
    let mut client = fixture.client().await;
    for (name, value) in [
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "LogAppendTime"),
        ("max.message.bytes", "1000"),
        ("retention.ms", "soon"),
        ("skein.synced", "perhaps"),
        ("foo.bar", "1"),
    ] {
        let made = create(&mut client, |it| it.settings = vec![setting(name, value)]).await;
        assert_eq!(made, ErrorCode::InvalidConfig, "{name}");
    }
    let copies = create(&mut client, |it| it.replication = 3).await;
    assert_eq!(copies, ErrorCode::InvalidReplicationFactor);
    for partitions in [0, -2, 501] {
        let made = create(&mut client, |it| it.partitions = partitions).await;
        assert_eq!(made, ErrorCode::InvalidPartitions, "{partitions}");
    }
    assert!(known_topics(&mut client).await.is_empty());
    let plain = vec![setting("cleanup.policy", "delete"), setting("retention.ms", "-1")];
    assert_eq!(create(&mut client, |it| it.settings = plain).await, ErrorCode::None);
}

async fn settings(client: &mut Client) -> Vec<(String, String)> {
    let resource = DescribedResource {
        kind: 2,
        name: ORDERS.to_owned(),
        settings: vec!["retention.ms".to_owned(), "retention.bytes".to_owned()],
    };
    let question = DescribeConfigsRequest { resources: vec![resource], with_synonyms: false };
    let answer: DescribeConfigsResponse = client.ask(ApiKey::DescribeConfigs, &question).await;
    assert_eq!(answer.resources[0].error, ErrorCode::None);
    let settings = answer.resources[0].settings.iter();
    settings.map(|it| (it.name.clone(), it.value.clone().unwrap())).collect()
}

async fn alter(client: &mut Client, settings: Vec<(&str, i8, Option<&str>)>) -> ErrorCode {
    let setting = |(name, operation, value): (&str, i8, Option<&str>)| AlteredSetting {
        name: name.to_owned(),
        operation,
        value: value.map(str::to_owned),
    };
    let resource = AlteredResource {
        kind: 2,
        name: ORDERS.to_owned(),
        settings: settings.into_iter().map(setting).collect(),
    };
    let question =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer: IncrementalAlterConfigsResponse =
        client.ask(ApiKey::IncrementalAlterConfigs, &question).await;
    answer.resources[0].error
}

#[tokio::test]
async fn settings_are_told_and_changed_wholly_or_not_and_outlive_a_restart() {
    let fixture = broker(|_| {});
    let mut client = fixture.client().await;
    create(&mut client, |it| it.settings = vec![setting("retention.ms", "1000")]).await;
    let bounds = |time: &str, bytes: &str| {
        let told = [("retention.ms", time), ("retention.bytes", bytes)];
        told.map(|it| (it.0.to_owned(), it.1.to_owned())).to_vec()
    };
    assert_eq!(settings(&mut client).await, bounds("1000", "-1"));
    let both = vec![("retention.bytes", 0, Some("5")), ("foo.bar", 0, Some("1"))];
    assert_eq!(alter(&mut client, both).await, ErrorCode::InvalidConfig);
    assert_eq!(settings(&mut client).await, bounds("1000", "-1"), "half was done");
    let both = vec![("retention.bytes", 0, Some("5")), ("retention.ms", 1, None)];
    assert_eq!(alter(&mut client, both).await, ErrorCode::None);
    let fixture = fixture.restarted().await;
    let mut client = fixture.client().await;
    assert_eq!(settings(&mut client).await, bounds("-1", "5"));
    let topics =
        vec![MorePartitions { name: ORDERS.to_owned(), count: 9, ..MorePartitions::default() }];
    let question = CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() };
    for version in [0, 1] {
        let answer: CreatePartitionsResponse =
            client.ask_in(ApiKey::CreatePartitions, version, &question).await;
        assert_eq!(answer.topics[0].error, ErrorCode::InvalidPartitions);
        assert!(answer.topics[0].message.is_some(), "it does not say why");
    }
}

/// Lets a member into the group; gives its id.
async fn join(client: &mut Client) -> String {
    let protocol = JoinProtocol { name: "range".to_owned(), metadata: "reads".into() };
    let question = JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    };
    let joined: JoinGroupResponse = client.ask_in(ApiKey::JoinGroup, 1, &question).await;
    let member_id = joined.member_id;
    let assignment = SyncAssignment { member_id: member_id.clone(), assignment: "a share".into() };
    let question = SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: member_id.clone(),
        assignments: vec![assignment],
        ..SyncGroupRequest::default()
    };
    let _synced: SyncGroupResponse = client.ask(ApiKey::SyncGroup, &question).await;
    member_id
}

async fn state(client: &mut Client) -> String {
    let question = DescribeGroupsRequest { groups: vec!["g".to_owned()] };
    let answer: DescribeGroupsResponse = client.ask(ApiKey::DescribeGroups, &question).await;
    let older: DescribeGroupsResponse = client.ask_in(ApiKey::DescribeGroups, 0, &question).await;
    assert_eq!(older, answer);
    let group = &answer.groups[0];
    for member in &group.members {
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("test", "127.0.0.1"));
        let said = (member.metadata.as_ref(), member.assignment.as_ref());
        assert_eq!(said, (&b"reads"[..], &b"a share"[..]));
    }
    format!("{} {}", group.state, group.members.len())
}

async fn listed(client: &mut Client) -> Vec<String> {
    let question = ListGroupsRequest {};
    let answer: ListGroupsResponse = client.ask(ApiKey::ListGroups, &question).await;
    let older: ListGroupsResponse = client.ask_in(ApiKey::ListGroups, 0, &question).await;
    assert_eq!(older, answer);
    answer.groups.into_iter().map(|it| it.group_id).collect()
}

async fn delete_group(client: &mut Client, version: i16) -> ErrorCode {
    let question = DeleteGroupsRequest { groups: vec!["g".to_owned()] };
    let answer: DeleteGroupsResponse =
        client.ask_in(ApiKey::DeleteGroups, version, &question).await;
    answer.groups[0].error
}

/// How it ended for the group and for its partition.
async fn delete_offset(client: &mut Client) -> (ErrorCode, ErrorCode) {
    let partitions = vec![OffsetDeletePartition { partition: 0 }];
    let topics = vec![OffsetDeleteTopic { name: ORDERS.to_owned(), partitions }];
    let question = OffsetDeleteRequest { group_id: "g".to_owned(), topics };
    let answer: OffsetDeleteResponse = client.ask(ApiKey::OffsetDelete, &question).await;
    (answer.error, answer.topics[0].partitions[0].error)
}

#[tokio::test]
async fn a_group_is_listed_and_described_and_forgotten_once_it_has_no_members() {
    let fixture = broker(|_| {});
    let mut client = fixture.client().await;
    create(&mut client, |_| {}).await;
    produce(&mut client, &[1, 2, 3]).await;
    assert_eq!(state(&mut client).await, "Dead 0");
    assert_eq!(delete_group(&mut client, 0).await, ErrorCode::GroupIdNotFound);
    assert_eq!(delete_offset(&mut client).await.0, ErrorCode::GroupIdNotFound);
    commit(&mut client, 2).await;
    assert_eq!(state(&mut client).await, "Empty 0", "it committed");
    let member_id = join(&mut client).await;
    assert_eq!(state(&mut client).await, "Stable 1");
    assert_eq!(listed(&mut client).await, ["g"]);
    assert_eq!(delete_group(&mut client, 1).await, ErrorCode::NonEmptyGroup);
    assert_eq!(delete_offset(&mut client).await.1, ErrorCode::GroupSubscribedToTopic);
    assert_eq!(committed(&mut client).await, 2, "it was forgotten all the same");
    let me = LeavingMember { member_id, group_instance_id: None };
    let stranger = LeavingMember { group_instance_id: Some("nobody".to_owned()), ..me.clone() };
    let question = LeaveGroupRequest {
        group_id: "g".to_owned(),
        members: vec![stranger, me],
        ..Default::default()
    };
    let left: LeaveGroupResponse = client.ask(ApiKey::LeaveGroup, &question).await;
    let each: Vec<_> = left.members.iter().map(|it| it.error).collect();
    assert_eq!(
        (left.error, each),
        (ErrorCode::None, vec![ErrorCode::UnknownMemberId, ErrorCode::None])
    );
    let done = (ErrorCode::None, ErrorCode::None);
    assert_eq!(delete_offset(&mut client).await, done);
    assert_eq!(committed(&mut client).await, -1);
    commit(&mut client, 1).await;
    assert_eq!(delete_group(&mut client, 1).await, ErrorCode::None);
    assert!(listed(&mut client).await.is_empty());
    let fixture = fixture.restarted().await;
    let mut client = fixture.client().await;
    assert_eq!(committed(&mut client).await, -1, "a restart brings it back");
    assert_eq!(commit(&mut client, 3).await, ErrorCode::None);
    assert_eq!(committed(&mut client).await, 3);
}
