//! What the Delivery service says and hears.
//!
//! Says: one event for each stage that a delivery reaches, through the outbox, in the transaction
//! that reached it. Hears: drones and carriers; what they report is translated first.

mod alarms;

use std::sync::Arc;

use base::Timestamp;
use contracts::{
    DeliveryStage,
    event::{self, Event, source_of},
    shipping::{
        Alert, CUSTOMER_NOTIFIED, DeliveryEvent, HandOverRequest, Notification, OPERATION,
        Operation, delivery_event_type,
    },
    topics,
};
use messaging::{Delivered, Failure, Handler};
use service_kit::inbox;
use store::{OutboxMessage, SqlError, Store, Transaction};
use telemetry::{Counter, Telemetry, TraceContext};

use crate::{
    confirmations::Recipient,
    domain::{Assignment, Delivery, Milestone, Reached, Report},
    positions::Positions,
    store as table,
    stream::Changes,
    translation::{self, DroneWord},
};

pub(crate) use alarms::stopped;

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "delivery";

/// Who hears how a delivery goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Those who asked: nobody else could be reached.
    Askers,
    /// Its owner too, where the account says.
    Owners,
}

/// In which breath something is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Voice<'a> {
    pub(crate) audience: Audience,
    pub(crate) trace: Option<&'a TraceContext>,
}

impl<'a> Voice<'a> {
    pub(crate) const fn new(audience: Audience, trace: &'a TraceContext) -> Self {
        Self { audience, trace: Some(trace) }
    }
}

/// Keeps what a change made of a delivery: the row, an event for each stage, a word to the customer.
pub(crate) fn commit(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    reached: &Reached,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    table::update(transaction, delivery)?;
    announce(transaction, delivery, reached, voice)
}

/// Says which stages a delivery reached just now.
pub(crate) fn announce(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    reached: &Reached,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    announce_at(transaction, delivery, reached, transaction.now(), voice)
}

/// Says which stages a delivery reached, and when: a report that was heard late is not news of now.
fn announce_at(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    reached: &Reached,
    at: Timestamp,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    let before = delivery.sequence.saturating_sub(u64::try_from(reached.len()).unwrap_or(0));
    for (sequence, stage) in (before + 1..).zip(reached) {
        let event = event_of(delivery, *stage, sequence, at);
        table::keep_event(transaction, &event)?;
        let kind = delivery_event_type(*stage).to_string();
        transaction.push(&message(
            topics::DELIVERY_EVENTS,
            kind,
            &event.event_id,
            &event,
            voice.trace,
        )?)?;
        if stage.is_end() {
            notify(transaction, delivery, template(*stage), None, voice)?;
        }
    }
    Ok(())
}

/// Another serves the delivery than before: the customer hears of it. Where nobody flies any more,
/// the Scheduler is asked to find a carrier; the customer hears of that when there is one.
pub(crate) fn reassigned(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    if delivery.awaits_carrier {
        return ask_for_carrier(transaction, delivery, voice.trace);
    }
    let turn = delivery.assignment_turn.to_string();
    notify(transaction, delivery, "reassigned", Some(&turn), voice)
}

/// Another carrier than the one before: each takes the place of another once.
fn tell_of_carrier(
    transaction: &mut Transaction<'_>,
    (before, delivery): (&Delivery, &Delivery),
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    match (&before.carrier, &delivery.carrier) {
        (Some(first), Some(other)) if first != other => {
            notify(transaction, delivery, "reassigned", Some(other), voice)
        }
        _ => Ok(()),
    }
}

fn ask_for_carrier(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    trace: Option<&TraceContext>,
) -> Result<(), SqlError> {
    let request = HandOverRequest {
        delivery_id: delivery.id.clone(),
        pickup: delivery.order.pickup,
        dropoff: delivery.order.dropoff,
        pickup_time: delivery.order.pickup_time,
    };
    let kind = Operation::HandOver.event_type().to_string();
    let id = format!("{}/hand-over", delivery.id);
    let asked = Asked { request, occurred_at: transaction.now() };
    let mut message = message(topics::DELIVERY_REQUESTS, kind, &id, &asked, trace)?;
    message.headers.insert(OPERATION.to_owned(), Operation::HandOver.as_str().to_owned());
    transaction.push(&message)
}

