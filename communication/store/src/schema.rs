//! The tables that every store has, as migrations of their own. Never edit one: append.

use crate::migrate::Migration;

/// History of the built-in tables.
pub(crate) const MIGRATIONS: [Migration; 4] = [
    Migration { version: 1, name: "messages, keys, operations, leases", sql: FIRST },
    Migration { version: 2, name: "parked messages", sql: PARKED },
    Migration { version: 3, name: "operations by number", sql: NUMBERED },
    Migration { version: 4, name: "no index of the ages of operations", sql: AGELESS },
];

// AUTOINCREMENT: a sequence number is never given twice, even when the table was empty between.
// Tables that are found by their key alone are WITHOUT ROWID: one tree to write instead of two.
const FIRST: &str = "
CREATE TABLE skein_outbox (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  topic TEXT NOT NULL,
  key TEXT,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  source TEXT NOT NULL,
  subject TEXT,
  time INTEGER NOT NULL,
  headers TEXT NOT NULL,
  traceparent TEXT,
  tracestate TEXT,
  body BLOB NOT NULL,
  pushed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE skein_inbox (
  consumer TEXT NOT NULL,
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  first_time INTEGER NOT NULL,
  PRIMARY KEY (consumer, source, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX skein_inbox_age ON skein_inbox (first_time);

CREATE TABLE skein_idempotency (
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  body_hash BLOB NOT NULL,
  id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  held_until INTEGER NOT NULL,
  boot_id TEXT NOT NULL,
  status INTEGER,
  headers TEXT,
  body BLOB,
  PRIMARY KEY (scope, key)
) STRICT;
CREATE INDEX skein_idempotency_age ON skein_idempotency (created_at);

CREATE TABLE skein_operations (
  saga TEXT NOT NULL,
  step TEXT NOT NULL,
  revision INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('seen', 'done', 'undone')),
  epoch INTEGER,
  body_hash BLOB,
  status INTEGER,
  headers TEXT,
  body BLOB,
  effects INTEGER NOT NULL DEFAULT 0,
  undos INTEGER NOT NULL DEFAULT 0,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (saga, step, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX skein_operations_age ON skein_operations (updated_at);

CREATE TABLE skein_leases (
  name TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  boot_id TEXT NOT NULL,
  expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

// The index holds parked rows alone: a message that is not parked pays nothing for it.
const PARKED: &str = "
ALTER TABLE skein_outbox ADD COLUMN parked_at INTEGER;
ALTER TABLE skein_outbox ADD COLUMN parked_because TEXT;
CREATE INDEX skein_outbox_parked ON skein_outbox (topic, key) WHERE parked_at IS NOT NULL;
";

// An operation is as long as the reply that it keeps. In a table without row numbers such a row takes
// pages beside the tree, and stands within it: more is written for each.
const NUMBERED: &str = "
CREATE TABLE skein_operations_3 (
  number INTEGER PRIMARY KEY,
  saga TEXT NOT NULL,
  step TEXT NOT NULL,
  revision INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('seen', 'done', 'undone')),
  epoch INTEGER,
  body_hash BLOB,
  status INTEGER,
  headers TEXT,
  body BLOB,
  effects INTEGER NOT NULL DEFAULT 0,
  undos INTEGER NOT NULL DEFAULT 0,
  updated_at INTEGER NOT NULL,
  UNIQUE (saga, step, revision)
) STRICT;
INSERT INTO skein_operations_3
  SELECT NULL, saga, step, revision, state, epoch, body_hash, status, headers, body, effects, undos, updated_at
  FROM skein_operations ORDER BY updated_at;
DROP TABLE skein_operations;
ALTER TABLE skein_operations_3 RENAME TO skein_operations;
CREATE INDEX skein_operations_age ON skein_operations (updated_at);
";

// Operations are numbered in the order in which they came, which is about that of their ages.
const AGELESS: &str = "DROP INDEX skein_operations_age;";
