//! The decisions about carriers, each in one transaction over the row that decides.

pub(crate) mod outside;

use std::sync::Arc;

use base::{SimulatedClock, Timestamp};
use contracts::third_party_transport::CarrierPhase;
use store::{SqlError, Transaction};
use tokio::sync::Notify;

use crate::{
    domain::{
        Fate, Habits, Limits, Move, MoveError, NoTransport, PickedUp, Roads, Shipment, Transport,
        Trip, Wish, fate,
    },
    events,
    store::{self as table, Found, outside as companies},
};

use self::outside::Answers;

/// What the parts of one process share.
#[derive(Debug, Clone)]
pub(crate) struct Depot {
    pub(crate) limits: Arc<Limits>,
    pub(crate) roads: Roads,
    pub(crate) clock: SimulatedClock,
    /// Whom to ask, in this order.
    pub(crate) carriers: Arc<[Carrier]>,
    /// Of how the tours go.
    pub(crate) seed: u64,
    /// Rung when something may be due at once.
    pub(crate) bell: Arc<Notify>,
}

/// A carrier: a company outside, or one that is simulated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Carrier {
    pub(crate) name: String,
    /// Tours that it takes at the same time.
    pub(crate) vehicles: u32,
    pub(crate) kind: CarrierKind,
}

/// Who drives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum CarrierKind {
    Simulated(Habits),
    /// A company that is asked by HTTP.
    Outside,
}

impl Depot {
    /// Simulated time.
    pub(crate) fn now(&self, wall: Timestamp) -> Timestamp {
        self.clock.at(wall)
    }
}

