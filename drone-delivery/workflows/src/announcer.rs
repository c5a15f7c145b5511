//! What became of requests, to whoever asked; what failed, to the Supervisor; what needs a person,
//! to operators. Each word is pushed to the outbox in the transaction of the record it is about.

use std::collections::BTreeMap;

use base::Timestamp;
use contracts::{
    event::{EventType, source_of},
    shipping::{
        Alert, CUSTOMER_NOTIFIED, FailedOperation, Notification, OPERATION_FAILED,
        OPERATOR_ALERTED, RequestEvent, RequestEventKind,
    },
    topics,
};
use saga::{Observer, Record, SagaView, Signal, SignalKind, Start, Status, machine::Cause};
use serde::Serialize;
use store::{OutboxMessage, SqlError, Transaction};

use crate::{
    HAND_OVER,
    answers::{answer_of, answer_of_dropped, template_of},
    names::{delivery_of, operation_id, operation_of},
};

/// Listens to an engine, in the name of a role.
#[derive(Debug, Clone, Copy)]
pub struct Announcer {
    role: &'static str,
}

impl Announcer {
    /// One that speaks for a role.
    #[must_use]
    pub const fn new(role: &'static str) -> Self {
        Self { role }
    }
}

impl Observer for Announcer {
    fn recorded(
        &self,
        transaction: &mut Transaction<'_>,
        saga: &SagaView,
        record: &Record,
    ) -> Result<(), SqlError> {
        let mut words = Words { role: self.role, saga, transaction };
        match record {
            Record::Closed { outcome } => {
                let decided = saga.state.pivot_passed(&saga.definition);
                let code = saga.cause().map(|it| it.code.as_str());
                let answer = answer_of(saga.definition.name(), *outcome, decided, code);
                answer.map_or(Ok(()), |it| words.ended(it))
            }
            Record::Parked { reason } if saga.definition.name() == HAND_OVER => words.alert(reason),
            Record::Parked { reason } => {
                words.request_event(RequestEventKind::RequestParked, Some(reason.clone()))
            }
            Record::FollowUpDropped { start } => words.dropped(start),
            Record::Aborting { cause, .. } => words.failed(cause),
            Record::Alerted { reason } => words.alert(reason),
            _ => Ok(()),
        }
    }

    fn unheard(
        &self,
        transaction: &mut Transaction<'_>,
        saga_id: &str,
        word: &Signal,
    ) -> Result<(), SqlError> {
        let (SignalKind::Cancel { or_else: Some(start), .. } | SignalKind::Then { start }) =
            &word.kind
        else {
            return Ok(());
        };
        let reason = "no delivery of this id was asked for";
        let now = transaction.now();
        let event = answer_to(start, RequestEventKind::RequestRefused, Some(reason), now);
        // Nothing was recorded about a saga that never came.
        let about = About { id: format!("{}/0", start.id), trace: start.trace.as_deref() };
        let kind = event.kind.event_type();
        push(transaction, (self.role, topics::REQUEST_EVENTS, kind), saga_id, &about, &event)
    }

    fn attributes(&self, saga_id: &str) -> Vec<(&'static str, String)> {
        vec![("delivery.id", delivery_of(saga_id).to_owned())]
    }
}

/// The words about one record of a saga.
struct Words<'a, 'b> {
    role: &'static str,
    saga: &'a SagaView,
    transaction: &'a mut Transaction<'b>,
}

impl Words<'_, '_> {
    fn delivery(&self) -> String {
        delivery_of(&self.saga.id).to_owned()
    }

    /// The workflow has come to its end: readers, the customer and, when the request failed,
    /// operators hear of it.
    fn ended(&mut self, kind: RequestEventKind) -> Result<(), SqlError> {
        let by_hand = self.saga.status() == Status::Resolved;
        let by_hand = by_hand.then(|| "an operator settled it by hand".to_owned());
        let cause = self.saga.cause().map(|it| format!("{}: {}", it.reason, it.code));
        let reason = cause.or(by_hand);
        self.request_event(kind, reason.clone())?;
        if let Some(template) = template_of(kind) {
            let notification = Notification {
                delivery_id: self.delivery(),
                owner_id: self.saga.input["ownerId"].as_str().map(str::to_owned),
                template: template.to_owned(),
                reason: reason.clone(),
                occurred_at: self.transaction.now(),
            };
            self.push(topics::NOTIFICATIONS, CUSTOMER_NOTIFIED, None, &notification)?;
        }
        if kind == RequestEventKind::RequestFailed {
            self.alert(&reason.unwrap_or_else(|| "it failed".to_owned()))?;
        }
        Ok(())
    }

