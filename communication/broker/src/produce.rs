//! Appends: each batch is checked, numbered batches are judged, then the log decides.

use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use durable_log::{Append, AppendError};
use kafka_wire::{
    ErrorCode,
    batch::{self, BatchError, BatchHead},
    messages::{
        ProducePartition, ProduceRequest, ProduceResponse, ProducedPartition, ProducedTopic,
    },
};
use runtime::Tasks;
use tokio::sync::oneshot;

use crate::{
    producers::Judged,
    topics::{Topic, Topics},
};

/// Appends every batch of a request. Partitions are worked on at the same time, so that those of
/// one topic share a commit; the batches of one partition in their order.
///
/// The work belongs to the broker, not to the connection: a batch that reaches the log must be
/// remembered as its producer's even when nobody waits for the answer any more.
pub(crate) fn produce(
    topics: &Topics,
    tasks: &Tasks,
    request: ProduceRequest,
) -> impl Future<Output = ProduceResponse> + Send + use<> {
    let valid_acks = matches!(request.acks, -1..=1);
    let mut begun = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = topics.find(&topic.name);
        let mut appends = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let (partition, found) = (asked.partition, found.clone());
            let (reply, answer) = oneshot::channel();
            tasks.spawn("append", |_| async move {
                let produced = if valid_acks {
                    append(found, asked).await
                } else {
                    refused(asked.partition, ErrorCode::InvalidRequiredAcks)
                };
                // Whoever asked may have gone.
                reply.send(produced).ok();
            });
            appends.push((partition, answer));
        }
        begun.push((topic.name, appends));
    }
    async move {
        let mut response = ProduceResponse::default();
        for (name, appends) in begun {
            let mut partitions = Vec::with_capacity(appends.len());
            for (partition, answer) in appends {
                // An append that panicked is a defect that the log names.
                let produced = answer.await;
                partitions
                    .push(produced.unwrap_or(refused(partition, ErrorCode::UnknownServerError)));
            }
            response.topics.push(ProducedTopic { name, partitions });
        }
        response
    }
}

async fn append(topic: Option<Arc<Topic>>, asked: ProducePartition) -> ProducedPartition {
    let partition = asked.partition;
    let number = u32::try_from(partition).ok();
    let place = topic.zip(number).filter(|(topic, number)| *number < topic.config.partitions);
    let Some((topic, number)) = place else {
        return refused(partition, ErrorCode::UnknownTopicOrPartition);
    };
    match append_all(&topic, number, asked.records).await {
        Ok(base_offset) => ProducedPartition {
            partition,
            error: ErrorCode::None,
            base_offset: i64::try_from(base_offset).unwrap_or(i64::MAX),
            log_append_time: -1,
        },
        Err(error) => refused(partition, error),
    }
}

fn refused(partition: i32, error: ErrorCode) -> ProducedPartition {
    ProducedPartition { partition, error, base_offset: -1, log_append_time: -1 }
}

/// Gives the offset of the first record of the first batch.
async fn append_all(topic: &Topic, partition: u32, records: Bytes) -> Result<u64, ErrorCode> {
    let bytes = records.len();
    let batches: Vec<(BatchHead, Bytes)> = batch::split(records)
        .map(|it| batch::check(&it).map(|head| (head, it)))
        .collect::<Result<_, _>>()
        .map_err(code_of)?;
    let whole: usize = batches.iter().map(|it| it.1.len()).sum();
    if batches.is_empty() || whole != bytes {
        return Err(ErrorCode::InvalidRecord);
    }
    let mut first = None;
    for (head, body) in batches {
        let offset = append_one(topic, partition, head, body).await?;
        first.get_or_insert(offset);
    }
    first.ok_or(ErrorCode::InvalidRecord)
}

async fn append_one(
    topic: &Topic,
    partition: u32,
    head: BatchHead,
    body: Bytes,
) -> Result<u64, ErrorCode> {
    let append = Append {
        partition,
        records: head.records,
        time: Timestamp::from_millis(head.max_timestamp),
        body,
    };
    let Some(producer) = head.producer else {
        return topic.log.append(append).await.map(|it| it.base_offset).map_err(|it| log_code(&it));
    };
    // Held over the commit: were this batch to fail after the next was judged, there would be a gap.
    let mut producers = topic.producers[partition as usize].lock().await;
    match producers.judge(producer, head.records) {
        Judged::Repeated { base_offset } => Ok(base_offset),
        Judged::Refused(error) => Err(error),
        Judged::Next => {
            let appended = topic.log.append(append).await.map_err(|it| log_code(&it))?;
            producers.note(producer, head.records, appended.base_offset);
            Ok(appended.base_offset)
        }
    }
}

fn code_of(error: BatchError) -> ErrorCode {
    match error {
        BatchError::Malformed(_) | BatchError::Count => ErrorCode::InvalidRecord,
        BatchError::Format(_) | BatchError::Compressed => ErrorCode::UnsupportedForMessageFormat,
        BatchError::Checksum => ErrorCode::CorruptMessage,
    }
}

fn log_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Full | AppendError::Failed { .. } => ErrorCode::KafkaStorageError,
        AppendError::Overloaded => ErrorCode::ThrottlingQuotaExceeded,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::Invalid => ErrorCode::InvalidRecord,
        AppendError::Closed => ErrorCode::NotLeaderOrFollower,
    }
}
