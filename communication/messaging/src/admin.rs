//! Questions about topics and groups.

use std::{collections::BTreeMap, sync::Arc};

use kafka_wire::{
    ApiKey, ErrorCode, batch,
    messages::{
        FetchPartition, FetchRequest, FetchResponse, FetchTopic, MetadataRequest, NewTopic,
        TopicSetting,
        admin::{
            DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest,
            DescribeConfigsResponse, DescribedResource,
        },
    },
};
use runtime::Shutdown;

use crate::{
    cluster::{Missing, Purpose, TopicFault},
    connection::CallError,
    dead_letter::Letter,
    error::AdminError,
    group::GroupError,
    lanes::Place,
    message::{Delivered, Message},
    messaging::Messaging,
    offsets::{At, list_offsets},
};

const READ_BYTES: i32 = 1 << 20;
/// The kind of resource that a topic is, where settings are asked for.
const TOPIC: i8 = 2;

/// How far a group is behind in a topic.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lag {
    /// Records that are not processed.
    pub records: u64,
    /// Age of the oldest of them, in seconds; 0 when there is none.
    pub seconds: f64,
    /// The offset that comes next, by partition; partitions that were never committed are missing.
    pub committed: BTreeMap<u32, u64>,
}

/// A topic that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
    /// Whether records are synced before they are acknowledged; only our broker asks.
    pub synced: bool,
    /// Milliseconds that records are kept.
    pub retention_ms: Option<u64>,
}

/// A topic as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// First kept offset and next offset of each partition.
    pub partitions: BTreeMap<u32, (u64, u64)>,
}

impl TopicInfo {
    fn places(&self) -> impl Iterator<Item = Place> {
        let name: Arc<str> = self.name.as_str().into();
        self.partitions.keys().map(move |it| (Arc::clone(&name), *it))
    }
}

impl From<CallError> for AdminError {
    fn from(error: CallError) -> Self {
        Self::Unreachable { message: error.to_string() }
    }
}

impl From<GroupError> for AdminError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Code(code) => Self::Refused { code, message: None },
            GroupError::Call(error) => error.into(),
            GroupError::Malformed(error) => Self::Unreachable { message: error.to_string() },
        }
    }
}

/// What the log refused, with its reason.
pub(crate) fn refused(code: ErrorCode, message: Option<String>) -> Result<(), AdminError> {
    if code == ErrorCode::None { Ok(()) } else { Err(AdminError::Refused { code, message }) }
}

/// The same of a question about one topic.
pub(crate) fn of_topic(
    name: &str,
    code: ErrorCode,
    message: Option<String>,
) -> Result<(), AdminError> {
    if code == ErrorCode::UnknownTopicOrPartition {
        return Err(AdminError::UnknownTopic { topic: name.to_owned() });
    }
    refused(code, message)
}

