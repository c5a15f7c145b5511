//! The messages, as the protocol guide gives them, for the versions in [`SUPPORTED`](crate::SUPPORTED).

pub mod admin;
pub mod number;
pub mod sasl;

use bytes::Bytes;

use crate::{api::ApiKey, error::ErrorCode, field::message};

impl ApiVersionsResponse {
    /// Whether the broker speaks a request in a version.
    #[must_use]
    pub fn speaks(&self, api: ApiKey, version: i16) -> bool {
        let of = self.apis.iter().find(|it| it.api_key == api.key());
        of.is_some_and(|it| (it.min_version..=it.max_version).contains(&version))
    }
}

message! {
    /// Which versions the broker speaks. Read and written by hand from version 3 on.
    ApiVersionsRequest {}

    /// The versions of one API.
    ApiVersion {
        /// Its number.
        api_key: i16;
        /// Lowest version.
        min_version: i16;
        /// Highest version.
        max_version: i16;
    }

    /// What the broker speaks.
    ApiVersionsResponse {
        /// Why not.
        error: ErrorCode;
        /// Every API.
        apis: Vec<ApiVersion>;
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 1;
    }

    /// Which brokers and topics there are.
    MetadataRequest {
        /// Names; none asks for all.
        topics: Vec<String>;
        /// Whether a topic that is missing may be made.
        allow_auto_topic_creation: bool, since 4;
    }

    /// One broker.
    MetadataBroker {
        /// Its number.
        node_id: i32;
        /// Where it is.
        host: String;
        /// Where it is.
        port: i32;
        /// Where it stands.
        rack: Option<String>;
    }

    /// One partition.
    MetadataPartition {
        /// Why not.
        error: ErrorCode;
        /// Its number.
        partition: i32;
        /// Broker that leads it.
        leader: i32;
        /// Brokers that have it.
        replicas: Vec<i32>;
        /// Brokers that are in step.
        in_sync: Vec<i32>;
    }

    /// One topic.
    MetadataTopic {
        /// Why not.
        error: ErrorCode;
        /// Its name.
        name: String;
        /// Whether it is the broker's own.
        is_internal: bool;
        /// Its partitions.
        partitions: Vec<MetadataPartition>;
    }

    /// Brokers and topics.
    MetadataResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 3;
        /// The brokers.
        brokers: Vec<MetadataBroker>;
        /// Name of the cluster.
        cluster_id: Option<String>, since 2;
        /// The broker that decides.
        controller_id: i32;
        /// The topics.
        topics: Vec<MetadataTopic>;
    }

    /// Which broker has a partition of a new topic.
    Assignment {
        /// The partition.
        partition: i32;
        /// The brokers.
        brokers: Vec<i32>;
    }

    /// One setting of a new topic.
    TopicSetting {
        /// Its name.
        name: String;
        /// Its value.
        value: Option<String>;
    }

    /// One new topic.
    NewTopic {
        /// Its name.
        name: String;
        /// How many partitions; -1 for the broker's default.
        partitions: i32;
        /// How many brokers have each.
        replication: i16;
        /// Which.
        assignments: Vec<Assignment>;
        /// Its settings.
        settings: Vec<TopicSetting>;
    }

    /// Makes topics.
    CreateTopicsRequest {
        /// The topics.
        topics: Vec<NewTopic>;
        /// How long the client waits.
        timeout_ms: i32;
        /// Whether to say only what would happen.
        validate_only: bool;
    }

    /// What became of one new topic.
    CreatedTopic {
        /// Its name.
        name: String;
        /// Why not.
        error: ErrorCode;
        /// Why not, for people.
        message: Option<String>;
    }

    /// What became of the new topics.
    CreateTopicsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// The topics.
        topics: Vec<CreatedTopic>;
    }

    /// Asks for a number that no other producer has.
    InitProducerIdRequest {
        /// For transactions, which are not spoken.
        transactional_id: Option<String>;
        /// How long one may take.
        transaction_timeout_ms: i32;
    }

    /// The number.
    InitProducerIdResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// Why not.
        error: ErrorCode;
        /// The number.
        producer_id: i64;
        /// Its life.
        producer_epoch: i16;
    }

    /// Batches for one partition.
    ProducePartition {
        /// The partition.
        partition: i32;
        /// The batches.
        records: Bytes;
    }

    /// Batches for one topic.
    ProduceTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<ProducePartition>;
    }

    /// Appends.
    ProduceRequest {
        /// For transactions, which are not spoken.
        transactional_id: Option<String>;
        /// 0 asks for no answer, 1 and -1 for one after the sync.
        acks: i16;
        /// How long the client waits.
        timeout_ms: i32;
        /// The batches.
        topics: Vec<ProduceTopic>;
    }

    /// What became of the batches for one partition.
    ProducedPartition {
        /// The partition.
        partition: i32;
        /// Why not.
        error: ErrorCode;
        /// Offset of the first record.
        base_offset: i64;
        /// When the broker appended it, where its clock counts; else -1.
        log_append_time: i64;
    }

    /// What became of the batches for one topic.
    ProducedTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<ProducedPartition>;
    }

    /// What became of the batches.
    ProduceResponse {
        /// The topics.
        topics: Vec<ProducedTopic>;
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
    }

    /// From where to read one partition.
    FetchPartition {
        /// The partition.
        partition: i32;
        /// From that offset on.
        offset: i64;
        /// As many bytes at the most, but one batch.
        bytes_max: i32;
    }

    /// From where to read one topic.
    FetchTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<FetchPartition>;
    }

    /// Reads, and waits for something to read.
    FetchRequest {
        /// -1 for a client.
        replica_id: i32;
        /// How long to wait for `bytes_min`.
        max_wait_ms: i32;
        /// How much is worth an answer.
        bytes_min: i32;
        /// How much an answer holds at the most.
        bytes_max: i32;
        /// For transactions, which are not spoken.
        isolation_level: i8;
        /// From where.
        topics: Vec<FetchTopic>;
    }

    /// A transaction that came to nothing; there are none.
    AbortedTransaction {
        /// Its producer.
        producer_id: i64;
        /// Where it began.
        first_offset: i64;
    }

    /// What one partition has.
    FetchedPartition {
        /// The partition.
        partition: i32;
        /// Why not.
        error: ErrorCode;
        /// The offset that comes next.
        high_watermark: i64;
        /// The same.
        last_stable_offset: i64;
        /// None.
        aborted: Vec<AbortedTransaction>;
        /// The batches.
        records: Bytes;
    }

    /// What one topic has.
    FetchedTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<FetchedPartition>;
    }

    /// What there is to read.
    FetchResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// The topics.
        topics: Vec<FetchedTopic>;
    }

    /// A time in one partition.
    ListOffsetsPartition {
        /// The partition.
        partition: i32;
        /// Milliseconds since 1970; -1 for the end, -2 for the beginning.
        timestamp: i64;
    }

    /// Times in one topic.
    ListOffsetsTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<ListOffsetsPartition>;
    }

    /// Which offsets stand at certain times.
    ListOffsetsRequest {
        /// -1 for a client.
        replica_id: i32;
        /// Where.
        topics: Vec<ListOffsetsTopic>;
    }

    /// An offset of one partition.
    ListedOffset {
        /// The partition.
        partition: i32;
        /// Why not.
        error: ErrorCode;
        /// The record's time, or -1.
        timestamp: i64;
        /// The offset, or -1.
        offset: i64;
    }

    /// Offsets of one topic.
    ListedTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<ListedOffset>;
    }

    /// The offsets.
    ListOffsetsResponse {
        /// The topics.
        topics: Vec<ListedTopic>;
    }

    /// Who coordinates a group.
    FindCoordinatorRequest {
        /// The group.
        key: String;
    }

    /// The coordinator.
    FindCoordinatorResponse {
        /// Why not.
        error: ErrorCode;
        /// Its number.
        node_id: i32;
        /// Where it is.
        host: String;
        /// Where it is.
        port: i32;
    }

    /// One way of sharing that a member understands.
    JoinProtocol {
        /// Its name.
        name: String;
        /// What the member says in it.
        metadata: Bytes;
    }

    /// Becomes a member of a group.
    JoinGroupRequest {
        /// The group.
        group_id: String;
        /// Milliseconds of silence after which the member is gone.
        session_timeout_ms: i32;
        /// Milliseconds that the group waits for it to join again.
        rebalance_timeout_ms: i32, since 1;
        /// Its id; empty for a new member.
        member_id: String;
        /// A name that outlives the process.
        group_instance_id: Option<String>, since 5;
        /// `consumer`.
        protocol_type: String;
        /// The ways of sharing that it understands, best first.
        protocols: Vec<JoinProtocol>;
    }

    /// One member, as the leader hears of it.
    JoinedMember {
        /// Its id.
        member_id: String;
        /// Its name that outlives the process.
        group_instance_id: Option<String>, since 5;
        /// What it says in the way of sharing that was chosen.
        metadata: Bytes;
    }

    /// The group's new generation.
    JoinGroupResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 2;
        /// Why not.
        error: ErrorCode;
        /// Its number.
        generation_id: i32;
        /// The way of sharing.
        protocol_name: String;
        /// The member that shares.
        leader: String;
        /// The asker's id.
        member_id: String;
        /// Every member; for the leader only.
        members: Vec<JoinedMember>;
    }

    /// What one member gets.
    SyncAssignment {
        /// The member.
        member_id: String;
        /// Its share.
        assignment: Bytes;
    }

    /// Hands the shares in, or asks for one's own.
    SyncGroupRequest {
        /// The group.
        group_id: String;
        /// Its generation.
        generation_id: i32;
        /// The asker's id.
        member_id: String;
        /// Its name that outlives the process.
        group_instance_id: Option<String>, since 3;
        /// Every share; from the leader only.
        assignments: Vec<SyncAssignment>;
    }

    /// One's own share.
    SyncGroupResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 1;
        /// Why not.
        error: ErrorCode;
        /// The share.
        assignment: Bytes;
    }

    /// Says that the member is alive.
    HeartbeatRequest {
        /// The group.
        group_id: String;
        /// Its generation.
        generation_id: i32;
        /// The member's id.
        member_id: String;
        /// Its name that outlives the process.
        group_instance_id: Option<String>, since 3;
    }

    /// Whether it still belongs to the generation.
    HeartbeatResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 1;
        /// Why not.
        error: ErrorCode;
    }

    /// One member that leaves, by its id or by its name (KIP-345).
    LeavingMember {
        /// Its id; empty for whoever has the name.
        member_id: String;
        /// Its name that outlives the process.
        group_instance_id: Option<String>;
    }

    /// Leaves a group.
    LeaveGroupRequest {
        /// The group.
        group_id: String;
        /// The member's id.
        member_id: String, until 2;
        /// Those that leave.
        members: Vec<LeavingMember>, since 3;
    }

    /// Whether one was a member.
    LeftMember {
        /// Its id, as it was asked for.
        member_id: String;
        /// Its name that outlives the process.
        group_instance_id: Option<String>;
        /// Why not.
        error: ErrorCode;
    }

    /// Whether it was a member.
    LeaveGroupResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 1;
        /// Why not.
        error: ErrorCode;
        /// Of each that should leave.
        members: Vec<LeftMember>, since 3;
    }

    /// How far one partition is processed.
    CommitPartition {
        /// The partition.
        partition: i32;
        /// The offset that comes next.
        offset: i64;
        /// Anything the client wants to find again.
        metadata: Option<String>;
    }

    /// How far one topic is processed.
    CommitTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<CommitPartition>;
    }

    /// Keeps how far a group has processed.
    OffsetCommitRequest {
        /// The group.
        group_id: String;
        /// Its generation; -1 for a client that is no member.
        generation_id: i32;
        /// The member's id.
        member_id: String;
        /// How long it is kept; -1 for the broker's default.
        retention_ms: i64;
        /// How far.
        topics: Vec<CommitTopic>;
    }

    /// Whether one partition was kept.
    CommittedPartition {
        /// The partition.
        partition: i32;
        /// Why not.
        error: ErrorCode;
    }

    /// Whether one topic was kept.
    CommittedTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<CommittedPartition>;
    }

    /// Whether it was kept.
    OffsetCommitResponse {
        /// The topics.
        topics: Vec<CommittedTopic>;
    }

    /// Partitions of one topic.
    OffsetFetchTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<i32>;
    }

    /// Asks how far a group has processed.
    OffsetFetchRequest {
        /// The group.
        group_id: String;
        /// Where.
        topics: Vec<OffsetFetchTopic>;
    }

    /// How far one partition is processed.
    FetchedOffset {
        /// The partition.
        partition: i32;
        /// The offset that comes next; -1 when nothing is kept.
        offset: i64;
        /// What the client wanted to find again.
        metadata: Option<String>;
        /// Why not.
        error: ErrorCode;
    }

    /// How far one topic is processed.
    FetchedOffsetTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<FetchedOffset>;
    }

    /// How far.
    OffsetFetchResponse {
        /// The topics.
        topics: Vec<FetchedOffsetTopic>;
    }
}
