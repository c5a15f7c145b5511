//! What the Drone service says and hears.
//!
//! Says: one event for each phase that a drone reaches and for each change of who flies for a
//! delivery, through the outbox, in the transaction that made it so. Hears: deliveries that were made or called off.

mod deliveries;

use std::collections::BTreeMap;

use base::Timestamp;
use contracts::{
    Location,
    drone_management::{
        DRONE_ASSIGNED, DRONE_PHASE_CHANGED, DRONE_REASSIGNED, DRONE_UNASSIGNED, DroneAssignment,
        DronePhaseChanged, PACKAGE_STRANDED, PackageStranded,
    },
    event::{EventType, source_of},
    shipping::{Alert, OPERATOR_ALERTED},
    topics,
};
use serde::Serialize;
use store::{OutboxMessage, SqlError, Transaction};

pub(crate) use deliveries::Deliveries;

use crate::{
    domain::PhaseChange,
    store::{Booking, Promise},
    tower::Tower,
};

/// The role, as it names itself in messages.
pub(crate) const ROLE: &str = "drone";

/// Says that a drone reached a phase. Its times are wall time: what a client's watch shows.
pub(crate) fn push_phase(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    drone_id: &str,
    change: &PhaseChange,
) -> Result<(), SqlError> {
    let wall = |time| tower.clock.wall_of(time);
    let event = DronePhaseChanged {
        drone_id: drone_id.to_owned(),
        delivery_id: change.delivery_id.clone(),
        phase: change.phase,
        position: change.position,
        battery: change.battery,
        sequence: change.sequence,
        occurred_at: wall(change.at),
        pickup_eta: change.pickup_eta.map(wall),
        delivery_eta: change.delivery_eta.map(wall),
    };
    let id = format!("{drone_id}/{}", event.sequence);
    let said = Said { kind: DRONE_PHASE_CHANGED, key: drone_id, id, time: event.occurred_at };
    push(transaction, topics::DRONE_EVENTS, said, change.trace.clone(), &event)
}

/// What there is to say about who flies for a delivery. Wall time.
#[derive(Debug)]
pub(crate) struct Assignment<'a> {
    /// Who was to fly before, when that was another.
    pub(crate) previous: Option<String>,
    /// None when nobody flies any more.
    pub(crate) expected: Option<Promise>,
    pub(crate) reason: Option<&'a str>,
}

/// Says who flies for a delivery from now on, and when. Takes a number for it.
pub(crate) fn push_assignment(
    transaction: &mut Transaction<'_>,
    booking: &mut Booking,
    said: Assignment<'_>,
) -> Result<(), SqlError> {
    booking.turn += 1;
    let kind = match (&booking.drone_id, &said.previous) {
        (None, _) => DRONE_UNASSIGNED,
        (Some(_), Some(_)) => DRONE_REASSIGNED,
        (Some(_), None) => DRONE_ASSIGNED,
    };
    let event = DroneAssignment {
        delivery_id: booking.delivery_id.clone(),
        drone_id: booking.drone_id.clone(),
        previous_drone_id: said.previous,
        turn: booking.turn,
        pickup_eta: said.expected.map(|it| it.pickup),
        delivery_eta: said.expected.map(|it| it.arrival),
        reason: said.reason.map(str::to_owned),
        occurred_at: transaction.now(),
    };
    // In the order of the drone's own phases, which follow it.
    let key = booking.drone_id.as_deref().unwrap_or(&booking.delivery_id);
    let id = format!("{}/assignment/{}", booking.delivery_id, booking.turn);
    let said = Said { kind, key, id, time: event.occurred_at };
    push(transaction, topics::DRONE_EVENTS, said, booking.trace.clone(), &event)
}

/// Says that a drone was lost with a package on board, to everybody and to the operators.
pub(crate) fn push_stranded(
    transaction: &mut Transaction<'_>,
    drone_id: &str,
    delivery_id: &str,
    position: Location,
    trace: Option<String>,
) -> Result<(), SqlError> {
    let now = transaction.now();
    let event = PackageStranded {
        delivery_id: delivery_id.to_owned(),
        drone_id: drone_id.to_owned(),
        position,
        occurred_at: now,
    };
    let id = format!("{delivery_id}/stranded");
    let said = Said { kind: PACKAGE_STRANDED, key: drone_id, id: id.clone(), time: now };
    push(transaction, topics::DRONE_EVENTS, said, trace.clone(), &event)?;
    let Location { latitude, longitude, .. } = position;
    let alert = Alert {
        severity: "critical".to_owned(),
        service: ROLE.to_owned(),
        delivery_id: Some(delivery_id.to_owned()),
        reason: Some("a package waits to be fetched".to_owned()),
        text: format!(
            "{drone_id} was lost with a package on board at {latitude:.5},{longitude:.5}: \
             somebody must fetch it"
        ),
        occurred_at: now,
    };
    let said = Said { kind: OPERATOR_ALERTED, key: delivery_id, id, time: now };
    push(transaction, topics::ALERTS, said, trace, &alert)
}

/// What an event is called, and whose it is.
struct Said<'a> {
    kind: EventType,
    key: &'a str,
    id: String,
    time: Timestamp,
}

fn push(
    transaction: &mut Transaction<'_>,
    topic: &str,
    said: Said<'_>,
    traceparent: Option<String>,
    event: &impl Serialize,
) -> Result<(), SqlError> {
    let body = serde_json::to_vec(event).map_err(|it| SqlError::Statement {
        message: format!("an event cannot be written: {it}"),
    })?;
    transaction.push(&OutboxMessage {
        topic: topic.to_owned(),
        key: Some(said.key.to_owned()),
        id: said.id,
        kind: said.kind.to_string(),
        source: source_of(ROLE),
        subject: Some(said.key.to_owned()),
        time: said.time,
        headers: BTreeMap::new(),
        traceparent,
        tracestate: None,
        body,
    })
}
