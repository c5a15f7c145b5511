//! Appends: each batch is checked, numbered batches are judged, then the log decides.
//!
//! A batch is judged and handed to the log when its frame is read, in the order of the frames, and
//! nobody waits for the one before it: many batches of a partition share a commit. How each ends the
//! log itself says, so that a batch that reaches it is remembered as its producer's even when nobody
//! waits for the answer any more.

use std::sync::{Arc, PoisonError};

use base::Timestamp;
use bytes::Bytes;
use durable_log::{Append, AppendError, Appended};
use kafka_wire::{
    ErrorCode,
    batch::{self, BatchError, BatchHead, Producer},
    messages::{
        ProducePartition, ProduceRequest, ProduceResponse, ProducedPartition, ProducedTopic,
    },
};
use tokio::sync::oneshot;

use crate::{
    producers::{Judged, Waiter},
    topics::{Topic, Topics},
};

/// How a batch ends.
type Ending = oneshot::Receiver<Result<u64, ErrorCode>>;

/// The batches of one partition, begun.
struct Begun {
    partition: i32,
    /// How each ends that was taken; or why one was not, and with it those behind it.
    endings: Vec<Ending>,
    refused: Option<ErrorCode>,
}

/// Hands every batch of a request to the log, in order; what it gives waits for the commits.
pub(crate) fn produce(
    topics: &Topics,
    request: ProduceRequest,
) -> impl Future<Output = ProduceResponse> + Send + use<> {
    let valid_acks = matches!(request.acks, -1..=1);
    let mut begun = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = topics.find(&topic.name);
        let begin = |asked: ProducePartition| {
            let mut begun =
                Begun { partition: asked.partition, endings: Vec::new(), refused: None };
            begun.refused = if valid_acks {
                begin_partition(found.as_ref(), asked, &mut begun.endings).err()
            } else {
                Some(ErrorCode::InvalidRequiredAcks)
            };
            begun
        };
        begun.push((topic.name, topic.partitions.into_iter().map(begin).collect::<Vec<_>>()));
    }
    async move {
        let mut response = ProduceResponse::default();
        for (name, parts) in begun {
            let mut partitions = Vec::with_capacity(parts.len());
            for part in parts {
                partitions.push(part.ended().await);
            }
            response.topics.push(ProducedTopic { name, partitions });
        }
        response
    }
}

impl Begun {
    /// The offset of the first batch, or what the first that failed, failed with.
    async fn ended(self) -> ProducedPartition {
        let (mut first, mut error) = (None, None);
        for ending in self.endings {
            match ending.await.unwrap_or(Err(ErrorCode::NotLeaderOrFollower)) {
                Ok(offset) => first = first.or(Some(offset)),
                Err(code) => error = error.or(Some(code)),
            }
        }
        let error = error.or(self.refused);
        let base_offset = first.filter(|_| error.is_none());
        ProducedPartition {
            partition: self.partition,
            error: error.unwrap_or_default(),
            base_offset: base_offset.map_or(-1, |it| i64::try_from(it).unwrap_or(i64::MAX)),
            log_append_time: -1,
        }
    }
}

/// Hands in the batches of one partition, up to the first that is not taken.
fn begin_partition(
    topic: Option<&Arc<Topic>>,
    asked: ProducePartition,
    endings: &mut Vec<Ending>,
) -> Result<(), ErrorCode> {
    let number = u32::try_from(asked.partition).ok();
    let place = topic.zip(number).filter(|(topic, number)| *number < topic.config.partitions);
    let (topic, number) = place.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let bytes = asked.records.len();
    let batches: Vec<(BatchHead, Bytes)> =
        batch::split(asked.records).map(judge).collect::<Result<_, _>>().map_err(code_of)?;
    let whole: usize = batches.iter().map(|it| it.1.len()).sum();
    if batches.is_empty() || whole != bytes {
        return Err(ErrorCode::InvalidRecord);
    }
    for (head, body) in batches {
        let (waiter, ending) = oneshot::channel();
        begin_batch(topic, number, head, body, waiter)?;
        endings.push(ending);
    }
    Ok(())
}

/// Compressed records are stored as they come, but as many as their batch says, and no bombs.
fn judge(batch: Bytes) -> Result<(BatchHead, Bytes), BatchError> {
    let head = batch::check(&batch)?;
    batch::check_compressed(&batch, &head)?;
    Ok((head, batch))
}

