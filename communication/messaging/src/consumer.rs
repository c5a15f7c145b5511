//! The task of one subscription: membership, fetching, processing, committing.
//!
//! Rounds: join, find out where to begin, work until the group gathers anew, finish what was begun,
//! commit, join again. Nothing is committed before it is settled.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base::{SharedClock, Timestamp};
use bytes::Bytes;
use kafka_wire::{
    ApiKey, ErrorCode,
    batch::{self, Record},
    messages::{
        FetchPartition, FetchRequest, FetchResponse, FetchTopic, ListOffsetsPartition,
        ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
    },
    partition_of,
};
use runtime::{Shutdown, Tasks};
use telemetry::{SpanKind, Telemetry};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

use crate::{
    cluster::{Cluster, Missing, Purpose, Slot},
    connection::CallError,
    dead_letter,
    error::Failure,
    group::{GroupError, Member},
    lanes::{Lanes, Outcome, Place, Position},
    message::{Delivered, Message},
    messaging::Messaging,
    subscription::{Handler, Progress, Start, Subscription, SubscriptionHandle},
};

/// Wait after the log could not be reached.
const AGAIN_AFTER: Duration = Duration::from_millis(150);
/// Time that running handlers get when the group gathers anew, and at the end.
const FINISH: Duration = Duration::from_secs(5);
/// Bytes of one partition in one fetch, and of a fetch in all.
const PARTITION_BYTES: i32 = 256 << 10;
const FETCH_BYTES: i32 = 1 << 20;
/// Marks a record that was moved to the partition that its key asks for.
const REPUBLISHED: &str = "skein_republished";
const BEGINNING: i64 = -2;
const END: i64 = -1;

/// What was fetched: one record, or a batch that cannot be read.
#[derive(Debug, Clone)]
enum Fetched {
    Record(Record),
    Unreadable(Bytes, String),
}

/// The parts that every attempt needs.
struct Work<H> {
    handler: H,
    messaging: Messaging,
    subscription: Subscription,
    telemetry: Telemetry,
    clock: SharedClock,
}

/// The end of an attempt.
struct Attempt {
    lane: (Place, Option<Vec<u8>>, u64),
    position: Position,
    outcome: Outcome,
}

/// Answers of a fetch: how far each partition goes, and its records.
struct FetchDone {
    parts: Vec<(Place, Result<Part, ErrorCode>)>,
    failed: Option<CallError>,
}

struct Part {
    /// Where the partition ends; none when it was not asked for records.
    end: Option<u64>,
    /// Nothing is kept before it.
    begins_at: Option<u64>,
    batches: Bytes,
}

pub(crate) struct Consumer<H> {
    cluster: Cluster,
    slot: Slot,
    work: Arc<Work<H>>,
    member: Option<Member>,
    lanes: Lanes<Fetched>,
    /// The readable end of each partition, as far as it was heard of.
    ends: BTreeMap<Place, u64>,
    attempts: JoinSet<Attempt>,
    fetches: JoinSet<FetchDone>,
    paused: watch::Receiver<bool>,
    progress: watch::Sender<Progress>,
    began: Instant,
}

/// Why a round ended.
enum RoundEnd {
    /// The group gathers anew, and waits for us.
    Gather,
    /// We are none of the group any more.
    Expelled,
    Stopped,
}

impl<H: Handler> Consumer<H> {
    pub(crate) fn start(
        messaging: &Messaging,
        subscription: &Subscription,
        handler: H,
        tasks: &Tasks,
    ) -> SubscriptionHandle {
        let (pause, paused) = watch::channel(false);
        let (progress, seen) = watch::channel(Progress::default());
        let (cluster, slot) = (messaging.cluster().clone(), messaging.cluster().slot());
        let member = subscription
            .group
            .clone()
            .map(|group| Member::new(cluster.clone(), slot, group, subscription.topics.clone()));
        let work = Arc::new(Work {
            handler,
            messaging: messaging.clone(),
            telemetry: messaging.telemetry().clone(),
            clock: messaging.clock().clone(),
            subscription: subscription.clone(),
        });
        let consumer = Self {
            cluster,
            slot,
            work,
            member,
            lanes: Lanes::new(subscription.lanes, subscription.window),
            ends: BTreeMap::new(),
            attempts: JoinSet::new(),
            fetches: JoinSet::new(),
            paused,
            progress,
            began: Instant::now(),
        };
        tasks.spawn("subscription", |shutdown| consumer.run(shutdown));
        SubscriptionHandle { paused: pause, progress: seen }
    }

