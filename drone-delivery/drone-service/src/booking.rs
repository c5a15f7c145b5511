//! The decisions about bookings, each in one transaction over the rows that decide.
//!
//! A request is answered at once: with the drone and the times of its place in the plan, or with the
//! earliest time that it could be. The plan is in the rows and the copy of the fleet is made exact
//! first, inside the transaction; so two replicas cannot plan one drone twice, and what a drone must
//! never do, to fly for two, is also a unique index.

mod moving;

use base::Timestamp;
use store::{SqlError, Transaction};

pub(crate) use moving::{Moved, advance, send, tell};

use crate::{
    domain::{
        BookingRequest, ChangeError, Choice, Drone, Known, Order, PhaseChange, Refusal, Urgency,
    },
    events::{self, Assignment},
    store::{self as table, Booking, BookingState, Promise},
    tower::Tower,
};

/// Who flies, and when: what a caller is told. Wall time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) drone_id: String,
    pub(crate) expected: Option<Promise>,
}

/// Why no drone was booked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BookError {
    /// Nothing that flies could serve it, now or later.
    #[error("no drone in service can fly this trip{}", because(reason.as_deref()))]
    Infeasible {
        /// What stands in the way of the one that comes closest.
        reason: Option<String>,
    },
    /// It could be flown, but not soon enough.
    #[error("no drone can fetch it within the planning horizon; the earliest pickup is {earliest}")]
    BeyondHorizon {
        /// When it could be fetched, in wall time.
        earliest: Timestamp,
    },
    /// It could be flown, but not by its deadline.
    #[error("no drone can bring it by its deadline; the earliest arrival is {earliest}")]
    PastDeadline {
        /// When it could be at its door, in wall time.
        earliest: Timestamp,
    },
    /// Called off before, perhaps before it was made.
    #[error("the delivery was called off")]
    Released,
    /// It is too late for another trip.
    #[error("the package has been picked up")]
    PickedUp,
    /// The drone was lost, or nobody could fly any more.
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

fn because(reason: Option<&str>) -> String {
    reason.map(|it| format!(": {it}")).unwrap_or_default()
}

/// Why a booking is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// The customer calls the delivery off: the fleet decides, as far as it serves it.
    Cancel,
    /// Whatever was booked is given back.
    Undo,
}

/// Why a booking was not released.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// No drone serves it any more: a carrier is asked, and decides from then on.
    #[error("no drone serves the delivery any more; ask again when a carrier does")]
    Lost,
    /// It is too late.
    #[error("the package has been picked up")]
    PickedUp,
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Books a drone for a delivery, or gives the one that is; a higher revision replaces the trip.
pub(crate) fn book(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
    request: &BookingRequest,
    trace: Option<String>,
) -> Result<Answer, BookError> {
    let now = tower.attend(transaction)?;
    let Some(booking) = table::find_booking(transaction, delivery_id)? else {
        // Moving a delivery that a carrier serves must not send a drone as well.
        if request.revision > 0 && !request.names_package {
            return Err(BookError::NotBooked);
        }
        return assign(transaction, tower, delivery_id, request, trace, now);
    };
    let known = booking.revision;
    let trip = request.trip(booking.trip.as_ref());
    let same =
        booking.trip.as_ref().zip(trip.as_ref()).is_some_and(|(it, asked)| it.is_same(asked));
    match (booking.state, &booking.drone_id) {
        (BookingState::Lost, _) => Err(BookError::Lost),
        (BookingState::Released, _) | (_, None) => Err(BookError::Released),
        _ if request.revision < known => Err(BookError::StaleRevision { known }),
        (_, Some(_)) if request.revision == known && same => Ok(answer(tower, &booking, now)),
        _ if request.revision == known => Err(BookError::OtherTrip),
        (BookingState::Delivered, _) => Err(BookError::PickedUp),
        (BookingState::Active, Some(_)) => {
            let moved = Booking {
                trip,
                revision: request.revision,
                deadline: request.deadline.unwrap_or(booking.deadline),
                ..booking.clone()
            };
            relocate(transaction, tower, &booking, moved, now)
        }
    }
}

