//! Where sagas are kept: one row with the state, one for each record, one for each word to a saga.
//!
//! It decides who owns a saga, and nothing else does. Every append names the owner, the epoch and
//! the number of records that it builds on, in the transaction that writes it; whoever was
//! overtaken writes nothing. An append that was tried again after an unclear answer finds its own
//! records and is fine. The state is the fold of the records: the row holds it as it was after so many of
//! them, and those behind are folded when it is read. So a step that changes neither owner nor status
//! writes its records alone.

mod append;
mod definitions;
mod entry;
mod line;
mod ownership;
mod reading;
mod signals;
mod sweep;

use std::sync::Arc;

use ::store::{Migration, Row, SqlError};
use base::{Monotonic, Timestamp};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub(crate) use append::{Appended, append};
pub(crate) use definitions::Definitions;
pub(crate) use entry::{Append, Before, input_hash, new_before};
pub(crate) use line::mend;
pub(crate) use ownership::{
    Asker, Loaded, Polled, Taken, poll, recover, release_instance, renew_instance, take_instance,
};
pub use reading::{InstanceView, ListFilter};
pub(crate) use reading::{get, history, instances, list};
pub use signals::Signalled;
pub(crate) use signals::{give_up, signal};
pub(crate) use sweep::{ago, sweep_all};

use crate::{
    definition::Definition,
    machine::{Moment, State},
    view::SagaView,
};

/// The tables of a saga store, for [`Store::open`](::store::Store::open). Never edited: appended to.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "sagas, records, signals, instances", sql: FIRST },
    Migration { version: 2, name: "subjects", sql: SECOND },
    Migration { version: 3, name: "records behind the state", sql: THIRD },
];

