//! The handle of one process on the log.

use std::time::Duration;

use base::SharedClock;
use runtime::Tasks;
use telemetry::Telemetry;

use crate::{
    cluster::Cluster,
    config::MessagingConfig,
    consumer::Consumer,
    dead_letter::Letter,
    entrance::LogEntrance,
    error::{PublishError, SubscribeError},
    message::{Message, Receipt},
    outlet::Outlet,
    seats::Seats,
    subscription::{Handler, Subscription, SubscriptionHandle},
};

/// Publishes and subscribes; a cheap clone.
#[derive(Debug, Clone)]
pub struct Messaging {
    outlet: Outlet,
    seats: Seats,
}

impl Messaging {
    /// A handle whose tasks run on `tasks`. Connects when it is used.
    #[must_use]
    pub fn new(
        config: MessagingConfig,
        clock: SharedClock,
        telemetry: Telemetry,
        tasks: &Tasks,
    ) -> Self {
        Self::entering(LogEntrance::default(), config, clock, telemetry, tasks)
    }

    /// The same with a log that is entered in another way.
    #[must_use]
    pub fn entering(
        entrance: impl Into<LogEntrance>,
        mut config: MessagingConfig,
        clock: SharedClock,
        telemetry: Telemetry,
        tasks: &Tasks,
    ) -> Self {
        if config.client_id.is_empty() {
            config.client_id = format!("skein-{:016x}", fastrand::u64(..));
        }
        let cluster = Cluster::new(config, entrance.into(), tasks.clone());
        Self { outlet: Outlet::new(cluster, clock, telemetry), seats: Seats::default() }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.outlet.cluster()
    }

    pub(crate) const fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        self.outlet.clock()
    }

    /// How long a publish takes at the most, repetitions included.
    #[must_use]
    pub fn publish_within(&self) -> Duration {
        self.outlet.publish_within()
    }

    /// Publishes a message, and waits until the log has it as durably as the topic promises.
    ///
    /// Dropping the future does not take the message back.
    ///
    /// # Errors
    /// [`PublishError`]; only after [`PublishError::Unknown`] may the message be in the log.
    pub async fn publish(&self, topic: &str, message: Message) -> Result<Receipt, PublishError> {
        self.outlet.publish(topic, message).await
    }

    /// Sends a dead letter back to the topic that it came from, byte for byte.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn send_back(&self, letter: Letter) -> Result<Receipt, PublishError> {
        self.outlet.publish_record(&letter.source, letter.record, None).await
    }

    /// Processes messages on `tasks` until they are drained, or until another process of the same
    /// name takes the place in the group: then an error is logged, and [`ping`](Self::ping) fails.
    ///
    /// # Errors
    /// This process has a subscription of the group already.
    pub fn subscribe(
        &self,
        subscription: &Subscription,
        handler: impl Handler,
        tasks: &Tasks,
    ) -> Result<SubscriptionHandle, SubscribeError> {
        let seat = subscription.group.as_ref().map(|it| self.seats.take(it)).transpose()?;
        Ok(Consumer::start(&self.outlet, subscription, seat, handler, tasks))
    }

    /// A group whose place another process has taken.
    pub(crate) fn fenced(&self) -> Option<String> {
        self.seats.lost()
    }
}