fn answer(tower: &Tower, booking: &Booking, now: Timestamp) -> Answer {
    let place = tower.fleet().place_of(&booking.delivery_id, now);
    let wall = |it: Timestamp| tower.clock.wall_of(it);
    let planned =
        place.map(|it| Promise { pickup: wall(it.pickup()), arrival: wall(it.arrival()) });
    let drone_id = booking.drone_id.clone().unwrap_or_default();
    Answer { drone_id, expected: planned.or(booking.promise) }
}

fn assign(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
    request: &BookingRequest,
    trace: Option<String>,
    now: Timestamp,
) -> Result<Answer, BookError> {
    let trip = request.trip(None).ok_or(BookError::NotBooked)?;
    let wall = transaction.now();
    let urgency = match (trip.pickup_time.is_some_and(|it| it > wall), request.expedited) {
        (true, _) => Urgency::Held,
        (false, true) => Urgency::Expedited,
        (false, false) => Urgency::Usual,
    };
    let booking = Booking {
        trip: Some(trip),
        revision: request.revision,
        owner_id: request.owner_id.clone(),
        rank: Order::rank_at(now, urgency, &tower.plan),
        deadline: request.deadline.flatten(),
        trace,
        ..Booking::new(delivery_id.to_owned())
    };
    let chosen = choose(tower, &booking, now)?;
    table::insert_booking(transaction, &Booking::new(delivery_id.to_owned()))?;
    place(transaction, tower, booking, chosen, None)
}

/// Another trip for what is booked: the drone in flight goes on with it if it can; else, and on the
/// ground, whoever can fetch it first.
fn relocate(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    before: &Booking,
    moved: Booking,
    now: Timestamp,
) -> Result<Answer, BookError> {
    let waiting = Booking { took_off: false, promise: None, ..moved.clone() };
    if !before.took_off {
        let chosen = choose(tower, &waiting, now)?;
        return place(transaction, tower, waiting, chosen, Some("it was moved"));
    }
    let Known { drone, changed } = drone_of(transaction, before)?;
    if let Some(rerouted) = reroute(tower, &drone, &moved, now)? {
        let wall = |it: Timestamp| tower.clock.wall_of(it);
        let promise =
            rerouted.expected().map(|it| Promise { pickup: wall(it.0), arrival: wall(it.1) });
        let next = table::next_change(transaction)?;
        table::save_drone(transaction, &rerouted, changed, next)?;
        let moved = Booking { promise, ..moved };
        table::save_booking(transaction, &moved)?;
        return Ok(Answer { drone_id: drone.id, expected: promise });
    }
    let chosen = choose(tower, &waiting, now)?;
    let mut home = drone;
    let freed = home.release(now, &tower.rules).map_err(|_| BookError::PickedUp)?;
    keep(transaction, tower, &home, changed, &freed)?;
    if let Some(flown) = &freed.served {
        table::add_flown(transaction, flown)?;
    }
    place(transaction, tower, waiting, chosen, Some("it was moved"))
}

/// The drone as it flies on, or none when another must.
fn reroute(
    tower: &Tower,
    drone: &Drone,
    moved: &Booking,
    now: Timestamp,
) -> Result<Option<Drone>, BookError> {
    let mut drone = drone.clone();
    let trip = moved.trip.as_ref().ok_or(BookError::NotBooked)?;
    let not_before = trip.pickup_time.map(|it| tower.clock.at(it)).unwrap_or_default();
    match drone.reroute(trip, not_before, now, &tower.rules) {
        Ok(()) => Ok(Some(drone)),
        Err(ChangeError::PickedUp) => Err(BookError::PickedUp),
        Err(ChangeError::Infeasible(_) | ChangeError::TooEarly | ChangeError::Busy) => Ok(None),
    }
}

fn choose(tower: &Tower, booking: &Booking, now: Timestamp) -> Result<(String, Choice), BookError> {
    let order = booking.order(&tower.clock).ok_or(BookError::NotBooked)?;
    tower.choose(&order, now).map_err(|it| refused(tower, it))
}