// `open` is 1 while the saga needs an owner, 0 when it waits for its turn or a person or is over, 2 when it is
// over and its records were swept. One index serves claims, lists and the sweep; an append that
// changes neither owner nor status does not touch it.
const FIRST: &str = "
CREATE TABLE saga_definitions (
  hash TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  document TEXT NOT NULL,
  added_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sagas (
  number INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  definition TEXT NOT NULL,
  input TEXT NOT NULL,
  input_hash TEXT NOT NULL,
  trace TEXT,
  status TEXT NOT NULL,
  open INTEGER NOT NULL,
  owner TEXT,
  epoch INTEGER NOT NULL,
  version INTEGER NOT NULL,
  state TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sagas_standing ON sagas (open, owner, status);

CREATE TABLE saga_records (
  saga INTEGER NOT NULL,
  number INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  at INTEGER NOT NULL,
  record TEXT NOT NULL,
  PRIMARY KEY (saga, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE saga_signals (
  saga TEXT NOT NULL,
  id TEXT NOT NULL,
  signal TEXT NOT NULL,
  standing TEXT NOT NULL CHECK (standing IN ('waiting', 'pending', 'applied')),
  at INTEGER NOT NULL,
  PRIMARY KEY (saga, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX saga_signals_pending ON saga_signals (saga) WHERE standing = 'pending';
CREATE INDEX saga_signals_age ON saga_signals (at);

CREATE TABLE saga_instances (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  process TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  expires INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

// `turn` is 1 while a saga has the turn of its subject, 0 while it waits for it, nothing otherwise;
// `line` orders those that wait. That two never have the turn is the index's to see to.
//
// Sagas from before know no subject. Ids that begin alike up to a slash worked on the same thing;
// of those that are open at the moment the first gets the turn, and the others, which are under way
// too, end beside it.
const SECOND: &str = "
ALTER TABLE sagas ADD COLUMN subject TEXT;
ALTER TABLE sagas ADD COLUMN turn INTEGER;
ALTER TABLE sagas ADD COLUMN line INTEGER;
UPDATE sagas SET subject = substr(id, 1, instr(id, '/') - 1), turn = 1
  WHERE number IN (SELECT min(number) FROM sagas WHERE open = 1 AND instr(id, '/') > 1
                   GROUP BY substr(id, 1, instr(id, '/') - 1));
CREATE UNIQUE INDEX sagas_turn ON sagas (subject) WHERE turn = 1;
CREATE INDEX sagas_line ON sagas (subject, line, number) WHERE turn = 0;
CREATE INDEX saga_signals_waiting ON saga_signals (at) WHERE standing = 'waiting';
";

// When it happened since the machine started, which time that is spent is counted in. Records from before have
// none, and none of them stands behind the state of its saga.
const THIRD: &str = "ALTER TABLE saga_records ADD COLUMN since_boot INTEGER;";

/// The columns of [`RawSaga`], in order. The last holds the records that the state does not have yet.
const COLUMNS: &str = "s.number, s.id, s.definition, s.input, s.trace, s.state, s.owner, s.epoch, s.accepted_at, s.updated_at, s.subject,
  (SELECT json_group_array(json_array(r.number, r.at, r.since_boot, r.record))
   FROM saga_records r WHERE r.saga = s.number AND r.number >= s.version)";

/// A row before its documents are read.
#[derive(Debug)]
struct RawSaga {
    number: i64,
    id: String,
    definition: String,
    input: String,
    trace: Option<String>,
    state: String,
    owner: Option<String>,
    epoch: u64,
    accepted_at: Timestamp,
    updated_at: Timestamp,
    subject: Option<String>,
    behind: String,
}

/// A record behind the state: its number, when it was, since when the machine ran, what.
type Behind = (u64, i64, u64, String);

impl RawSaga {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Self::read_from(row, 0)
    }

    /// Reads the columns from that one on.
    fn read_from(row: &Row<'_>, first: usize) -> Result<Self, SqlError> {
        Ok(Self {
            number: row.get(first)?,
            id: row.get(first + 1)?,
            definition: row.get(first + 2)?,
            input: row.get(first + 3)?,
            trace: row.get(first + 4)?,
            state: row.get(first + 5)?,
            owner: row.get(first + 6)?,
            epoch: row.get(first + 7)?,
            accepted_at: row.get(first + 8)?,
            updated_at: row.get(first + 9)?,
            subject: row.get(first + 10)?,
            behind: row.get(first + 11)?,
        })
    }

    fn view(self, definition: Arc<Definition>) -> Result<SagaView, SqlError> {
        let (state, updated_at) = self.state(&definition)?;
        Ok(SagaView {
            state: Arc::new(state),
            input: Arc::new(from_json::<Value>(&self.input)?),
            id: self.id.into(),
            definition,
            owner: self.owner.map(Into::into),
            epoch: self.epoch,
            trace: self.trace.map(Into::into),
            subject: self.subject.map(Into::into),
            accepted_at: self.accepted_at,
            updated_at,
        })
    }

    /// The state with the records behind it, and when the last was written.
    fn state(&self, definition: &Definition) -> Result<(State, Timestamp), SqlError> {
        let (mut state, mut updated_at) = (from_json::<State>(&self.state)?, self.updated_at);
        let mut behind: Vec<Behind> = from_json(&self.behind)?;
        behind.sort_unstable_by_key(|it| it.0);
        for (number, at, since_boot, record) in behind {
            if number != state.records {
                let message =
                    format!("record {number} of {} stands behind {}", self.id, state.records);
                return Err(SqlError::Damaged { message });
            }
            updated_at = Timestamp::from_millis(at);
            let monotonic = Monotonic::from_millis(since_boot);
            let moment = Moment { wall: updated_at, monotonic, draw: 0.0 };
            state.follow(definition, &from_json(&record)?, moment);
        }
        Ok((state, updated_at))
    }
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, SqlError> {
    serde_json::from_str(text).map_err(|it| SqlError::Damaged { message: it.to_string() })
}

fn to_json<T: Serialize>(value: &T) -> Result<String, SqlError> {
    // Our own types have text keys and finite numbers only.
    serde_json::to_string(value).map_err(|it| SqlError::Statement { message: it.to_string() })
}
