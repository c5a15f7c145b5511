//! Publishing: one batch under way for each partition, numbered so that a repetition is known.
//!
//! There is no timer: what queues up while a batch is under way is the next batch. A batch that
//! gets no answer is sent again, the same under the same number, until its messages run out of
//! time. Then nobody knows, and the partition goes on under a new producer's number, because the
//! old number might still turn up. The loop waits for nothing but events: a topic that cannot be
//! learned holds up its own messages alone.

mod partition;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode,
    messages::{
        ApiVersionsRequest, ApiVersionsResponse, InitProducerIdRequest, InitProducerIdResponse,
        ProducePartition, ProduceRequest, ProduceResponse, ProduceTopic,
        number::{FLEXIBLE_NUMBER, FlexibleNumberRequest, FlexibleNumberResponse},
    },
    partition_of,
};
use runtime::Shutdown;
use tokio::{
    sync::mpsc,
    task::{JoinSet, yield_now},
    time::{Instant, sleep_until},
};

pub(crate) use self::partition::Outgoing;
use self::partition::{AGAIN_AFTER, Number, Partition, expire};
use crate::{
    cluster::{Cluster, Missing, Purpose, TopicFault, TopicMap},
    connection::CallError,
    error::PublishError,
    message::Receipt,
};

/// Time that a drain gives to what is under way.
const DRAIN: Duration = Duration::from_secs(3);

/// A partition of a topic.
type Place = (String, u32);

/// How a request for one partition ended.
#[derive(Debug)]
struct Ended {
    place: Place,
    result: Result<u64, Trouble>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Trouble {
    Call(CallError),
    Code(ErrorCode),
}

/// Something that was asked in a task of its own.
#[derive(Debug)]
enum Heard {
    Batches(Vec<Ended>),
    Topic(String, Result<TopicMap, TopicFault>),
    Number(Result<InitProducerIdResponse, CallError>),
}

/// What is known of a topic.
#[derive(Debug, Default)]
struct Topic {
    map: Option<TopicMap>,
    is_asked: bool,
    /// Not asked before then.
    ask_at: Option<Instant>,
    /// Messages that have no partition yet.
    unplaced: VecDeque<Outgoing>,
}

/// The task that publishes.
pub(crate) struct Publisher {
    cluster: Cluster,
    incoming: mpsc::Receiver<Outgoing>,
    partitions: BTreeMap<Place, Partition>,
    topics: BTreeMap<String, Topic>,
    asked: JoinSet<Heard>,
    producer_id: Option<i64>,
    number_is_asked: bool,
    /// The number is not asked for before then.
    number_at: Option<Instant>,
    round: u32,
}

impl Publisher {
    /// Starts the task; messages go into the channel that it gives back. What is under way is bounded
    /// by their permits, so that the channel always has room for one that has them.
    pub(crate) fn start(cluster: &Cluster) -> mpsc::Sender<Outgoing> {
        let (sender, incoming) = mpsc::channel(cluster.config().publishes_max.max(1));
        let publisher = Self {
            cluster: cluster.clone(),
            incoming,
            partitions: BTreeMap::new(),
            topics: BTreeMap::new(),
            asked: JoinSet::new(),
            producer_id: None,
            number_is_asked: false,
            number_at: None,
            round: 0,
        };
        cluster.tasks().spawn("publisher", |shutdown| publisher.run(shutdown));
        sender
    }