fn begin_batch(
    topic: &Arc<Topic>,
    partition: u32,
    head: BatchHead,
    body: Bytes,
    waiter: Waiter,
) -> Result<(), ErrorCode> {
    let append = Append {
        partition,
        records: head.records,
        time: Timestamp::from_millis(head.max_timestamp),
        body,
    };
    let Some(producer) = head.producer else {
        let tell = move |ended: Result<Appended, AppendError>| {
            tell([waiter], ended.map(|it| it.base_offset).map_err(|it| log_code(&it)));
        };
        return topic.log.enqueue_then(append, None, tell).map_err(|it| log_code(&it));
    };
    begin_numbered(topic, append, producer, waiter)
}

/// Judges a batch and hands it in as one: none may come between.
fn begin_numbered(
    topic: &Arc<Topic>,
    append: Append,
    producer: Producer,
    waiter: Waiter,
) -> Result<(), ErrorCode> {
    let (partition, records) = (append.partition, append.records);
    let mut producers =
        topic.producers[partition as usize].lock().unwrap_or_else(PoisonError::into_inner);
    match producers.judge(producer, records, topic.log.life()) {
        Judged::Repeated { base_offset } => tell([waiter], Ok(base_offset)),
        Judged::UnderWay(ticket) => producers.wait(producer.id, ticket, waiter),
        Judged::Refused(error) => return Err(error),
        Judged::Next { life } => {
            let ticket = producers.next_ticket();
            let own = Arc::clone(topic);
            // The lock is held until the batch is noted: its end cannot come before.
            let settle = move |ended: Result<Appended, AppendError>| {
                let offset = ended.as_ref().ok().map(|it| it.base_offset);
                let mut producers = own.producers[partition as usize]
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let waiters = producers.settle(producer.id, ticket, offset);
                drop(producers);
                tell(waiters, ended.map(|it| it.base_offset).map_err(|it| log_code(&it)));
            };
            let handed = topic.log.enqueue_then(append, Some(life), settle);
            handed.map_err(|it| log_code(&it))?;
            producers.note_under_way(producer, records, life, waiter);
        }
    }
    Ok(())
}

fn tell(waiters: impl IntoIterator<Item = Waiter>, ended: Result<u64, ErrorCode>) {
    for waiter in waiters {
        // Whoever asked may have gone.
        waiter.send(ended).ok();
    }
}

fn code_of(error: BatchError) -> ErrorCode {
    match error {
        BatchError::Malformed(_) | BatchError::Count | BatchError::Expansion => {
            ErrorCode::InvalidRecord
        }
        BatchError::Format(_) => ErrorCode::UnsupportedForMessageFormat,
        BatchError::Codec(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::Expanded { .. } => ErrorCode::MessageTooLarge,
        BatchError::Checksum => ErrorCode::CorruptMessage,
    }
}

fn log_code(error: &AppendError) -> ErrorCode {
    match error {
        // Behind one that failed: repeated behind it, it is taken.
        AppendError::Full | AppendError::Failed { .. } | AppendError::Outlived => {
            ErrorCode::KafkaStorageError
        }
        AppendError::Overloaded => ErrorCode::ThrottlingQuotaExceeded,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::Invalid => ErrorCode::InvalidRecord,
        AppendError::Closed => ErrorCode::NotLeaderOrFollower,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base::ManualClock;
    use kafka_wire::{
        batch::{Record, encode},
        messages::ProduceTopic,
    };

    use super::*;
    use crate::config::BrokerConfig;

    fn request(base_sequence: i32) -> ProduceRequest {
        let record = Record { value: Some("x".into()), ..Record::default() };
        let producer = Producer { id: 1, epoch: 0, base_sequence };
        let partition =
            ProducePartition { partition: 0, records: encode(&[record], Some(producer)) };
        let topics = vec![ProduceTopic { name: "orders".to_owned(), partitions: vec![partition] }];
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 0, topics }
    }

    #[tokio::test]
    async fn many_batches_of_a_producer_are_under_way_at_once_and_share_commits() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let config = BrokerConfig::new(directory.path());
        let topics = Topics::open(&config, clock, BTreeMap::new()).unwrap();
        let topic = topics.described("orders".to_owned(), Some(2), &BTreeMap::new()).unwrap();
        topics.create(topic).unwrap();
        let syncs = || topics.find("orders").unwrap().log.stats().syncs;
        let before = syncs();
        // Nothing is awaited before all are handed in.
        let begun: Vec<_> = (0..64).map(|it| produce(&topics, request(it))).collect();
        for (offset, ending) in (0..).zip(begun) {
            let part = ending.await.topics[0].partitions[0].clone();
            assert_eq!((part.error, part.base_offset), (ErrorCode::None, offset));
        }
        let synced = syncs() - before;
        assert!(synced < 32, "{synced} syncs for 64 batches");
    }
}