/// Why no answer was given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BookError {
    /// Nobody can serve the trip.
    #[error(transparent)]
    Nobody(#[from] NoTransport),
    /// Called off before, perhaps before it was asked for.
    #[error("the delivery was called off")]
    Released,
    /// A carrier is booked for another trip of the delivery.
    #[error("a carrier is booked for another trip of this delivery")]
    OtherTrip,
    /// It could be driven, but not by its deadline.
    #[error("{carrier} cannot bring it by its deadline; the earliest arrival is {earliest}")]
    PastDeadline {
        /// Who would come.
        carrier: String,
        /// When it could be at its door, in wall time.
        earliest: Timestamp,
    },
    /// Every vehicle of every carrier is out.
    #[error("every carrier has all its vehicles out")]
    Full,
    /// A company outside is next, and was not asked.
    #[error("{carrier} has not answered")]
    NotAsked { carrier: String },
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Why a carrier was not called back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ReleaseError {
    /// It is too late.
    #[error(transparent)]
    PickedUp(#[from] PickedUp),
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Why a carrier does not go elsewhere.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum RelocateError {
    /// None is booked.
    #[error("no carrier is booked for it")]
    NotBooked,
    /// It refuses.
    #[error(transparent)]
    Refused(#[from] MoveError),
    /// It does not go there.
    #[error(transparent)]
    Nobody(#[from] NoTransport),
    /// The company that serves it does not.
    #[error("{carrier} does not go there")]
    Declined { carrier: String },
    /// The database.
    #[error(transparent)]
    Sql(#[from] SqlError),
}

/// Decides who serves a trip; books a carrier when no drone can, and lets it leave when its delivery
/// is made already.
pub(crate) fn book(
    transaction: &mut Transaction<'_>,
    depot: &Depot,
    delivery_id: &str,
    (wish, answers): (&Wish, &Answers),
    trace: Option<String>,
) -> Result<Transport, BookError> {
    let transport = match table::find(transaction, delivery_id)? {
        Some(Found::Released) => return Err(BookError::Released),
        Some(Found::Shipment(known)) if known.trip.is_same(&wish.trip) => Transport::Carrier,
        Some(Found::Shipment(_)) => return Err(BookError::OtherTrip),
        None => decide(&depot.limits, wish, |trip| {
            let refused: Vec<&str> = answers.refused.iter().map(String::as_str).collect();
            let nobody = || match answers.too_late.clone() {
                Some((carrier, earliest)) => BookError::PastDeadline { carrier, earliest },
                None => BookError::Full,
            };
            let free = free_carrier(transaction, depot, &refused)?.ok_or_else(nobody)?;
            let (now, id) = (depot.now(transaction.now()), delivery_id.to_owned());
            let (trace, name) = (trace.clone(), free.name.clone());
            let (shipment, change) = match (free.kind, &answers.agreed) {
                (CarrierKind::Simulated(habits), _) => {
                    let carrier = (name, fate(habits, depot.seed, delivery_id));
                    Shipment::book(id, carrier, trip, trace, now, &depot.roads)
                }
                (CarrierKind::Outside, Some((carrier, eta))) if *carrier == name => {
                    let said = (eta.map(|it| depot.now(it)), &depot.roads);
                    Shipment::book_outside(id, name, trip, (trace, now), said)
                }
                (CarrierKind::Outside, _) => return Err(BookError::NotAsked { carrier: name }),
            };
            if shipment.outside.is_none() {
                // Companies were asked with the deadline.
                check_deadline(depot, wish, &shipment, now)?;
            }
            table::save(transaction, &shipment)?;
            Ok(events::push_phase(transaction, depot, &shipment, &change)?)
        })?,
    };
    if wish.made && transport == Transport::Carrier {
        send(transaction, depot, delivery_id, trace)?;
    }
    Ok(transport)
}

/// Refuses what would come later than its client takes it.
fn check_deadline(
    depot: &Depot,
    wish: &Wish,
    shipment: &Shipment,
    now: Timestamp,
) -> Result<(), BookError> {
    let Some(deadline) = wish.deadline.map(|it| depot.now(it)) else { return Ok(()) };
    let not_before = shipment.trip.pickup_time.map(|it| depot.now(it));
    match shipment.plan(now, not_before, &depot.roads).promised {
        Some(arrival) if arrival > deadline => Err(BookError::PastDeadline {
            carrier: shipment.carrier.clone(),
            earliest: depot.clock.wall_of(arrival),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The first carrier that has a vehicle free and is none of these.
fn free_carrier<'a>(
    transaction: &Transaction<'_>,
    depot: &'a Depot,
    without: &[&str],
) -> Result<Option<&'a Carrier>, SqlError> {
    for carrier in depot.carriers.iter().filter(|it| !without.contains(&it.name.as_str())) {
        if table::vehicles_out(transaction, &carrier.name)? < carrier.vehicles {
            return Ok(Some(carrier));
        }
    }
    Ok(None)
}

/// Who serves a trip by the rule.
fn transport_of(limits: &Limits, wish: &Wish) -> Result<Transport, NoTransport> {
    if !wish.no_drone {
        return limits.decide(&wish.trip);
    }
    let takes = limits.check_carrier(&wish.trip).is_ok();
    Ok(if takes { Transport::Carrier } else { Transport::Nobody })
}

fn decide(
    limits: &Limits,
    wish: &Wish,
    book: impl FnOnce(Trip) -> Result<(), BookError>,
) -> Result<Transport, BookError> {
    let transport = transport_of(limits, wish)?;
    if transport == Transport::Carrier {
        book(wish.trip.clone())?;
    }
    Ok(transport)
}

/// Calls a delivery off: frees its carrier, or remembers that none must ever be booked.
pub(crate) fn release(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
) -> Result<(), ReleaseError> {
    match table::find(transaction, delivery_id)? {
        Some(Found::Released) => return Ok(()),
        Some(Found::Shipment(known)) => known.check_recall()?,
        None => {}
    }
    table::bury(transaction, delivery_id)?;
    // Who was asked may be on the point of booking it: they are called once more.
    let later = transaction.now() + outside::LATE;
    Ok(companies::call_at(transaction, delivery_id, later)?)
}

/// The same for who asks to call the delivery off: of a package that is stranded its delivery fails, and
/// until Delivery has heard of that, nobody may say that it was called off.
pub(crate) fn call_off(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
) -> Result<(), ReleaseError> {
    match table::find(transaction, delivery_id)? {
        Some(Found::Shipment(known)) if known.is_stranded => Err(PickedUp.into()),
        _ => release(transaction, delivery_id),
    }
}

/// Moves a delivery to other doors, where its carrier goes there and has not picked it up.
pub(crate) fn relocate(
    transaction: &mut Transaction<'_>,
    depot: &Depot,
    delivery_id: &str,
    change: &Move,
) -> Result<Shipment, RelocateError> {
    let Some(Found::Shipment(mut shipment)) = table::find(transaction, delivery_id)? else {
        return Err(RelocateError::NotBooked);
    };
    let not_before = change.pickup_time.map(|it| depot.now(it));
    let now = depot.now(transaction.now());
    let told = shipment.relocate(change, now, not_before, &depot.roads)?;
    if let Some(told) = told {
        // Refused here, nothing was written.
        depot.limits.check_carrier(&shipment.trip)?;
        table::save(transaction, &shipment)?;
        events::push_phase(transaction, depot, &shipment, &told)?;
    }
    Ok(*shipment)
}

/// The delivery was made: its carrier may leave.
pub(crate) fn send(
    transaction: &mut Transaction<'_>,
    depot: &Depot,
    delivery_id: &str,
    trace: Option<String>,
) -> Result<(), SqlError> {
    let Some(Found::Shipment(mut shipment)) = table::find(transaction, delivery_id)? else {
        return Ok(());
    };
    // The client's time is wall time: here, once, it becomes the carriers'.
    let not_before = shipment.trip.pickup_time.map(|it| depot.now(it));
    let told = shipment.send(depot.now(transaction.now()), not_before, &depot.roads, trace);
    if let Some(told) = told {
        table::save(transaction, &shipment)?;
        events::push_phase(transaction, depot, &shipment, &told)?;
        let now = transaction.now();
        companies::call_at(transaction, delivery_id, now)?;
    }
    Ok(())
}

/// Moves on what is due, so many at a time. Reading and writing are one transaction, so each phase
/// is reached once, whichever replica gets there first. Gives how many were moved.
pub(crate) fn advance(
    transaction: &mut Transaction<'_>,
    depot: &Depot,
    limit: u32,
) -> Result<usize, SqlError> {
    let now = depot.now(transaction.now());
    let due = table::due(transaction, now, limit)?;
    let moved = due.len();
    for mut shipment in due {
        while let Some((phase, at)) = shipment.due_by(now) {
            let change = match instead(transaction, depot, &shipment, phase)? {
                Some(other) => shipment.hand_to(other, at, &depot.roads),
                None => shipment.reach(phase, at, &depot.roads),
            };
            events::push_phase(transaction, depot, &shipment, &change)?;
        }
        table::save(transaction, &shipment)?;
    }
    Ok(moved)
}

/// Who takes the place of a carrier that breaks down before it has the package: each is tried once.
fn instead(
    transaction: &Transaction<'_>,
    depot: &Depot,
    shipment: &Shipment,
    phase: CarrierPhase,
) -> Result<Option<(String, Fate)>, SqlError> {
    if phase != CarrierPhase::Failed || shipment.has_package() {
        return Ok(None);
    }
    let tried = shipment.tried.iter().chain([&shipment.carrier]).map(String::as_str);
    // A company would have to be asked, and time goes on here.
    let companies = depot.carriers.iter().filter(|it| it.kind == CarrierKind::Outside);
    let without: Vec<_> = tried.chain(companies.map(|it| it.name.as_str())).collect();
    let free = free_carrier(transaction, depot, &without)?;
    Ok(free.and_then(|it| match it.kind {
        CarrierKind::Simulated(habits) => {
            let tour = format!("{}/{}", shipment.delivery_id, it.name);
            Some((it.name.clone(), fate(habits, depot.seed, &tour)))
        }
        CarrierKind::Outside => None,
    }))
}

#[cfg(test)]
mod tests;
