//! What time does to bookings: deliveries are made, drones take off, fly and land, plans move.

use base::Timestamp;
use contracts::drone_management::DronePhase;
use store::{SqlError, Transaction};

use super::{choose, place, replan, unassigned};
use crate::{
    domain::{ChangeError, Drone, Known, Place},
    events::{self, Assignment},
    store::{self as table, Booking, BookingState, Promise},
    tower::Tower,
};

/// What became of drones that were due.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// As they are now.
    pub(crate) drones: Vec<Known>,
    /// By how many seconds of wall time what was promised was missed, at which phase.
    pub(crate) missed: Vec<(DronePhase, f64)>,
}

/// The delivery was made: its drone may fly. Gives whether that is news.
pub(crate) fn send(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
    owner_id: &str,
    known_drone: Option<&str>,
    trace: Option<String>,
) -> Result<bool, SqlError> {
    let now = tower.attend(transaction)?;
    let Some(mut booking) = table::find_booking(transaction, delivery_id)? else {
        return Ok(false);
    };
    if booking.made {
        return Ok(false);
    }
    booking.made = true;
    booking.owner_id = Some(owner_id.to_owned());
    booking.trace = trace.or(booking.trace);
    match booking.state {
        BookingState::Delivered | BookingState::Released => return Ok(false),
        // It was lost before anybody could be told.
        BookingState::Lost => unassigned(transaction, &mut booking)?,
        BookingState::Active => {
            let planned = tower.fleet().place_of(delivery_id, now);
            let late = planned.as_ref().is_none_or(|it| is_late(it, &booking, tower));
            // Its place went by while the delivery was being made: perhaps another is sooner.
            if let Some(chosen) = late.then(|| choose(tower, &booking, now).ok()).flatten() {
                let placed = place(transaction, tower, booking, chosen, Some("its turn went by"));
                return placed.map(|_| true).or(Ok(true));
            }
            let wall = |it: Timestamp| tower.clock.wall_of(it);
            let expected = planned
                .map(|it| Promise { pickup: wall(it.pickup()), arrival: wall(it.arrival()) })
                .or(booking.promise);
            let previous =
                known_drone.map(str::to_owned).filter(|it| booking.drone_id.as_ref() != Some(it));
            let said = Assignment { previous, expected, reason: None };
            events::push_assignment(transaction, &mut booking, said)?;
        }
    }
    table::save_booking(transaction, &booking)?;
    Ok(true)
}

/// Whether a place has moved past what was promised by more than its slack.
fn is_late(place: &Place, booking: &Booking, tower: &Tower) -> bool {
    let promised = booking.promise.map(|it| tower.clock.at(it.pickup));
    promised.is_some_and(|it| place.pickup() > it + tower.plan.slack)
}

/// Moves drones on that were due when they were read. One that somebody changed since is what it is
/// now: perhaps nothing of it is due any more.
pub(crate) fn advance(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    due: &[String],
) -> Result<Moved, SqlError> {
    let now = tower.attend(transaction)?;
    let next = table::next_change(transaction)?;
    let mut moved = Moved::default();
    for id in due {
        let Some(Known { mut drone, changed }) = tower.fleet().known(id) else { continue };
        let took_off = take_off(transaction, tower, &mut drone, now)?;
        let changes = drone.advance(now, &tower.rules);
        if !took_off && changes.is_empty() {
            continue;
        }
        table::save_drone(transaction, &drone, changed, next)?;
        for change in &changes {
            if let Some(served) = &change.served {
                let (id, state) = (&served.delivery_id, BookingState::Delivered);
                table::close_booking(transaction, id, state, Some(served))?;
            }
            let at = tower.clock.wall_of(change.at);
            let missed = missed(transaction, change.delivery_id.as_deref(), change.phase, at)?;
            moved.missed.extend(missed);
            events::push_phase(transaction, tower, &drone.id, change)?;
        }
        moved.drones.push(Known { drone, changed: next });
    }
    Ok(moved)
}

/// Sends a drone off for the next of its plan, when that is due. Gives whether it went.
fn take_off(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    drone: &mut Drone,
    now: Timestamp,
) -> Result<bool, SqlError> {
    let next = tower.fleet().flight_of(&drone.id, now).filter(|_| drone.is_free());
    let Some(next) = next else { return Ok(false) };
    let booking = table::find_booking(transaction, &next.order.delivery_id)?;
    let Some(booking) = booking else { return Ok(false) };
    let Some(trip) = &booking.trip else { return Ok(false) };
    let (id, trace) = (booking.delivery_id.clone(), booking.trace.clone());
    match drone.take_off(id, trip, now, &tower.rules, trace) {
        Ok(()) => {
            table::save_booking(transaction, &Booking { took_off: true, ..booking })?;
            Ok(true)
        }
        Err(ChangeError::Infeasible(reason)) => {
            let why = format!("the drone cannot fly it any more: {reason}");
            replan(transaction, tower, booking, &why)?;
            Ok(false)
        }
        Err(ChangeError::Busy | ChangeError::PickedUp | ChangeError::TooEarly) => Ok(false),
    }
}

/// By how much a promise was missed, early or late, when one of its two moments has come.
fn missed(
    transaction: &Transaction<'_>,
    delivery_id: Option<&str>,
    phase: DronePhase,
    at: Timestamp,
) -> Result<Option<(DronePhase, f64)>, SqlError> {
    let is_told = matches!(phase, DronePhase::AtPickup | DronePhase::AtDropoff);
    let Some(id) = delivery_id.filter(|_| is_told) else { return Ok(None) };
    let promise = table::find_booking(transaction, id)?.and_then(|it| it.promise);
    Ok(promise.map(|it| {
        let told = if phase == DronePhase::AtPickup { it.pickup } else { it.arrival };
        let by = at.saturating_since(told).max(told.saturating_since(at));
        (phase, by.as_secs_f64())
    }))
}

/// Tells customers of places that have moved.
pub(crate) fn tell(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    moved: &[String],
) -> Result<(), SqlError> {
    let now = tower.attend(transaction)?;
    for id in moved {
        let Some(place) = tower.fleet().place_of(id, now) else { continue };
        let Some(mut booking) = table::find_booking(transaction, id)? else { continue };
        let wall = |it: Timestamp| tower.clock.wall_of(it);
        let expected = Promise { pickup: wall(place.pickup()), arrival: wall(place.arrival()) };
        booking.told = Some(expected.pickup);
        let reason = Some("the plan has moved");
        let said = Assignment { previous: None, expected: Some(expected), reason };
        events::push_assignment(transaction, &mut booking, said)?;
        table::save_booking(transaction, &booking)?;
    }
    Ok(())
}
