//! Where the messages of one process go out.

use std::{sync::Arc, time::Duration};

use base::SharedClock;
use bytes::Bytes;
use kafka_wire::batch::Record;
use telemetry::{SpanKind, Telemetry};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    cluster::Cluster,
    error::PublishError,
    message::{Message, Receipt},
    metrics::MessagingMetrics,
    publisher::{Outgoing, Publisher},
};

/// What a batch and its headers take besides the messages.
const ENVELOPE_BYTES: usize = 2_048;
/// The publisher answers by the deadline; this much later the caller stops believing in it.
const MARGIN: Duration = Duration::from_millis(250);

/// Publishes; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cluster: Cluster,
    outgoing: mpsc::Sender<Outgoing>,
    /// Room for messages, and for their bytes, that are under way.
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    metrics: MessagingMetrics,
    telemetry: Telemetry,
    clock: SharedClock,
}

impl Outlet {
    pub(crate) fn new(cluster: Cluster, clock: SharedClock, telemetry: Telemetry) -> Self {
        let outgoing = Publisher::start(&cluster);
        let metrics = MessagingMetrics::new(&telemetry);
        let room = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let config = cluster.config();
        let (places, bytes) = (room(config.publishes_max), room(config.publish_bytes_max));
        Self(Arc::new(Inner { cluster, outgoing, places, bytes, metrics, telemetry, clock }))
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    pub(crate) fn metrics(&self) -> &MessagingMetrics {
        &self.0.metrics
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// How long a publish takes at the most, repetitions included.
    pub(crate) fn publish_within(&self) -> Duration {
        Duration::from_millis(self.0.cluster.config().publish_timeout_ms) + MARGIN
    }

    /// Publishes a message, and waits until the log has it as durably as the topic promises.
    pub(crate) async fn publish(
        &self,
        topic: &str,
        mut message: Message,
    ) -> Result<Receipt, PublishError> {
        let name = format!("send {topic}");
        let mut span = self.0.telemetry.span(name, SpanKind::Producer, message.trace.as_ref());
        if span.is_recording() {
            span.attribute("messaging.destination.name", topic.to_owned());
            span.attribute("messaging.message.id", message.id.as_str());
            if !message.kind.is_empty() {
                span.attribute("cloudevents.event_type", message.kind.as_str());
            }
        }
        message.trace = Some(span.context());
        let headers = message.headers.iter().map(|(name, value)| name.len() + value.len());
        let bytes = message.body.len() + headers.sum::<usize>();
        let record = message.to_record(self.0.clock.now());
        let published = self.measured(topic, record, bytes, None).await;
        if let Err(error) = &published {
            span.fail(error.to_string());
        }
        published
    }

    /// The same for a record as it stands; a letter names the topic that it came from, which its own is
    /// made like.
    pub(crate) async fn publish_record(
        &self,
        topic: &str,
        record: Record,
        letter_of: Option<String>,
    ) -> Result<Receipt, PublishError> {
        let of_header = |(name, value): &(String, Option<Bytes>)| {
            name.len() + value.as_ref().map_or(0, Bytes::len)
        };
        let length = |it: &Option<Bytes>| it.as_ref().map_or(0, Bytes::len);
        let headers = record.headers.iter().map(of_header).sum::<usize>();
        let bytes = length(&record.key) + length(&record.value) + headers;
        self.measured(topic, record, bytes, letter_of).await
    }

    async fn measured(
        &self,
        topic: &str,
        record: Record,
        bytes: usize,
        letter_of: Option<String>,
    ) -> Result<Receipt, PublishError> {
        let started = Instant::now();
        let published = self.send(topic, record, bytes, letter_of).await;
        let outcome = match &published {
            Ok(_) => "acknowledged",
            Err(PublishError::Unavailable { .. }) => "unavailable",
            Err(PublishError::Overloaded) => "overloaded",
            Err(PublishError::TooLarge { .. } | PublishError::Refused { .. }) => "refused",
            Err(PublishError::Unknown { .. }) => "unknown",
        };
        self.0.metrics.published.with(&[topic, outcome]).inc();
        if published.is_ok() {
            self.0.metrics.publish_duration.with(&[topic]).observe_duration(started.elapsed());
        }
        published
    }

    async fn send(
        &self,
        topic: &str,
        record: Record,
        bytes: usize,
        letter_of: Option<String>,
    ) -> Result<Receipt, PublishError> {
        let config = self.0.cluster.config();
        if bytes > config.message_bytes_max {
            return Err(PublishError::TooLarge { bytes_max: config.message_bytes_max });
        }
        let deadline = Instant::now() + Duration::from_millis(config.publish_timeout_ms);
        let bytes = bytes + ENVELOPE_BYTES;
        let room = u32::try_from(bytes).unwrap_or(u32::MAX);
        let place = Arc::clone(&self.0.places).try_acquire_owned();
        let of_bytes = Arc::clone(&self.0.bytes).try_acquire_many_owned(room);
        let (Ok(place), Ok(of_bytes)) = (place, of_bytes) else {
            return Err(PublishError::Overloaded);
        };
        let permits = [place, of_bytes];
        let (reply, answer) = oneshot::channel();
        let topic = topic.to_owned();
        let outgoing = Outgoing { topic, letter_of, record, bytes, deadline, reply, permits };
        match self.0.outgoing.try_send(outgoing) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(PublishError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(PublishError::Unavailable { retry_after: Duration::from_secs(1) })
            }
            Ok(()) => match timeout_at(deadline + MARGIN, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => {
                    Err(PublishError::Unknown { message: "no answer in time".to_owned() })
                }
            },
        }
    }
}
