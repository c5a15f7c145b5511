//! Offsets by time, and how far groups have processed.

use base::Timestamp;
use kafka_wire::{
    ErrorCode,
    messages::{
        CommittedPartition, CommittedTopic, FetchedOffset, FetchedOffsetTopic,
        ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListedOffset, ListedTopic,
        OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    },
};

use crate::{
    commits::{Commits, Entry},
    groups::Groups,
    topics::{Topic, Topics},
};

const END: i64 = -1;
const BEGINNING: i64 = -2;

/// Finds offsets by time.
pub(crate) fn list(topics: &Topics, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let listed = request.topics.iter().map(|wanted| {
        let topic = topics.find(&wanted.name);
        let partitions = wanted.partitions.iter().map(|it| find(topic.as_deref(), it)).collect();
        ListedTopic { name: wanted.name.clone(), partitions }
    });
    ListOffsetsResponse { topics: listed.collect() }
}

fn find(topic: Option<&Topic>, asked: &ListOffsetsPartition) -> ListedOffset {
    let partition = asked.partition;
    let number = u32::try_from(partition).ok();
    let place = topic.zip(number).filter(|(topic, it)| *it < topic.config.partitions);
    let Some((topic, number)) = place else {
        let error = ErrorCode::UnknownTopicOrPartition;
        return ListedOffset { partition, error, timestamp: -1, offset: -1 };
    };
    let range = topic.log.range(number);
    let found = match asked.timestamp {
        END => Some((-1, range.end)),
        BEGINNING => Some((-1, range.start)),
        time => {
            topic.log.offset_at(number, Timestamp::from_millis(time)).map(|offset| (time, offset))
        }
    };
    let (timestamp, offset) =
        found.map_or((-1, -1), |(time, offset)| (time, i64::try_from(offset).unwrap_or(i64::MAX)));
    ListedOffset { partition, error: ErrorCode::None, timestamp, offset }
}

/// Keeps how far a group has processed.
pub(crate) async fn commit(
    groups: &Groups,
    topics: &Topics,
    commits: &Commits,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let group = &request.group_id;
    let mut error = groups.may_commit(group, request.generation_id, &request.member_id);
    if error == ErrorCode::None {
        let entries = request.topics.iter().flat_map(|topic| {
            let log = topics.find(&topic.name);
            let given_out = topic
                .partitions
                .iter()
                .filter(move |it| !is_ahead(log.as_deref(), it.partition, it.offset));
            given_out.map(|it| {
                Entry::new(group, &topic.name, it.partition, it.offset, it.metadata.clone())
            })
        });
        if let Err(refused) = commits.keep(entries.collect()).await {
            tracing::warn!(group, error = %refused, "a commit was not kept");
            error = ErrorCode::CoordinatorNotAvailable;
        }
    }
    let answered = request.topics.into_iter().map(|topic| {
        let log = topics.find(&topic.name);
        let answer = |partition: i32, offset: i64| match error {
            ErrorCode::None if is_ahead(log.as_deref(), partition, offset) => {
                ErrorCode::OffsetOutOfRange
            }
            error => error,
        };
        let partitions = topic.partitions.iter().map(|it| CommittedPartition {
            partition: it.partition,
            error: answer(it.partition, it.offset),
        });
        CommittedTopic { partitions: partitions.collect(), name: topic.name }
    });
    OffsetCommitResponse { topics: answered.collect() }
}

/// Whether an offset was not given out yet. It would stand for records that come, and a start
/// begins past what groups have committed.
fn is_ahead(topic: Option<&Topic>, partition: i32, offset: i64) -> bool {
    let Some((topic, partition)) = topic.zip(u32::try_from(partition).ok()) else { return false };
    partition < topic.config.partitions
        && u64::try_from(offset).is_ok_and(|it| it > topic.log.range(partition).end)
}

/// Says how far a group has processed.
pub(crate) fn committed(commits: &Commits, request: &OffsetFetchRequest) -> OffsetFetchResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let found = commits.find(&request.group_id, &topic.name, *partition);
            FetchedOffset {
                partition: *partition,
                offset: found.as_ref().map_or(-1, |it| it.offset),
                metadata: Some(found.and_then(|it| it.metadata).unwrap_or_default()),
                error: ErrorCode::None,
            }
        });
        FetchedOffsetTopic { name: topic.name.clone(), partitions: partitions.collect() }
    });
    OffsetFetchResponse { topics: topics.collect() }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use base::ManualClock;
    use kafka_wire::messages::{CommitPartition, CommitTopic};
    use telemetry::Telemetry;

    use super::*;
    use crate::{config::BrokerConfig, groups::GroupSettings};

    #[tokio::test]
    async fn an_offset_that_was_not_given_out_is_not_committed() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let commits = Commits::open(&directory.path().join("commits"), clock.clone()).unwrap();
        let config = BrokerConfig::new(directory.path());
        let topics = Topics::open(&config, clock.clone(), BTreeMap::new()).unwrap();
        let topic = topics.described("orders".to_owned(), Some(2), &BTreeMap::new()).unwrap();
        topics.create(topic).unwrap();
        let settings = GroupSettings {
            initial_delay: Duration::ZERO,
            session_min: Duration::ZERO,
            session_max: Duration::from_secs(9),
        };
        let members = crate::metrics::BrokerMetrics::new(&Telemetry::disabled()).members;
        let groups = Groups::new(clock, settings, 9, members);
        let partition = |partition, offset| CommitPartition { partition, offset, metadata: None };
        let request = OffsetCommitRequest {
            group_id: "g".to_owned(),
            generation_id: -1,
            topics: vec![CommitTopic {
                name: "orders".to_owned(),
                partitions: vec![partition(0, 0), partition(1, 1)],
            }],
            ..OffsetCommitRequest::default()
        };
        let answer = commit(&groups, &topics, &commits, request).await;
        let errors: Vec<_> = answer.topics[0].partitions.iter().map(|it| it.error).collect();
        assert_eq!(errors, [ErrorCode::None, ErrorCode::OffsetOutOfRange]);
        assert_eq!(commits.find("g", "orders", 0).map(|it| it.offset), Some(0));
        assert_eq!(commits.find("g", "orders", 1), None);
    }
}
