//! The outbox relay: publishes what was committed, in the order of each key, at least once.
//!
//! Of the replicas that share a file one relays, by a lease. A message leaves the outbox only after
//! the log has it.

use std::{collections::BTreeMap, time::Duration};

use messaging::{Message, Messaging, PublishError};
use runtime::Shutdown;
use store::{Lease, OutboxMessage, SqlError, Store};
use telemetry::{Gauge, TraceContext};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::context::ServiceContext;

/// Messages of one round.
const ROUND_MAX: u32 = 512;
const LEASE: &str = "outbox";
const LEASE_LASTS: Duration = Duration::from_secs(3);
const LEASE_RENEWED: Duration = Duration::from_secs(1);
/// Wait after the log did not take something.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Starts the relay of a store. Without a log there is nothing to relay to, and it does nothing.
pub fn start_relay(context: &ServiceContext, store: &Store) {
    let Some(messaging) = context.messaging.clone() else { return };
    let depth = context.telemetry.metrics().gauge(
        "store_outbox_messages_count",
        "Messages of the last round that wait in the outbox.",
        &[],
    );
    let relay = Relay {
        store: store.clone(),
        messaging,
        owner: context.config.instance.clone(),
        depth: depth.with(&[]),
    };
    context.tasks.spawn("outbox relay", |shutdown| relay.run(shutdown));
}

struct Relay {
    store: Store,
    messaging: Messaging,
    owner: String,
    depth: Gauge,
}

impl Relay {
    async fn run(self, shutdown: Shutdown) {
        let mut seen = 0;
        while let Some(taken) = shutdown.or_cancel(self.take_lease()).await {
            let Some(epoch) = taken else {
                if shutdown.or_cancel(sleep(LEASE_RENEWED)).await.is_none() {
                    return;
                }
                continue;
            };
            seen = self.relay(epoch, seen, &shutdown).await;
            if shutdown.is_cancelled() {
                let owner = self.owner.clone();
                let released = self.store.write(move |it| it.release_lease(LEASE, &owner, epoch));
                if let Err(error) = released.await {
                    tracing::debug!(%error, "the relay's lease ends by itself");
                }
                return;
            }
        }
    }

    async fn take_lease(&self) -> Option<u64> {
        let owner = self.owner.clone();
        match self.store.write(move |it| it.take_lease(LEASE, &owner, LEASE_LASTS)).await {
            Ok(Lease::Taken { epoch }) => Some(epoch),
            Ok(Lease::Held { .. }) => None,
            Err(error) => {
                tracing::debug!(%error, "the relay's lease cannot be taken");
                None
            }
        }
    }

    /// Relays while the lease is ours.
    async fn relay(&self, epoch: u64, mut seen: u64, shutdown: &Shutdown) -> u64 {
        let mut renewed = Instant::now();
        loop {
            if renewed.elapsed() >= LEASE_RENEWED {
                let owner = self.owner.clone();
                let renewal =
                    self.store.write(move |it| it.renew_lease(LEASE, &owner, epoch, LEASE_LASTS));
                match renewal.await {
                    Ok(true) => renewed = Instant::now(),
                    Ok(false) => return seen,
                    Err(error) if renewed.elapsed() >= LEASE_LASTS => {
                        tracing::warn!(%error, "the relay's lease was lost");
                        return seen;
                    }
                    Err(_) => {}
                }
            }
            let more = self.round().await;
            if shutdown.is_cancelled() {
                return seen;
            }
            if !more {
                // Cancel-safe: it only waits.
                match shutdown.or_cancel(self.store.outbox_changed(seen)).await {
                    Some(newer) => seen = newer,
                    None => return seen,
                }
            }
        }
    }

    /// Publishes the oldest messages. Gives whether more may be waiting.
    async fn round(&self) -> bool {
        let waiting = match self.store.read(|reader| reader.outbox(0, ROUND_MAX)).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::debug!(%error, "the outbox cannot be read");
                return false;
            }
        };
        self.depth.set(f64::from(u32::try_from(waiting.len()).unwrap_or(u32::MAX)));
        let full = waiting.len() == ROUND_MAX as usize;
        if waiting.is_empty() {
            return false;
        }
        // One after the other for each key, the keys at the same time.
        let mut keys: BTreeMap<_, Vec<(i64, OutboxMessage)>> = BTreeMap::new();
        for (sequence, message) in waiting {
            let key = (message.topic.clone(), message.key.clone());
            keys.entry(key).or_default().push((sequence, message));
        }
        let mut publishing = JoinSet::new();
        for (_, messages) in keys {
            publishing.spawn(publish_all(self.messaging.clone(), messages));
        }
        let (mut done, mut failed) = (Vec::new(), false);
        while let Some(ended) = publishing.join_next().await {
            match ended {
                Ok((published, whole)) => {
                    done.extend(published);
                    failed |= !whole;
                }
                Err(error) => {
                    tracing::error!(%error, "a publish of the relay panicked");
                    failed = true;
                }
            }
        }
        if !done.is_empty() {
            let taken = self.store.write(move |it| it.take_from_outbox(&done)).await;
            let taken: Result<u64, store::WriteError<SqlError>> = taken;
            if let Err(error) = taken {
                // They are published again: consumers drop doubles.
                tracing::debug!(%error, "published messages stay in the outbox");
                failed = true;
            }
        }
        if failed {
            sleep(AGAIN_AFTER).await;
        }
        full || failed
    }
}

/// Publishes messages of one key in their order, up to the first that the log does not take. Gives
/// those that it has, and whether that is all.
async fn publish_all(
    messaging: Messaging,
    messages: Vec<(i64, OutboxMessage)>,
) -> (Vec<i64>, bool) {
    let mut done = Vec::with_capacity(messages.len());
    for (sequence, message) in messages {
        let (topic, id) = (message.topic.clone(), message.id.clone());
        match messaging.publish(&topic, envelope(message)).await {
            Ok(_) => done.push(sequence),
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Refused { .. })) => {
                // Losing it would break what its transaction promised: its key waits for a person.
                tracing::error!(topic, id, %error, "the log refuses a message of the outbox");
                return (done, false);
            }
            Err(error) => {
                tracing::debug!(topic, id, %error, "the log did not take a message");
                return (done, false);
            }
        }
    }
    (done, true)
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
