//! Tables of deliveries, their events, and what hangs on them.

use base::Timestamp;
use contracts::{DeliveryStage, Location, Words as _, shipping::DeliveryEvent};
use serde::{Serialize, de::DeserializeOwned};
use store::{Migration, Reader, SqlError, Transaction};

use crate::domain::Delivery;

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "deliveries and their events", sql: FIRST }];

// The state is one JSON text: it is read and written whole. What is asked for stands in columns.
const FIRST: &str = "
CREATE TABLE deliveries (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  stage INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_owner ON deliveries (owner_id, created_at);

CREATE TABLE delivery_events (
  delivery_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  event TEXT NOT NULL,
  PRIMARY KEY (delivery_id, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery_positions (
  delivery_id TEXT PRIMARY KEY,
  latitude REAL NOT NULL,
  longitude REAL NOT NULL,
  altitude REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE delivery_tombstones (
  delivery_id TEXT PRIMARY KEY,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE notify_requests (
  delivery_id TEXT PRIMARY KEY,
  email_address TEXT,
  sms TEXT,
  asked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notify_requests_age ON notify_requests (asked_at);
";

/// Where a customer wants to hear of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotifyRequest {
    pub(crate) email_address: Option<String>,
    pub(crate) sms: Option<String>,
}

/// One delivery.
pub(crate) fn find(reader: &Reader<'_>, id: &str) -> Result<Option<Delivery>, SqlError> {
    let state =
        reader.query_optional("SELECT state FROM deliveries WHERE id = ?1", &[&id], |row| {
            row.get::<String>(0)
        })?;
    state.map(|it| decode(&it)).transpose()
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
    texts.iter().map(|it| decode(it)).collect()
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
            &encode(delivery)?,
            &ordinal(delivery.stage),
            &delivery.order.owner.account_id,
            &now,
        ],
    )?;
    Ok(())
}

/// Writes a delivery that is there.
pub(crate) fn update(
    transaction: &mut Transaction<'_>,
    delivery: &Delivery,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "UPDATE deliveries SET state = ?2, stage = ?3, owner_id = ?4, changed_at = ?5 WHERE id = ?1",
        &[
            &delivery.id,
            &encode(delivery)?,
            &ordinal(delivery.stage),
            &delivery.order.owner.account_id,
            &now,
        ],
    )?;
    Ok(())
}

/// Keeps an event for those who ask later.
pub(crate) fn keep_event(
    transaction: &mut Transaction<'_>,
    event: &DeliveryEvent,
) -> Result<(), SqlError> {
    transaction.execute(
        "INSERT INTO delivery_events (delivery_id, sequence, event) VALUES (?1, ?2, ?3)",
        &[&event.delivery_id, &event.sequence, &encode(event)?],
    )?;
    Ok(())
}

/// Keeps the newest position in flight.
pub(crate) fn keep_position(
    transaction: &mut Transaction<'_>,
    id: &str,
    location: &Location,
) -> Result<(), SqlError> {
    transaction.execute(
        "INSERT INTO delivery_positions (delivery_id, latitude, longitude, altitude)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (delivery_id) DO UPDATE SET latitude = ?2, longitude = ?3, altitude = ?4",
        &[&id, &location.latitude, &location.longitude, &location.altitude],
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

/// Remembers where a customer wants to hear of a delivery.
pub(crate) fn keep_notify_request(
    transaction: &mut Transaction<'_>,
    id: &str,
    request: &NotifyRequest,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT INTO notify_requests (delivery_id, email_address, sms, asked_at)
         VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (delivery_id) DO UPDATE SET email_address = ?2, sms = ?3, asked_at = ?4",
        &[&id, &request.email_address, &request.sms, &now],
    )?;
    Ok(())
}

/// Where a customer wants to hear of a delivery.
pub(crate) fn notify_request(
    reader: &Reader<'_>,
    id: &str,
) -> Result<Option<NotifyRequest>, SqlError> {
    reader.query_optional(
        "SELECT email_address, sms FROM notify_requests WHERE delivery_id = ?1",
        &[&id],
        |row| Ok(NotifyRequest { email_address: row.get(0)?, sms: row.get(1)? }),
    )
}

/// Forgets the addresses of one customer.
pub(crate) fn erase_notify_request(
    transaction: &mut Transaction<'_>,
    id: &str,
) -> Result<(), SqlError> {
    transaction.execute("DELETE FROM notify_requests WHERE delivery_id = ?1", &[&id]).map(|_| ())
}

/// Forgets the addresses of customers whose delivery ended before `before`.
pub(crate) fn erase_old_notify_requests(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    let first_end = ordinal(DeliveryStage::Completed);
    transaction.execute(
        "DELETE FROM notify_requests WHERE delivery_id IN (
           SELECT notify_requests.delivery_id FROM notify_requests
           JOIN deliveries ON deliveries.id = notify_requests.delivery_id
           WHERE asked_at < ?1 AND stage >= ?2 AND changed_at < ?1 LIMIT 500)",
        &[&before, &first_end],
    )
}

fn ordinal(stage: DeliveryStage) -> i64 {
    i64::from(stage.ordinal())
}

fn encode<T: Serialize>(value: &T) -> Result<String, SqlError> {
    serde_json::to_string(value).map_err(|it| unreadable(&it))
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, SqlError> {
    serde_json::from_str(text).map_err(|it| unreadable(&it))
}

/// A row that another version wrote, or a defect of ours.
fn unreadable(error: &serde_json::Error) -> SqlError {
    SqlError::Damaged { message: format!("a delivery's row: {error}") }
}
