//! The outbox relay: publishes what was committed, in the order of each key, at least once.
//!
//! Of the replicas that share a file one relays, by a lease. A message leaves the outbox only after
//! the log has it. A key whose message is not taken waits alone, and one whose message the log
//! refuses for good is parked until a person decides; all others go on.

mod lease;
mod turns;

#[cfg(test)]
mod tests;

use std::{future::Future, time::Duration};

use messaging::{Message, Messaging, PublishError, Receipt};
use runtime::Shutdown;
use store::{OutboxMessage, ReadError, SqlError, Store, WriteError};
use telemetry::{Gauge, Telemetry, TraceContext};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use self::{
    lease::{Held, RENEWED},
    turns::{Line, Turn, Turns},
};
use crate::context::ServiceContext;

/// Messages of one look into the outbox.
const PAGE_MAX: u32 = 256;
/// Time between two looks when nobody tells of a message: another process may have pushed one.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Published messages leave the outbox so much later, many with one commit. After a crash in
/// between they are published again, and consumers drop doubles.
const REMOVED_WITHIN: Duration = Duration::from_millis(50);
/// So many do not wait.
const REMOVED_MAX: usize = 512;
/// Nothing is published while the outbox still has so many that the log has too.
const UNREMOVED_MAX: usize = 4_096;
/// A message is parked when the log refused it so often in a row.
const REFUSALS_MAX: u32 = 3;
/// Wait after the store or a publish broke.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Time that what is under way gets at the end.
const FINISH: Duration = Duration::from_secs(3);
/// Share of its time that a reader counts the outbox: an n-th.
const COUNTING: u32 = 20;

/// What the relay publishes to.
trait Log: Clone + Send + Sync + 'static {
    fn publish(
        &self,
        topic: &str,
        message: Message,
    ) -> impl Future<Output = Result<Receipt, PublishError>> + Send;

    /// How long a publish takes at the most.
    fn publish_within(&self) -> Duration;
}

impl Log for Messaging {
    async fn publish(&self, topic: &str, message: Message) -> Result<Receipt, PublishError> {
        self.publish(topic, message).await
    }

    fn publish_within(&self) -> Duration {
        self.publish_within()
    }
}

/// Starts the relay of a store. Without a log there is nothing to relay to, and it does nothing.
pub fn start_relay(context: &ServiceContext, store: &Store) {
    let Some(messaging) = context.messaging.clone() else { return };
    let owner = context.config.instance.clone();
    let relay = Relay::new(store.clone(), messaging, owner, &context.telemetry);
    context.tasks.spawn("outbox relay", |shutdown| relay.run(shutdown));
}

struct Relay<L> {
    store: Store,
    log: L,
    owner: String,
    waiting: Gauge,
    parked: Gauge,
    began: Instant,
}

/// The end of a publish.
struct Ended {
    line: Line,
    sequence: i64,
    topic: String,
    id: String,
    result: Result<Receipt, PublishError>,
}

/// One relay's work under one lease.
#[derive(Default)]
struct Work {
    turns: Turns,
    publishes: JoinSet<Ended>,
    /// Numbers of messages that the log has and the outbox still has too.
    published: Vec<i64>,
    /// When they are to leave it.
    remove_at: Option<Instant>,
    removals: JoinSet<Removed>,
    /// Whether the last look ended before the outbox did.
    has_more: bool,
}

/// The end of a removal, and of what.
type Removed = (Vec<i64>, Result<u64, WriteError<SqlError>>);

impl<L: Log> Relay<L> {
    fn new(store: Store, log: L, owner: String, telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let gauge = |name, help| metrics.gauge(name, help, &[]).with(&[]);
        Self {
            store,
            log,
            owner,
            waiting: gauge(
                "store_outbox_messages_count",
                "Messages in the outbox, as the replica that relays counts them.",
            ),
            parked: gauge(
                "store_outbox_parked_count",
                "Messages that the log refused and that wait for a person.",
            ),
            began: Instant::now(),
        }
    }