fn refused(tower: &Tower, refusal: Refusal) -> BookError {
    let wall = |it: Timestamp| tower.clock.wall_of(it);
    match refusal {
        Refusal::Never(reason) => BookError::Infeasible { reason: reason.map(|it| it.to_string()) },
        Refusal::BeyondHorizon { pickup } => BookError::BeyondHorizon { earliest: wall(pickup) },
        Refusal::PastDeadline { arrival } => BookError::PastDeadline { earliest: wall(arrival) },
    }
}

/// Gives a booking its place in the plan of the chosen drone, and says so once it was made.
fn place(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    booking: Booking,
    (drone_id, chosen): (String, Choice),
    reason: Option<&str>,
) -> Result<Answer, BookError> {
    let wall = |it: Timestamp| tower.clock.wall_of(it);
    let expected = Promise { pickup: wall(chosen.pickup), arrival: wall(chosen.arrival) };
    let previous = booking.drone_id.clone().filter(|it| *it != drone_id);
    let mut booking = Booking {
        drone_id: Some(drone_id.clone()),
        rank: chosen.rank,
        promise: booking.promise.or(Some(expected)),
        told: Some(expected.pickup),
        ..booking
    };
    if booking.made {
        let said = Assignment { previous, expected: Some(expected), reason };
        events::push_assignment(transaction, &mut booking, said)?;
    }
    table::save_booking(transaction, &booking)?;
    Ok(Answer { drone_id, expected: Some(expected) })
}

/// Whoever was to fly cannot: others are asked, and where nobody can, that is said with the reason.
pub(crate) fn replan(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    booking: Booking,
    why: &str,
) -> Result<(), SqlError> {
    let now = tower.attend(transaction)?;
    let mut booking = Booking { took_off: false, ..booking };
    let refused = match choose(tower, &booking, now) {
        Ok(chosen) => match place(transaction, tower, booking, chosen, Some(why)) {
            Err(BookError::Sql(error)) => return Err(error),
            Ok(_) | Err(_) => return Ok(()),
        },
        Err(BookError::Sql(error)) => return Err(error),
        Err(refused) => refused,
    };
    booking.state = BookingState::Lost;
    booking.reason = Some(format!("{why}; {refused}"));
    if booking.made {
        unassigned(transaction, &mut booking)?;
    }
    table::save_booking(transaction, &booking)
}

/// Says that nobody flies for a delivery any more.
fn unassigned(transaction: &mut Transaction<'_>, booking: &mut Booking) -> Result<(), SqlError> {
    let previous = booking.drone_id.take();
    let reason = booking.reason.clone();
    let said = Assignment { previous: previous.clone(), expected: None, reason: reason.as_deref() };
    events::push_assignment(transaction, booking, said)?;
    booking.drone_id = previous;
    Ok(())
}

/// Calls a delivery off: frees its place, or remembers that none must ever be booked.
pub(crate) fn release(
    transaction: &mut Transaction<'_>,
    tower: &Tower,
    delivery_id: &str,
    release: Release,
) -> Result<(), ReleaseError> {
    let Some(booking) = table::find_booking(transaction, delivery_id)? else {
        return Ok(table::bury(transaction, delivery_id)?);
    };
    let flown = match booking.state {
        BookingState::Lost if release == Release::Cancel => return Err(ReleaseError::Lost),
        // What was lost stays lost: it is the reason that people look for.
        BookingState::Released | BookingState::Lost => return Ok(()),
        BookingState::Delivered => return Err(ReleaseError::PickedUp),
        BookingState::Active if !booking.took_off => None,
        BookingState::Active => {
            let now = tower.now(transaction.now());
            let Known { mut drone, changed } = drone_of(transaction, &booking)?;
            let freed = drone.release(now, &tower.rules);
            let freed = freed.map_err(|_| ReleaseError::PickedUp)?;
            keep(transaction, tower, &drone, changed, &freed)?;
            freed.served
        }
    };
    table::close_booking(transaction, delivery_id, BookingState::Released, flown.as_ref())?;
    Ok(())
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
fn drone_of(transaction: &Transaction<'_>, booking: &Booking) -> Result<Known, SqlError> {
    let id = booking.drone_id.as_deref().ok_or(SqlError::NoRow)?;
    table::find_drone(transaction, id)?.ok_or(SqlError::NoRow)
}

#[cfg(test)]
mod costs;
#[cfg(test)]
pub(crate) mod tests;