    fn name(&self) -> String {
        self.work.subscription.name()
    }

    async fn run(mut self, shutdown: Shutdown) {
        loop {
            let assigned = match shutdown.or_cancel(self.begin_round()).await {
                None => break,
                Some(Ok(assigned)) => assigned,
                Some(Err(error)) => {
                    tracing::debug!(group = self.name(), %error, "not in the group yet");
                    if matches!(error, GroupError::Code(_))
                        && let Some(member) = &mut self.member
                    {
                        member.forget();
                    }
                    if shutdown.or_cancel(sleep(AGAIN_AFTER)).await.is_none() {
                        break;
                    }
                    continue;
                }
            };
            tracing::debug!(group = self.name(), partitions = assigned, "round begun");
            match self.round(&shutdown).await {
                RoundEnd::Gather => self.finish_round(true).await,
                RoundEnd::Expelled => {
                    self.finish_round(false).await;
                    if let Some(member) = &mut self.member {
                        member.forget();
                    }
                }
                RoundEnd::Stopped => break,
            }
        }
        self.finish_round(true).await;
        if let Some(member) = &mut self.member {
            member.leave().await;
        }
        self.cluster.forget(self.slot).await;
    }

    /// Learns which partitions are ours and where each begins. Gives how many there are.
    async fn begin_round(&mut self) -> Result<usize, GroupError> {
        let places = match &mut self.member {
            Some(member) => member.join().await?,
            None => self.every_partition().await?,
        };
        self.work.messaging.metrics().rebalances.with(&[&self.name()]).inc();
        let mut offsets = match &mut self.member {
            Some(member) => member.committed(&places).await?,
            None => BTreeMap::new(),
        };
        let unknown: Vec<Place> =
            places.iter().filter(|it| !offsets.contains_key(*it)).cloned().collect();
        let at = match self.work.subscription.start {
            Start::Earliest => BEGINNING,
            Start::Latest => END,
        };
        offsets.extend(list_offsets(&self.cluster, &unknown, at).await?);
        self.ends = list_offsets(&self.cluster, &places, END).await?;
        let Subscription { lanes, window, .. } = self.work.subscription;
        self.lanes = Lanes::new(lanes, window);
        for place in &places {
            self.lanes.assign(place.clone(), offsets.get(place).copied().unwrap_or(0));
        }
        self.show_progress();
        Ok(places.len())
    }

    async fn every_partition(&self) -> Result<Vec<Place>, GroupError> {
        let mut places = Vec::new();
        for topic in &self.work.subscription.topics {
            let map = self.cluster.topic(topic, Missing::Create).await.map_err(|fault| {
                GroupError::Call(CallError::NotSent(format!("{topic}: {fault:?}")))
            })?;
            places.extend(map.leaders.into_keys().map(|it| (topic.clone(), it)));
        }
        Ok(places)
    }

