//! The decisions about bookings, each in one transaction over the rows that decide.
//!
//! The copy of the fleet proposes a drone; its row decides. Two replicas may propose the same one at
//! the same time: the later finds it taken and asks for another. What must never be twice is also
//! a unique index, so that a defect here is an error and not a second drone.

use std::time::Duration;

use base::Timestamp;
use store::{SqlError, Transaction};

use crate::{
    domain::{BookingRequest, ChangeError, Drone, Known, PhaseChange, Trip},
    events,
    store::{self as table, Booking, BookingState},
    tower::Tower,
};

/// Why no drone was booked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BookError {
    /// Nothing that flies could serve it, now or later.
    #[error("no drone of the fleet can fly this trip with this load")]
    Infeasible,
    /// The drone that is booked cannot fly the other trip.
    #[error("the drone that is booked cannot fly this trip")]
    InfeasibleForBooked,
    /// All that could are at work.
    #[error("no drone is free for this trip")]
    Busy {
        /// When one may be.
        retry_after: Duration,
    },
    /// Called off before, perhaps before it was made.
    #[error("the delivery was called off")]
    Released,
    /// It is too late for another trip.
    #[error("the package has been picked up")]
    PickedUp,
    /// The drone was taken out on the way.
    #[error("the drone of the delivery was lost")]
    Lost,
    /// The same revision was booked with another trip.
    #[error("another trip is booked under this revision")]
    OtherTrip,
    /// A later revision was seen.
    #[error("revision {known} is booked already")]
    StaleRevision {
        /// The later one.
        known: u64,
    },
    /// A change of a booking that there is not.
    #[error("no drone is booked for this delivery")]
    NotBooked,
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Why a booking was not released.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// It is too late.
    #[error("the package has been picked up")]
    PickedUp,
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Bounds of what a caller is told to wait while the fleet is busy.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Books a drone for a delivery, or gives the one that is; a higher revision replaces the trip.
/// Gives the drone's id.
pub(crate) fn book(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
    request: &BookingRequest,
    trace: Option<String>,
) -> Result<String, BookError> {
    let Some(booking) = table::find_booking(transaction, delivery_id)? else {
        // Moving a delivery that a carrier serves must not send a drone as well.
        if request.revision > 0 && !request.names_package {
            return Err(BookError::NotBooked);
        }
        return assign(transaction, tower, delivery_id, request, trace);
    };
    let known = booking.revision;
    let trip = request.trip(booking.trip.as_ref());
    let same = booking.trip.as_ref().is_some_and(|it| it.is_same(&trip));
    match (booking.state, booking.drone_id) {
        (BookingState::Released, _) | (_, None) => Err(BookError::Released),
        _ if request.revision < known => Err(BookError::StaleRevision { known }),
        (_, Some(drone_id)) if request.revision == known && same => Ok(drone_id),
        _ if request.revision == known => Err(BookError::OtherTrip),
        (BookingState::Delivered, _) => Err(BookError::PickedUp),
        (BookingState::Lost, _) => Err(BookError::Lost),
        (BookingState::Active, Some(drone_id)) => {
            reroute(transaction, tower, &drone_id, &trip)?;
            table::replace_trip(transaction, delivery_id, &trip, request.revision)?;
            Ok(drone_id)
        }
    }
}

fn assign(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
    request: &BookingRequest,
    trace: Option<String>,
) -> Result<String, BookError> {
    let trip = request.trip(None);
    let now = tower.now(transaction.now());
    let Known { mut drone, changed } = choose(transaction, tower, &trip, now)?;
    let booked = drone
        .book(delivery_id.to_owned(), now, &tower.rules, trace)
        .map_err(|_| BookError::Busy { retry_after: RETRY_AFTER_MIN })?;
    keep(transaction, tower, &drone, changed, &booked)?;
    let drone_id = drone.id.clone();
    let booking = Booking {
        delivery_id: delivery_id.to_owned(),
        drone_id: Some(drone_id.clone()),
        state: BookingState::Active,
        trip: Some(trip),
        revision: request.revision,
        owner_id: request.owner_id.clone(),
    };
    table::insert_booking(transaction, &booking)?;
    // Until this commit has been read back, nobody here should try the same drone.
    tower.fleet().claim(&drone_id, transaction.monotonic());
    Ok(drone_id)
}

/// The nearest drone that its row, too, calls free and able.
fn choose(
    transaction: &Transaction<'_>,
    tower: &Tower,
    trip: &Trip,
    now: Timestamp,
) -> Result<Known, BookError> {
    let mut followed = false;
    loop {
        let clock = transaction.monotonic();
        let proposed = tower.fleet().nearest(trip, now, &tower.rules, clock).map(str::to_owned);
        let Some(id) = proposed else {
            if followed {
                return Err(none_free(transaction, tower, trip));
            }
            // Another replica may have landed one a moment ago.
            tower.follow(transaction)?;
            followed = true;
            continue;
        };
        if let Some(known) = table::find_drone(transaction, &id)? {
            if known.drone.can_serve(trip, now, &tower.rules) {
                return Ok(known);
            }
            tower.note(known);
        }
        // Whatever the copy says of it, not again now: this loop must end.
        tower.fleet().claim(&id, clock);
    }
}

