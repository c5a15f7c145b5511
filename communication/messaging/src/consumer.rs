//! The task of one subscription: membership, and the loop that holds its parts together.
//!
//! Rounds: join, find out where to begin, work until the group gathers anew, finish what was begun,
//! commit, join again. Nothing is committed before it is settled.

mod fetching;
mod processing;

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use base::Timestamp;
use bytes::Bytes;
use kafka_wire::{ErrorCode, batch};
use runtime::{Shutdown, Tasks};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

use self::{
    fetching::{Fetcher, Records, Step},
    processing::{Fetched, Processor},
};
use crate::{
    cluster::{Cluster, Missing, Slot},
    connection::CallError,
    group::{GroupError, Member, Verdict},
    lanes::{LaneKey, Lanes, Outcome, Place, Position},
    offsets::{At, list_offsets},
    outlet::Outlet,
    seats::Seat,
    subscription::{Handler, Progress, Start, Subscription, SubscriptionHandle},
};

/// Wait after the log could not be reached.
const AGAIN_AFTER: Duration = Duration::from_millis(150);
/// Time that running handlers get when the group gathers anew, and at the end.
const FINISH: Duration = Duration::from_secs(5);

/// The end of an attempt.
struct Attempt {
    lane: LaneKey,
    position: Position,
    outcome: Outcome,
}

pub(crate) struct Consumer<H> {
    cluster: Cluster,
    slot: Slot,
    processor: Arc<Processor<H>>,
    member: Option<Member>,
    /// Our place in the group, among the subscriptions of this process.
    seat: Option<Seat>,
    lanes: Lanes<Fetched>,
    /// The readable end of each partition, as far as it was heard of.
    ends: BTreeMap<Place, u64>,
    attempts: JoinSet<Attempt>,
    tasks: Tasks,
    /// Stopped with the round: tells those who process that their time ends.
    of_round: Tasks,
    fetcher: Fetcher,
    paused: watch::Receiver<bool>,
    progress: watch::Sender<Progress>,
    began: Instant,
}

/// Why a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoundEnd {
    /// The group gathers anew, and waits for us.
    Gather,
    /// We are none of the group any more.
    Expelled,
    /// Another process has our name and our place.
    Fenced,
    Stopped,
}

impl<H: Handler> Consumer<H> {
    pub(crate) fn start(
        outlet: &Outlet,
        subscription: &Subscription,
        seat: Option<Seat>,
        handler: H,
        tasks: &Tasks,
    ) -> SubscriptionHandle {
        let (pause, paused) = watch::channel(false);
        let (progress, seen) = watch::channel(Progress::default());
        let (cluster, slot) = (outlet.cluster().clone(), outlet.cluster().slot());
        let member = subscription
            .group
            .clone()
            .map(|group| Member::new(cluster.clone(), slot, group, subscription.topics.clone()));
        let (outlet, subscription) = (outlet.clone(), subscription.clone());
        let consumer = Self {
            fetcher: Fetcher::new(cluster.clone(), slot),
            cluster,
            slot,
            lanes: Lanes::new(subscription.lanes, subscription.window),
            processor: Arc::new(Processor { handler, outlet, subscription }),
            member,
            seat,
            ends: BTreeMap::new(),
            attempts: JoinSet::new(),
            of_round: tasks.child(),
            tasks: tasks.clone(),
            paused,
            progress,
            began: Instant::now(),
        };
        tasks.spawn("subscription", |shutdown| consumer.run(shutdown));
        SubscriptionHandle { paused: pause, progress: seen }
    }

    fn subscription(&self) -> &Subscription {
        &self.processor.subscription
    }

    fn name(&self) -> String {
        self.subscription().name()
    }