    async fn run(mut self, shutdown: Shutdown) {
        let mut arrived = Vec::new();
        let mut drain_until = None;
        loop {
            let wake = self.next_wake().into_iter().chain(drain_until).min();
            let pause = async {
                match wake {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let stopping = drain_until.is_some();
            // Cancel-safe: each branch takes what it gives in the poll that ends it.
            tokio::select! {
                count = self.incoming.recv_many(&mut arrived, 256) => if count == 0 { return },
                Some(heard) = self.asked.join_next() => match heard {
                    Ok(heard) => self.heard(heard),
                    Err(error) => tracing::error!(%error, "a request of the publisher panicked"),
                },
                () = pause => {}
                () = shutdown.cancelled(), if !stopping => {
                    drain_until = Some(Instant::now() + DRAIN);
                }
            }
            // Whoever was just answered may publish again: then that is in the next batch, not in the
            // one behind it.
            yield_now().await;
            while let Ok(outgoing) = self.incoming.try_recv() {
                arrived.push(outgoing);
            }
            for outgoing in arrived.drain(..) {
                self.place(outgoing);
            }
            self.expire();
            self.send();
            let idle = self.is_empty() && self.incoming.is_empty();
            if drain_until.is_some_and(|it| idle || Instant::now() >= it) {
                return;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.topics.values().all(|it| it.unplaced.is_empty())
            && self.partitions.values().all(Partition::is_empty)
    }

    /// When something must be looked at again although nothing happens.
    fn next_wake(&self) -> Option<Instant> {
        let of_topic = |it: &Topic| {
            let oldest = it.unplaced.front()?.deadline;
            let asked = it.ask_at.filter(|_| !it.is_asked);
            Some(asked.map_or(oldest, |it| it.min(oldest)))
        };
        let partitions = self.partitions.values().filter_map(Partition::next_wake);
        let topics = self.topics.values().filter_map(of_topic);
        partitions.chain(topics).min()
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Batches(ended) => self.ended(ended),
            Heard::Topic(name, known) => self.learned(&name, known),
            Heard::Number(answer) => {
                self.number_is_asked = false;
                match answer {
                    Ok(answer) if answer.error == ErrorCode::None => {
                        self.producer_id = Some(answer.producer_id);
                        self.partitions.values_mut().for_each(Partition::go_on);
                    }
                    other => {
                        tracing::debug!(?other, "no producer number yet");
                        self.number_at = Some(Instant::now() + AGAIN_AFTER);
                    }
                }
            }
        }
    }

    fn learned(&mut self, name: &str, known: Result<TopicMap, TopicFault>) {
        let topic = self.topics.entry(name.to_owned()).or_default();
        topic.is_asked = false;
        let waiting = match known {
            Ok(map) => {
                topic.map = Some(map);
                let of_topic = self.partitions.iter_mut().filter(|(place, _)| place.0 == name);
                of_topic.for_each(|(_, it)| it.go_on());
                std::mem::take(&mut topic.unplaced)
            }
            Err(TopicFault::Code(code @ ErrorCode::InvalidTopicException))
            | Err(TopicFault::Refused(code)) => {
                for outgoing in std::mem::take(&mut topic.unplaced) {
                    outgoing.answer(Err(PublishError::Refused { code }));
                }
                topic.ask_at = Some(Instant::now() + AGAIN_AFTER);
                return;
            }
            Err(fault) => {
                tracing::debug!(topic = name, ?fault, "a topic is not known yet");
                topic.ask_at = Some(Instant::now() + AGAIN_AFTER);
                return;
            }
        };
        for outgoing in waiting {
            self.place(outgoing);
        }
    }

    /// Puts a message into its partition, or where it waits for one.
    fn place(&mut self, outgoing: Outgoing) {
        let topic = self.topics.entry(outgoing.topic.clone()).or_default();
        let Some(map) = &topic.map else {
            topic.unplaced.push_back(outgoing);
            return;
        };
        let count = u32::try_from(map.leaders.len()).unwrap_or(1).max(1);
        let number = match &outgoing.record.key {
            Some(key) => partition_of(key, count),
            None => {
                self.round = self.round.wrapping_add(1);
                self.round % count
            }
        };
        let place = (outgoing.topic.clone(), number);
        self.partitions.entry(place).or_default().queue.push_back(outgoing);
    }

    /// Gives up what ran out of time.
    fn expire(&mut self) {
        let now = Instant::now();
        for partition in self.partitions.values_mut() {
            if partition.expire(now) == Number::Spent {
                self.producer_id = None;
            }
        }
        for topic in self.topics.values_mut() {
            expire(&mut topic.unplaced, now);
        }
        // A name that nobody knows is not remembered for nothing.
        self.topics.retain(|_, it| it.map.is_some() || it.is_asked || !it.unplaced.is_empty());
    }

    /// Sends a batch for every partition that has one to send and none under way; asks for what is
    /// missing for that.
    fn send(&mut self) {
        let now = Instant::now();
        let waiting = self.topics.iter().filter_map(|(name, it)| {
            it.unplaced.front().map(|first| (name.clone(), first.letter_of.clone()))
        });
        let mut wanted: BTreeMap<String, Option<String>> = waiting.collect();
        let due = self.partitions.iter_mut().filter(|(_, it)| it.is_due(now));
        let mut by_leader: BTreeMap<i32, Vec<(Place, Bytes)>> = BTreeMap::new();
        for (place, partition) in due {
            let map = self.topics.get(&place.0).and_then(|it| it.map.as_ref());
            let Some(map) = map else {
                wanted.insert(place.0.clone(), partition.letter_of());
                partition.rest(now);
                continue;
            };
            let Some(leader) = map.leaders.get(&place.1).copied() else {
                partition.rest(now);
                continue;
            };
            let Some(producer_id) = self.producer_id else {
                if !self.number_is_asked && self.number_at.is_none_or(|it| it <= now) {
                    self.number_is_asked = true;
                    self.number_at = None;
                    self.asked.spawn(number(self.cluster.clone()));
                }
                partition.rest(now);
                continue;
            };
            let encoded = partition.fill(producer_id);
            by_leader.entry(leader).or_default().push((place.clone(), encoded));
        }
        let within = attempt_within(&self.cluster);
        for (leader, batches) in by_leader {
            self.asked.spawn(produce(self.cluster.clone(), leader, batches, within));
        }
        for (name, letter_of) in wanted {
            self.ask(name, letter_of, now);
        }
    }

    /// Asks who leads a topic, unless that is asked, or was a moment ago.
    fn ask(&mut self, name: String, letter_of: Option<String>, now: Instant) {
        let topic = self.topics.entry(name.clone()).or_default();
        if topic.is_asked || topic.ask_at.is_some_and(|it| it > now) {
            return;
        }
        topic.is_asked = true;
        topic.ask_at = None;
        let cluster = self.cluster.clone();
        self.asked.spawn(async move {
            let known = match &letter_of {
                None => cluster.topic(&name, Missing::Create).await,
                Some(source) => cluster.topic_of_letters(&name, source).await,
            };
            Heard::Topic(name, known)
        });
    }

    /// Who leads the topic is asked anew.
    fn doubt(&mut self, topic: &str) {
        self.cluster.doubt(topic);
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.map = None;
        }
    }

    fn ended(&mut self, ended: Vec<Ended>) {
        let now = Instant::now();
        for Ended { place, result } in ended {
            let Some(partition) = self.partitions.get_mut(&place) else { continue };
            let Some(mut batch) = partition.landed() else { continue };
            match result {
                Ok(base_offset) => {
                    for (offset, outgoing) in (base_offset..).zip(batch.outgoing) {
                        outgoing.answer(Ok(Receipt { partition: place.1, offset }));
                    }
                }
                Err(Trouble::Call(error)) => {
                    batch.sent |= !matches!(error, CallError::NotSent(_));
                    tracing::debug!(topic = place.0, %error, "a batch will be sent again");
                    partition.again(batch, now);
                    self.doubt(&place.0);
                }
                Err(Trouble::Code(code)) if is_temporary(code) => {
                    batch.sent = true;
                    tracing::debug!(topic = place.0, ?code, "a batch will be sent again");
                    partition.again(batch, now);
                    if code == ErrorCode::NotLeaderOrFollower
                        || code == ErrorCode::UnknownTopicOrPartition
                    {
                        self.doubt(&place.0);
                    }
                }
                Err(Trouble::Code(code)) if is_of_the_number(code) && !batch.sent => {
                    tracing::debug!(
                        topic = place.0,
                        ?code,
                        "a batch goes out under another number"
                    );
                    self.producer_id = None;
                    partition.anew(batch, now);
                }
                Err(Trouble::Code(code)) => {
                    tracing::warn!(
                        topic = place.0,
                        partition = place.1,
                        ?code,
                        "a batch was refused"
                    );
                    partition.renumber();
                    self.producer_id = None;
                    for outgoing in batch.outgoing {
                        let message = format!("{code:?}");
                        outgoing.answer(Err(if is_of_the_number(code) {
                            PublishError::Unknown { message }
                        } else {
                            PublishError::Refused { code }
                        }));
                    }
                }
            }
        }
    }
}

/// How long one attempt may take: a publish that may take longer is sent again in its time when a
/// peer that vanished owes the answer.
fn attempt_within(cluster: &Cluster) -> Duration {
    Duration::from_millis(cluster.config().publish_timeout_ms).min(cluster.request_timeout())
}

/// Asks for the number of this producer.
async fn number(cluster: Cluster) -> Heard {
    Heard::Number(numbered(&cluster).await)
}

/// In the flexible form where the log speaks it: there are logs that give a number in no other.
async fn numbered(cluster: &Cluster) -> Result<InitProducerIdResponse, CallError> {
    let (api, within) = (ApiKey::InitProducerId, attempt_within(cluster));
    let connection = cluster.connect(Purpose::Publish, None).await?;
    let spoken: ApiVersionsResponse =
        connection.call(ApiKey::ApiVersions, &ApiVersionsRequest {}, within).await?;
    if spoken.speaks(api, FLEXIBLE_NUMBER) {
        let asked = connection.call_in(api, FLEXIBLE_NUMBER, &FlexibleNumberRequest, within);
        let FlexibleNumberResponse(answer) = asked.await?;
        return Ok(answer);
    }
    let plain = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 0 };
    connection.call(api, &plain, within).await
}

/// Sends batches to one leader.
async fn produce(
    cluster: Cluster,
    leader: i32,
    batches: Vec<(Place, Bytes)>,
    within: Duration,
) -> Heard {
    let mut topics: Vec<ProduceTopic> = Vec::new();
    for ((topic, partition), records) in &batches {
        let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
        let asked = ProducePartition { partition, records: records.clone() };
        match topics.iter_mut().find(|it| it.name == *topic) {
            Some(found) => found.partitions.push(asked),
            None => topics.push(ProduceTopic { name: topic.clone(), partitions: vec![asked] }),
        }
    }
    let timeout_ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms, topics };
    let asked =
        cluster.call(Purpose::Publish, Some(leader), ApiKey::Produce, &request, within).await;
    let answer: ProduceResponse = match asked {
        Ok(answer) => answer,
        Err(error) => {
            let ended = |(place, _)| Ended { place, result: Err(Trouble::Call(error.clone())) };
            return Heard::Batches(batches.into_iter().map(ended).collect());
        }
    };
    let find = |place: &Place| {
        let topic = answer.topics.iter().find(|it| it.name == place.0)?;
        let number = i32::try_from(place.1).ok()?;
        topic.partitions.iter().find(|it| it.partition == number)
    };
    let ended = |(place, _): (Place, Bytes)| {
        let result = match find(&place) {
            Some(it) if it.error == ErrorCode::None => {
                Ok(u64::try_from(it.base_offset).unwrap_or(0))
            }
            Some(it) => Err(Trouble::Code(it.error)),
            None => Err(Trouble::Call(CallError::NoAnswer("a partition is missing".to_owned()))),
        };
        Ended { place, result }
    };
    Heard::Batches(batches.into_iter().map(ended).collect())
}

/// Whether not the batch was wrong but its number: the log lost what it knew of the producer, or another
/// life of it was there. Whoever sent the batch before does not know whether that one was taken.
const fn is_of_the_number(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::DuplicateSequenceNumber
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::UnknownProducerId
    )
}

const fn is_temporary(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::RequestTimedOut
            | ErrorCode::KafkaStorageError
            | ErrorCode::ThrottlingQuotaExceeded
            | ErrorCode::UnknownServerError
    )
}
