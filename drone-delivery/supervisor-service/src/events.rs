//! What the Supervisor hears: that something failed, and what operators should look at. What it says is what the workflows say, see
//! [`workflows::Announcer`].
//!
//! The message on the queue is a wake-up: that a transaction failed stands in the saga store, and
//! is found there even when the message is lost or comes twice.

use contracts::{
    event,
    shipping::{Alert, FailedOperation},
};
use messaging::{Delivered, Failure, Handler};
use notifications::alerts::{AlertDesk, Raised};
use saga::Engine;
use service_kit::inbox;
use tracing::debug;

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "supervisor";

/// Takes the queue of failed operations.
#[derive(Debug, Clone)]
pub(crate) struct Queue(pub(crate) Engine);

impl Handler for Queue {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let failed: FailedOperation = event::read(&message.kind, &message.body)
            .map_err(|it| inbox::unread(&it, it.is_unknown()))?;
        debug!(transaction = failed.transaction_id, step = failed.failed_step, "told of a failure");
        self.0.nudge();
        Ok(())
    }
}

/// Takes what operators should look at.
#[derive(Debug, Clone)]
pub(crate) struct Alerts(pub(crate) AlertDesk);

impl Handler for Alerts {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let alert: Alert = event::read(&message.kind, &message.body)
            .map_err(|it| inbox::unread(&it, it.is_unknown()))?;
        let raised = Raised {
            source: message.source.clone(),
            message_id: message.id.clone(),
            severity: alert.severity,
            service: alert.service,
            delivery_id: alert.delivery_id,
            reason: alert.reason,
            text: alert.text,
            occurred_at: alert.occurred_at,
        };
        self.0.raise(raised).await.map_err(inbox::failure_of)
    }
}
