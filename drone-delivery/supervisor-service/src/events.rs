//! What the Supervisor hears (that something failed) and says (what became of it).
//!
//! The message on the queue is a wake-up: that a transaction failed stands in the saga store, and
//! is found there even when the message is lost or comes twice.

use std::collections::BTreeMap;

use contracts::{
    event::{self, EventType, source_of},
    shipping::{
        Alert, CUSTOMER_NOTIFIED, FailedOperation, Notification, OPERATOR_ALERTED, RequestEvent,
        RequestEventKind,
    },
    topics,
};
use messaging::{Delivered, Failure, Handler};
use saga::{Engine, Observer, Record, SagaView, Status};
use serde::Serialize;
use service_kit::inbox;
use store::{OutboxMessage, SqlError, Transaction};
use tracing::debug;

use crate::domain::{delivery_of, end_of_request, operation_of, template_of};

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "supervisor";

/// Takes the queue of failed operations.
#[derive(Debug, Clone)]
pub(crate) struct Queue(pub(crate) Engine);

impl Handler for Queue {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let message = &delivered.message;
        let failed: FailedOperation =
            event::read(&message.kind, &message.body).map_err(inbox::rejected)?;
        debug!(transaction = failed.transaction_id, step = failed.failed_step, "told of a failure");
        self.0.nudge();
        Ok(())
    }
}

/// Listens to the engine.
#[derive(Debug)]
pub(crate) struct Announcer;

impl Observer for Announcer {
    fn recorded(
        &self,
        transaction: &mut Transaction<'_>,
        saga: &SagaView,
        record: &Record,
    ) -> Result<(), SqlError> {
        match record {
            Record::Closed { outcome } => {
                let passed = saga.state.pivot_passed(&saga.definition);
                match end_of_request(saga.definition.name(), *outcome, passed) {
                    Some(kind) => ended(transaction, saga, kind),
                    None => Ok(()),
                }
            }
            Record::Parked { reason } => {
                let kind = RequestEventKind::RequestParked;
                request_event(transaction, saga, kind, Some(reason.clone()))
            }
            Record::Alerted { reason } => alert(transaction, saga, reason),
            _ => Ok(()),
        }
    }

    fn attributes(&self, saga_id: &str) -> Vec<(&'static str, String)> {
        vec![("delivery.id", delivery_of(saga_id).to_owned())]
    }
}

/// The request has come to its end: readers, the customer and, when it failed, operators hear of it.
fn ended(
    transaction: &mut Transaction<'_>,
    saga: &SagaView,
    kind: RequestEventKind,
) -> Result<(), SqlError> {
    let reason = saga.cause().map(|it| format!("{}: {}", it.reason, it.code));
    request_event(transaction, saga, kind, reason.clone())?;
    if let Some(template) = template_of(kind) {
        let notification = Notification {
            delivery_id: delivery_of(&saga.id).to_owned(),
            template: template.to_owned(),
            reason: reason.clone(),
            occurred_at: transaction.now(),
        };
        push(transaction, saga, topics::NOTIFICATIONS, CUSTOMER_NOTIFIED, &notification)?;
    }
    if kind == RequestEventKind::RequestFailed {
        alert(transaction, saga, &reason.unwrap_or_else(|| "it failed".to_owned()))?;
    }
    Ok(())
}

fn request_event(
    transaction: &mut Transaction<'_>,
    saga: &SagaView,
    kind: RequestEventKind,
    reason: Option<String>,
) -> Result<(), SqlError> {
    let event = RequestEvent {
        delivery_id: delivery_of(&saga.id).to_owned(),
        kind,
        operation: operation_of(saga.definition.name()).to_owned(),
        failed_step: saga.cause().map(|it| it.step.clone()).filter(|it| !it.is_empty()),
        reason,
        occurred_at: transaction.now(),
    };
    push(transaction, saga, topics::REQUEST_EVENTS, kind.event_type(), &event)
}

fn alert(transaction: &mut Transaction<'_>, saga: &SagaView, reason: &str) -> Result<(), SqlError> {
    let parked = saga.status() == Status::Parked;
    let alert = Alert {
        severity: if parked { "critical" } else { "warning" }.to_owned(),
        service: ROLE.to_owned(),
        delivery_id: Some(delivery_of(&saga.id).to_owned()),
        text: format!("transaction {}: {reason}", saga.id),
        occurred_at: transaction.now(),
    };
    push(transaction, saga, topics::ALERTS, OPERATOR_ALERTED, &alert)
}

fn push(
    transaction: &mut Transaction<'_>,
    saga: &SagaView,
    topic: &str,
    kind: EventType,
    body: &impl Serialize,
) -> Result<(), SqlError> {
    let delivery = delivery_of(&saga.id).to_owned();
    let body = serde_json::to_vec(body).map_err(|it| SqlError::Statement {
        message: format!("an event cannot be written: {it}"),
    })?;
    let time = transaction.now();
    transaction.push(&OutboxMessage {
        topic: topic.to_owned(),
        key: Some(delivery.clone()),
        // The number of records makes it one: the same record is never written twice.
        id: format!("{}/{}/{}", saga.id, saga.state.records, kind.name),
        kind: kind.to_string(),
        source: source_of(ROLE),
        subject: Some(delivery),
        time,
        headers: BTreeMap::new(),
        traceparent: saga.trace.as_deref().map(str::to_owned),
        tracestate: None,
        body,
    })
}
