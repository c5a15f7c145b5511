//! What administrators ask about topics: remove them, their oldest records, their settings.
//!
//! What this broker cannot do is refused in the protocol's words, and said in the log.

use std::sync::Arc;

use kafka_wire::{
    ErrorCode,
    messages::admin::{
        AlteredResource, AlteredSettings, CreatePartitionsRequest, CreatePartitionsResponse,
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
        DeleteTopicsResponse, DeletedRecords, DeletedRecordsTopic, DescribeConfigsRequest,
        DescribeConfigsResponse, DescribedResource, DescribedSettings,
        IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, Outcome, OutcomeInWords,
    },
};

use crate::{
    commits::Commits,
    settings::{self, RETENTION_BYTES, RETENTION_MS},
    topic_error::{TopicError, code_of, refuse},
    topics::{Topic, Topics},
};

/// The kind of a resource that is a topic.
const TOPIC: i8 = 2;
/// Operations on a setting.
const SET: i8 = 0;
const TAKE_BACK: i8 = 1;

/// Removes topics, one after the other.
pub(crate) async fn delete_topics(
    topics: &Topics,
    commits: &Commits,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let mut outcomes = Vec::with_capacity(request.names.len());
    for name in request.names {
        let error = delete_topic(topics, commits, &name).await;
        outcomes.push(Outcome { name, error });
    }
    DeleteTopicsResponse { throttle_ms: 0, topics: outcomes }
}

async fn delete_topic(topics: &Topics, commits: &Commits, name: &str) -> ErrorCode {
    if topics.find(name).is_none() {
        return ErrorCode::UnknownTopicOrPartition;
    }
    // First: commits that outlive their topic would make the next of its name begin behind them.
    if let Err(error) = commits.clear(|_, topic, _| topic == name).await {
        tracing::warn!(topic = name, %error, "a topic was not removed: what groups committed stays");
        return ErrorCode::CoordinatorNotAvailable;
    }
    match topics.delete(name).await {
        Ok(()) => {
            tracing::info!(topic = name, "a topic was removed at the wish of a client");
            ErrorCode::None
        }
        Err(error) => {
            tracing::warn!(topic = name, %error, "a topic was not removed");
            code_of(&error)
        }
    }
}

/// Moves the beginning of partitions. The bytes go with their segment.
pub(crate) fn delete_records(
    topics: &Topics,
    request: &DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let answered = request.topics.iter().map(|asked| {
        let topic = topics.find(&asked.name);
        let partition = |it: &DeleteRecordsPartition| {
            let moved = move_start(topics, topic.as_deref(), it);
            let error = moved.as_ref().err().copied().unwrap_or_default();
            let low_watermark =
                moved.map_or(-1, |offset| i64::try_from(offset).unwrap_or(i64::MAX));
            DeletedRecords { partition: it.partition, low_watermark, error }
        };
        let partitions = asked.partitions.iter().map(partition).collect();
        DeletedRecordsTopic { name: asked.name.clone(), partitions }
    });
    DeleteRecordsResponse { throttle_ms: 0, topics: answered.collect() }
}

fn move_start(
    topics: &Topics,
    topic: Option<&Topic>,
    asked: &DeleteRecordsPartition,
) -> Result<u64, ErrorCode> {
    let place = topic.zip(u32::try_from(asked.partition).ok());
    let place = place.filter(|(topic, it)| *it < topic.config.partitions);
    let (topic, partition) = place.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let range = topic.range(partition);
    let to = match asked.offset {
        -1 => range.end,
        offset => u64::try_from(offset).map_err(|_| ErrorCode::OffsetOutOfRange)?,
    };
    if to > range.end {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if to > range.start {
        topics.move_start(topic, partition, to).map_err(|error| {
            tracing::warn!(topic = topic.config.name, partition, %error, "records were not removed");
            code_of(&error)
        })?;
    }
    Ok(to.max(range.start))
}

/// The number of partitions is part of how a log lies on the disk.
pub(crate) fn create_partitions(
    topics: &Topics,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let answered = request.topics.into_iter().map(|asked| {
        let (error, message) = if topics.find(&asked.name).is_some() {
            tracing::warn!(
                topic = asked.name,
                wanted = asked.count,
                "a client asked for more partitions, which are set when a topic is made"
            );
            let words = "the partitions of a topic are set when it is made: make another topic";
            (ErrorCode::InvalidPartitions, Some(words.to_owned()))
        } else {
            (ErrorCode::UnknownTopicOrPartition, None)
        };
        OutcomeInWords { name: asked.name, error, message }
    });
    CreatePartitionsResponse { throttle_ms: 0, topics: answered.collect() }
}

/// Says the settings of topics.
pub(crate) fn describe_configs(
    topics: &Topics,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let described = request.resources.into_iter().map(|asked| {
        let DescribedResource { kind, name, settings } = asked;
        let found = find(topics, kind, &name).map(|topic| {
            let all = settings::describe(&topic.config_now(), topic.log.append_bytes_max());
            let is_asked = |it: &String| settings.is_empty() || settings.contains(it);
            all.into_iter().filter(|it| is_asked(&it.name)).collect()
        });
        let (error, message) = in_words(found.as_ref().err());
        DescribedSettings { error, message, kind, name, settings: found.unwrap_or_default() }
    });
    DescribeConfigsResponse { throttle_ms: 0, resources: described.collect() }
}

fn find(topics: &Topics, kind: i8, name: &str) -> Result<Arc<Topic>, TopicError> {
    if kind != TOPIC {
        let words = "only the settings of topics are told; those of the broker are in its file";
        return Err(refuse(ErrorCode::InvalidRequest, words));
    }
    let missing = || refuse(ErrorCode::UnknownTopicOrPartition, "there is no such topic");
    topics.find(name).ok_or_else(missing)
}

fn in_words(error: Option<&TopicError>) -> (ErrorCode, Option<String>) {
    error.map_or((ErrorCode::None, None), |it| (code_of(it), Some(it.to_string())))
}

/// Changes settings of topics; each resource wholly or not.
pub(crate) fn alter_configs(
    topics: &Topics,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let validate_only = request.validate_only;
    let altered = request.resources.into_iter().map(|asked| {
        let altered = alter(topics, &asked, validate_only);
        if let Err(error) = &altered {
            tracing::info!(topic = asked.name, %error, "settings were not changed");
        }
        let (error, message) = in_words(altered.as_ref().err());
        AlteredSettings { error, message, kind: asked.kind, name: asked.name }
    });
    IncrementalAlterConfigsResponse { throttle_ms: 0, resources: altered.collect() }
}

fn alter(topics: &Topics, asked: &AlteredResource, validate_only: bool) -> Result<(), TopicError> {
    let topic = find(topics, asked.kind, &asked.name)?;
    let mut config = topic.config_now();
    for setting in &asked.settings {
        let name = setting.name.as_str();
        let value = match (setting.operation, setting.value.as_deref()) {
            (SET, Some(value)) => Some(value),
            (TAKE_BACK, _) => None,
            _ => {
                let words = format!("`{name}` is no list, and needs a value");
                return Err(refuse(ErrorCode::InvalidConfig, words));
            }
        };
        let bound = |value: Option<&str>| value.map_or(Ok(None), |it| settings::bound(name, it));
        match (name, value) {
            (RETENTION_MS, value) => config.retention_ms = bound(value)?,
            (RETENTION_BYTES, value) => config.retention_bytes = bound(value)?,
            (name, Some(value)) => settings::check_fixed(name, value)?,
            // It has one value here, which is the default.
            (_, None) => {}
        }
    }
    if validate_only { Ok(()) } else { topics.alter(&topic, config) }
}