pub(crate) fn event_of(
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

/// A word to the customer, when there is one who may want to hear it. What may be said more than
/// once has a turn.
fn notify(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
    template: &str,
    turn: Option<&str>,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    let has_asked = table::is_asked_for(transaction, &delivery.id)?;
    if voice.audience == Audience::Askers && !has_asked {
        return Ok(());
    }
    let notification = Notification {
        delivery_id: delivery.id.clone(),
        owner_id: Some(delivery.order.owner.account_id.clone()),
        template: template.to_owned(),
        reason: delivery.reason.clone(),
        occurred_at: transaction.now(),
    };
    let turn = turn.map(|it| format!("/{it}")).unwrap_or_default();
    let id = format!("{}/{template}{turn}", delivery.id);
    let kind = CUSTOMER_NOTIFIED.to_string();
    let message = message(topics::NOTIFICATIONS, kind, &id, &notification, voice.trace)?;
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

/// A request of ours, and when we had to make it.
#[derive(serde::Serialize)]
struct Asked {
    #[serde(flatten)]
    request: HandOverRequest,
    #[serde(skip)]
    occurred_at: Timestamp,
}

/// What all kinds of our messages have.
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

impl HasDelivery for Asked {
    fn delivery_id(&self) -> String {
        self.request.delivery_id.clone()
    }

    fn occurred_at(&self) -> Timestamp {
        self.occurred_at
    }
}

impl HasDelivery for Alert {
    fn delivery_id(&self) -> String {
        self.delivery_id.clone().unwrap_or_default()
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

/// Takes a report in. Gives whether a stage was reached; none where there is no such delivery.
pub(crate) fn reported(
    transaction: &mut Transaction<'_>,
    id: &str,
    report: &Report,
    (recipient, audience): (Recipient, Audience),
    trace: &TraceContext,
) -> Result<Option<bool>, SqlError> {
    let Some(mut delivery) = table::find(transaction, id)? else { return Ok(None) };
    let (before, voice) = (delivery.clone(), Voice::new(audience, trace));
    let mut reached = delivery.report(report);
    reached.extend(recipient.answer(&mut delivery, report.at));
    if delivery != before {
        table::update(transaction, &delivery)?;
        announce_at(transaction, &delivery, &reached, report.at, voice)?;
    }
    tell_of_carrier(transaction, (&before, &delivery), voice)?;
    if reached.contains(&DeliveryStage::Failed) {
        alarms::lost(transaction, &delivery, before.stage, voice)?;
    }
    // While there is time to be at the door.
    let on_its_way = reached.contains(&DeliveryStage::HeadedToDropoff);
    if on_its_way && recipient == Recipient::Real && delivery.lacks_confirmation() {
        notify(transaction, &delivery, "confirmation-needed", None, voice)?;
    }
    Ok(Some(!reached.is_empty()))
}

/// Takes in who flies from now on; nothing where there is no such delivery.
pub(crate) fn assigned(
    transaction: &mut Transaction<'_>,
    id: &str,
    assignment: Assignment,
    voice: Voice<'_>,
) -> Result<(), SqlError> {
    let Some(mut delivery) = table::find(transaction, id)? else { return Ok(()) };
    let before = delivery.clone();
    let changes = delivery.assign(assignment);
    if delivery != before {
        table::update(transaction, &delivery)?;
    }
    if changes {
        reassigned(transaction, &delivery, voice)?;
    }
    Ok(())
}

/// Hears drones and carriers.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    store: Store,
    positions: Arc<Positions>,
    changes: Changes,
    recipient: Recipient,
    audience: Audience,
    foreign: Counter,
}

impl Reports {
    pub(crate) fn new(
        store: Store,
        positions: Arc<Positions>,
        changes: Changes,
        (recipient, audience): (Recipient, Audience),
        telemetry: &Telemetry,
    ) -> Self {
        let foreign = telemetry.metrics().counter(
            "delivery_foreign_reports_total",
            "Reports of progress with deliveries that are unknown here.",
            &[],
        );
        Self { store, positions, changes, recipient, audience, foreign: foreign.with(&[]) }
    }

    async fn apply(&self, id: String, report: Report, trace: TraceContext) -> Result<(), Failure> {
        let (recipient, audience) = (self.recipient, self.audience);
        // A drone or carrier is booked before its delivery is made; that is no progress yet.
        let is_progress = report.milestone != Milestone::Assigned;
        let written = self.store.write(move |transaction| {
            reported(transaction, &id, &report, (recipient, audience), &trace)
        });
        match written.await.map_err(inbox::failure_of)? {
            Some(true) => self.changes.notify(),
            None if is_progress => self.foreign.inc(),
            Some(false) | None => {}
        }
        Ok(())
    }

    /// Who flies from now on; a delivery that does not exist yet hears it again when it was made.
    async fn assign(
        &self,
        id: String,
        assignment: Assignment,
        trace: TraceContext,
    ) -> Result<(), Failure> {
        let audience = self.audience;
        let written = self.store.write(move |transaction| {
            assigned(transaction, &id, assignment, Voice::new(audience, &trace))
        });
        written.await.map_err(inbox::failure_of)
    }

    async fn hear_drone(&self, delivered: &Delivered) -> Result<(), Failure> {
        let trace = delivered.trace.clone();
        match translation::word_of(&delivered.message.kind) {
            DroneWord::Phase => match translation::of_drone(&read(delivered)?) {
                Some((id, report)) => self.apply(id, report, trace).await,
                None => Ok(()),
            },
            DroneWord::Assignment => {
                let (id, assignment) = translation::of_assignment(read(delivered)?);
                self.assign(id, assignment, trace).await
            }
            DroneWord::Other => Ok(()),
        }
    }
}

impl Handler for Reports {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        match &*delivered.topic {
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
            _ => self.hear_drone(delivered).await,
        }
    }
}

fn read<E: Event>(delivered: &Delivered) -> Result<E, Failure> {
    let message = &delivered.message;
    event::read(&message.kind, &message.body).map_err(|it| inbox::unread(&it, it.is_unknown()))
}

#[cfg(test)]
mod tests {
    use contracts::{
        Body, Location,
        drone_management::{
            DRONE_PHASE_CHANGED, DRONE_REASSIGNED, DRONE_UNASSIGNED, DroneAssignment, DronePhase,
            DronePhaseChanged,
        },
        third_party_transport::{CARRIER_PHASE_CHANGED, CarrierPhase, CarrierPhaseChanged},
    };
    use runtime::SystemClock;
    use store::StoreSettings;
    use telemetry::TelemetryConfig;

    use super::*;
    use crate::{domain::DeliveryBody, store::NotifyRequest};

    fn says(phase: DronePhase, kind: &str) -> Delivered {
        let now = Timestamp::from_millis(1);
        let event = DronePhaseChanged {
            drone_id: "drone-1".to_owned(),
            delivery_id: Some("d1".to_owned()),
            phase,
            position: Location::default(),
            battery: 1.0,
            sequence: 1,
            occurred_at: now,
            pickup_eta: None,
            delivery_eta: None,
        };
        Delivered {
            message: messaging::Message {
                id: "drone-1/1".to_owned(),
                source: "/services/drone".to_owned(),
                kind: kind.to_owned(),
                subject: None,
                time: now,
                key: Some("drone-1".to_owned()),
                content_type: "application/json".to_owned(),
                headers: std::collections::BTreeMap::new(),
                trace: None,
                body: serde_json::to_vec(&event).unwrap().into(),
            },
            topic: topics::DRONE_EVENTS.into(),
            partition: 0,
            offset: 0,
            attempt: 1,
            published_at: now,
            trace: TraceContext::root(&mut base::Random::with_seed(1), false),
            stopping: runtime::Shutdown::never(),
        }
    }

    fn assigned(drone_id: Option<&str>, turn: u64) -> Delivered {
        let kind = if drone_id.is_some() { DRONE_REASSIGNED } else { DRONE_UNASSIGNED };
        let event = DroneAssignment {
            delivery_id: "d1".to_owned(),
            drone_id: drone_id.map(str::to_owned),
            previous_drone_id: Some("drone-1".to_owned()),
            turn,
            pickup_eta: None,
            delivery_eta: None,
            reason: Some("its drone was taken out of service".to_owned()),
            occurred_at: Timestamp::from_millis(1),
        };
        let mut says = says(DronePhase::Idle, &kind.to_string());
        says.message.body = serde_json::to_vec(&event).unwrap().into();
        says
    }

    /// A store with one delivery, whose customer wants to hear of it, and who listens for it.
    async fn one_delivery(directory: &std::path::Path, recipient: Recipient) -> (Store, Reports) {
        let (clock, quiet) = (SystemClock::shared(), Telemetry::disabled());
        let settings = StoreSettings::default();
        let path = directory.join("delivery.db");
        let store = Store::open(path, table::MIGRATIONS, settings, clock, &quiet).unwrap();
        let body = serde_json::json!({"owner": {"userId": "u", "accountId": "a"}, "droneId": "drone-1",
            "pickup": {"latitude": 60.17, "longitude": 24.94}, "confirmationRequired": 1,
            "dropoff": {"latitude": 60.18, "longitude": 24.95}});
        let order = DeliveryBody::read(&Body::new(&body)).unwrap().order;
        let wish = NotifyRequest {
            email_address: Some("a@example.org".to_owned()),
            sms: None,
            language: String::new(),
            asker: None,
        };
        let made = store.write(move |it| {
            table::insert(it, &Delivery::create("d1".to_owned(), order))?;
            table::keep_notify_request(it, "d1", &wish)
        });
        made.await.unwrap();
        let reports = {
            let told = (recipient, Audience::Askers);
            Reports::new(store.clone(), Arc::default(), Changes::default(), told, &quiet)
        };
        (store, reports)
    }

    #[tokio::test]
    async fn who_flies_instead_is_told_to_the_customer_once_and_for_nobody_a_carrier_is_asked_once()
    {
        let directory = tempfile::tempdir().unwrap();
        let (store, reports) = one_delivery(directory.path(), Recipient::Simulated).await;
        for heard in [assigned(Some("drone-2"), 1), assigned(None, 2)] {
            for _ in 0..2 {
                assert_eq!(reports.handle(&heard).await, Ok(()));
            }
        }
        let said = store.read(|it| it.outbox(0, 100)).await.unwrap();
        let said: Vec<_> = said.iter().map(|it| (it.1.topic.as_str(), it.1.id.as_str())).collect();
        let expected = [
            (topics::NOTIFICATIONS, "d1/reassigned/1"),
            (topics::DELIVERY_REQUESTS, "d1/hand-over"),
        ];
        assert_eq!(said, expected);
        let asked = store.read(|it| it.outbox(0, 100)).await.unwrap().pop().unwrap().1;
        assert_eq!(asked.headers[OPERATION], "hand-over");
        let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        let request = HandOverRequest::read(&Body::new(&body)).unwrap();
        assert_eq!((request.delivery_id.as_str(), request.dropoff.latitude), ("d1", 60.18));
    }

    /// A report that drone 1 made at that second.
    fn reports(phase: DronePhase, second: u64) -> Delivered {
        let mut says = says(phase, &DRONE_PHASE_CHANGED.to_string());
        let mut body: serde_json::Value = serde_json::from_slice(&says.message.body).unwrap();
        body["sequence"] = second.into();
        body["occurredAt"] = format!("2026-01-01T00:00:{second:02}.000Z").into();
        says.message.body = body.to_string().into_bytes().into();
        says
    }

    #[tokio::test]
    async fn a_recipient_is_asked_to_confirm_once_and_while_the_package_is_on_its_way() {
        for (recipient, expected) in [
            (Recipient::Real, &["d1/confirmation-needed"][..]),
            (Recipient::Simulated, &["d1/completed"][..]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (store, listener) = one_delivery(directory.path(), recipient).await;
            let phases = [
                DronePhase::EnRouteToPickup,
                DronePhase::PickedUp,
                DronePhase::EnRouteToDropoff,
                DronePhase::DroppedOff,
            ];
            for (phase, second) in phases.into_iter().zip(1..) {
                assert_eq!(listener.handle(&reports(phase, second)).await, Ok(()));
            }
            let said = store.read(|it| it.outbox(0, 100)).await.unwrap();
            let told = said.iter().filter(|it| it.1.topic == topics::NOTIFICATIONS);
            assert_eq!(told.map(|it| it.1.id.as_str()).collect::<Vec<_>>(), expected);
        }
    }

    #[tokio::test]
    async fn a_package_that_is_stranded_is_a_case_for_a_person_who_reads_where_it_is() {
        let picked_up = [DronePhase::EnRouteToPickup, DronePhase::PickedUp, DronePhase::Failed];
        for (phases, severity, text) in [
            (&picked_up[..], "critical", "the package of delivery d1 waits to be fetched at "),
            (&[DronePhase::EnRouteToPickup, DronePhase::Failed], "warning", "delivery d1 failed: "),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let (store, listener) = one_delivery(directory.path(), Recipient::Simulated).await;
            for (phase, second) in phases.iter().zip(1..) {
                for _ in 0..2 {
                    assert_eq!(listener.handle(&reports(*phase, second)).await, Ok(()));
                }
            }
            let said = store.read(|it| it.outbox(0, 100)).await.unwrap();
            let alerts: Vec<serde_json::Value> = said
                .iter()
                .filter(|it| it.1.topic == topics::ALERTS)
                .map(|it| serde_json::from_slice(&it.1.body).unwrap())
                .collect();
            assert_eq!(alerts.len(), 1, "{alerts:?}");
            assert_eq!(alerts[0]["severity"], severity);
            assert!(alerts[0]["text"].as_str().unwrap().starts_with(text), "{alerts:?}");
        }
    }

    fn carried(carrier: &str, phase: CarrierPhase, sequence: u64) -> Delivered {
        let event = CarrierPhaseChanged {
            delivery_id: "d1".to_owned(),
            carrier: carrier.to_owned(),
            phase,
            position: Location::default(),
            sequence,
            occurred_at: Timestamp::from_millis(1),
            delivery_eta: None,
        };
        let mut says = says(DronePhase::Idle, &CARRIER_PHASE_CHANGED.to_string());
        says.topic = topics::CARRIER_EVENTS.into();
        says.message.body = serde_json::to_vec(&event).unwrap().into();
        says
    }

    #[tokio::test]
    async fn the_alert_of_what_a_carrier_strands_names_the_carrier() {
        let directory = tempfile::tempdir().unwrap();
        let (store, reports) = one_delivery(directory.path(), Recipient::Simulated).await;
        for heard in [
            assigned(None, 1),
            carried("first", CarrierPhase::EnRouteToPickup, 2),
            carried("first", CarrierPhase::PickedUp, 3),
            carried("first", CarrierPhase::Failed, 4),
        ] {
            assert_eq!(reports.handle(&heard).await, Ok(()));
        }
        let said = store.read(|it| it.outbox(0, 100)).await.unwrap();
        let alert = said.iter().find(|it| it.1.topic == topics::ALERTS).unwrap();
        let alert: serde_json::Value = serde_json::from_slice(&alert.1.body).unwrap();
        assert!(alert["text"].as_str().unwrap().contains("the carrier `first` cannot"), "{alert}");
    }

    #[tokio::test]
    async fn another_carrier_in_the_place_of_one_that_broke_down_is_told_to_the_customer_once() {
        let directory = tempfile::tempdir().unwrap();
        let (store, reports) = one_delivery(directory.path(), Recipient::Simulated).await;
        for heard in [
            carried("first", CarrierPhase::EnRouteToPickup, 2),
            // It was moved to other doors, and is the same.
            carried("first", CarrierPhase::EnRouteToPickup, 3),
            carried("second", CarrierPhase::Booked, 4),
            carried("second", CarrierPhase::EnRouteToPickup, 5),
        ] {
            for _ in 0..2 {
                assert_eq!(reports.handle(&heard).await, Ok(()));
            }
        }
        let said = store.read(|it| it.outbox(0, 100)).await.unwrap();
        let told = said.iter().filter(|it| it.1.topic == topics::NOTIFICATIONS);
        let told: Vec<_> = told.map(|it| it.1.id.as_str()).collect();
        assert_eq!(told, ["d1/reassigned/second"]);
    }

    #[tokio::test]
    async fn a_stage_has_the_time_at_which_it_was_reached_however_late_it_is_heard() {
        let directory = tempfile::tempdir().unwrap();
        let (store, listener) = one_delivery(directory.path(), Recipient::Simulated).await;
        for (phase, second) in [(DronePhase::EnRouteToPickup, 7), (DronePhase::PickedUp, 42)] {
            assert_eq!(listener.handle(&reports(phase, second)).await, Ok(()));
        }
        let events = store.read(|it| table::events(it, "d1", 0)).await.unwrap();
        let times: Vec<_> = events.iter().map(|it| it.occurred_at.to_rfc3339()).collect();
        assert_eq!(times, ["2026-01-01T00:00:07.000Z", "2026-01-01T00:00:42.000Z"]);
    }

    #[tokio::test]
    async fn only_progress_with_a_delivery_that_nobody_made_is_counted_as_foreign() {
        let (directory, clock) = (tempfile::tempdir().unwrap(), SystemClock::shared());
        let telemetry = Telemetry::new(TelemetryConfig::default(), clock.clone());
        let path = directory.path().join("delivery.db");
        let settings = StoreSettings::default();
        let store = Store::open(path, table::MIGRATIONS, settings, clock, &telemetry).unwrap();
        let changes = Changes::default();
        let told = (Recipient::Simulated, Audience::Askers);
        let reports = Reports::new(store, Arc::default(), changes, told, &telemetry);
        let kind = DRONE_PHASE_CHANGED.to_string();
        // Booked as a step of the workflow that makes the delivery at its end.
        assert_eq!(reports.handle(&says(DronePhase::Assigned, &kind)).await, Ok(()));
        assert_eq!(reports.foreign.get(), 0);
        assert_eq!(reports.handle(&says(DronePhase::PickedUp, &kind)).await, Ok(()));
        assert_eq!(reports.foreign.get(), 1);
        let newer = says(DronePhase::PickedUp, "com.fabrikam.dronemanagement.DronePhaseChanged.v2");
        assert!(matches!(reports.handle(&newer).await, Err(Failure::Rejected(_))));
        assert_eq!(reports.foreign.get(), 1);
    }
}
