//! What the Drone service says and hears.
//!
//! Says: one event for each phase that a drone reaches, through the outbox, in the transaction that
//! reached it. Hears: deliveries that were made or called off.

mod deliveries;

use std::collections::BTreeMap;

use contracts::{
    drone_management::{DRONE_PHASE_CHANGED, DronePhaseChanged},
    event::source_of,
    topics,
};
use store::{OutboxMessage, SqlError, Transaction};

pub(crate) use deliveries::Deliveries;

use crate::{domain::PhaseChange, tower::Tower};

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
    let body = serde_json::to_vec(&event).map_err(|it| SqlError::Statement {
        message: format!("an event cannot be written: {it}"),
    })?;
    transaction.push(&OutboxMessage {
        topic: topics::DRONE_EVENTS.to_owned(),
        key: Some(event.drone_id.clone()),
        id: format!("{drone_id}/{}", event.sequence),
        kind: DRONE_PHASE_CHANGED.to_string(),
        source: source_of(ROLE),
        subject: Some(event.drone_id),
        time: event.occurred_at,
        headers: BTreeMap::new(),
        traceparent: change.trace.clone(),
        tracestate: None,
        body,
    })
}
