//! What one message goes through: home to its partition, to the handler, to the dead letters.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use base::Timestamp;
use bytes::Bytes;
use kafka_wire::{batch::Record, partition_of};
use runtime::Shutdown;
use telemetry::SpanKind;
use tokio::time::Instant;

use crate::{
    cluster::Missing,
    dead_letter,
    error::Failure,
    lanes::{Outcome, Position},
    message::{Delivered, Message},
    outlet::Outlet,
    subscription::{Handler, Subscription},
};

/// Marks a record that was moved to the partition that its key asks for.
const REPUBLISHED: &str = "skein_republished";

/// What was fetched: one record, or a batch that cannot be read.
#[derive(Debug, Clone)]
pub(super) enum Fetched {
    Record(Arc<Record>),
    Unreadable(Bytes, Arc<str>),
}

/// The parts that every attempt needs.
pub(super) struct Processor<H> {
    pub(super) handler: H,
    pub(super) outlet: Outlet,
    pub(super) subscription: Subscription,
}

impl<H: Handler> Processor<H> {
    /// Gives a message to the handler, and decides what its end means.
    pub(super) async fn attempt(
        self: Arc<Self>,
        position: Position,
        failures: u32,
        waits: u32,
        fetched: Fetched,
        stopping: Shutdown,
    ) -> Outcome {
        let (topic, partition) = position.place;
        let (record, unreadable) = match fetched {
            Fetched::Record(record) => (record, None),
            Fetched::Unreadable(batch, reason) => {
                (Arc::new(Record { value: Some(batch), ..Record::default() }), Some(reason))
            }
        };
        let published_at = Timestamp::from_millis(record.timestamp);
        let message = Message::of_record(&record, &topic, partition, position.offset);
        let name = || format!("process {topic}").into();
        let parent = message.trace.as_ref();
        let mut span = self.outlet.telemetry().span_with(name, SpanKind::Consumer, parent);
        if span.is_recording() {
            span.attribute("messaging.destination.name", &*topic);
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
            stopping,
        };
        if let Some(reason) = unreadable {
            return self.bury(&delivered, &record, "unreadable", &reason).await;
        }
        if let Some(outcome) = self.move_home(&delivered, &record).await {
            return outcome;
        }
        let started = Instant::now();
        let handled = self.handle(&delivered).await;
        let group = self.subscription.name();
        let metrics = self.outlet.metrics();
        let labels = [&*delivered.topic, group.as_str()];
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
                self.judge(&delivered, &record, failure, (failures, waits)).await
            }
        }
    }

    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let mut handling = pin!(async { self.handler.handle(delivered).await });
        // A panic is a failure of one message, not of the subscription. What panicked is not polled again.
        let polled = poll_fn(|context| {
            let poll = catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(context)));
            poll.map_or_else(|panic| Poll::Ready(Err(panic)), |it| it.map(Ok))
        });
        polled.await.unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<&str>().copied();
            let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let words = words.unwrap_or("without words");
            Err(Failure::Transient(format!("the handler panicked: {words}")))
        })
    }

    async fn judge(
        &self,
        delivered: &Delivered,
        record: &Record,
        failure: Failure,
        (failures, waits): (u32, u32),
    ) -> Outcome {
        let backoff = &self.subscription.backoff;
        let draw = fastrand::f64();
        let (topic, id) = (&delivered.topic, &delivered.message.id);
        tracing::debug!(
            %topic,
            id,
            attempt = failures + 1,
            reason = failure.reason(),
            "not processed"
        );
        match failure {
            Failure::Transient(reason) => {
                if failures + 1 >= self.subscription.attempts_max.get() {
                    return self.bury(delivered, record, "exhausted", &reason).await;
                }
                Outcome::Again(backoff.delay(failures + 1, draw))
            }
            Failure::Unavailable(_) => Outcome::Wait(backoff.delay(waits + 1, draw)),
            Failure::Rejected(reason) => self.bury(delivered, record, "rejected", &reason).await,
            Failure::Unknown(_) => Outcome::Settled,
        }
    }

    /// Keeps a message as a dead letter. It is settled only when that is durable.
    async fn bury(
        &self,
        delivered: &Delivered,
        record: &Record,
        class: &str,
        reason: &str,
    ) -> Outcome {
        let Some(group) = &self.subscription.group else {
            // Nobody asks a reader without a group to keep anything.
            return Outcome::Settled;
        };
        let now = self.outlet.clock().now();
        let (topic, record) =
            dead_letter::bury(record.clone(), delivered, group, class, reason, now);
        let letter_of = Some(delivered.topic.to_string());
        match self.outlet.publish_record(&topic, record, letter_of).await {
            Ok(_) => {
                tracing::warn!(
                    topic = %delivered.topic,
                    id = delivered.message.id,
                    class,
                    reason,
                    "a message was given up"
                );
                let labels = [&*delivered.topic, group.as_str()];
                self.outlet.metrics().dead_letters.with(&labels).inc();
                Outcome::Settled
            }
            Err(error) => {
                tracing::debug!(%error, "a dead letter was not kept; will try again");
                Outcome::Wait(self.subscription.backoff.initial)
            }
        }
    }

    /// A foreign producer may put a key into another partition than ours: then two members could
    /// work on one key. It is published again under its key, once, as it is: its key and its headers
    /// need be no text.
    async fn move_home(&self, delivered: &Delivered, record: &Record) -> Option<Outcome> {
        let key = record.key.as_ref()?;
        let was_moved = record.headers.iter().any(|(name, _)| name == REPUBLISHED);
        if self.subscription.group.is_none() || was_moved {
            return None;
        }
        let map = self.outlet.cluster().topic(&delivered.topic, Missing::Leave).await.ok()?;
        let count = u32::try_from(map.leaders.len()).ok()?;
        if partition_of(key, count) == delivered.partition {
            return None;
        }
        let mut record = record.clone();
        record.headers.push((REPUBLISHED.to_owned(), Some(Bytes::from_static(b"true"))));
        self.outlet.metrics().foreign_partition.with(&[&delivered.topic]).inc();
        Some(match self.outlet.publish_record(&delivered.topic, record, None).await {
            Ok(_) => Outcome::Settled,
            Err(_) => Outcome::Wait(self.subscription.backoff.initial),
        })
    }
}