    /// Works until the group gathers anew, or the process stops.
    async fn round(&mut self, shutdown: &Shutdown) -> RoundEnd {
        let config = self.cluster.config().clone();
        let tick = |millis: u64| {
            let mut ticks = interval(Duration::from_millis(millis.max(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut beats = tick(config.heartbeat_ms);
        let mut commits = tick(config.commit_every_ms);
        let mut last_heard = Instant::now();
        let session = Duration::from_millis(config.session_timeout_ms);
        let mut fetch_after = Instant::now();
        loop {
            let wake = self.start_attempts();
            self.start_fetches(fetch_after).await;
            let idle_fetch = self.fetches.is_empty() && !*self.paused.borrow();
            let pause = self.paused.changed();
            // Cancel-safe: what ends in a branch is given by the poll that ends it; heartbeats and
            // commits are awaited in their branch, not raced.
            tokio::select! {
                () = shutdown.cancelled() => return RoundEnd::Stopped,
                Some(attempt) = self.attempts.join_next() => self.attempted(attempt.ok()),
                Some(fetched) = self.fetches.join_next() => {
                    if let Ok(done) = fetched && self.fetched(done) {
                        fetch_after = Instant::now() + AGAIN_AFTER;
                    }
                }
                // Nobody is left who could pause it: then nothing changes.
                Ok(()) = pause => {}
                () = sleep_until_millis(self.began, wake) => {}
                () = sleep_until(fetch_after), if idle_fetch && fetch_after > Instant::now() => {}
                _ = commits.tick() => {
                    if let Some(end) = self.commit().await {
                        return end;
                    }
                }
                _ = beats.tick(), if self.member.is_some() => {
                    match self.heartbeat().await {
                        Ok(()) => last_heard = Instant::now(),
                        Err(Some(end)) => return end,
                        // Others may have our partitions once our session is over.
                        Err(None) if last_heard.elapsed() > session => return RoundEnd::Expelled,
                        Err(None) => {}
                    }
                }
            }
        }
    }

    async fn heartbeat(&mut self) -> Result<(), Option<RoundEnd>> {
        let Some(member) = &mut self.member else { return Ok(()) };
        match member.heartbeat().await {
            Ok(()) => Ok(()),
            Err(GroupError::Code(code)) => Err(Some(round_end(code))),
            Err(error) => {
                tracing::debug!(group = self.name(), %error, "no heartbeat");
                Err(None)
            }
        }
    }

    /// Commits what is settled. Gives how the round ends, when the group says that it does.
    async fn commit(&mut self) -> Option<RoundEnd> {
        let member = self.member.as_mut()?;
        let due = self.lanes.take_commits();
        if due.is_empty() {
            return None;
        }
        match member.commit(&due).await {
            Ok(()) => {
                self.show_progress();
                None
            }
            Err(error) => {
                tracing::debug!(group = self.name(), %error, "a commit did not get through");
                for (place, _) in &due {
                    self.lanes.untell(place);
                }
                match error {
                    GroupError::Code(code) => Some(round_end(code)),
                    GroupError::Call(_) | GroupError::Malformed(_) => None,
                }
            }
        }
    }

    /// Lets what was begun end, then commits it while it is still ours to commit.
    async fn finish_round(&mut self, ours: bool) {
        self.fetches.abort_all();
        while self.fetches.join_next().await.is_some() {}
        self.lanes.stop_starting();
        let until = Instant::now() + FINISH;
        while self.lanes.running() > 0 {
            let next = tokio::time::timeout_at(until, self.attempts.join_next()).await;
            match next {
                Ok(Some(attempt)) => self.attempted(attempt.ok()),
                Ok(None) => break,
                Err(_) => {
                    tracing::warn!(group = self.name(), "handlers did not end in time");
                    self.attempts.abort_all();
                    while self.attempts.join_next().await.is_some() {}
                    break;
                }
            }
        }
        if ours {
            // The end that the group may tell is known already.
            drop(timeout(FINISH, self.commit()).await);
        }
    }

    /// Starts what may be processed. Gives when the next failed one may be.
    fn start_attempts(&mut self) -> Option<u64> {
        let now = self.millis();
        let wake = self.lanes.wake(now);
        while let Some((lane, item)) = self.lanes.start() {
            let (work, item) = (Arc::clone(&self.work), item.clone());
            self.attempts.spawn(async move {
                let position = item.position.clone();
                let outcome = work.attempt(item.position, item.failures, item.waits, item.record);
                Attempt { lane, position, outcome: outcome.await }
            });
        }
        wake
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn attempted(&mut self, attempt: Option<Attempt>) {
        let now = self.millis();
        // A handler that panicked was caught inside; what was aborted is not ours any more.
        if let Some(Attempt { lane, position, outcome }) = attempt {
            self.lanes.finish(&lane, &position, outcome, now);
        }
    }

    /// Asks every leader for what comes next, unless one is asked already or there is no room.
    async fn start_fetches(&mut self, not_before: Instant) {
        let full = self.lanes.room() < self.work.subscription.window / 4 + 1;
        if !self.fetches.is_empty() || full || *self.paused.borrow() || Instant::now() < not_before
        {
            return;
        }
        let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<FetchPartition>>> = BTreeMap::new();
        let places: Vec<Place> = self.lanes.ends().map(|it| it.0.clone()).collect();
        for place in places {
            let Some(offset) = self.lanes.next_offset(&place) else { continue };
            let Ok(map) = self.cluster.topic(&place.0, Missing::Create).await else { continue };
            let Some(leader) = map.leaders.get(&place.1) else { continue };
            let asked = FetchPartition {
                partition: i32::try_from(place.1).unwrap_or(i32::MAX),
                offset: i64::try_from(offset).unwrap_or(i64::MAX),
                bytes_max: PARTITION_BYTES,
            };
            by_leader.entry(*leader).or_default().entry(place.0).or_default().push(asked);
        }
        for (leader, topics) in by_leader {
            let topics = topics.into_iter();
            let topics = topics.map(|(name, partitions)| FetchTopic { name, partitions });
            let wait = self.cluster.config().fetch_wait_ms;
            let request = FetchRequest {
                replica_id: -1,
                max_wait_ms: i32::try_from(wait).unwrap_or(i32::MAX),
                bytes_min: 1,
                bytes_max: FETCH_BYTES,
                isolation_level: 0,
                topics: topics.collect(),
            };
            let within = self.cluster.request_timeout() + Duration::from_millis(wait);
            let purpose = Purpose::Fetch(self.slot);
            self.fetches.spawn(fetch(self.cluster.clone(), purpose, leader, request, within));
        }
    }

    /// Takes in what was fetched. Gives whether the log should be left alone for a moment.
    fn fetched(&mut self, done: FetchDone) -> bool {
        let mut trouble = false;
        if let Some(error) = done.failed {
            tracing::debug!(group = self.name(), %error, "a fetch failed");
            for topic in &self.work.subscription.topics {
                self.cluster.doubt(topic);
            }
            trouble = true;
        }
        for (place, part) in done.parts {
            match part {
                Ok(part) => {
                    if let Some(begin) = part.begins_at {
                        self.lanes.skip_to(&place, begin);
                    }
                    self.take_in(&place, part.batches);
                    self.ends.extend(part.end.map(|it| (place, it)));
                }
                Err(ErrorCode::OffsetOutOfRange) => {
                    tracing::error!(
                        group = self.name(),
                        topic = place.0,
                        partition = place.1,
                        "retention overtook this group: records are lost to it"
                    );
                    self.begin_again(&place);
                    trouble = true;
                }
                Err(code) => {
                    tracing::debug!(topic = place.0, ?code, "a partition cannot be read now");
                    self.cluster.doubt(&place.0);
                    trouble = true;
                }
            }
        }
        self.show_progress();
        trouble
    }

    /// Goes on at the oldest record that is kept: found by asking from there.
    fn begin_again(&mut self, place: &Place) {
        let (cluster, place) = (self.cluster.clone(), place.clone());
        self.fetches.spawn(async move {
            let from = list_offsets(&cluster, std::slice::from_ref(&place), BEGINNING).await;
            let part = match from.ok().and_then(|it| it.get(&place).copied()) {
                Some(begin) => {
                    Ok(Part { end: None, begins_at: Some(begin), batches: Bytes::new() })
                }
                None => Err(ErrorCode::UnknownServerError),
            };
            FetchDone { parts: vec![(place, part)], failed: None }
        });
    }

    fn take_in(&mut self, place: &Place, batches: Bytes) {
        for batch in batch::split(batches) {
            match batch::decode(&batch) {
                Ok(records) => {
                    for (offset, record) in records {
                        let offset = u64::try_from(offset).unwrap_or(0);
                        self.pass_gap(place, offset);
                        let key = record.key.as_ref().map(|it| it.to_vec());
                        let position = Position { place: place.clone(), offset };
                        self.lanes.add(position, key, Fetched::Record(record));
                    }
                }
                Err(error) => self.take_in_unreadable(place, batch, &error.to_string()),
            }
        }
    }

    /// The log has nothing between what was fetched last and `offset`: what stood there is lost.
    fn pass_gap(&self, place: &Place, offset: u64) {
        let Some(next) = self.lanes.next_offset(place).filter(|it| *it < offset) else { return };
        let (group, (topic, partition)) = (self.name(), place);
        self.work.messaging.metrics().lost.with(&[topic, &group]).add(offset - next);
        tracing::error!(
            group,
            topic,
            partition,
            from = next,
            to = offset,
            "records are lost: the log has no whole ones there"
        );
    }

    /// A batch that cannot be read is kept as a dead letter, whole, and passed.
    fn take_in_unreadable(&mut self, place: &Place, batch: Bytes, reason: &str) {
        let head = batch::check(&batch).ok();
        let base = head.map(|it| it.base_offset).and_then(|it| u64::try_from(it).ok());
        let count = head.map_or(1, |it| u64::from(it.records));
        let offset = base.or_else(|| self.lanes.next_offset(place)).unwrap_or(0);
        self.pass_gap(place, offset);
        let position = Position { place: place.clone(), offset };
        self.lanes.add(position, None, Fetched::Unreadable(batch, reason.to_owned()));
        self.lanes.skip_to(place, offset + count);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; no count is as large")]
    fn show_progress(&self) {
        let behind = self
            .lanes
            .ends()
            .map(|(place, done)| self.ends.get(place).copied().unwrap_or(0).saturating_sub(done));
        let behind: u64 = behind.sum();
        let name = self.name();
        let metrics = self.work.messaging.metrics();
        metrics.lag_records.with(&[&name]).set(behind as f64);
        let oldest = self.lanes.oldest().filter_map(|it| match &it.record {
            Fetched::Record(record) => Some(Timestamp::from_millis(record.timestamp)),
            Fetched::Unreadable(..) => None,
        });
        let age = oldest.min().map(|it| self.work.clock.now().saturating_since(it));
        metrics.lag_seconds.with(&[&name]).set(age.unwrap_or_default().as_secs_f64());
        let _before = self.progress.send_replace(Progress { behind: Some(behind) });
    }
}

const fn round_end(code: ErrorCode) -> RoundEnd {
    match code {
        ErrorCode::RebalanceInProgress => RoundEnd::Gather,
        _ => RoundEnd::Expelled,
    }
}

async fn sleep_until_millis(began: Instant, at: Option<u64>) {
    match at {
        Some(at) => sleep_until(began + Duration::from_millis(at)).await,
        None => std::future::pending().await,
    }
}

async fn fetch(
    cluster: Cluster,
    purpose: Purpose,
    leader: i32,
    request: FetchRequest,
    within: Duration,
) -> FetchDone {
    let asked = cluster.call(purpose, Some(leader), ApiKey::Fetch, &request, within).await;
    let answer: FetchResponse = match asked {
        Ok(answer) => answer,
        Err(error) => return FetchDone { parts: Vec::new(), failed: Some(error) },
    };
    let mut parts = Vec::new();
    for topic in answer.topics {
        for partition in topic.partitions {
            let Ok(number) = u32::try_from(partition.partition) else { continue };
            let part = match partition.error {
                ErrorCode::None => Ok(Part {
                    end: u64::try_from(partition.high_watermark).ok(),
                    begins_at: None,
                    batches: partition.records,
                }),
                code => Err(code),
            };
            parts.push(((topic.name.clone(), number), part));
        }
    }
    FetchDone { parts, failed: None }
}

/// Offsets of partitions at a time; -2 is the beginning, -1 the end.
pub(crate) async fn list_offsets(
    cluster: &Cluster,
    places: &[Place],
    timestamp: i64,
) -> Result<BTreeMap<Place, u64>, GroupError> {
    let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for (topic, number) in places {
        let map = cluster.topic(topic, Missing::Create).await;
        let map = map.map_err(|it| CallError::NotSent(format!("{topic}: {it:?}")))?;
        let Some(leader) = map.leaders.get(number) else { continue };
        let partition = i32::try_from(*number).unwrap_or(i32::MAX);
        let topics = by_leader.entry(*leader).or_default();
        topics
            .entry(topic.clone())
            .or_default()
            .push(ListOffsetsPartition { partition, timestamp });
    }
    let mut offsets = BTreeMap::new();
    for (leader, topics) in by_leader {
        let topics = topics.into_iter();
        let topics = topics.map(|(name, partitions)| ListOffsetsTopic { name, partitions });
        let request = ListOffsetsRequest { replica_id: -1, topics: topics.collect() };
        let within = cluster.request_timeout();
        let asked = cluster.call(Purpose::Ask, Some(leader), ApiKey::ListOffsets, &request, within);
        let answer: ListOffsetsResponse = asked.await?;
        for topic in answer.topics {
            for partition in topic.partitions {
                if partition.error != ErrorCode::None {
                    cluster.doubt(&topic.name);
                    return Err(GroupError::Call(CallError::NotSent(format!(
                        "{:?}",
                        partition.error
                    ))));
                }
                let number = u32::try_from(partition.partition).ok();
                let offset = u64::try_from(partition.offset).ok();
                offsets.extend(
                    number.zip(offset).map(|(it, offset)| ((topic.name.clone(), it), offset)),
                );
            }
        }
    }
    Ok(offsets)
}

impl<H: Handler> Work<H> {
    /// Gives a message to the handler, and decides what its end means.
    async fn attempt(
        self: Arc<Self>,
        position: Position,
        failures: u32,
        waits: u32,
        fetched: Fetched,
    ) -> Outcome {
        let (topic, partition) = position.place;
        let (record, unreadable) = match fetched {
            Fetched::Record(record) => (record, None),
            Fetched::Unreadable(batch, reason) => {
                (Record { value: Some(batch), ..Record::default() }, Some(reason))
            }
        };
        let published_at = Timestamp::from_millis(record.timestamp);
        let message = Message::of_record(record, &topic, partition, position.offset);
        let name = format!("process {topic}");
        let mut span = self.telemetry.span(name, SpanKind::Consumer, message.trace.as_ref());
        if span.is_recording() {
            span.attribute("messaging.destination.name", topic.as_str());
            span.attribute("messaging.message.id", message.id.as_str());
            span.attribute("messaging.consumer.group.name", self.subscription.name());
            if !message.kind.is_empty() {
                span.attribute("cloudevents.event_type", message.kind.as_str());
            }
        }
        let delivered = Delivered {
            message,
            topic,
            partition,
            offset: position.offset,
            attempt: failures + 1,
            published_at,
            trace: span.context(),
        };
        if let Some(reason) = unreadable {
            return self.bury(&delivered, "unreadable", &reason).await;
        }
        if let Some(outcome) = self.move_home(&delivered).await {
            return outcome;
        }
        let started = Instant::now();
        let handled = self.handle(&delivered).await;
        let group = self.subscription.name();
        let metrics = self.messaging.metrics();
        let labels = [delivered.topic.as_str(), group.as_str()];
        metrics.process_duration.with(&labels).observe_duration(started.elapsed());
        let count = |outcome| metrics.processed.with(&[labels[0], labels[1], outcome]).inc();
        match handled {
            Ok(()) => {
                count("processed");
                Outcome::Settled
            }
            Err(failure) => {
                if !matches!(failure, Failure::Unknown(_)) {
                    span.fail(failure.reason());
                }
                count(match failure {
                    Failure::Transient(_) => "transient",
                    Failure::Unavailable(_) => "unavailable",
                    Failure::Rejected(_) => "rejected",
                    Failure::Unknown(_) => "unknown",
                });
                self.judge(&delivered, failure, failures, waits).await
            }
        }
    }

    async fn handle(self: &Arc<Self>, delivered: &Delivered) -> Result<(), Failure> {
        // A panic is a failure of one message, not of the subscription.
        let (work, given) = (Arc::clone(self), delivered.clone());
        let mut handling = JoinSet::new();
        handling.spawn(async move { work.handler.handle(&given).await });
        match handling.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(Failure::Transient(format!("the handler panicked: {error}"))),
            None => Err(Failure::Transient("the handler was not run".to_owned())),
        }
    }

    async fn judge(
        &self,
        delivered: &Delivered,
        failure: Failure,
        failures: u32,
        waits: u32,
    ) -> Outcome {
        let backoff = &self.subscription.backoff;
        let draw = fastrand::f64();
        let (topic, id) = (&delivered.topic, &delivered.message.id);
        tracing::debug!(
            topic,
            id,
            attempt = failures + 1,
            reason = failure.reason(),
            "not processed"
        );
        match failure {
            Failure::Transient(reason) => {
                if failures + 1 >= self.subscription.attempts_max.get() {
                    return self.bury(delivered, "exhausted", &reason).await;
                }
                Outcome::Again(backoff.delay(failures + 1, draw))
            }
            Failure::Unavailable(_) => Outcome::Wait(backoff.delay(waits + 1, draw)),
            Failure::Rejected(reason) => self.bury(delivered, "rejected", &reason).await,
            Failure::Unknown(_) => Outcome::Settled,
        }
    }

    /// Keeps a message as a dead letter. It is settled only when that is durable.
    async fn bury(&self, delivered: &Delivered, class: &str, reason: &str) -> Outcome {
        let Some(group) = &self.subscription.group else {
            // Nobody asks a reader without a group to keep anything.
            return Outcome::Settled;
        };
        let now = self.clock.now();
        let (topic, message) = dead_letter::bury(delivered, group, class, reason, now);
        match self.messaging.publish(&topic, message).await {
            Ok(_) => {
                tracing::warn!(
                    topic = delivered.topic,
                    id = delivered.message.id,
                    class,
                    reason,
                    "a message was given up"
                );
                let labels = [delivered.topic.as_str(), group.as_str()];
                self.messaging.metrics().dead_letters.with(&labels).inc();
                Outcome::Settled
            }
            Err(error) => {
                tracing::debug!(%error, "a dead letter was not kept; will try again");
                Outcome::Wait(self.subscription.backoff.initial)
            }
        }
    }

    /// A foreign producer may put a key into another partition than ours: then two members could
    /// work on one key. It is published again under its key, once.
    async fn move_home(&self, delivered: &Delivered) -> Option<Outcome> {
        let key = delivered.message.key.as_ref()?;
        if self.subscription.group.is_none() || delivered.message.headers.contains_key(REPUBLISHED)
        {
            return None;
        }
        let map = self.messaging.cluster().topic(&delivered.topic, Missing::Leave).await.ok()?;
        let count = u32::try_from(map.leaders.len()).ok()?;
        if partition_of(key.as_bytes(), count) == delivered.partition {
            return None;
        }
        let mut message = delivered.message.clone();
        message.headers.insert(REPUBLISHED.to_owned(), "true".to_owned());
        self.messaging.metrics().foreign_partition.with(&[&delivered.topic]).inc();
        Some(match self.messaging.publish(&delivered.topic, message).await {
            Ok(_) => Outcome::Settled,
            Err(_) => Outcome::Wait(self.subscription.backoff.initial),
        })
    }
}
