//! Tables of shipments and of the anchor of simulated time.

pub(crate) mod outside;

use base::Timestamp;
use store::{Migration, Reader, Row, SqlError, Transaction};

use crate::domain::Shipment;

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "shipments", sql: FIRST },
    Migration { version: 2, name: "whose vehicles are out", sql: SECOND },
    Migration { version: 3, name: "companies that were asked", sql: outside::TABLE },
];

// The carrier of a shipment that is under way; none of one from before it was noted.
const SECOND: &str = "
ALTER TABLE shipments ADD COLUMN out_with TEXT;
CREATE INDEX shipments_out ON shipments (out_with) WHERE out_with IS NOT NULL;
";

// The state is one JSON text: it is read and written whole. A row without one is a tombstone.
const FIRST: &str = "
CREATE TABLE shipments (
  delivery_id TEXT PRIMARY KEY,
  state TEXT,
  due INTEGER,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX shipments_due ON shipments (due) WHERE due IS NOT NULL;
CREATE INDEX shipments_age ON shipments (changed_at) WHERE due IS NULL;

CREATE TABLE simulation (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  wall INTEGER NOT NULL,
  simulated INTEGER NOT NULL,
  scale REAL NOT NULL
) STRICT;
";

/// What is known of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// A carrier is booked for it, or was until it handed the package over.
    Shipment(Box<Shipment>),
    /// It was called off: no carrier must ever be booked.
    Released,
}

/// What is known of one delivery.
pub(crate) fn find(reader: &Reader<'_>, delivery_id: &str) -> Result<Option<Found>, SqlError> {
    let state = reader.query_optional(
        "SELECT state FROM shipments WHERE delivery_id = ?1",
        &[&delivery_id],
        |row| row.get::<Option<String>>(0),
    )?;
    match state {
        None => Ok(None),
        Some(None) => Ok(Some(Found::Released)),
        Some(Some(text)) => Ok(Some(Found::Shipment(Box::new(decode(&text)?)))),
    }
}

/// Shipments whose next phase is due, the most overdue first.
pub(crate) fn due(
    reader: &Reader<'_>,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Shipment>, SqlError> {
    reader.query_all(
        "SELECT state FROM shipments WHERE due <= ?1 ORDER BY due LIMIT ?2",
        &[&now, &limit],
        |row: &Row<'_>| decode(&row.get::<String>(0)?),
    )
}

/// How many vehicles of a carrier are out or booked.
pub(crate) fn vehicles_out(reader: &Reader<'_>, carrier: &str) -> Result<u32, SqlError> {
    let sql = "SELECT COUNT(*) FROM shipments WHERE out_with = ?1";
    reader.query_one(sql, &[&carrier], |row| row.get(0))
}

/// When the next phase of any shipment is due.
pub(crate) fn next_due(reader: &Reader<'_>) -> Result<Option<Timestamp>, SqlError> {
    let first = "SELECT MIN(due) FROM shipments WHERE due IS NOT NULL";
    reader.query_one(first, &[], |row| row.get(0))
}

/// Writes a shipment.
pub(crate) fn save(transaction: &mut Transaction<'_>, shipment: &Shipment) -> Result<(), SqlError> {
    let state = serde_json::to_string(shipment).map_err(|it| unreadable(&it))?;
    let out_with = shipment.is_open().then_some(shipment.carrier.as_str());
    write(transaction, &shipment.delivery_id, Some(&state), shipment.due(), out_with)
}

/// Remembers that no carrier must ever be booked for a delivery.
pub(crate) fn bury(transaction: &mut Transaction<'_>, delivery_id: &str) -> Result<(), SqlError> {
    write(transaction, delivery_id, None, None, None)
}

fn write(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    state: Option<&str>,
    due: Option<Timestamp>,
    out_with: Option<&str>,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT INTO shipments (delivery_id, state, due, changed_at, out_with)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (delivery_id) DO UPDATE
         SET state = ?2, due = ?3, changed_at = ?4, out_with = ?5",
        &[&delivery_id, &state, &due, &now, &out_with],
    )?;
    Ok(())
}

/// Forgets what has not changed since `before` and waits for nothing. Gives how many.
pub(crate) fn forget_old(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM shipments WHERE delivery_id IN (
           SELECT delivery_id FROM shipments WHERE due IS NULL AND changed_at < ?1 LIMIT 500)",
        &[&before],
    )
}

fn decode(text: &str) -> Result<Shipment, SqlError> {
    serde_json::from_str(text).map_err(|it| unreadable(&it))
}

/// A row that another version wrote, or a defect of ours.
fn unreadable(error: &serde_json::Error) -> SqlError {
    SqlError::Damaged { message: format!("a row of a shipment: {error}") }
}
