//! What operators do to drones: add one, change one, take one out, put it back.

use store::{SqlError, Transaction};

use crate::{
    booking::keep,
    domain::{Activity, Airframe, Drone, Duty, Known, Registration},
    events,
    store::{self as table, BookingState},
    tower::Tower,
};

/// Whether a drone was there before.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Registered {
    Added(Box<Drone>),
    Changed,
}

/// Why a drone was not registered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum RegisterError {
    /// A new drone stands somewhere.
    #[error("a new drone needs a base")]
    NoBase,
    /// What it is may not change while it works.
    #[error("the drone is at work")]
    Busy,
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Registers a drone, or changes one.
pub(crate) fn register(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    id: &str,
    wanted: &Registration,
) -> Result<Registered, RegisterError> {
    let now = tower.now(transaction.now());
    let Some(Known { mut drone, changed }) = table::find_drone(transaction, id)? else {
        let base = wanted.base.ok_or(RegisterError::NoBase)?;
        let mut drone = Drone::new(id.to_owned(), base, airframe(tower.airframe, wanted), now);
        let failed = (wanted.duty == Some(Duty::Failed)).then(|| drone.fail(now, &tower.rules));
        let next = table::next_change(transaction)?;
        table::insert_drone(transaction, &drone, next)?;
        if let Some(change) = failed {
            events::push_phase(transaction, tower, id, &change)?;
        }
        return Ok(Registered::Added(Box::new(drone)));
    };
    if wanted.changes_airframe() {
        if !drone.is_idle() {
            return Err(RegisterError::Busy);
        }
        drone.base = wanted.base.unwrap_or(drone.base);
        drone.airframe = airframe(drone.airframe, wanted);
    }
    let out = matches!(drone.activity, Activity::Failed { .. });
    let change = match wanted.duty {
        Some(Duty::Failed) if !out => Some(drone.fail(now, &tower.rules)),
        Some(Duty::Idle) if out => Some(drone.repair(now, &tower.rules)),
        Some(Duty::Failed | Duty::Idle) | None => None,
    };
    match change {
        Some(change) => {
            if let Some(delivery_id) = &change.delivery_id {
                table::close_booking(transaction, delivery_id, BookingState::Lost, None)?;
            }
            keep(transaction, tower, &drone, changed, &change)?;
        }
        None => {
            let next = table::next_change(transaction)?;
            table::save_drone(transaction, &drone, changed, next)?;
        }
    }
    Ok(Registered::Changed)
}

fn airframe(usual: Airframe, wanted: &Registration) -> Airframe {
    Airframe {
        payload_kg: wanted.payload_kg.unwrap_or(usual.payload_kg),
        range_m: wanted.range_m.unwrap_or(usual.range_m),
    }
}