    async fn run(self, shutdown: Shutdown) {
        while let Some(taken) = shutdown.or_cancel(Held::take(&self.store, &self.owner)).await {
            let Some(held) = taken else {
                if shutdown.or_cancel(sleep(RENEWED)).await.is_none() {
                    return;
                }
                continue;
            };
            // One of the three ends, and with it the others: what is under way is not waited for
            // once the lease is lost, because another replica relays by then.
            tokio::select! {
                () = self.work(&held, &shutdown) => {}
                () = held.keep() => {}
                () = self.count() => {}
            }
            // Another replica counts now, or nobody does.
            self.waiting.set(0.0);
            self.parked.set(0.0);
            held.release().await;
            if shutdown.or_cancel(sleep(AGAIN_AFTER)).await.is_none() {
                return;
            }
        }
    }

    /// Counts the outbox now and then, for as long as the relay works.
    async fn count(&self) {
        loop {
            let started = Instant::now();
            let read = self.store.read(|it| Ok((it.outbox_depth()?, it.outbox_parked_count()?)));
            if let Ok((waiting, parked)) = read.await {
                self.waiting.set(figure(waiting));
                self.parked.set(figure(parked));
            }
            sleep(RENEWED + started.elapsed() * COUNTING).await;
        }
    }

    /// Relays until the process stops, or something broke.
    async fn work(&self, held: &Held, shutdown: &Shutdown) {
        let mut work = Work::default();
        let (mut look_at, mut seen) = (Instant::now(), 0);
        loop {
            if work.has_more || Instant::now() >= look_at {
                look_at = self.look(&mut work).await;
            }
            self.read_again(&mut work).await;
            self.start(held, &mut work);
            self.remove(&mut work);
            let wake = self.wake(&work, look_at);
            // Cancel-safe: each branch takes what it gives in the poll that ends it; a message is
            // parked in its branch, not raced.
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = work.publishes.join_next() => match ended {
                    Ok(ended) => self.ended(ended, held, &mut work).await,
                    Err(error) => {
                        tracing::error!(%error, "a publish of the relay panicked");
                        break;
                    }
                },
                Some(removed) = work.removals.join_next() => work.removed(removed.ok()),
                newer = self.store.outbox_changed(seen) => if newer > seen {
                    (seen, look_at) = (newer, Instant::now());
                },
                () = held.renewed() => {}
                () = sleep_until(wake) => {}
            }
        }
        self.finish(work, held).await;
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When something must be done although nothing happens.
    fn wake(&self, work: &Work, look_at: Instant) -> Instant {
        let rested = work.turns.wake().map(|it| self.began + Duration::from_millis(it));
        let removed = work.remove_at.filter(|_| work.removals.is_empty());
        rested.into_iter().chain(removed).fold(look_at, Instant::min)
    }

    /// Reads on. Gives when to look again although nobody tells of a message.
    async fn look(&self, work: &mut Work) -> Instant {
        if let Err(error) = self.read(work).await {
            tracing::debug!(%error, "the outbox cannot be read");
            work.has_more = false;
            return Instant::now() + AGAIN_AFTER;
        }
        Instant::now() + LOOK_EVERY
    }

    async fn read(&self, work: &mut Work) -> Result<(), ReadError> {
        while let Some(after) = work.turns.read_after() {
            let page = self.store.read(move |it| it.outbox_page(after, PAGE_MAX)).await?;
            work.has_more = page.is_full;
            work.turns.add(page);
            if !work.has_more {
                break;
            }
        }
        Ok(())
    }

    /// Reads what has its turn and is not held.
    async fn read_again(&self, work: &mut Work) {
        let missing = work.turns.missing();
        if missing.is_empty() {
            return;
        }
        let read = self.store.read(move |it| {
            missing.into_iter().map(|number| Ok((number, it.outbox_message(number)?))).collect()
        });
        match read.await {
            Ok(read) => work.turns.fill(read),
            // The next look comes soon enough.
            Err(error) => tracing::debug!(%error, "the outbox cannot be read"),
        }
    }

