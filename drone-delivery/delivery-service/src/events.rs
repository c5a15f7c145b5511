//! What the Delivery service says and hears.
//!
//! Says: one event for each stage that a delivery reaches, through the outbox, in the transaction
//! that reached it. Hears: drones and carriers; what they report is translated first.

use std::sync::Arc;

use base::Timestamp;
use contracts::{
    DeliveryStage,
    event::source_of,
    shipping::{CUSTOMER_NOTIFIED, DeliveryEvent, Notification, delivery_event_type},
    topics,
};
use messaging::{Delivered, Failure, Handler};
use serde::de::DeserializeOwned;
use store::{OutboxMessage, SqlError, Store, Transaction};
use telemetry::{Counter, Telemetry, TraceContext};

use crate::{
    confirmations::Recipient,
    domain::{Delivery, Reached, Report},
    positions::Positions,
    store as table,
    stream::Changes,
    translation,
};

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "delivery";

/// Keeps what a change made of a delivery: the row, an event for each stage, a word to the customer.
pub(crate) fn commit(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    reached: &Reached,
    trace: Option<&TraceContext>,
) -> Result<(), SqlError> {
    table::update(transaction, delivery)?;
    announce(transaction, delivery, reached, trace)
}

/// Says which stages a delivery reached.
pub(crate) fn announce(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    reached: &Reached,
    trace: Option<&TraceContext>,
) -> Result<(), SqlError> {
    let now = transaction.now();
    let before = delivery.sequence.saturating_sub(u64::try_from(reached.len()).unwrap_or(0));
    for (sequence, stage) in (before + 1..).zip(reached) {
        let event = event_of(delivery, *stage, sequence, now);
        table::keep_event(transaction, &event)?;
        let kind = delivery_event_type(*stage).to_string();
        transaction.push(&message(
            topics::DELIVERY_EVENTS,
            kind,
            &event.event_id,
            &event,
            trace,
        )?)?;
        if stage.is_end() {
            notify(transaction, delivery, template(*stage), trace)?;
        }
    }
    if !reached.is_empty() && delivery.awaits_confirmation() {
        notify(transaction, delivery, "confirmation-needed", trace)?;
    }
    Ok(())
}

fn event_of(
    delivery: &Delivery,
    stage: DeliveryStage,
    sequence: u64,
    now: Timestamp,
) -> DeliveryEvent {
    let order = &delivery.order;
    DeliveryEvent {
        event_id: format!("{}/{sequence}", delivery.id),
        delivery_id: delivery.id.clone(),
        stage,
        location: delivery.location,
        sequence,
        occurred_at: now,
        owner_id: order.owner.account_id.clone(),
        drone_id: order.drone_id.clone(),
        pickup: order.pickup,
        dropoff: order.dropoff,
        pickup_time: order.pickup_time,
        confirmation_required: order.confirmation_required,
        eta: delivery.delivery_eta,
        reason: delivery.reason.clone(),
    }
}

const fn template(stage: DeliveryStage) -> &'static str {
    match stage {
        DeliveryStage::Completed => "completed",
        DeliveryStage::Cancelled => "cancelled",
        DeliveryStage::Failed => "failed",
        DeliveryStage::Created
        | DeliveryStage::Rescheduled
        | DeliveryStage::HeadedToPickup
        | DeliveryStage::HeadedToDropoff => "changed",
    }
}

/// A word to the customer, when there is one who wants to hear it.
fn notify(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    template: &str,
    trace: Option<&TraceContext>,
) -> Result<(), SqlError> {
    if table::notify_request(transaction, &delivery.id)?.is_none() {
        return Ok(());
    }
    let notification = Notification {
        delivery_id: delivery.id.clone(),
        template: template.to_owned(),
        reason: delivery.reason.clone(),
        occurred_at: transaction.now(),
    };
    let id = format!("{}/{template}", delivery.id);
    let kind = CUSTOMER_NOTIFIED.to_string();
    let message = message(topics::NOTIFICATIONS, kind, &id, &notification, trace)?;
    transaction.push(&OutboxMessage { key: Some(delivery.id.clone()), ..message })
}

