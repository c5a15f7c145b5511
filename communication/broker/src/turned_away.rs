//! What a client is answered that may not do what it asks.

use kafka_wire::{
    ErrorCode,
    messages::{
        CommitTopic, CommittedPartition, CommittedTopic, CreatedTopic, FetchTopic, FetchedOffset,
        FetchedOffsetTopic, FetchedPartition, FetchedTopic, ListOffsetsTopic, ListedOffset,
        ListedTopic, NewTopic, OffsetFetchTopic, ProduceTopic, ProducedPartition, ProducedTopic,
    },
};

/// Of a topic.
pub(crate) const OF_TOPIC: ErrorCode = ErrorCode::TopicAuthorizationFailed;
/// Of a group.
pub(crate) const OF_GROUP: ErrorCode = ErrorCode::GroupAuthorizationFailed;

pub(crate) fn producer(topic: &ProduceTopic) -> ProducedTopic {
    let partitions = topic.partitions.iter().map(|it| ProducedPartition {
        partition: it.partition,
        error: OF_TOPIC,
        base_offset: -1,
        log_append_time: -1,
    });
    ProducedTopic { name: topic.name.clone(), partitions: partitions.collect() }
}

pub(crate) fn consumer(topic: &FetchTopic) -> FetchedTopic {
    let partitions = topic.partitions.iter().map(|it| FetchedPartition {
        partition: it.partition,
        error: OF_TOPIC,
        high_watermark: -1,
        last_stable_offset: -1,
        ..FetchedPartition::default()
    });
    FetchedTopic { name: topic.name.clone(), partitions: partitions.collect() }
}

pub(crate) fn lister(topic: &ListOffsetsTopic) -> ListedTopic {
    let partitions = topic.partitions.iter().map(|it| ListedOffset {
        partition: it.partition,
        error: OF_TOPIC,
        timestamp: -1,
        offset: -1,
    });
    ListedTopic { name: topic.name.clone(), partitions: partitions.collect() }
}

pub(crate) fn maker(topic: NewTopic) -> CreatedTopic {
    let message = Some("this client may not produce to it, and so not make it".to_owned());
    CreatedTopic { name: topic.name, error: OF_TOPIC, message }
}

pub(crate) fn committer(topics: Vec<CommitTopic>, error: ErrorCode) -> Vec<CommittedTopic> {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter();
        let denied = |it: i32| CommittedPartition { partition: it, error };
        CommittedTopic {
            name: topic.name,
            partitions: partitions.map(|it| denied(it.partition)).collect(),
        }
    });
    topics.collect()
}

pub(crate) fn asker(topic: OffsetFetchTopic) -> FetchedOffsetTopic {
    let denied = |it: i32| FetchedOffset {
        partition: it,
        offset: -1,
        metadata: Some(String::new()),
        error: OF_TOPIC,
    };
    let partitions = topic.partitions.into_iter().map(denied).collect();
    FetchedOffsetTopic { name: topic.name, partitions }
}
