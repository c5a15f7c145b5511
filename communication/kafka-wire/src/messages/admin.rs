//! What administrators ask: topics, their settings, groups.

use bytes::Bytes;

use crate::{error::ErrorCode, field::message};

message! {
    /// Removes topics with all that is in them.
    DeleteTopicsRequest {
        /// Their names.
        names: Vec<String>;
        /// How long the client waits.
        timeout_ms: i32;
    }

    /// What became of one topic, or of one group.
    Outcome {
        /// Its name.
        name: String;
        /// Why not.
        error: ErrorCode;
    }

    /// What became of the topics.
    DeleteTopicsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 1;
        /// The topics.
        topics: Vec<Outcome>;
    }

    /// Up to where one partition loses its records.
    DeleteRecordsPartition {
        /// The partition.
        partition: i32;
        /// The first offset that stays; -1 for the end.
        offset: i64;
    }

    /// Up to where one topic loses its records.
    DeleteRecordsTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<DeleteRecordsPartition>;
    }

    /// Removes the oldest records.
    DeleteRecordsRequest {
        /// Where.
        topics: Vec<DeleteRecordsTopic>;
        /// How long the client waits.
        timeout_ms: i32;
    }

    /// Where one partition begins now.
    DeletedRecords {
        /// The partition.
        partition: i32;
        /// Its first offset.
        low_watermark: i64;
        /// Why not.
        error: ErrorCode;
    }

    /// Where one topic begins now.
    DeletedRecordsTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<DeletedRecords>;
    }

    /// Where the topics begin now.
    DeleteRecordsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// The topics.
        topics: Vec<DeletedRecordsTopic>;
    }

    /// Which brokers have a new partition.
    NewPartition {
        /// The brokers.
        brokers: Vec<i32>;
    }

    /// How many partitions a topic is to have.
    MorePartitions {
        /// Its name.
        name: String;
        /// How many in all.
        count: i32;
        /// Which brokers have the new ones.
        assignments: Vec<NewPartition>;
    }

    /// Gives topics more partitions.
    CreatePartitionsRequest {
        /// The topics.
        topics: Vec<MorePartitions>;
        /// How long the client waits.
        timeout_ms: i32;
        /// Whether to say only what would happen.
        validate_only: bool;
    }

    /// What became of one topic.
    OutcomeInWords {
        /// Its name.
        name: String;
        /// Why not.
        error: ErrorCode;
        /// Why not, for people.
        message: Option<String>;
    }

    /// What became of the topics.
    CreatePartitionsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// The topics.
        topics: Vec<OutcomeInWords>;
    }

    /// Whose settings.
    DescribedResource {
        /// 2 for a topic, 4 for a broker.
        kind: i8;
        /// Its name.
        name: String;
        /// Which settings; none asks for all.
        settings: Vec<String>;
    }

    /// Asks for settings.
    DescribeConfigsRequest {
        /// Whose.
        resources: Vec<DescribedResource>;
        /// Whether to name where else a setting could come from.
        with_synonyms: bool;
    }

    /// Where else a setting could come from.
    Synonym {
        /// Its name there.
        name: String;
        /// Its value there.
        value: Option<String>;
        /// Where.
        source: i8;
    }

    /// One setting.
    DescribedSetting {
        /// Its name.
        name: String;
        /// Its value.
        value: Option<String>;
        /// Whether it cannot be changed.
        is_read_only: bool;
        /// 1 for one of its own, 5 for the default.
        source: i8;
        /// Whether it is a secret.
        is_sensitive: bool;
        /// Where else it could come from.
        synonyms: Vec<Synonym>;
    }

    /// The settings of one resource.
    DescribedSettings {
        /// Why not.
        error: ErrorCode;
        /// Why not, for people.
        message: Option<String>;
        /// As it was asked.
        kind: i8;
        /// As it was asked.
        name: String;
        /// The settings.
        settings: Vec<DescribedSetting>;
    }

    /// The settings.
    DescribeConfigsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// Of each resource.
        resources: Vec<DescribedSettings>;
    }

    /// A change to one setting.
    AlteredSetting {
        /// Its name.
        name: String;
        /// 0 sets, 1 takes back to the default, 2 and 3 add to and take from a list.
        operation: i8;
        /// The value.
        value: Option<String>;
    }

    /// Changes to the settings of one resource.
    AlteredResource {
        /// 2 for a topic, 4 for a broker.
        kind: i8;
        /// Its name.
        name: String;
        /// The changes.
        settings: Vec<AlteredSetting>;
    }

    /// Changes settings.
    IncrementalAlterConfigsRequest {
        /// Whose.
        resources: Vec<AlteredResource>;
        /// Whether to say only what would happen.
        validate_only: bool;
    }

    /// What became of the changes to one resource.
    AlteredSettings {
        /// Why not.
        error: ErrorCode;
        /// Why not, for people.
        message: Option<String>;
        /// As it was asked.
        kind: i8;
        /// As it was asked.
        name: String;
    }

    /// What became of the changes.
    IncrementalAlterConfigsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// Of each resource.
        resources: Vec<AlteredSettings>;
    }

    /// Asks how groups are.
    DescribeGroupsRequest {
        /// Their names.
        groups: Vec<String>;
    }

    /// One member, as others see it.
    DescribedMember {
        /// Its id.
        member_id: String;
        /// How it called itself.
        client_id: String;
        /// Where it is.
        client_host: String;
        /// What it says in the way of sharing that was chosen.
        metadata: Bytes;
        /// Its share.
        assignment: Bytes;
    }

    /// One group.
    DescribedGroup {
        /// Why not.
        error: ErrorCode;
        /// Its name.
        group_id: String;
        /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Dead`.
        state: String;
        /// `consumer`.
        protocol_type: String;
        /// The way of sharing.
        protocol: String;
        /// Its members.
        members: Vec<DescribedMember>;
    }

    /// How groups are.
    DescribeGroupsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 1;
        /// The groups.
        groups: Vec<DescribedGroup>;
    }

    /// Asks which groups there are.
    ListGroupsRequest {}

    /// One group.
    ListedGroup {
        /// Its name.
        group_id: String;
        /// `consumer`; empty for one that only committed.
        protocol_type: String;
    }

    /// Which groups there are.
    ListGroupsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32, since 1;
        /// Why not.
        error: ErrorCode;
        /// The groups.
        groups: Vec<ListedGroup>;
    }

    /// Forgets groups and what they committed.
    DeleteGroupsRequest {
        /// Their names.
        groups: Vec<String>;
    }

    /// What became of the groups.
    DeleteGroupsResponse {
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// The groups.
        groups: Vec<Outcome>;
    }

    /// One partition.
    OffsetDeletePartition {
        /// Its number.
        partition: i32;
    }

    /// One topic.
    OffsetDeleteTopic {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<OffsetDeletePartition>;
    }

    /// Forgets what a group committed.
    OffsetDeleteRequest {
        /// The group.
        group_id: String;
        /// Where.
        topics: Vec<OffsetDeleteTopic>;
    }

    /// What became of one partition.
    DeletedOffset {
        /// Its number.
        partition: i32;
        /// Why not.
        error: ErrorCode;
    }

    /// What became of one topic.
    DeletedOffsets {
        /// Its name.
        name: String;
        /// Its partitions.
        partitions: Vec<DeletedOffset>;
    }

    /// What became of what the group committed.
    OffsetDeleteResponse {
        /// Why not.
        error: ErrorCode;
        /// Milliseconds that the client was held back.
        throttle_ms: i32;
        /// The topics.
        topics: Vec<DeletedOffsets>;
    }
}
