//! History of the tables.

use store::Migration;

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "deliveries and their events", sql: FIRST },
    Migration { version: 2, name: "ages of what is forgotten", sql: SECOND },
    Migration { version: 3, name: "languages of who asked", sql: THIRD },
    Migration { version: 4, name: "what is overdue", sql: FOURTH },
    Migration { version: 5, name: "who asks before there is a delivery", sql: FIFTH },
    Migration { version: 6, name: "deliveries and events by number", sql: SIXTH },
    Migration { version: 7, name: "who asks to be told", sql: SEVENTH },
    Migration { version: 8, name: "events beside the delivery", sql: EIGHTH },
];

// The state is one JSON text: it is read and written whole. What is asked for stands in columns: the stage, for
// one, whether a delivery is over, and how it ended.
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

// Nothing changes a delivery after its end (stages from Completed on), so its last change is its end.
const SECOND: &str = "
CREATE INDEX deliveries_ended ON deliveries (changed_at) WHERE stage >= 4;
CREATE INDEX delivery_tombstones_age ON delivery_tombstones (since);
";

const THIRD: &str = "ALTER TABLE notify_requests ADD COLUMN language TEXT NOT NULL DEFAULT '';";

// What is under way is looked at again and again; what was said about it is not said again.
const FOURTH: &str = "
CREATE INDEX deliveries_open ON deliveries (id) WHERE stage < 4;
CREATE TABLE overdue (
  delivery_id TEXT NOT NULL,
  what TEXT NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (delivery_id, what)
) STRICT, WITHOUT ROWID;
";

// Who asks before there is a delivery may ask for one that never comes: these have a bound.
const FIFTH: &str = "
ALTER TABLE notify_requests ADD COLUMN early INTEGER NOT NULL DEFAULT 0;
CREATE INDEX notify_requests_early ON notify_requests (asked_at) WHERE early = 1;
";

// Rows of this length in a table without row numbers stand in the inner pages of its tree too, and
// each change writes more pages.
const SIXTH: &str = "
CREATE TABLE deliveries_6 (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  stage INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT;
INSERT INTO deliveries_6
  SELECT NULL, id, state, stage, owner_id, created_at, changed_at FROM deliveries ORDER BY created_at;
DROP TABLE deliveries;
ALTER TABLE deliveries_6 RENAME TO deliveries;
CREATE INDEX deliveries_owner ON deliveries (owner_id, created_at);
CREATE INDEX deliveries_ended ON deliveries (changed_at) WHERE stage >= 4;
CREATE INDEX deliveries_open ON deliveries (id) WHERE stage < 4;

CREATE TABLE delivery_events_6 (
  number INTEGER PRIMARY KEY,
  delivery_id TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  event TEXT NOT NULL,
  UNIQUE (delivery_id, sequence)
) STRICT;
INSERT INTO delivery_events_6
  SELECT NULL, delivery_id, sequence, event FROM delivery_events ORDER BY delivery_id, sequence;
DROP TABLE delivery_events;
ALTER TABLE delivery_events_6 RENAME TO delivery_events;
";

// Who asks early asks for a delivery whose owner is not known yet: he is told if it is himself.
const SEVENTH: &str = "ALTER TABLE notify_requests ADD COLUMN asker TEXT;";

// With each event the row of its delivery is written: what is kept of the event stands in it and costs no page
// of its own, nor one of an index. Events from before stay where they are.
const EIGHTH: &str = "ALTER TABLE deliveries ADD COLUMN events TEXT;";
