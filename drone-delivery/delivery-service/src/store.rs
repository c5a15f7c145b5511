//! Deliveries, their events, and what hangs on them.

mod columns;
mod kept;
mod notify_requests;
mod tables;

use base::Timestamp;
use contracts::{Location, shipping::DeliveryEvent};
use store::{Reader, SqlError, Transaction};

use self::columns::{SLICE, first_end, ordinal};
pub(crate) use self::{
    notify_requests::{
        NotifyRequest, erase_notify_request, erase_old_notify_requests, is_asked_for,
        keep_notify_request, notify_request,
    },
    tables::MIGRATIONS,
};
use crate::domain::Delivery;

/// One delivery.
pub(crate) fn find(reader: &Reader<'_>, id: &str) -> Result<Option<Delivery>, SqlError> {
    let state =
        reader.query_optional("SELECT state FROM deliveries WHERE id = ?1", &[&id], |row| {
            row.get::<String>(0)
        })?;
    state.map(|it| kept::read_delivery(id.to_owned(), &it)).transpose()
}

/// Deliveries under way after this id, in the order of their ids, each with when it last changed.
pub(crate) fn under_way(
    reader: &Reader<'_>,
    after: &str,
    limit: u32,
) -> Result<Vec<(Delivery, Timestamp)>, SqlError> {
    // The stage is a literal, as in the index: only so is the index used.
    let rows = reader.query_all(
        "SELECT id, state, changed_at FROM deliveries
         WHERE stage < 4 AND id > ?1 ORDER BY id LIMIT ?2",
        &[&after, &limit],
        |row| Ok((row.get(0)?, row.get::<String>(1)?, row.get(2)?)),
    )?;
    let read = |(id, state, changed): (String, String, Timestamp)| {
        Ok((kept::read_delivery(id, &state)?, changed))
    };
    rows.into_iter().map(read).collect()
}

/// Notes that something is overdue; false when it was noted before.
pub(crate) fn note_overdue(
    transaction: &mut Transaction<'_>,
    id: &str,
    what: &str,
) -> Result<bool, SqlError> {
    let now = transaction.now();
    let noted = transaction.execute(
        "INSERT OR IGNORE INTO overdue (delivery_id, what, since) VALUES (?1, ?2, ?3)",
        &[&id, &what, &now],
    )?;
    Ok(noted == 1)
}

/// When a delivery last changed.
pub(crate) fn changed_at(reader: &Reader<'_>, id: &str) -> Result<Timestamp, SqlError> {
    let sql = "SELECT changed_at FROM deliveries WHERE id = ?1";
    reader.query_one(sql, &[&id], |row| row.get(0))
}

/// The newest position in flight.
pub(crate) fn position(reader: &Reader<'_>, id: &str) -> Result<Option<Location>, SqlError> {
    reader.query_optional(
        "SELECT latitude, longitude, altitude FROM delivery_positions WHERE delivery_id = ?1",
        &[&id],
        |row| {
            let (latitude, longitude) = (row.get(0)?, row.get(1)?);
            Ok(Location { altitude: row.get(2)?, latitude, longitude })
        },
    )
}

/// The events of a delivery that are newer than `after`, in order.
pub(crate) fn events(
    reader: &Reader<'_>,
    id: &str,
    after: u64,
) -> Result<Vec<DeliveryEvent>, SqlError> {
    let texts = reader.query_all(
        "SELECT event FROM delivery_events WHERE delivery_id = ?1 AND sequence > ?2
         ORDER BY sequence LIMIT 1000",
        &[&id, &after],
        |row| row.get::<String>(0),
    )?;
    let old = texts.iter().map(|it| kept::read_old_event(it));
    let mut events = old.collect::<Result<Vec<_>, _>>()?;
    let kept = kept_events(reader, id)?.into_iter().filter(|it| it.sequence > after);
    events.extend(kept);
    // While replicas of both programs work on a file, each adds where it knows.
    events.sort_by_key(|it| it.sequence);
    Ok(events)
}

/// The events that stand beside their delivery.
fn kept_events(reader: &Reader<'_>, id: &str) -> Result<Vec<DeliveryEvent>, SqlError> {
    let text =
        reader.query_optional("SELECT events FROM deliveries WHERE id = ?1", &[&id], |row| {
            row.get::<Option<String>>(0)
        })?;
    text.flatten().map_or_else(|| Ok(Vec::new()), |it| kept::read_events(id, &it))
}

