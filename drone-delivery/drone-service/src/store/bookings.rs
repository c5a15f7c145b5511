//! Rows of bookings: one for each delivery that was ever asked for or called off.

use base::{SimulatedClock, Timestamp};
use contracts::Words;
use serde::{Deserialize, Serialize};
use store::{Reader, Row, SqlError, Transaction};

use super::{decode, encode, next_change};
use crate::domain::{Booked, Order, Service, Trip};

/// Where a booking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BookingState {
    /// It waits in the plan of a drone, or the drone flies for it.
    Active,
    /// The package was handed over.
    Delivered,
    /// The drone was taken out with the package on board, or nobody can fly any more.
    Lost,
    /// It was called off, perhaps before it was ever made.
    Released,
}

impl Words for BookingState {
    const WHAT: &'static str = "a state of a booking";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Active, "Active"),
        (Self::Delivered, "Delivered"),
        (Self::Lost, "Lost"),
        (Self::Released, "Released"),
    ];
}

/// What a client was told when it booked, in wall time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Promise {
    /// When the package is fetched.
    pub(crate) pickup: Timestamp,
    /// When it is at its door.
    pub(crate) arrival: Timestamp,
}

/// A booking. One that was called off before it was made has neither drone nor trip.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Booking {
    pub(crate) delivery_id: String,
    pub(crate) drone_id: Option<String>,
    pub(crate) state: BookingState,
    pub(crate) trip: Option<Trip>,
    pub(crate) revision: u64,
    pub(crate) owner_id: Option<String>,
    /// Its turn among those that wait: smaller goes first.
    pub(crate) rank: i64,
    /// Whether the delivery was made; before that nobody takes off.
    pub(crate) made: bool,
    /// Whether its drone flies for it now, or has.
    pub(crate) took_off: bool,
    /// When it must be at its door, in wall time.
    pub(crate) deadline: Option<Timestamp>,
    /// What was told at the booking, or at the last move.
    pub(crate) promise: Option<Promise>,
    /// When the customer was last told that it is fetched, in wall time.
    pub(crate) told: Option<Timestamp>,
    /// Number of the newest assignment.
    pub(crate) turn: u64,
    /// Why nobody flies any more.
    pub(crate) reason: Option<String>,
    /// W3C trace context of what caused it.
    pub(crate) trace: Option<String>,
}

const COLUMNS: &str =
    "delivery_id, drone_id, state, trip, revision, owner_id, rank, made, took_off,
  deadline, promise, told, turn, reason, trace";

/// One booking.
pub(crate) fn find_booking(reader: &Reader<'_>, id: &str) -> Result<Option<Booking>, SqlError> {
    let sql = format!("SELECT {COLUMNS} FROM bookings WHERE delivery_id = ?1");
    reader.query_optional(&sql, &[&id], booking)
}

/// Bookings that were changed after a number, as the plan takes them; of the first number on, only
/// those that wait.
pub(crate) fn booked_changed_since(
    reader: &Reader<'_>,
    seen: u64,
    clock: &SimulatedClock,
) -> Result<Vec<Booked>, SqlError> {
    let of = "FROM bookings WHERE changed > ?1 ORDER BY changed, delivery_id";
    let all = format!("SELECT {COLUMNS}, changed {of}");
    let waiting = format!("SELECT * FROM ({all}) WHERE state = 'Active' AND took_off = 0");
    let sql = if seen == 0 { waiting } else { all };
    reader.query_all(&sql, &[&seen], |row| {
        let booking = booking(row)?;
        let waits = booking.order(clock);
        let waits = booking.drone_id.zip(waits);
        Ok(Booked { delivery_id: booking.delivery_id, waits, changed: row.get(15)? })
    })
}

impl Booking {
    /// A booking that is about to be made.
    pub(crate) const fn new(delivery_id: String) -> Self {
        Self {
            delivery_id,
            drone_id: None,
            state: BookingState::Active,
            trip: None,
            revision: 0,
            owner_id: None,
            rank: 0,
            made: false,
            took_off: false,
            deadline: None,
            promise: None,
            told: None,
            turn: 0,
            reason: None,
            trace: None,
        }
    }

    /// What it asks of the plan; none when it does not wait.
    pub(crate) fn order(&self, clock: &SimulatedClock) -> Option<Order> {
        let trip = self.trip.as_ref().filter(|_| self.state == BookingState::Active)?;
        let not_before = trip.pickup_time.map(|it| clock.at(it)).unwrap_or_default();
        (!self.took_off).then(|| Order {
            delivery_id: self.delivery_id.clone(),
            errand: trip.errand(),
            rank: self.rank,
            not_before,
            latest: self.deadline.map(|it| clock.at(it)),
            made: self.made,
            told: self.told.map(|it| clock.at(it)),
        })
    }
}