    fn request_event(
        &mut self,
        kind: RequestEventKind,
        reason: Option<String>,
    ) -> Result<(), SqlError> {
        let event = RequestEvent {
            delivery_id: self.delivery(),
            kind,
            operation: operation_of(self.saga.definition.name()).to_owned(),
            operation_id: operation_id(&self.saga.id).map(str::to_owned),
            failed_step: self.saga.cause().map(|it| it.step.clone()).filter(|it| !it.is_empty()),
            reason,
            occurred_at: self.transaction.now(),
        };
        self.push(topics::REQUEST_EVENTS, kind.event_type(), None, &event)
    }

    /// The answer to an operation that waited for a create which did not complete.
    fn dropped(&mut self, start: &Start) -> Result<(), SqlError> {
        let kind = answer_of_dropped(&start.definition, self.saga.status());
        let refused = kind == RequestEventKind::RequestRefused;
        let reason = refused.then_some("the delivery was never made");
        let event = answer_to(start, kind, reason, self.transaction.now());
        self.push(topics::REQUEST_EVENTS, kind.event_type(), Some(&start.id), &event)
    }

    /// The article's message to the Supervisor.
    fn failed(&mut self, cause: &Cause) -> Result<(), SqlError> {
        let saga = self.saga;
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
            failed_at: self.transaction.now(),
        };
        self.push(topics::SUPERVISOR, OPERATION_FAILED, None, &operation)
    }

    fn alert(&mut self, reason: &str) -> Result<(), SqlError> {
        let parked = self.saga.status() == Status::Parked;
        let alert = Alert {
            severity: if parked { "critical" } else { "warning" }.to_owned(),
            service: self.role.to_owned(),
            delivery_id: Some(self.delivery()),
            reason: Some(self.why()),
            text: format!("transaction {}: {reason}", self.saga.id),
            occurred_at: self.transaction.now(),
        };
        self.push(topics::ALERTS, OPERATOR_ALERTED, None, &alert)
    }

    /// What transactions have in common that need a person for the same thing: the step and how it fails.
    fn why(&self) -> String {
        let saga = self.saga;
        let (step, how) = match saga.cause() {
            Some(cause) => (cause.step.clone(), cause.code.as_str()),
            None => (self.step_at_hand(), saga.status().as_str()),
        };
        format!("{}: {step} {how}", operation_of(saga.definition.name()))
    }

    fn step_at_hand(&self) -> String {
        let at_hand = ["running", "parked"];
        let found = self.saga.steps().into_iter().find(|it| at_hand.contains(&it.status));
        found.map_or_else(String::new, |it| it.name)
    }

    /// `about` is the operation, where it is not the saga itself.
    fn push(
        &mut self,
        topic: &str,
        kind: EventType,
        about: Option<&str>,
        body: &impl Serialize,
    ) -> Result<(), SqlError> {
        let saga = self.saga;
        // The number of records makes it one: the same record is never written twice.
        let id = format!("{}/{}", about.unwrap_or(&saga.id), saga.state.records);
        let about = About { id, trace: saga.trace.as_deref() };
        push(self.transaction, (self.role, topic, kind), &saga.id, &about, body)
    }
}

/// The answer to an operation that never became a saga.
fn answer_to(
    start: &Start,
    kind: RequestEventKind,
    reason: Option<&str>,
    now: Timestamp,
) -> RequestEvent {
    RequestEvent {
        delivery_id: delivery_of(&start.id).to_owned(),
        kind,
        operation: operation_of(&start.definition).to_owned(),
        operation_id: operation_id(&start.id).map(str::to_owned),
        failed_step: None,
        reason: reason.map(str::to_owned),
        occurred_at: now,
    }
}

/// What a word is about.
struct About<'a> {
    /// Makes it one, together with its kind.
    id: String,
    trace: Option<&'a str>,
}

fn push(
    transaction: &mut Transaction<'_>,
    (role, topic, kind): (&str, &str, EventType),
    saga_id: &str,
    about: &About<'_>,
    body: &impl Serialize,
) -> Result<(), SqlError> {
    let body = serde_json::to_vec(body).map_err(|it| SqlError::Statement {
        message: format!("an event cannot be written: {it}"),
    })?;
    let delivery = delivery_of(saga_id).to_owned();
    let time = transaction.now();
    transaction.push(&OutboxMessage {
        topic: topic.to_owned(),
        key: Some(delivery.clone()),
        id: format!("{}/{}", about.id, kind.name),
        kind: kind.to_string(),
        source: source_of(role),
        subject: Some(delivery),
        time,
        headers: BTreeMap::new(),
        traceparent: about.trace.map(str::to_owned),
        tracestate: None,
        body,
    })
}
