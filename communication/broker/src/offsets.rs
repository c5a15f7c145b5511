//! Offsets by time, and how far groups have processed.

use base::Timestamp;
use kafka_wire::{
    ErrorCode, batch,
    messages::{
        CommitPartition, CommitTopic, CommittedPartition, CommittedTopic, FetchedOffset,
        FetchedOffsetTopic, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse,
        ListedOffset, ListedTopic, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
        OffsetFetchResponse,
    },
};

use crate::{
    commits::{Commits, Entry, KeepError, METADATA_BYTES_MAX},
    groups::Groups,
    topics::{Topic, Topics},
};

const END: i64 = -1;
const BEGINNING: i64 = -2;
/// Batches that a search by time looks into at the most.
const FRAMES_LOOKED_AT: usize = 1_000;

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
    let range = topic.range(number);
    let found = match asked.timestamp {
        END => Some((-1, range.end)),
        BEGINNING => Some((-1, range.start)),
        time => at_time(topic, number, time),
    };
    let (timestamp, offset) =
        found.map_or((-1, -1), |(time, offset)| (time, i64::try_from(offset).unwrap_or(i64::MAX)));
    ListedOffset { partition, error: ErrorCode::None, timestamp, offset }
}

/// The first record of a partition that is not older: its time and its offset.
fn at_time(topic: &Topic, partition: u32, time: i64) -> Option<(i64, u64)> {
    let start = topic.range(partition).start;
    let mut offset = topic.log.offset_at(partition, Timestamp::from_millis(time))?.max(start);
    // The time of a batch is that of its newest record, so the first has it, unless the start lies
    // behind that record.
    for _ in 0..FRAMES_LOOKED_AT {
        let frame = topic.log.read_past_gaps(partition, offset, 1).ok()?.into_iter().next()?;
        match batch::offset_at(&frame.body, frame.base_offset, offset, time) {
            Ok(Some((found, at))) => return Some((at, found)),
            Ok(None) => offset = frame.base_offset + u64::from(frame.records),
            // What cannot be looked into is found as a whole.
            Err(_) => return Some((time, frame.base_offset.max(start))),
        }
    }
    Some((time, offset))
}

/// Keeps how far a group has processed.
pub(crate) async fn commit(
    groups: &Groups,
    topics: &Topics,
    commits: &Commits,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let group = &request.group_id;
    let mut refused = groups.may_commit(group, request.generation_id, &request.member_id);
    let (mut entries, mut answered) = (Vec::new(), Vec::with_capacity(request.topics.len()));
    for CommitTopic { name, partitions } in request.topics {
        let topic = topics.find(&name);
        let mut judged = Vec::with_capacity(partitions.len());
        for CommitPartition { partition, offset, metadata } in partitions {
            let error = judge(topic.as_deref(), partition, offset, metadata.as_deref());
            if error == ErrorCode::None {
                entries.push(Entry::new(group, &name, partition, offset, metadata));
            }
            judged.push(CommittedPartition { partition, error });
        }
        answered.push(CommittedTopic { name, partitions: judged });
    }
    if refused == ErrorCode::None
        && !entries.is_empty()
        && let Err(error) = commits.keep(entries).await
    {
        tracing::warn!(group, %error, "a commit was not kept");
        refused = match error {
            KeepError::TooMany => ErrorCode::ThrottlingQuotaExceeded,
            KeepError::Log(_) => ErrorCode::CoordinatorNotAvailable,
        };
    }
    if refused != ErrorCode::None {
        let partitions = answered.iter_mut().flat_map(|it| &mut it.partitions);
        let taken = partitions.filter(|it| it.error == ErrorCode::None);
        taken.for_each(|it| it.error = refused);
    }
    OffsetCommitResponse { topics: answered }
}

/// Whether a commit makes sense. An offset that was not given out yet would stand for records that
/// come, and a start begins past what groups have committed.
fn judge(topic: Option<&Topic>, partition: i32, offset: i64, metadata: Option<&str>) -> ErrorCode {
    let place = topic.zip(u32::try_from(partition).ok());
    let Some((topic, partition)) = place.filter(|(topic, it)| *it < topic.config.partitions) else {
        return ErrorCode::UnknownTopicOrPartition;
    };
    if u64::try_from(offset).is_ok_and(|it| it > topic.log.range(partition).end) {
        return ErrorCode::OffsetOutOfRange;
    }
    if metadata.is_some_and(|it| it.len() > METADATA_BYTES_MAX) {
        return ErrorCode::OffsetMetadataTooLarge;
    }
    ErrorCode::None
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
    use telemetry::Telemetry;

    use super::*;
    use crate::{config::BrokerConfig, groups::GroupSettings};

    #[tokio::test]
    async fn what_makes_no_sense_is_not_committed_and_harms_nothing_beside_it() {
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
            topics: vec![
                CommitTopic {
                    name: "orders".to_owned(),
                    partitions: vec![
                        partition(0, 0),
                        partition(1, 1),
                        partition(2, 0),
                        partition(-1, 0),
                    ],
                },
                CommitTopic { name: "nothing".to_owned(), partitions: vec![partition(0, 0)] },
                CommitTopic {
                    name: "orders".to_owned(),
                    partitions: vec![CommitPartition {
                        metadata: Some("x".repeat(4_097)),
                        ..partition(1, 0)
                    }],
                },
            ],
            ..OffsetCommitRequest::default()
        };
        let answer = commit(&groups, &topics, &commits, request).await;
        let of = |at: usize| -> Vec<_> {
            answer.topics[at].partitions.iter().map(|it| it.error).collect()
        };
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(of(0), [ErrorCode::None, ErrorCode::OffsetOutOfRange, unknown, unknown]);
        assert_eq!(of(1), [unknown]);
        assert_eq!(of(2), [ErrorCode::OffsetMetadataTooLarge]);
        assert_eq!(commits.find("g", "orders", 0).map(|it| it.offset), Some(0));
        assert_eq!(commits.find("g", "orders", 1), None);
    }
}
