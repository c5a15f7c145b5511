//! Reads, and waits for something to read: never past what is on stable storage.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use durable_log::ReadError;
use kafka_wire::{
    ErrorCode,
    messages::{
        FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchedPartition, FetchedTopic,
    },
};
use tokio::time::{Instant, sleep_until};

use crate::{
    batches::record_set,
    config::BrokerConfig,
    topics::{Topic, Topics},
};

type Change = Pin<Box<dyn Future<Output = u64> + Send>>;

/// Answers as soon as there is as much as the client wants, or its wait is over.
pub(crate) async fn fetch(
    topics: &Topics,
    config: &BrokerConfig,
    request: FetchRequest,
) -> FetchResponse {
    let number = |it: i32| usize::try_from(it).unwrap_or(0);
    let bytes_max = number(request.bytes_max).min(config.fetch_bytes_max);
    let wait = u64::try_from(request.max_wait_ms).unwrap_or(0).min(config.fetch_wait_max_ms);
    let deadline = Instant::now() + Duration::from_millis(wait);
    let asked: Vec<_> = request.topics.into_iter().map(|it| (topics.find(&it.name), it)).collect();
    loop {
        // Looked at before the logs are read, so that no commit in between is missed.
        let mut seen: Vec<(Arc<Topic>, u64)> = Vec::new();
        for topic in asked.iter().filter_map(|it| it.0.clone()) {
            let version = topic.log.version();
            seen.push((topic, version));
        }
        let found = read_all(&asked, bytes_max);
        if found.bytes >= number(request.bytes_min) || found.failed || Instant::now() >= deadline {
            return FetchResponse { throttle_ms: 0, topics: found.topics };
        }
        let changes = seen.into_iter().map(|(topic, version)| -> Change {
            Box::pin(async move { topic.log.changed(version).await })
        });
        tokio::select! {
            () = any(changes.collect()) => {}
            () = sleep_until(deadline) => {}
        }
    }
}

/// Waits for the first of them.
fn any(mut changes: Vec<Change>) -> impl Future<Output = ()> {
    std::future::poll_fn(move |context| {
        let ready = changes.iter_mut().any(|it| it.as_mut().poll(context).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
}

struct Found {
    topics: Vec<FetchedTopic>,
    bytes: usize,
    /// Something is wrong that the client should hear of now.
    failed: bool,
}

fn read_all(asked: &[(Option<Arc<Topic>>, FetchTopic)], bytes_max: usize) -> Found {
    let mut found = Found { topics: Vec::with_capacity(asked.len()), bytes: 0, failed: false };
    for (topic, wanted) in asked {
        let mut partitions = Vec::with_capacity(wanted.partitions.len());
        for partition in &wanted.partitions {
            let left = bytes_max.saturating_sub(found.bytes);
            let fetched = read(topic.as_deref(), partition, left, found.bytes == 0);
            found.bytes += fetched.records.len();
            found.failed |= fetched.error != ErrorCode::None;
            partitions.push(fetched);
        }
        found.topics.push(FetchedTopic { name: wanted.name.clone(), partitions });
    }
    found
}

/// Reads one partition. Past the bound nothing is read but the first batch of an answer.
fn read(
    topic: Option<&Topic>,
    asked: &FetchPartition,
    left: usize,
    first: bool,
) -> FetchedPartition {
    let mut fetched = FetchedPartition {
        partition: asked.partition,
        error: ErrorCode::UnknownTopicOrPartition,
        high_watermark: -1,
        last_stable_offset: -1,
        ..FetchedPartition::default()
    };
    let number = u32::try_from(asked.partition).ok();
    let place = topic.zip(number).filter(|(topic, it)| *it < topic.config.partitions);
    let Some((topic, partition)) = place else { return fetched };
    let end = i64::try_from(topic.log.range(partition).end).unwrap_or(i64::MAX);
    (fetched.high_watermark, fetched.last_stable_offset) = (end, end);
    let Ok(offset) = u64::try_from(asked.offset) else {
        fetched.error = ErrorCode::OffsetOutOfRange;
        return fetched;
    };
    fetched.error = ErrorCode::None;
    let bytes_max = left.min(usize::try_from(asked.bytes_max).unwrap_or(0));
    if offset < topic.range(partition).start {
        fetched.error = ErrorCode::OffsetOutOfRange;
        return fetched;
    }
    if asked.offset == end || bytes_max == 0 && !first {
        return fetched;
    }
    // What is lost is passed, as the protocol passes what a broker compacted: the client sees by
    // the offsets that there is a gap, and goes on.
    match topic.log.read_past_gaps(partition, offset, bytes_max) {
        Ok(frames) => {
            let records = record_set(&frames);
            let fits = records.len() <= bytes_max || first;
            fetched.records = if fits { records } else { Bytes::new() };
        }
        Err(error) => {
            fetched.error = code_of(&error);
            if fetched.error == ErrorCode::KafkaStorageError {
                tracing::error!(topic = topic.config.name, partition, offset, %error, "a fetch failed");
            }
        }
    }
    fetched
}

const fn code_of(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::NoPartition => ErrorCode::UnknownTopicOrPartition,
        ReadError::Io(_) | ReadError::Lost { .. } => ErrorCode::KafkaStorageError,
    }
}