fn message<T: HasDelivery + serde::Serialize>(
    topic: &str,
    kind: String,
    id: &str,
    body: &T,
    trace: Option<&TraceContext>,
) -> Result<OutboxMessage, SqlError> {
    let (delivery_id, time) = (body.delivery_id(), body.occurred_at());
    let body = serde_json::to_vec(body).map_err(|it| SqlError::Statement {
        message: format!("an event cannot be written: {it}"),
    })?;
    Ok(OutboxMessage {
        topic: topic.to_owned(),
        key: Some(delivery_id.clone()),
        id: id.to_owned(),
        kind,
        source: source_of(ROLE),
        subject: Some(delivery_id),
        time,
        headers: std::collections::BTreeMap::new(),
        traceparent: trace.map(TraceContext::traceparent),
        tracestate: trace.and_then(|it| it.tracestate().map(str::to_owned)),
        body,
    })
}

/// What both kinds of our messages have.
trait HasDelivery {
    fn delivery_id(&self) -> String;
    fn occurred_at(&self) -> Timestamp;
}

impl HasDelivery for DeliveryEvent {
    fn delivery_id(&self) -> String {
        self.delivery_id.clone()
    }

    fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }
}

impl HasDelivery for Notification {
    fn delivery_id(&self) -> String {
        self.delivery_id.clone()
    }

    fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }
}

/// Hears drones and carriers.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    store: Store,
    positions: Arc<Positions>,
    changes: Changes,
    recipient: Recipient,
    foreign: Counter,
}

impl Reports {
    pub(crate) fn new(
        store: Store,
        positions: Arc<Positions>,
        changes: Changes,
        recipient: Recipient,
        telemetry: &Telemetry,
    ) -> Self {
        let foreign = telemetry.metrics().counter(
            "delivery_foreign_reports_total",
            "Reports about deliveries that are unknown or over.",
            &[],
        );
        Self { store, positions, changes, recipient, foreign: foreign.with(&[]) }
    }

    async fn apply(&self, id: String, report: Report, trace: TraceContext) -> Result<(), Failure> {
        let recipient = self.recipient;
        let written = self.store.write(move |transaction| {
            let Some(mut delivery) = table::find(transaction, &id)? else { return Ok(None) };
            let before = delivery.clone();
            let mut reached = delivery.report(&report);
            reached.extend(recipient.answer(&mut delivery));
            if delivery != before {
                commit(transaction, &delivery, &reached, Some(&trace))?;
            }
            Ok::<_, SqlError>(Some(!reached.is_empty()))
        });
        match written.await.map_err(service_kit::inbox::failure_of)? {
            Some(true) => self.changes.notify(),
            Some(false) => {}
            None => self.foreign.inc(),
        }
        Ok(())
    }
}

impl Handler for Reports {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        match delivered.topic.as_str() {
            topics::DRONE_POSITIONS => {
                let event = read(delivered)?;
                if let Some((id, location)) = translation::of_position(&event) {
                    self.positions.note(id, location);
                }
                Ok(())
            }
            topics::CARRIER_EVENTS => {
                let (id, report) = translation::of_carrier(&read(delivered)?);
                self.apply(id, report, delivered.trace.clone()).await
            }
            _ => match translation::of_drone(&read(delivered)?) {
                Some((id, report)) => self.apply(id, report, delivered.trace.clone()).await,
                None => Ok(()),
            },
        }
    }
}

/// Reads a body; one that another version wrote is parked, never fatal.
fn read<T: DeserializeOwned>(delivered: &Delivered) -> Result<T, Failure> {
    serde_json::from_slice(&delivered.message.body)
        .map_err(|it| Failure::Rejected(format!("the body cannot be read: {it}")))
}