impl Messaging {
    /// Makes the topics that are missing.
    ///
    /// # Errors
    /// The log cannot be reached, or refused one.
    pub async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), AdminError> {
        let topic = |it: &TopicSpec| {
            let setting = |name: &str, value: String| TopicSetting {
                name: name.to_owned(),
                value: Some(value),
            };
            let mut settings = Vec::new();
            settings.extend(it.retention_ms.map(|it| setting("retention.ms", it.to_string())));
            if !it.synced {
                settings.push(setting("skein.synced", "false".to_owned()));
            }
            NewTopic {
                name: it.name.clone(),
                partitions: i32::try_from(it.partitions).unwrap_or(i32::MAX),
                replication: 1,
                assignments: Vec::new(),
                settings,
            }
        };
        let answer = self.cluster().create(topics.iter().map(topic).collect()).await?;
        let refused = answer
            .topics
            .into_iter()
            .find(|it| !matches!(it.error, ErrorCode::None | ErrorCode::TopicAlreadyExists));
        refused.map_or(Ok(()), |it| self::refused(it.error, it.message))
    }

    /// Removes a topic with all that is in it.
    ///
    /// # Errors
    /// The log cannot be reached, refused, or has no such topic.
    pub async fn delete_topic(&self, name: &str) -> Result<(), AdminError> {
        let request = DeleteTopicsRequest {
            names: vec![name.to_owned()],
            timeout_ms: i32::try_from(self.cluster().request_timeout().as_millis())
                .unwrap_or(i32::MAX),
        };
        let answer: DeleteTopicsResponse =
            self.cluster().administer(ApiKey::DeleteTopics, &request).await?;
        self.cluster().doubt(name);
        answer.topics.into_iter().try_for_each(|it| of_topic(name, it.error, None))
    }

    /// The settings of a topic, each with its value.
    ///
    /// # Errors
    /// The log cannot be reached, refused, or has no such topic.
    pub async fn topic_settings(&self, name: &str) -> Result<BTreeMap<String, String>, AdminError> {
        let resource =
            DescribedResource { kind: TOPIC, name: name.to_owned(), settings: Vec::new() };
        let request = DescribeConfigsRequest { resources: vec![resource], with_synonyms: false };
        let answer: DescribeConfigsResponse =
            self.cluster().administer(ApiKey::DescribeConfigs, &request).await?;
        let mut settings = BTreeMap::new();
        for resource in answer.resources {
            of_topic(name, resource.error, resource.message)?;
            let shown = resource.settings.into_iter().filter(|it| !it.is_sensitive);
            settings.extend(shown.filter_map(|it| Some((it.name, it.value?))));
        }
        Ok(settings)
    }

    /// How far a group is behind in a topic.
    ///
    /// # Errors
    /// The log cannot be reached, or there is no such topic.
    pub async fn lag(&self, group: &str, topic: &str) -> Result<Lag, AdminError> {
        let topic = self.topic(topic).await?;
        let places: Vec<Place> = topic.places().collect();
        let committed = self.stranger(group).committed(&places).await?;
        self.lag_in(&topic, &committed).await
    }

    /// The same of many topics at once: of those in which the group has committed something.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn lags(
        &self,
        group: &str,
        topics: &[TopicInfo],
    ) -> Result<BTreeMap<String, Lag>, AdminError> {
        let places: Vec<Place> = topics.iter().flat_map(TopicInfo::places).collect();
        let committed = self.stranger(group).committed(&places).await?;
        let mut lags = BTreeMap::new();
        for topic in topics.iter().filter(|it| it.places().any(|it| committed.contains_key(&it))) {
            lags.insert(topic.name.clone(), self.lag_in(topic, &committed).await?);
        }
        Ok(lags)
    }

    async fn lag_in(
        &self,
        topic: &TopicInfo,
        committed: &BTreeMap<Place, u64>,
    ) -> Result<Lag, AdminError> {
        let mut lag = Lag::default();
        let mut behind = Vec::new();
        for place in topic.places() {
            let partition = place.1;
            let (start, end) = topic.partitions[&partition];
            let done = committed.get(&place).copied();
            lag.committed.extend(done.map(|it| (partition, it)));
            let from = done.unwrap_or(start);
            if end > from {
                lag.records += end - from;
                behind.push((partition, from));
            }
        }
        if !behind.is_empty() {
            lag.seconds = self.age_of_oldest(&topic.name, &behind).await?;
        }
        Ok(lag)
    }

    /// Age of the oldest of some records, in seconds.
    async fn age_of_oldest(&self, topic: &str, places: &[(u32, u64)]) -> Result<f64, AdminError> {
        let mut oldest: Option<i64> = None;
        for part in places.chunks(64) {
            let answer = self.fetch(topic, part, 1).await?;
            for partition in answer.topics.into_iter().flat_map(|it| it.partitions) {
                let batch = batch::split(partition.records).next();
                let head = batch.and_then(|it| batch::check(&it).ok());
                let time = head.map(|it| it.max_timestamp);
                oldest = oldest.into_iter().chain(time).min();
            }
        }
        let age =
            oldest.map(|it| self.clock().now().saturating_since(base::Timestamp::from_millis(it)));
        Ok(age.unwrap_or_default().as_secs_f64())
    }

    pub(crate) async fn places(&self, topic: &str) -> Result<Vec<Place>, AdminError> {
        match self.cluster().topic(topic, Missing::Leave).await {
            Ok(map) => {
                let name: Arc<str> = topic.into();
                Ok(map.leaders.keys().copied().map(|it| (Arc::clone(&name), it)).collect())
            }
            Err(TopicFault::Call(error)) => Err(error.into()),
            Err(TopicFault::Code(code) | TopicFault::Refused(code)) => {
                of_topic(topic, code, None)?;
                // No error, and no partition.
                Err(AdminError::UnknownTopic { topic: topic.to_owned() })
            }
        }
    }

    async fn fetch(
        &self,
        topic: &str,
        places: &[(u32, u64)],
        bytes_max: i32,
    ) -> Result<FetchResponse, AdminError> {
        let map = match self.cluster().topic(topic, Missing::Leave).await {
            Ok(map) => map,
            Err(fault) => {
                return Err(AdminError::Unreachable { message: format!("{topic}: {fault:?}") });
            }
        };
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for (partition, offset) in places {
            let Some(leader) = map.leaders.get(partition) else { continue };
            by_leader.entry(*leader).or_default().push(FetchPartition {
                partition: i32::try_from(*partition).unwrap_or(i32::MAX),
                offset: i64::try_from(*offset).unwrap_or(i64::MAX),
                bytes_max,
            });
        }
        let mut whole = FetchResponse::default();
        for (leader, partitions) in by_leader {
            let topics = vec![FetchTopic { name: topic.to_owned(), partitions }];
            let request = FetchRequest {
                replica_id: -1,
                // Nothing is waited for, but there are logs that do not even look within no time.
                max_wait_ms: 100,
                bytes_min: 0,
                bytes_max: READ_BYTES,
                isolation_level: 0,
                topics,
            };
            let within = self.cluster().request_timeout();
            let asked =
                self.cluster().call(Purpose::Ask, Some(leader), ApiKey::Fetch, &request, within);
            let answer: FetchResponse = asked.await?;
            whole.topics.extend(answer.topics);
        }
        Ok(whole)
    }

    /// Every topic with the offsets that it has.
    ///
    /// # Errors
    /// The log cannot be reached.
    pub async fn topics(&self) -> Result<Vec<TopicInfo>, AdminError> {
        let answer = self.cluster().metadata(&MetadataRequest::default()).await?;
        let mut topics = Vec::with_capacity(answer.topics.len());
        for topic in answer.topics {
            topics.push(self.topic(&topic.name).await?);
        }
        Ok(topics)
    }

    /// One topic with the offsets that it has.
    ///
    /// # Errors
    /// The log cannot be reached, or there is no such topic.
    pub async fn topic(&self, name: &str) -> Result<TopicInfo, AdminError> {
        let places = self.places(name).await?;
        let starts = list_offsets(self.cluster(), &places, At::Beginning).await?;
        let ends = list_offsets(self.cluster(), &places, At::End).await?;
        let partitions = places.iter().map(|place| {
            let get = |it: &BTreeMap<Place, u64>| it.get(place).copied().unwrap_or(0);
            (place.1, (get(&starts), get(&ends)))
        });
        Ok(TopicInfo { name: name.to_owned(), partitions: partitions.collect() })
    }

    /// Reads messages of one partition from an offset on, without a group; as many as come at once,
    /// `max` at the most.
    ///
    /// # Errors
    /// The log cannot be reached, or does not have the offset.
    pub async fn read(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        max: usize,
    ) -> Result<Vec<Delivered>, AdminError> {
        let records = self.records(topic, partition, offset, max).await?.into_iter();
        Ok(records.map(|(at, it)| self.delivered(topic, partition, at, &it)).collect())
    }

    /// The same for a dead-letter topic, each with the letter: nothing for a record that is none.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn letters(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        max: usize,
    ) -> Result<Vec<(Delivered, Option<Letter>)>, AdminError> {
        let records = self.records(topic, partition, offset, max).await?.into_iter();
        let read = |(at, it): (u64, batch::Record)| {
            (self.delivered(topic, partition, at, &it), Letter::of_record(it))
        };
        Ok(records.map(read).collect())
    }

    pub(crate) async fn records(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        max: usize,
    ) -> Result<Vec<(u64, batch::Record)>, AdminError> {
        let answer = self.fetch(topic, &[(partition, offset)], READ_BYTES).await?;
        let mut found = Vec::new();
        for part in answer.topics.into_iter().flat_map(|it| it.partitions) {
            if part.error != ErrorCode::None {
                return Err(AdminError::Refused { code: part.error, message: None });
            }
            for batch in batch::split(part.records) {
                let records = batch::decode(&batch).map_err(|it| AdminError::Unreachable {
                    message: format!("a batch cannot be read: {it}"),
                })?;
                for (at, record) in records {
                    let at = u64::try_from(at).unwrap_or(0);
                    if at >= offset && found.len() < max {
                        found.push((at, record));
                    }
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn delivered(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
        record: &batch::Record,
    ) -> Delivered {
        let published_at = base::Timestamp::from_millis(record.timestamp);
        let message = Message::of_record(record, topic, partition, offset);
        let trace = message.trace.clone().unwrap_or_else(|| {
            telemetry::TraceContext::root(&mut base::Random::with_seed(offset), false)
        });
        let topic = topic.into();
        Delivered {
            message,
            topic,
            partition,
            offset,
            attempt: 1,
            published_at,
            trace,
            stopping: Shutdown::never(),
        }
    }

    /// Whether the log answers, and lets this process take part.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), AdminError> {
        if let Some(group) = self.fenced() {
            return Err(AdminError::Fenced { group });
        }
        self.cluster().brokers().await?;
        Ok(())
    }
}