/// Writes a new booking. A second one of a delivery breaks a constraint.
pub(crate) fn insert_booking(
    transaction: &mut Transaction<'_>,
    booking: &Booking,
) -> Result<(), SqlError> {
    let sql =
        "INSERT INTO bookings (delivery_id, drone_id, state, trip, revision, owner_id, rank, made,
         took_off, deadline, promise, told, turn, reason, trace, changed_at, changed)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)";
    write(transaction, sql, booking)
}

/// Writes what became of a booking. A second flight of a drone breaks a constraint.
pub(crate) fn save_booking(
    transaction: &mut Transaction<'_>,
    booking: &Booking,
) -> Result<(), SqlError> {
    let sql =
        "UPDATE bookings SET drone_id = ?2, state = ?3, trip = ?4, revision = ?5, owner_id = ?6,
         rank = ?7, made = ?8, took_off = ?9, deadline = ?10, promise = ?11, told = ?12,
         turn = ?13, reason = ?14, trace = ?15, changed_at = ?16, changed = ?17
       WHERE delivery_id = ?1";
    write(transaction, sql, booking)
}

fn write(transaction: &mut Transaction<'_>, sql: &str, booking: &Booking) -> Result<(), SqlError> {
    let trip = booking.trip.as_ref().map(encode).transpose()?;
    let promise = booking.promise.as_ref().map(encode).transpose()?;
    let (now, changed) = (transaction.now(), next_change(transaction)?);
    transaction.execute(
        sql,
        &[
            &booking.delivery_id,
            &booking.drone_id,
            &booking.state.word(),
            &trip,
            &booking.revision,
            &booking.owner_id,
            &booking.rank,
            &booking.made,
            &booking.took_off,
            &booking.deadline,
            &promise,
            &booking.told,
            &booking.turn,
            &booking.reason,
            &booking.trace,
            &now,
            &changed,
        ],
    )?;
    Ok(())
}

/// Remembers that a delivery must never be booked.
pub(crate) fn bury(transaction: &mut Transaction<'_>, delivery_id: &str) -> Result<(), SqlError> {
    let tombstone = Booking::new(delivery_id.to_owned());
    insert_booking(transaction, &Booking { state: BookingState::Released, ..tombstone })
}

/// Ends a booking, with what was flown for it.
pub(crate) fn close_booking(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    state: BookingState,
    flown: Option<&Service>,
) -> Result<(), SqlError> {
    let (now, changed) = (transaction.now(), next_change(transaction)?);
    transaction.execute(
        "UPDATE bookings SET state = ?2, changed_at = ?3, changed = ?4 WHERE delivery_id = ?1",
        &[&delivery_id, &state.word(), &now, &changed],
    )?;
    flown.map_or(Ok(()), |it| add_flown(transaction, it))
}

/// Adds what was flown for a delivery.
pub(crate) fn add_flown(
    transaction: &mut Transaction<'_>,
    flown: &Service,
) -> Result<(), SqlError> {
    transaction.execute(
        "UPDATE bookings SET metres = metres + ?2, seconds = seconds + ?3 WHERE delivery_id = ?1",
        &[&flown.delivery_id, &flown.metres, &flown.seconds],
    )?;
    Ok(())
}

/// Metres and seconds of an account's flights that ended from `from` to before `to`.
pub(crate) fn utilization(
    reader: &Reader<'_>,
    owner_id: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<(f64, f64), SqlError> {
    reader.query_one(
        "SELECT COALESCE(SUM(metres), 0.0), COALESCE(SUM(seconds), 0.0) FROM bookings
         WHERE owner_id = ?1 AND metres > 0 AND changed_at >= ?2 AND changed_at < ?3",
        &[&owner_id, &from, &to],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// Forgets bookings that ended before `before`, so many at a time. Gives how many.
pub(crate) fn forget_old_bookings(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM bookings WHERE delivery_id IN (
           SELECT delivery_id FROM bookings WHERE state != 'Active' AND changed_at < ?1 LIMIT 500)",
        &[&before],
    )
}

fn booking(row: &Row<'_>) -> Result<Booking, SqlError> {
    let state: String = row.get(2)?;
    let state = BookingState::from_word(&state)
        .ok_or_else(|| SqlError::Damaged { message: format!("a booking's state: {state}") })?;
    let (trip, promise): (Option<String>, Option<String>) = (row.get(3)?, row.get(10)?);
    Ok(Booking {
        delivery_id: row.get(0)?,
        drone_id: row.get(1)?,
        state,
        trip: trip.as_deref().map(decode).transpose()?,
        revision: row.get(4)?,
        owner_id: row.get(5)?,
        rank: row.get(6)?,
        made: row.get(7)?,
        took_off: row.get(8)?,
        deadline: row.get(9)?,
        promise: promise.as_deref().map(decode).transpose()?,
        told: row.get(11)?,
        turn: row.get(12)?,
        reason: row.get(13)?,
        trace: row.get(14)?,
    })
}