    async fn run(mut self, shutdown: Shutdown) {
        let end = loop {
            let end = match self.begun(&shutdown).await {
                None => RoundEnd::Stopped,
                Some(Ok(assigned)) => {
                    tracing::debug!(group = self.name(), partitions = assigned, "round begun");
                    self.round(&shutdown).await
                }
                Some(Err(error)) => {
                    tracing::debug!(group = self.name(), %error, "not in the group yet");
                    let end = self.judge(&error);
                    if shutdown.or_cancel(sleep(AGAIN_AFTER)).await.is_none() {
                        break RoundEnd::Stopped;
                    }
                    // What passes leaves us what we are: only the question is asked again.
                    let Some(end) = end else { continue };
                    end
                }
            };
            let end = if end == RoundEnd::Expelled { self.why_expelled().await } else { end };
            match end {
                RoundEnd::Gather => self.finish_round(true).await,
                RoundEnd::Expelled => {
                    self.finish_round(false).await;
                    if let Some(member) = &mut self.member {
                        member.forget();
                    }
                }
                RoundEnd::Fenced | RoundEnd::Stopped => break end,
            }
        };
        self.finish_round(end == RoundEnd::Stopped).await;
        if end == RoundEnd::Fenced {
            self.end_as_fenced();
        } else if let Some(member) = &mut self.member {
            member.leave().await;
        }
        self.cluster.forget(self.slot);
    }

    /// Begins a round; none when the process stops. A join that is under way then is waited for: dropped, it
    /// would leave somebody in the group who never answers, and whom all others wait for.
    async fn begun(&mut self, shutdown: &Shutdown) -> Option<Result<usize, GroupError>> {
        let mut beginning = pin!(self.begin_round());
        tokio::select! {
            begun = beginning.as_mut() => Some(begun),
            () = shutdown.cancelled() => {
                // What comes of it, and whether in time, changes nothing: we leave.
                drop(timeout(FINISH, beginning).await);
                None
            }
        }
    }

    /// A commit does not say who asks, only which member: whether another process has our name, a sign
    /// of life tells, which names us.
    async fn why_expelled(&mut self) -> RoundEnd {
        match self.heartbeat().await {
            Err(Some(RoundEnd::Fenced)) => RoundEnd::Fenced,
            Ok(()) | Err(_) => RoundEnd::Expelled,
        }
    }

    /// Fencing back would only begin a quarrel of two processes about one place.
    fn end_as_fenced(&mut self) {
        tracing::error!(
            group = self.name(),
            client = self.cluster.config().client_id,
            "another process of this name has taken the place in the group: nothing more is processed here"
        );
        if let Some(seat) = &mut self.seat {
            seat.lose();
        }
    }

    /// How the round ends after an error of the group; none when it goes on.
    fn judge(&mut self, error: &GroupError) -> Option<RoundEnd> {
        let member = self.member.as_mut()?;
        match member.judge(error) {
            Verdict::Gather => Some(RoundEnd::Gather),
            Verdict::Expelled => Some(RoundEnd::Expelled),
            Verdict::Fenced => Some(RoundEnd::Fenced),
            Verdict::Passing => None,
        }
    }

    /// Learns which partitions are ours and where each begins. Gives how many there are.
    async fn begin_round(&mut self) -> Result<usize, GroupError> {
        let places = match &mut self.member {
            Some(member) => member.join().await?,
            None => self.every_partition().await?,
        };
        self.processor.outlet.metrics().rebalances.with(&[&self.name()]).inc();
        let mut offsets = match &mut self.member {
            Some(member) => member.committed(&places).await?,
            None => BTreeMap::new(),
        };
        let unknown: Vec<Place> =
            places.iter().filter(|it| !offsets.contains_key(*it)).cloned().collect();
        let at = match self.subscription().start {
            Start::Earliest => At::Beginning,
            Start::Latest => At::End,
        };
        offsets.extend(list_offsets(&self.cluster, &unknown, at).await?);
        self.ends = list_offsets(&self.cluster, &places, At::End).await?;
        let Subscription { lanes, window, .. } = *self.subscription();
        self.lanes = Lanes::new(lanes, window);
        // One that was not stopped is told with its owner.
        self.of_round.stop();
        self.of_round = self.tasks.child();
        for place in &places {
            self.lanes.assign(place.clone(), offsets.get(place).copied().unwrap_or(0));
        }
        self.show_progress();
        Ok(places.len())
    }

