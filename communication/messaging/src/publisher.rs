//! Publishing: one batch under way for each partition, numbered so that a repetition is known.
//!
//! There is no timer: what queues up while a batch is under way is the next batch. A batch that
//! gets no answer is sent again, the same under the same number, until its messages run out of
//! time. Then nobody knows, and the partition goes on under a new producer's number, because the
//! old number might still turn up.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode,
    batch::{Producer, Record, encode},
    messages::{
        InitProducerIdRequest, InitProducerIdResponse, ProducePartition, ProduceRequest,
        ProduceResponse, ProduceTopic,
    },
    partition_of,
};
use runtime::Shutdown;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    cluster::{Cluster, Missing, Purpose, TopicFault, TopicMap},
    connection::CallError,
    error::PublishError,
    message::Receipt,
};

/// Bytes of one batch; a single longer message is a batch of its own.
const BATCH_BYTES_MAX: usize = 512 << 10;
/// Wait after an attempt that failed.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// When a caller should try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Time that a drain gives to what is under way.
const DRAIN: Duration = Duration::from_secs(3);

type Reply = oneshot::Sender<Result<Receipt, PublishError>>;

/// A message that is to be published.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    /// The topic that it came from, when it is a dead letter: its topic may have to be made.
    pub(crate) letter_of: Option<String>,
    pub(crate) record: Record,
    pub(crate) bytes: usize,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
}

/// A partition of a topic.
type Place = (String, u32);

/// A batch that is being sent, again if need be.
#[derive(Debug)]
struct Batch {
    outgoing: Vec<Outgoing>,
    encoded: Bytes,
    records: i32,
    /// Whether it may have reached the broker.
    sent: bool,
}

#[derive(Debug, Default)]
struct Partition {
    queue: VecDeque<Outgoing>,
    batch: Option<Batch>,
    /// The batch is with a request now.
    in_flight: bool,
    /// Not again before then.
    wake: Option<Instant>,
    /// The producer's number and the next record's.
    identity: Option<(i64, i32)>,
}

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

/// Whether a topic's leaders are known.
enum Learned {
    Known,
    NotNow,
    Refused(ErrorCode),
}

/// The task that publishes.
pub(crate) struct Publisher {
    cluster: Cluster,
    incoming: mpsc::Receiver<Outgoing>,
    partitions: BTreeMap<Place, Partition>,
    maps: BTreeMap<String, TopicMap>,
    /// Messages whose topic is not known yet.
    unplaced: VecDeque<Outgoing>,
    requests: JoinSet<Vec<Ended>>,
    producer_id: Option<i64>,
    round: u32,
    look_again: Option<Instant>,
}

impl Publisher {
    /// Starts the task; messages go into the channel that it gives back.
    pub(crate) fn start(cluster: &Cluster) -> mpsc::Sender<Outgoing> {
        // Bounds what is under way; the sender refuses more as overloaded.
        let (sender, incoming) = mpsc::channel(cluster.config().publishes_max);
        let publisher = Self {
            cluster: cluster.clone(),
            incoming,
            partitions: BTreeMap::new(),
            maps: BTreeMap::new(),
            unplaced: VecDeque::new(),
            requests: JoinSet::new(),
            producer_id: None,
            round: 0,
            look_again: None,
        };
        cluster.tasks().spawn("publisher", |shutdown| publisher.run(shutdown));
        sender
    }