/// How many deliveries an account made from `from` to before `to`.
pub(crate) fn count(
    reader: &Reader<'_>,
    owner_id: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<u64, SqlError> {
    reader.query_one(
        "SELECT COUNT(*) FROM deliveries
         WHERE owner_id = ?1 AND created_at >= ?2 AND created_at < ?3",
        &[&owner_id, &from, &to],
        |row| row.get(0),
    )
}

/// Writes a new delivery.
pub(crate) fn insert(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT INTO deliveries (id, state, stage, owner_id, created_at, changed_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        &[
            &delivery.id,
            &kept::write_delivery(delivery)?,
            &ordinal(delivery.stage),
            &delivery.order.owner.account_id,
            &now,
        ],
    )?;
    let came = "UPDATE notify_requests SET early = 0 WHERE delivery_id = ?1 AND early = 1";
    transaction.execute(came, &[&delivery.id])?;
    Ok(())
}

/// Writes a delivery that is there, but for its owner: to name that column would write its index, and so would
/// the stage of one that is under way.
pub(crate) fn update(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "UPDATE deliveries SET state = ?2, changed_at = ?3 WHERE id = ?1",
        &[&delivery.id, &kept::write_delivery(delivery)?, &now],
    )?;
    if delivery.stage.is_end() {
        transaction.execute(
            "UPDATE deliveries SET stage = ?2 WHERE id = ?1 AND stage <> ?2",
            &[&delivery.id, &ordinal(delivery.stage)],
        )?;
    }
    Ok(())
}

/// Writes a delivery that was asked for anew, perhaps for another owner.
pub(crate) fn replace(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<(), SqlError> {
    update(transaction, delivery)?;
    let sql = "UPDATE deliveries SET owner_id = ?2 WHERE id = ?1 AND owner_id <> ?2";
    transaction.execute(sql, &[&delivery.id, &delivery.order.owner.account_id]).map(|_| ())
}

/// Keeps an event for those who ask later.
pub(crate) fn keep_event(
    transaction: &mut Transaction<'_>,
    event: &DeliveryEvent,
) -> Result<(), SqlError> {
    let id = &event.delivery_id;
    let mut events = kept_events(transaction, id)?;
    if events.iter().any(|it| it.sequence == event.sequence) {
        let message = format!("event {} is kept already", event.event_id);
        return Err(SqlError::Statement { message });
    }
    events.push(event.clone());
    let kept = transaction.execute(
        "UPDATE deliveries SET events = ?2 WHERE id = ?1",
        &[id, &kept::write_events(&events)?],
    )?;
    if kept == 1 { Ok(()) } else { Err(SqlError::NoRow) }
}

/// Keeps the newest position in flight; nothing where there is no delivery that is under way: a
/// row of its own would outlive every delivery.
pub(crate) fn keep_position(
    transaction: &mut Transaction<'_>,
    id: &str,
    location: &Location,
) -> Result<(), SqlError> {
    transaction.execute(
        "INSERT INTO delivery_positions (delivery_id, latitude, longitude, altitude)
         SELECT ?1, ?2, ?3, ?4
         WHERE EXISTS (SELECT 1 FROM deliveries WHERE id = ?1 AND stage < ?5)
         ON CONFLICT (delivery_id) DO UPDATE SET latitude = ?2, longitude = ?3, altitude = ?4",
        &[&id, &location.latitude, &location.longitude, &location.altitude, &first_end()],
    )?;
    Ok(())
}

/// Remembers that a delivery must never be made.
pub(crate) fn bury(transaction: &mut Transaction<'_>, id: &str) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT OR IGNORE INTO delivery_tombstones (delivery_id, since) VALUES (?1, ?2)",
        &[&id, &now],
    )?;
    Ok(())
}

/// Whether a delivery must never be made.
pub(crate) fn is_buried(reader: &Reader<'_>, id: &str) -> Result<bool, SqlError> {
    let found = reader.query_optional(
        "SELECT 1 FROM delivery_tombstones WHERE delivery_id = ?1",
        &[&id],
        |row| row.get::<i64>(0),
    )?;
    Ok(found.is_some())
}

/// Forgets deliveries that ended before `before` with all that hangs on them, a slice at a time.
/// Gives how many deliveries.
pub(crate) fn forget_ended(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    // The stage is a literal, as in the index: only so is the index used.
    let ended = transaction.query_all(
        "SELECT id FROM deliveries WHERE stage >= 4 AND changed_at < ?1 LIMIT ?2",
        &[&before, &SLICE],
        |row| row.get::<String>(0),
    )?;
    for id in &ended {
        for sql in [
            "DELETE FROM delivery_events WHERE delivery_id = ?1",
            "DELETE FROM delivery_positions WHERE delivery_id = ?1",
            "DELETE FROM notify_requests WHERE delivery_id = ?1",
            "DELETE FROM overdue WHERE delivery_id = ?1",
            "DELETE FROM deliveries WHERE id = ?1",
        ] {
            transaction.execute(sql, &[id])?;
        }
    }
    Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
}

/// Forgets tombstones from before `before`, a slice at a time.
pub(crate) fn forget_tombstones(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM delivery_tombstones WHERE delivery_id IN
         (SELECT delivery_id FROM delivery_tombstones WHERE since < ?1 LIMIT ?2)",
        &[&before, &SLICE],
    )
}

#[cfg(test)]
mod costs;

#[cfg(test)]
mod tests;
