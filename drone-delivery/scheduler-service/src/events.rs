//! What the Scheduler says: what became of requests, and what failed, to the Supervisor.
//!
//! Each word is pushed to the outbox in the transaction of the record that it is about.

use std::collections::BTreeMap;

use base::Timestamp;
use contracts::{
    event::{EventType, source_of},
    shipping::{
        Alert, FailedOperation, OPERATION_FAILED, OPERATOR_ALERTED, RequestEvent, RequestEventKind,
    },
    topics,
};
use saga::{Observer, Outcome, Record, SagaView, Status, machine::Cause};
use serde::Serialize;
use store::{OutboxMessage, SqlError, Transaction};

use crate::domain::{CANCEL, RESCHEDULE, delivery_of, operation_of};

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "scheduler";

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
            Record::Closed { outcome: Outcome::Completed } => {
                request_event(transaction, saga, completed_kind(saga), None)
            }
            // A person has settled what this engine was still trying.
            Record::Closed { outcome: Outcome::Resolved } => {
                let reason = "an operator settled it by hand".to_owned();
                request_event(transaction, saga, resolved_kind(saga), Some(reason))
            }
            Record::Parked { reason } => {
                let kind = RequestEventKind::RequestParked;
                request_event(transaction, saga, kind, Some(reason.clone()))
            }
            Record::Aborting { cause, .. } => failed(transaction, saga, cause),
            Record::Alerted { reason } => alert(transaction, saga, reason),
            // Undoing and its ends are the Supervisor's to tell.
            _ => Ok(()),
        }
    }

    fn attributes(&self, saga_id: &str) -> Vec<(&'static str, String)> {
        vec![("delivery.id", delivery_of(saga_id).to_owned())]
    }
}

fn completed_kind(saga: &SagaView) -> RequestEventKind {
    match saga.definition.name() {
        CANCEL => RequestEventKind::RequestCancelled,
        RESCHEDULE => RequestEventKind::RequestRescheduled,
        _ => RequestEventKind::RequestScheduled,
    }
}

fn resolved_kind(saga: &SagaView) -> RequestEventKind {
    let passed = saga.state.pivot_passed(&saga.definition);
    match saga.definition.name() {
        CANCEL | RESCHEDULE if passed => completed_kind(saga),
        CANCEL | RESCHEDULE => RequestEventKind::RequestRefused,
        _ => RequestEventKind::RequestFailed,
    }
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
        failed_step: None,
        reason,
        occurred_at: transaction.now(),
    };
    push(transaction, saga, topics::REQUEST_EVENTS, kind.event_type(), &event)
}

/// The article's message to the Supervisor.
fn failed(
    transaction: &mut Transaction<'_>,
    saga: &SagaView,
    cause: &Cause,
) -> Result<(), SqlError> {
    let step = saga.definition.steps().iter().find(|it| it.name == cause.step);
    let operation = FailedOperation {
        delivery_request: (*saga.input).clone(),
        service_name: step.map_or_else(String::new, |it| it.service.clone()),
        error_message: format!("{}: {}", cause.reason, cause.code),
        transaction_id: saga.id.to_string(),
        operation: operation_of(saga.definition.name()).to_owned(),
        failed_step: cause.step.clone(),
        failure_class: cause.class,
        attempts: cause.attempts,
        epoch: saga.epoch,
        failed_at: transaction.now(),
    };
    push(transaction, saga, topics::SUPERVISOR, OPERATION_FAILED, &operation)
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
    let time: Timestamp = transaction.now();
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
