//! What operators do to drones: add one, change one, take one out, put it back.

use contracts::drone_management::DronePhase;
use fleet_rules::Airframe;
use store::{SqlError, Transaction};

use crate::{
    booking::{keep, replan},
    domain::{Activity, Drone, Duty, Known, PhaseChange, Registration},
    events,
    store::{self as table, Booking, BookingState},
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
    let before = drone.clone();
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
    match &change {
        Some(change) => keep(transaction, tower, &drone, changed, change)?,
        None => {
            let next = table::next_change(transaction)?;
            table::save_drone(transaction, &drone, changed, next)?;
        }
    }
    let fails = matches!(drone.activity, Activity::Failed { .. }) && !out;
    if fails {
        part_with(transaction, tower, &before, change.as_ref())?;
    }
    if fails || wanted.changes_airframe() {
        offer_to_others(transaction, tower, id)?;
    }
    Ok(Registered::Changed)
}

/// What a drone that fails was flying for: before the pick-up another flies; after it, a person must
/// fetch the package.
fn part_with(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    before: &Drone,
    change: Option<&PhaseChange>,
) -> Result<(), SqlError> {
    let Some(delivery_id) = before.delivery_id() else { return Ok(()) };
    let Some(booking) = table::find_booking(transaction, delivery_id)? else { return Ok(()) };
    if before.phase == DronePhase::DroppedOff {
        return table::close_booking(transaction, delivery_id, BookingState::Delivered, None);
    }
    if !before.is_past_pickup() {
        return replan(transaction, tower, booking, "its drone was taken out of service");
    }
    let reason = Some("its drone was lost with the package on board".to_owned());
    let trace = booking.trace.clone();
    let lost = Booking { state: BookingState::Lost, reason, ..booking };
    table::save_booking(transaction, &lost)?;
    let position = change.map_or(before.base, |it| it.position);
    events::push_stranded(transaction, &before.id, delivery_id, position, trace)
}

/// Everything that waits for a drone is given to whoever can fly it first, in the order of its turn.
fn offer_to_others(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    drone_id: &str,
) -> Result<(), SqlError> {
    let now = tower.attend(transaction)?;
    let mut places = tower.fleet().plan_of(drone_id, now);
    places.sort_by_key(|it| it.order.rank);
    let waiting = places.iter().map(|it| it.order.delivery_id.clone());
    let all = waiting.chain(tower.fleet().stranded()).collect::<Vec<_>>();
    for id in all {
        let booking = table::find_booking(transaction, &id)?;
        let own = booking.filter(|it| it.drone_id.as_deref() == Some(drone_id));
        if let Some(booking) = own {
            replan(transaction, tower, booking, "its drone was taken out of service")?;
        }
    }
    Ok(())
}

fn airframe(usual: Airframe, wanted: &Registration) -> Airframe {
    Airframe {
        payload_kg: wanted.payload_kg.unwrap_or(usual.payload_kg),
        range_m: wanted.range_m.unwrap_or(usual.range_m),
    }
}
