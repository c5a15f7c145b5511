//! Rows of bookings: one for each delivery that was ever asked for or called off.

use base::Timestamp;
use contracts::Words;
use store::{Reader, Row, SqlError, Transaction};

use super::{decode, encode};
use crate::domain::{Service, Trip};

/// Where a booking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BookingState {
    /// A drone works for it.
    Active,
    /// The package was handed over.
    Delivered,
    /// The drone was taken out on the way.
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

/// A booking. One that was called off before it was made has neither drone nor trip.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Booking {
    pub(crate) delivery_id: String,
    pub(crate) drone_id: Option<String>,
    pub(crate) state: BookingState,
    pub(crate) trip: Option<Trip>,
    pub(crate) revision: u64,
    pub(crate) owner_id: Option<String>,
}

/// One booking.
pub(crate) fn find_booking(reader: &Reader<'_>, id: &str) -> Result<Option<Booking>, SqlError> {
    reader.query_optional(
        "SELECT delivery_id, drone_id, state, trip, revision, owner_id FROM bookings
         WHERE delivery_id = ?1",
        &[&id],
        booking,
    )
}

/// Writes a new booking. A second active one of a drone or of a delivery breaks a constraint.
pub(crate) fn insert_booking(
    transaction: &mut Transaction<'_>,
    booking: &Booking,
) -> Result<(), SqlError> {
    let trip = booking.trip.as_ref().map(encode).transpose()?;
    let now = transaction.now();
    transaction.execute(
        "INSERT INTO bookings (delivery_id, drone_id, state, trip, revision, owner_id, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &[
            &booking.delivery_id,
            &booking.drone_id,
            &booking.state.word(),
            &trip,
            &booking.revision,
            &booking.owner_id,
            &now,
        ],
    )?;
    Ok(())
}

/// Remembers that a delivery must never be booked.
pub(crate) fn bury(transaction: &mut Transaction<'_>, delivery_id: &str) -> Result<(), SqlError> {
    let tombstone = Booking {
        delivery_id: delivery_id.to_owned(),
        drone_id: None,
        state: BookingState::Released,
        trip: None,
        revision: 0,
        owner_id: None,
    };
    insert_booking(transaction, &tombstone)
}

/// Gives an active booking another trip.
pub(crate) fn replace_trip(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    trip: &Trip,
    revision: u64,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "UPDATE bookings SET trip = ?2, revision = ?3, changed_at = ?4 WHERE delivery_id = ?1",
        &[&delivery_id, &encode(trip)?, &revision, &now],
    )?;
    Ok(())
}

/// Remembers whose delivery it is.
pub(crate) fn set_owner(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    owner_id: &str,
) -> Result<(), SqlError> {
    transaction.execute(
        "UPDATE bookings SET owner_id = ?2 WHERE delivery_id = ?1",
        &[&delivery_id, &owner_id],
    )?;
    Ok(())
}

/// Ends a booking, with what was flown for it.
pub(crate) fn close_booking(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    state: BookingState,
    flown: Option<&Service>,
) -> Result<(), SqlError> {
    let (metres, seconds) = flown.map_or((0.0, 0.0), |it| (it.metres, it.seconds));
    let now = transaction.now();
    transaction.execute(
        "UPDATE bookings SET state = ?2, metres = ?3, seconds = ?4, changed_at = ?5
         WHERE delivery_id = ?1",
        &[&delivery_id, &state.word(), &metres, &seconds, &now],
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
    let trip: Option<String> = row.get(3)?;
    Ok(Booking {
        delivery_id: row.get(0)?,
        drone_id: row.get(1)?,
        state,
        trip: trip.as_deref().map(decode).transpose()?,
        revision: row.get(4)?,
        owner_id: row.get(5)?,
    })
}