fn none_free(transaction: &Transaction<'_>, tower: &Tower, trip: &Trip) -> BookError {
    let fleet = tower.fleet();
    if !fleet.can_ever_serve(trip, &tower.rules) {
        return BookError::Infeasible;
    }
    let landing = fleet.next_landing().map(|it| tower.clock.wall_of(it));
    let wait = landing.map_or(RETRY_AFTER_MIN, |it| it.saturating_since(transaction.now()));
    BookError::Busy { retry_after: wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX) }
}

fn reroute(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    drone_id: &str,
    trip: &Trip,
) -> Result<(), BookError> {
    let now = tower.now(transaction.now());
    let Known { mut drone, changed } = drone_of(transaction, drone_id)?;
    drone.reroute(trip, now, &tower.rules).map_err(|it| match it {
        ChangeError::PickedUp => BookError::PickedUp,
        ChangeError::Infeasible => BookError::InfeasibleForBooked,
        ChangeError::Busy => BookError::NotBooked,
    })?;
    let next = table::next_change(transaction)?;
    table::save_drone(transaction, &drone, changed, next)?;
    Ok(())
}

/// Calls a delivery off: frees its drone, or remembers that none must ever be booked.
pub(crate) fn release(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
) -> Result<(), ReleaseError> {
    let Some(booking) = table::find_booking(transaction, delivery_id)? else {
        return Ok(table::bury(transaction, delivery_id)?);
    };
    let flown = match (booking.state, booking.drone_id) {
        (BookingState::Released, _) => return Ok(()),
        (BookingState::Delivered, _) => return Err(ReleaseError::PickedUp),
        (BookingState::Lost, _) | (BookingState::Active, None) => None,
        (BookingState::Active, Some(drone_id)) => {
            let now = tower.now(transaction.now());
            let Known { mut drone, changed } = drone_of(transaction, &drone_id)?;
            let freed = drone.release(now, &tower.rules);
            let freed = freed.map_err(|_| ReleaseError::PickedUp)?;
            keep(transaction, tower, &drone, changed, &freed)?;
            freed.served
        }
    };
    table::close_booking(transaction, delivery_id, BookingState::Released, flown.as_ref())?;
    Ok(())
}

/// The delivery was made: its drone may fly. Gives the drone when that is news.
pub(crate) fn send(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
    owner_id: &str,
    trace: Option<String>,
) -> Result<Option<Known>, SqlError> {
    let Some(Booking { drone_id: Some(drone_id), trip: Some(trip), state, .. }) =
        table::find_booking(transaction, delivery_id)?
    else {
        return Ok(None);
    };
    if state != BookingState::Active {
        return Ok(None);
    }
    let now = tower.now(transaction.now());
    let Known { mut drone, changed } = drone_of(transaction, &drone_id)?;
    if !drone.send(&trip, now, &tower.rules, trace) {
        return Ok(None);
    }
    let next = table::next_change(transaction)?;
    table::save_drone(transaction, &drone, changed, next)?;
    table::set_owner(transaction, delivery_id, owner_id)?;
    Ok(Some(Known { drone, changed: next }))
}

/// Moves drones on that were due when they were read. One that somebody changed since is left
/// alone: its new row says what is due.
pub(crate) fn advance(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    due: Vec<Known>,
) -> Result<Vec<Known>, SqlError> {
    let now = tower.now(transaction.now());
    let next = table::next_change(transaction)?;
    let mut moved = Vec::with_capacity(due.len());
    for Known { mut drone, changed } in due {
        let changes = drone.advance(now, &tower.rules);
        if changes.is_empty() || !table::save_drone(transaction, &drone, changed, next)? {
            continue;
        }
        for change in &changes {
            if let Some(served) = &change.served {
                let (id, state) = (&served.delivery_id, BookingState::Delivered);
                table::close_booking(transaction, id, state, Some(served))?;
            }
            events::push_phase(transaction, tower, &drone.id, change)?;
        }
        moved.push(Known { drone, changed: next });
    }
    Ok(moved)
}

/// Writes what became of a drone that was read in this transaction, with its event.
pub(crate) fn keep(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    drone: &Drone,
    read_at: u64,
    change: &PhaseChange,
) -> Result<(), SqlError> {
    let next = table::next_change(transaction)?;
    table::save_drone(transaction, drone, read_at, next)?;
    events::push_phase(transaction, tower, &drone.id, change)
}

/// The drone of a booking, which is never deleted.
fn drone_of(transaction: &Transaction<'_>, id: &str) -> Result<Known, SqlError> {
    table::find_drone(transaction, id)?.ok_or(SqlError::NoRow)
}

#[cfg(test)]
pub(crate) mod tests;
