//! Records that somebody is done with leave a topic before their time.
//!
//! A log loses its oldest records alone. What is to stay among them is published again at the end, byte
//! for byte, and only then they all go: an end in between leaves a record twice, and none is missing.

use std::ops::Range;

use kafka_wire::{
    ApiKey, ErrorCode,
    batch::Record,
    messages::admin::{
        DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
    },
};

use crate::{
    admin::of_topic,
    cluster::{Missing, Purpose, TopicFault},
    error::{AdminError, PublishError},
    message::Delivered,
    messaging::Messaging,
};

/// Records that are read at once.
const PAGE: usize = 1_000;

/// Why records were not discarded. None is lost that should stay.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    /// The log cannot be asked, or refused.
    #[error(transparent)]
    Ask(#[from] AdminError),
    /// What should stay could not be published again: nothing was removed, what was published before
    /// stands there twice.
    #[error("a record that should stay was not taken")]
    NotKept(#[source] PublishError),
}

impl Messaging {
    /// Removes the records of a partition that `is_done` names, of those before `end`. Gives how many.
    ///
    /// Those that stay get a new place behind `end`, in their order. Who follows the topic gets them
    /// again.
    ///
    /// # Errors
    /// [`DiscardError`]; what should stay is there all the same.
    pub async fn discard(
        &self,
        topic: &str,
        partition: u32,
        end: u64,
        is_done: impl Fn(&Delivered) -> bool,
    ) -> Result<u64, DiscardError> {
        let (begin, _) =
            self.topic(topic).await?.partitions.get(&partition).copied().unwrap_or((end, end));
        let is_done =
            |(at, record): &(u64, Record)| is_done(&self.delivered(topic, partition, *at, record));
        let (mut offset, mut done) = (begin, 0);
        while let Some((page, next)) = self.page(topic, partition, offset..end).await? {
            done += page.iter().filter(|it| is_done(it)).count() as u64;
            offset = next;
        }
        if done == 0 {
            return Ok(0);
        }
        // Read once more: there may be more than this process wants to hold.
        offset = begin;
        while let Some((page, next)) = self.page(topic, partition, offset..end).await? {
            for (_, record) in page.into_iter().filter(|it| !is_done(it)) {
                let kept = self.outlet().publish_record(topic, record, None).await;
                kept.map_err(DiscardError::NotKept)?;
            }
            offset = next;
        }
        self.forget_before(topic, partition, end).await?;
        Ok(done)
    }

    /// The first records of a range, and where the next begin; `None` where there are none.
    async fn page(
        &self,
        topic: &str,
        partition: u32,
        offsets: Range<u64>,
    ) -> Result<Option<(Vec<(u64, Record)>, u64)>, AdminError> {
        if offsets.is_empty() {
            return Ok(None);
        }
        let mut page = self.records(topic, partition, offsets.start, PAGE).await?;
        let next = page.last().map(|it| it.0 + 1);
        page.retain(|it| offsets.contains(&it.0));
        Ok(next.map(|it| (page, it)))
    }

    /// Has the log remove what stands before an offset.
    async fn forget_before(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
    ) -> Result<(), AdminError> {
        let map = match self.cluster().topic(topic, Missing::Leave).await {
            Ok(map) => map,
            Err(TopicFault::Call(error)) => return Err(error.into()),
            Err(TopicFault::Code(code) | TopicFault::Refused(code)) => {
                return of_topic(topic, code, None);
            }
        };
        let within = self.cluster().request_timeout();
        let asked = DeleteRecordsPartition {
            partition: i32::try_from(partition).unwrap_or(i32::MAX),
            offset: i64::try_from(offset).unwrap_or(i64::MAX),
        };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic { name: topic.to_owned(), partitions: vec![asked] }],
            timeout_ms: i32::try_from(within.as_millis()).unwrap_or(i32::MAX),
        };
        let leader = map.leaders.get(&partition).copied();
        let api = ApiKey::DeleteRecords;
        let answer: DeleteRecordsResponse =
            self.cluster().call(Purpose::Ask, leader, api, &request, within).await?;
        let parts = answer.topics.into_iter().flat_map(|it| it.partitions);
        let refused = parts.map(|it| it.error).find(|it| *it != ErrorCode::None);
        refused.map_or(Ok(()), |it| of_topic(topic, it, None))
    }
}
