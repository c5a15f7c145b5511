//! Tables of the fleet, of bookings, and of the anchor of simulated time.

mod bookings;
mod drones;

use serde::{Serialize, de::DeserializeOwned};
use store::{Migration, Reader, SqlError};

pub(crate) use bookings::{
    Booking, BookingState, Promise, add_flown, booked_changed_since, bury, close_booking,
    find_booking, forget_old_bookings, insert_booking, save_booking, utilization,
};
pub(crate) use drones::{
    doubly_booked, drones_changed_since, find_drone, insert_drone, list_drones, save_drone,
    seed_fleet, use_airframe,
};

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "the fleet and its bookings", sql: FIRST },
    Migration { version: 2, name: "a plan of bookings for each drone", sql: PLAN },
    Migration { version: 3, name: "drones and bookings by number", sql: NUMBERED },
];

// A drone's state is one JSON text: it is read and written whole. What is asked for, and what must
// never be twice, stands in columns.
const FIRST: &str = "
CREATE TABLE drones (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  phase TEXT NOT NULL,
  delivery_id TEXT,
  changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX drones_changed ON drones (changed);
CREATE UNIQUE INDEX drones_delivery ON drones (delivery_id) WHERE delivery_id IS NOT NULL;

CREATE TABLE bookings (
  delivery_id TEXT PRIMARY KEY,
  drone_id TEXT,
  state TEXT NOT NULL CHECK (state IN ('Active', 'Delivered', 'Lost', 'Released')),
  trip TEXT,
  revision INTEGER NOT NULL,
  owner_id TEXT,
  metres REAL NOT NULL DEFAULT 0,
  seconds REAL NOT NULL DEFAULT 0,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX bookings_drone ON bookings (drone_id) WHERE state = 'Active';
CREATE INDEX bookings_owner ON bookings (owner_id, changed_at) WHERE metres > 0;
CREATE INDEX bookings_age ON bookings (changed_at) WHERE state != 'Active';

CREATE TABLE simulation (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  wall INTEGER NOT NULL,
  simulated INTEGER NOT NULL,
  scale REAL NOT NULL
) STRICT;
";

// A drone has many bookings and flies for one. One that was booked and had not left is on its base
// and free again: its booking waits in its plan. A waiting flight was made, a mere booking was not.
const PLAN: &str = "
ALTER TABLE bookings ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;
ALTER TABLE bookings ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bookings ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bookings ADD COLUMN took_off INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bookings ADD COLUMN deadline INTEGER;
ALTER TABLE bookings ADD COLUMN promise TEXT;
ALTER TABLE bookings ADD COLUMN told INTEGER;
ALTER TABLE bookings ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bookings ADD COLUMN reason TEXT;
ALTER TABLE bookings ADD COLUMN trace TEXT;
DROP INDEX bookings_drone;
UPDATE bookings SET rank = changed_at, took_off = drone_id IN (
  SELECT id FROM drones WHERE phase NOT IN ('Assigned', 'Idle', 'Charging', 'Failed'))
  WHERE state = 'Active';
UPDATE bookings SET made = took_off OR drone_id IN (
  SELECT id FROM drones WHERE json_extract(state, '$.activity.Flying') IS NOT NULL)
  WHERE state = 'Active';
UPDATE drones SET phase = 'Idle', delivery_id = NULL, state = json_set(state, '$.phase', 'Idle',
  '$.activity', json_object('Based', json_object(
    'battery', COALESCE(json_extract(state, '$.activity.Booked.battery'),
      json_extract(state, '$.activity.Flying.legs[0].battery_from')),
    'since', COALESCE(json_extract(state, '$.activity.Booked.since'),
      json_extract(state, '$.activity.Flying.legs[0].starts')))))
  WHERE phase = 'Assigned';
CREATE UNIQUE INDEX bookings_flying ON bookings (drone_id) WHERE state = 'Active' AND took_off = 1;
CREATE INDEX bookings_changed ON bookings (changed);

CREATE TABLE usual_airframe (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  payload_kg REAL NOT NULL,
  range_m REAL NOT NULL
) STRICT;
";

// A drone in flight is longer than a quarter of a page, which is what a table without row numbers holds of a row:
// the rest took pages of its own.
const NUMBERED: &str = "
CREATE TABLE drones_3 (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  phase TEXT NOT NULL,
  delivery_id TEXT,
  changed INTEGER NOT NULL
) STRICT;
INSERT INTO drones_3 SELECT NULL, id, state, phase, delivery_id, changed FROM drones ORDER BY id;
DROP TABLE drones;
ALTER TABLE drones_3 RENAME TO drones;
CREATE INDEX drones_changed ON drones (changed);
CREATE UNIQUE INDEX drones_delivery ON drones (delivery_id) WHERE delivery_id IS NOT NULL;

CREATE TABLE bookings_3 (
  number INTEGER PRIMARY KEY,
  delivery_id TEXT NOT NULL UNIQUE,
  drone_id TEXT,
  state TEXT NOT NULL CHECK (state IN ('Active', 'Delivered', 'Lost', 'Released')),
  trip TEXT,
  revision INTEGER NOT NULL,
  owner_id TEXT,
  metres REAL NOT NULL DEFAULT 0,
  seconds REAL NOT NULL DEFAULT 0,
  changed_at INTEGER NOT NULL,
  changed INTEGER NOT NULL DEFAULT 1,
  rank INTEGER NOT NULL DEFAULT 0,
  made INTEGER NOT NULL DEFAULT 0,
  took_off INTEGER NOT NULL DEFAULT 0,
  deadline INTEGER,
  promise TEXT,
  told INTEGER,
  turn INTEGER NOT NULL DEFAULT 0,
  reason TEXT,
  trace TEXT
) STRICT;
INSERT INTO bookings_3
  SELECT NULL, delivery_id, drone_id, state, trip, revision, owner_id, metres, seconds, changed_at, changed,
    rank, made, took_off, deadline, promise, told, turn, reason, trace
  FROM bookings ORDER BY delivery_id;
DROP TABLE bookings;
ALTER TABLE bookings_3 RENAME TO bookings;
CREATE INDEX bookings_owner ON bookings (owner_id, changed_at) WHERE metres > 0;
CREATE INDEX bookings_age ON bookings (changed_at) WHERE state != 'Active';
CREATE UNIQUE INDEX bookings_flying ON bookings (drone_id) WHERE state = 'Active' AND took_off = 1;
CREATE INDEX bookings_changed ON bookings (changed);
";

/// The number of the next change of any drone or booking. One transaction may use it for several.
pub(crate) fn next_change(reader: &Reader<'_>) -> Result<u64, SqlError> {
    let newest = "SELECT MAX(COALESCE((SELECT MAX(changed) FROM drones), 0),
      COALESCE((SELECT MAX(changed) FROM bookings), 0))";
    Ok(reader.query_one(newest, &[], |row| row.get::<u64>(0))? + 1)
}

fn encode<T: Serialize>(value: &T) -> Result<String, SqlError> {
    serde_json::to_string(value).map_err(|it| unreadable(&it))
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, SqlError> {
    serde_json::from_str(text).map_err(|it| unreadable(&it))
}

/// A row that another version wrote, or a defect of ours.
fn unreadable(error: &serde_json::Error) -> SqlError {
    SqlError::Damaged { message: format!("a row of the fleet: {error}") }
}