    /// Publishes what has its turn, as long as the lease outlives the publish.
    fn start(&self, held: &Held, work: &mut Work) {
        let ends_by = Instant::now() + self.log.publish_within();
        if ends_by > held.until() || work.published.len() >= UNREMOVED_MAX {
            return;
        }
        let now = self.millis();
        while let Some(Turn { line, sequence, message }) = work.turns.start(now) {
            let log = self.log.clone();
            let (topic, id) = (message.topic.clone(), message.id.clone());
            work.publishes.spawn(async move {
                let result = log.publish(&topic, envelope(message)).await;
                Ended { line, sequence, topic, id, result }
            });
        }
    }

    async fn ended(&self, ended: Ended, held: &Held, work: &mut Work) {
        let Ended { line, sequence, topic, id, result } = ended;
        let is_final = match result {
            Ok(_) => return work.published(line),
            Err(PublishError::TooLarge { .. }) => true,
            // It may have shared a batch with the one that is meant.
            Err(PublishError::Refused { .. }) => work.turns.failures(line) + 1 >= REFUSALS_MAX,
            Err(_) => false,
        };
        let Err(error) = result else { return };
        tracing::debug!(topic, id, %error, "the log did not take a message");
        if is_final && self.park(sequence, error.to_string(), held).await {
            tracing::error!(topic, id, sequence, %error, "a message of the outbox is parked");
            work.turns.parked(line);
        } else {
            work.turns.not_taken(line, self.millis());
        }
    }

    /// Sets a message aside, unless another replica relays by now. Gives whether it is.
    async fn park(&self, sequence: i64, reason: String, held: &Held) -> bool {
        let mine = held.claim();
        let parked = self.store.write(move |it| {
            let is_mine = mine.holds(it)?;
            if is_mine {
                it.park(sequence, &reason)?;
            }
            Ok::<_, SqlError>(is_mine)
        });
        parked.await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a message is not parked yet");
            false
        })
    }

    /// Takes what was published out of the outbox, one commit at a time.
    fn remove(&self, work: &mut Work) {
        let is_due = work.remove_at.is_some_and(|it| it <= Instant::now());
        if !work.removals.is_empty() || !(is_due || work.published.len() >= REMOVED_MAX) {
            return;
        }
        work.remove_at = None;
        let (store, numbers) = (self.store.clone(), std::mem::take(&mut work.published));
        work.removals.spawn(async move {
            let told = numbers.clone();
            (numbers, store.write(move |it| it.take_from_outbox(&told)).await)
        });
    }

    /// Waits for what is under way, and takes it out.
    async fn finish(&self, mut work: Work, held: &Held) {
        let end = async {
            while let Some(ended) = work.publishes.join_next().await {
                if let Ok(ended) = ended {
                    self.ended(ended, held, &mut work).await;
                }
            }
        };
        if timeout(FINISH, end).await.is_err() {
            tracing::debug!("messages under way will be relayed again");
        }
        while let Some(removed) = work.removals.join_next().await {
            work.removed(removed.ok());
        }
        work.remove_at = work.remove_at.map(|_| Instant::now());
        self.remove(&mut work);
        while let Some(removed) = work.removals.join_next().await {
            work.removed(removed.ok());
        }
    }
}

impl Work {
    fn published(&mut self, line: Line) {
        self.published.extend(self.turns.published(line));
        self.remove_at.get_or_insert_with(|| Instant::now() + REMOVED_WITHIN);
    }

    fn removed(&mut self, removed: Option<Removed>) {
        // A removal that panicked is made up for by the next relay, which publishes again.
        let Some((numbers, Err(error))) = removed else { return };
        tracing::debug!(%error, "published messages stay in the outbox");
        self.published.extend(numbers);
        self.remove_at = Some(Instant::now() + AGAIN_AFTER);
    }
}

fn figure(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn envelope(message: OutboxMessage) -> Message {
    let trace =
        message.traceparent.and_then(|it| TraceContext::parse(&it, message.tracestate.as_deref()));
    Message {
        id: message.id,
        source: message.source,
        kind: message.kind,
        subject: message.subject,
        time: message.time,
        key: message.key,
        content_type: "application/json".to_owned(),
        headers: message.headers,
        trace,
        body: message.body.into(),
    }
}