    async fn run(mut self, shutdown: Shutdown) {
        let mut arrived = Vec::new();
        let mut drain_until = None;
        loop {
            let wake = self.next_wake();
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
                Some(ended) = self.requests.join_next() => self.ended(ended.unwrap_or_default()),
                () = pause => {}
                () = shutdown.cancelled(), if !stopping => {
                    drain_until = Some(Instant::now() + DRAIN);
                }
            }
            self.unplaced.extend(arrived.drain(..));
            self.place_all().await;
            self.expire();
            self.send().await;
            let idle = self.requests.is_empty() && self.is_empty() && self.incoming.is_empty();
            if drain_until.is_some_and(|it| idle || Instant::now() >= it) {
                return;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.unplaced.is_empty()
            && self.partitions.values().all(|it| it.queue.is_empty() && it.batch.is_none())
    }

    /// When something must be looked at again although nothing happens.
    fn next_wake(&self) -> Option<Instant> {
        let of_partition = |it: &Partition| {
            let oldest = it.batch.as_ref().and_then(|it| it.outgoing.first());
            let oldest = oldest.or_else(|| it.queue.front()).map(|it| it.deadline);
            let waits = it.wake.filter(|_| it.batch.is_some() && !it.in_flight);
            let expires = oldest.filter(|_| !it.in_flight);
            waits.into_iter().chain(expires).min()
        };
        let partitions = self.partitions.values().filter_map(of_partition).min();
        let unplaced = self.unplaced.front().and(self.look_again);
        partitions.into_iter().chain(unplaced).min()
    }

    /// Finds the partition of every message that has none.
    async fn place_all(&mut self) {
        if self.look_again.is_some_and(|it| Instant::now() < it) {
            return;
        }
        self.look_again = None;
        let mut rest = VecDeque::new();
        while let Some(outgoing) = self.unplaced.pop_front() {
            match self.learn(&outgoing.topic, outgoing.letter_of.as_deref()).await {
                Learned::Known => self.place(outgoing),
                Learned::Refused(code) => outgoing.answer(Err(PublishError::Refused { code })),
                Learned::NotNow => {
                    self.look_again = Some(Instant::now() + AGAIN_AFTER);
                    rest.push_back(outgoing);
                    // All others wait as well: the log cannot be reached.
                    rest.append(&mut self.unplaced);
                }
            }
        }
        self.unplaced = rest;
    }

    /// Makes sure that a topic's leaders are known.
    async fn learn(&mut self, topic: &str, letter_of: Option<&str>) -> Learned {
        if self.maps.contains_key(topic) {
            return Learned::Known;
        }
        let known = match letter_of {
            None => self.cluster.topic(topic, Missing::Create).await,
            Some(source) => self.cluster.topic_of_letters(topic, source).await,
        };
        match known {
            Ok(map) => {
                self.maps.insert(topic.to_owned(), map);
                Learned::Known
            }
            Err(TopicFault::Code(code @ ErrorCode::InvalidTopicException))
            | Err(TopicFault::Refused(code)) => Learned::Refused(code),
            Err(fault) => {
                tracing::debug!(topic, ?fault, "a topic is not known yet");
                Learned::NotNow
            }
        }
    }

    fn place(&mut self, outgoing: Outgoing) {
        let count = self.maps.get(&outgoing.topic).map_or(1, |it| it.leaders.len());
        let count = u32::try_from(count).unwrap_or(1).max(1);
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
            if partition.in_flight {
                continue;
            }
            let late = |it: &Batch| it.outgoing.iter().any(|it| it.deadline <= now);
            if partition.batch.as_ref().is_some_and(late)
                && let Some(batch) = partition.batch.take()
            {
                let sent = batch.sent;
                for outgoing in batch.outgoing {
                    outgoing.answer(Err(if sent {
                        unknown("no answer in time")
                    } else {
                        unavailable()
                    }));
                }
                if sent {
                    // The batch might still turn up under the old number.
                    partition.identity = None;
                    self.producer_id = None;
                } else if let Some((_, sequence)) = &mut partition.identity {
                    *sequence = before(*sequence, batch.records);
                }
            }
            while partition.queue.front().is_some_and(|it| it.deadline <= now) {
                if let Some(outgoing) = partition.queue.pop_front() {
                    outgoing.answer(Err(unavailable()));
                }
            }
        }
        while self.unplaced.front().is_some_and(|it| it.deadline <= now) {
            if let Some(outgoing) = self.unplaced.pop_front() {
                outgoing.answer(Err(unavailable()));
            }
        }
    }

    /// Sends a batch for every partition that has one to send and none under way.
    async fn send(&mut self) {
        let now = Instant::now();
        let due = |it: &Partition| {
            !it.in_flight
                && it.wake.is_none_or(|it| it <= now)
                && (it.batch.is_some() || !it.queue.is_empty())
        };
        if !self.partitions.values().any(due) {
            return;
        }
        let Some(producer_id) = self.producer().await else { return };
        let topics: BTreeMap<String, Option<String>> = self
            .partitions
            .iter()
            .filter(|(place, it)| due(it) && !self.maps.contains_key(&place.0))
            .map(|(place, it)| (place.0.clone(), it.letter_of()))
            .collect();
        for (topic, letter_of) in topics {
            self.learn(&topic, letter_of.as_deref()).await;
        }
        let mut by_leader: BTreeMap<i32, Vec<(Place, Bytes)>> = BTreeMap::new();
        for (place, partition) in &mut self.partitions {
            if !due(partition) {
                continue;
            }
            let leader = self.maps.get(&place.0).and_then(|it| it.leaders.get(&place.1)).copied();
            let Some(leader) = leader else {
                partition.wake = Some(now + AGAIN_AFTER);
                continue;
            };
            let encoded = partition.fill(producer_id);
            partition.in_flight = true;
            by_leader.entry(leader).or_default().push((place.clone(), encoded));
        }
        let timeout = Duration::from_millis(self.cluster.config().publish_timeout_ms);
        for (leader, batches) in by_leader {
            self.requests.spawn(produce(self.cluster.clone(), leader, batches, timeout));
        }
    }