    async fn every_partition(&self) -> Result<Vec<Place>, GroupError> {
        let mut places = Vec::new();
        for topic in &self.subscription().topics {
            let map = self.cluster.topic(topic, Missing::Create).await.map_err(|fault| {
                GroupError::Call(CallError::NotSent(format!("{topic}: {fault:?}")))
            })?;
            let name: Arc<str> = topic.as_str().into();
            places.extend(map.leaders.keys().map(|it| (Arc::clone(&name), *it)));
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
        loop {
            let wake = self.start_attempts();
            self.start_fetches();
            let rest = self.fetcher.rests_until().filter(|_| !*self.paused.borrow());
            let pause = self.paused.changed();
            // Cancel-safe: what ends in a branch is given by the poll that ends it; heartbeats and
            // commits are awaited in their branch, not raced, but for the end of the process: then
            // what is settled is committed once more.
            tokio::select! {
                () = shutdown.cancelled() => return RoundEnd::Stopped,
                Some(attempt) = self.attempts.join_next() => self.attempted(attempt.ok()),
                Some(step) = self.fetcher.next() => self.stepped(step),
                // Nobody is left who could pause it: then nothing changes.
                Ok(()) = pause => {}
                () = sleep_until_millis(self.began, wake) => {}
                () = sleep_until(rest.unwrap_or(last_heard)), if rest.is_some() => {}
                _ = commits.tick() => match shutdown.or_cancel(self.commit()).await {
                    None => return RoundEnd::Stopped,
                    Some(Some(end)) => return end,
                    Some(None) => {}
                },
                _ = beats.tick(), if self.member.is_some() => {
                    match shutdown.or_cancel(self.heartbeat()).await {
                        None => return RoundEnd::Stopped,
                        Some(Ok(())) => last_heard = Instant::now(),
                        Some(Err(Some(end))) => return end,
                        // Others may have our partitions once our session is over.
                        Some(Err(None)) if last_heard.elapsed() > session => {
                            return RoundEnd::Expelled;
                        }
                        Some(Err(None)) => {}
                    }
                }
            }
        }
    }

    async fn heartbeat(&mut self) -> Result<(), Option<RoundEnd>> {
        let Some(member) = &mut self.member else { return Ok(()) };
        match member.heartbeat().await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::debug!(group = self.name(), %error, "no heartbeat");
                Err(self.judge(&error))
            }
        }
    }

    /// Commits what is settled. Gives how the round ends, when the group says that it does. One that
    /// did not get through for a passing reason is due again: the work is not repeated for it.
    async fn commit(&mut self) -> Option<RoundEnd> {
        let member = self.member.as_mut()?;
        let due = self.lanes.commits();
        if due.is_empty() {
            return None;
        }
        match member.commit(&due).await {
            Ok(()) => {
                self.lanes.committed(&due);
                self.show_progress();
                None
            }
            Err(error) => {
                tracing::debug!(group = self.name(), %error, "a commit did not get through");
                self.judge(&error)
            }
        }
    }

    /// Lets what was begun end, then commits it while it is still ours to commit.
    async fn finish_round(&mut self, ours: bool) {
        self.fetcher.stop().await;
        self.lanes.stop_starting();
        self.of_round.stop();
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
            let (processor, item) = (Arc::clone(&self.processor), item.clone());
            let stopping = self.of_round.shutdown_signal();
            self.attempts.spawn(async move {
                let position = item.position.clone();
                let (failures, waits) = (item.failures, item.waits);
                let outcome =
                    processor.attempt(item.position, failures, waits, item.record, stopping);
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

    /// Asks for what comes next, unless something is asked already or there is no room.
    fn start_fetches(&mut self) {
        let full = self.lanes.room() < self.subscription().window / 4 + 1;
        let rests = self.fetcher.rests_until().is_some();
        if full || rests || !self.fetcher.is_idle() || *self.paused.borrow() {
            return;
        }
        self.fetcher.start(self.lanes.next_offsets());
    }

    fn stepped(&mut self, step: Step) {
        match step {
            Step::Planned(requests) => self.fetcher.ask(requests),
            Step::Answered(Ok(parts)) => {
                for (place, part) in parts {
                    match part {
                        Ok(records) => self.take_in(&place, records),
                        Err(code) => self.not_read(place, code),
                    }
                }
                self.show_progress();
            }
            Step::Answered(Err(error)) => {
                tracing::debug!(group = self.name(), %error, "a fetch failed");
                for topic in &self.subscription().topics {
                    self.cluster.doubt(topic);
                }
                self.fetcher.rest();
            }
            Step::Range(place, Some((begin, end))) => self.go_on_within(&place, begin, end),
            Step::Range(place, None) => self.cluster.doubt(&place.0),
        }
    }

    fn not_read(&mut self, place: Place, code: ErrorCode) {
        tracing::debug!(topic = %place.0, ?code, "a partition cannot be read now");
        self.fetcher.rest();
        if code == ErrorCode::OffsetOutOfRange {
            self.fetcher.ask_range(place);
        } else {
            self.cluster.doubt(&place.0);
        }
    }

    /// The log does not have the offset that comes next: it goes on at the nearest that it has.
    fn go_on_within(&mut self, place: &Place, begin: u64, end: u64) {
        let Some(next) = self.lanes.next_offset(place) else { return };
        if next < begin {
            self.pass_gap(place, begin);
            self.lanes.skip_to(place, begin);
        } else if next > end {
            let (group, (topic, partition)) = (self.name(), place);
            self.processor.outlet.metrics().moved_back.with(&[topic, &group]).inc();
            tracing::error!(
                group,
                %topic,
                partition,
                from = next,
                to = end,
                "the log ends before what this group has processed: it goes on at its end"
            );
            self.lanes.move_back(place, end);
        }
    }

    fn take_in(&mut self, place: &Place, records: Records) {
        for batch in batch::split(records.batches) {
            match batch::decode(&batch) {
                Ok(records) => {
                    for (offset, record) in records {
                        let offset = u64::try_from(offset).unwrap_or(0);
                        self.pass_gap(place, offset);
                        let key = record.key.clone();
                        let position = Position { place: place.clone(), offset };
                        self.lanes.add(position, key, Fetched::Record(Arc::new(record)));
                    }
                }
                Err(error) => self.take_in_unreadable(place, batch, &error.to_string()),
            }
        }
        self.ends.extend(records.end.map(|it| (place.clone(), it)));
    }

    /// The log has nothing between what was fetched last and `offset`: what stood there is lost.
    fn pass_gap(&self, place: &Place, offset: u64) {
        let Some(next) = self.lanes.next_offset(place).filter(|it| *it < offset) else { return };
        let (group, (topic, partition)) = (self.name(), place);
        self.processor.outlet.metrics().lost.with(&[topic, &group]).add(offset - next);
        tracing::error!(
            group,
            %topic,
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
        self.lanes.add(position, None, Fetched::Unreadable(batch, reason.into()));
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
        let outlet = self.processor.outlet.clone();
        let metrics = outlet.metrics();
        metrics.lag_records.with(&[&name]).set(behind as f64);
        let oldest = self.lanes.oldest().filter_map(|it| match &it.record {
            Fetched::Record(record) => Some(Timestamp::from_millis(record.timestamp)),
            Fetched::Unreadable(..) => None,
        });
        let age = oldest.min().map(|it| outlet.clock().now().saturating_since(it));
        metrics.lag_seconds.with(&[&name]).set(age.unwrap_or_default().as_secs_f64());
        let _before = self.progress.send_replace(Progress { behind: Some(behind) });
    }
}

async fn sleep_until_millis(began: Instant, at: Option<u64>) {
    match at {
        Some(at) => sleep_until(began + Duration::from_millis(at)).await,
        None => std::future::pending().await,
    }
}