    /// The number of this producer; none while the log cannot be reached.
    async fn producer(&mut self) -> Option<i64> {
        if let Some(id) = self.producer_id {
            return Some(id);
        }
        let request = InitProducerIdRequest { transactional_id: None, transaction_timeout_ms: 0 };
        let timeout = Duration::from_millis(self.cluster.config().publish_timeout_ms);
        let asked =
            self.cluster.call(Purpose::Publish, None, ApiKey::InitProducerId, &request, timeout);
        let answer: Result<InitProducerIdResponse, CallError> = asked.await;
        match answer {
            Ok(answer) if answer.error == ErrorCode::None => {
                self.producer_id = Some(answer.producer_id);
                Some(answer.producer_id)
            }
            other => {
                tracing::debug!(?other, "no producer number yet");
                let wake = Instant::now() + AGAIN_AFTER;
                for partition in self.partitions.values_mut().filter(|it| !it.queue.is_empty()) {
                    partition.wake = Some(wake);
                    // A batch with nothing in it would have no deadline to wake up for.
                    if partition.batch.is_none() {
                        self.look_again = Some(wake);
                    }
                }
                None
            }
        }
    }

    fn ended(&mut self, ended: Vec<Ended>) {
        for Ended { place, result } in ended {
            let Some(partition) = self.partitions.get_mut(&place) else { continue };
            partition.in_flight = false;
            let Some(mut batch) = partition.batch.take() else { continue };
            match result {
                Ok(base_offset) => {
                    for (offset, outgoing) in (base_offset..).zip(batch.outgoing) {
                        outgoing.answer(Ok(Receipt { partition: place.1, offset }));
                    }
                }
                Err(Trouble::Call(error)) => {
                    batch.sent |= !matches!(error, CallError::NotSent(_));
                    tracing::debug!(topic = place.0, %error, "a batch will be sent again");
                    self.cluster.doubt(&place.0);
                    self.maps.remove(&place.0);
                    partition.again(batch);
                }
                Err(Trouble::Code(code)) if is_temporary(code) => {
                    batch.sent = true;
                    tracing::debug!(topic = place.0, ?code, "a batch will be sent again");
                    if code == ErrorCode::NotLeaderOrFollower
                        || code == ErrorCode::UnknownTopicOrPartition
                    {
                        self.cluster.doubt(&place.0);
                        self.maps.remove(&place.0);
                    }
                    partition.again(batch);
                }
                Err(Trouble::Code(code)) => {
                    tracing::warn!(
                        topic = place.0,
                        partition = place.1,
                        ?code,
                        "a batch was refused"
                    );
                    partition.identity = None;
                    self.producer_id = None;
                    let lost = matches!(
                        code,
                        ErrorCode::OutOfOrderSequenceNumber
                            | ErrorCode::InvalidProducerEpoch
                            | ErrorCode::DuplicateSequenceNumber
                    );
                    for outgoing in batch.outgoing {
                        let message = format!("{code:?}");
                        outgoing.answer(Err(if lost {
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

impl Partition {
    /// The batch to send: the one that must be repeated, or what has queued up.
    fn fill(&mut self, producer_id: i64) -> Bytes {
        if let Some(batch) = &self.batch {
            return batch.encoded.clone();
        }
        let (id, sequence) = *self.identity.get_or_insert((producer_id, 0));
        let (mut outgoing, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.queue.front() {
            if bytes + next.bytes > BATCH_BYTES_MAX && !outgoing.is_empty() {
                break;
            }
            bytes += next.bytes;
            outgoing.extend(self.queue.pop_front());
        }
        let records: Vec<Record> = outgoing.iter().map(|it| it.record.clone()).collect();
        let producer = Producer { id, epoch: 0, base_sequence: sequence };
        let encoded = encode(&records, Some(producer));
        let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
        self.identity = Some((id, after(sequence, count)));
        let batch = Batch { outgoing, encoded: encoded.clone(), records: count, sent: false };
        self.batch = Some(batch);
        encoded
    }

    /// The topic that what waits here came from, when it is dead letters.
    fn letter_of(&self) -> Option<String> {
        let batch = self.batch.iter().flat_map(|it| &it.outgoing);
        batch.chain(&self.queue).next()?.letter_of.clone()
    }

    fn again(&mut self, batch: Batch) {
        self.batch = Some(batch);
        self.wake = Some(Instant::now() + AGAIN_AFTER);
    }
}

impl Outgoing {
    pub(crate) fn answer(self, result: Result<Receipt, PublishError>) {
        // Whoever asked may have stopped waiting.
        self.reply.send(result).ok();
    }
}

/// Sends batches to one leader.
async fn produce(
    cluster: Cluster,
    leader: i32,
    batches: Vec<(Place, Bytes)>,
    within: Duration,
) -> Vec<Ended> {
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
            return batches.into_iter().map(ended).collect();
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
    batches.into_iter().map(ended).collect()
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

fn after(sequence: i32, count: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).unwrap_or(0)
}

fn before(sequence: i32, count: i32) -> i32 {
    let round = i64::from(i32::MAX) + 1;
    i32::try_from((i64::from(sequence) - i64::from(count) + round) % round).unwrap_or(0)
}

fn unavailable() -> PublishError {
    PublishError::Unavailable { retry_after: RETRY_AFTER }
}

fn unknown(message: &str) -> PublishError {
    PublishError::Unknown { message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_go_round_and_back() {
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(5, 3), 8);
        assert_eq!(before(after(i32::MAX - 1, 7), 7), i32::MAX - 1);
    }
}
