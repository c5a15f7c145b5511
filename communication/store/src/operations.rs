//! Operations of sagas at this participant: one row for each subject, in the transaction of the effect.
//!
//! | known so far | do | undo |
//! |---|---|---|
//! | nothing | fresh | fresh: leaves a tombstone |
//! | done | the stored reply | fresh |
//! | undone | refused as undone | the stored reply |
//!
//! An epoch lower than the highest seen is refused before anything else; the same subject with
//! another body is refused when it was done.

use base::{Direction, OperationKey};

use crate::{
    error::SqlError,
    idempotency::{StoredReply, read_reply, write_headers},
    query::{Reader, Row, Transaction},
};

/// What is known of an operation when a call for it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationState {
    /// It has to be carried out, and finished in the same transaction.
    Fresh,
    /// It was carried out; this was the answer.
    Replayed(StoredReply),
    /// Its undo came first: it must not be carried out any more.
    Undone,
    /// A later owner was here.
    StaleEpoch {
        /// The highest epoch seen.
        seen: u64,
    },
    /// It was carried out with another body.
    OtherBody,
}

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// `<saga>/<step>/<revision>`.
    pub key: String,
    /// `seen`, `done` or `undone`.
    pub state: String,
    /// How often it took effect.
    pub effects: u64,
    /// How often it was taken back.
    pub undos: u64,
}

/// How much the ledger holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerTotals {
    /// Rows.
    pub keys: u64,
    /// Effects.
    pub effects: u64,
    /// Effects that were taken back.
    pub undos: u64,
}

struct Known {
    state: String,
    epoch: Option<u64>,
    body_hash: Option<Vec<u8>>,
    reply: Option<StoredReply>,
}

impl Transaction<'_> {
    /// Judges a call; the epoch of an operation that is known is remembered. After
    /// [`OperationState::Fresh`] the closure carries the effect out and calls
    /// [`finish_operation`](Self::finish_operation), or refuses as a whole.
    ///
    /// # Errors
    /// What a statement failed with.
    pub fn begin_operation(
        &mut self,
        key: &OperationKey,
        epoch: Option<u64>,
        body_hash: &[u8; 32],
    ) -> Result<OperationState, SqlError> {
        let known = self.query_optional(
            "SELECT state, epoch, body_hash, status, headers, body FROM skein_operations
             WHERE saga = ?1 AND step = ?2 AND revision = ?3",
            &[&key.saga, &key.step, &key.revision],
            known,
        )?;
        let seen = known.as_ref().and_then(|it| it.epoch);
        if let (Some(epoch), Some(seen)) = (epoch, seen)
            && epoch < seen
        {
            return Ok(OperationState::StaleEpoch { seen });
        }
        let state = match (&known, key.direction) {
            (None, _) => OperationState::Fresh,
            (Some(known), Direction::Do) => judge_do(known, body_hash),
            (Some(known), Direction::Undo) => judge_undo(known),
        };
        // The row of a new one is written once, with its reply: rows that grow are moved about.
        if known.is_some() && epoch > seen {
            self.note_epoch(key, epoch)?;
        }
        Ok(state)
    }

    fn note_epoch(&mut self, key: &OperationKey, epoch: Option<u64>) -> Result<(), SqlError> {
        let now = self.now();
        self.execute(
            "UPDATE skein_operations SET epoch = ?4, updated_at = ?5
             WHERE saga = ?1 AND step = ?2 AND revision = ?3",
            &[&key.saga, &key.step, &key.revision, &epoch, &now],
        )?;
        Ok(())
    }

    /// Keeps the answer of an operation that was just carried out, under the epoch of its call, and
    /// counts the effect.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn finish_operation(
        &mut self,
        key: &OperationKey,
        epoch: Option<u64>,
        body_hash: &[u8; 32],
        reply: &StoredReply,
    ) -> Result<(), SqlError> {
        let now = self.now();
        let headers = write_headers(reply)?;
        let sql = match key.direction {
            Direction::Do => {
                "INSERT INTO skein_operations
                   (saga, step, revision, state, epoch, body_hash, status, headers, body, effects, updated_at)
                 VALUES (?1, ?2, ?3, 'done', ?4, ?5, ?6, ?7, ?8, 1, ?9)
                 ON CONFLICT (saga, step, revision) DO UPDATE SET state = 'done', body_hash = ?5,
                   status = ?6, headers = ?7, body = ?8, effects = effects + 1, updated_at = ?9"
            }
            // An undo before its do takes nothing back: it leaves the tombstone.
            Direction::Undo => {
                "INSERT INTO skein_operations
                   (saga, step, revision, state, epoch, body_hash, status, headers, body, updated_at)
                 VALUES (?1, ?2, ?3, 'undone', ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (saga, step, revision) DO UPDATE SET undos = undos + (state = 'done'),
                   state = 'undone', body_hash = COALESCE(body_hash, ?5),
                   status = ?6, headers = ?7, body = ?8, updated_at = ?9"
            }
        };
        self.execute(
            sql,
            &[
                &key.saga,
                &key.step,
                &key.revision,
                &epoch,
                &body_hash.as_slice(),
                &reply.status,
                &headers,
                &reply.body,
                &now,
            ],
        )?;
        Ok(())
    }
}

fn judge_do(known: &Known, body_hash: &[u8; 32]) -> OperationState {
    match (known.state.as_str(), &known.reply) {
        ("undone", _) => OperationState::Undone,
        ("done", Some(reply)) if known.body_hash.as_deref() == Some(body_hash) => {
            OperationState::Replayed(reply.clone())
        }
        ("done", Some(_)) => OperationState::OtherBody,
        _ => OperationState::Fresh,
    }
}

fn judge_undo(known: &Known) -> OperationState {
    match (known.state.as_str(), &known.reply) {
        ("undone", Some(reply)) => OperationState::Replayed(reply.clone()),
        _ => OperationState::Fresh,
    }
}

fn known(row: &Row<'_>) -> Result<Known, SqlError> {
    Ok(Known {
        state: row.get(0)?,
        epoch: row.get(1)?,
        body_hash: row.get(2)?,
        reply: read_reply(row, 3)?,
    })
}

impl Reader<'_> {
    /// A page of the ledger, in the order of its keys.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn effects(&self, after: &str, limit: u32) -> Result<Vec<Effect>, SqlError> {
        self.query_all(
            "SELECT saga || '/' || step || '/' || revision AS key, state, effects, undos
             FROM skein_operations WHERE key > ?1 ORDER BY key LIMIT ?2",
            &[&after, &limit],
            effect,
        )
    }

    /// Operations that took effect, or were taken back, more than once: there must be none.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn doubled_effects(&self) -> Result<Vec<Effect>, SqlError> {
        self.query_all(
            "SELECT saga || '/' || step || '/' || revision, state, effects, undos
             FROM skein_operations WHERE effects > 1 OR undos > 1 LIMIT 1000",
            &[],
            effect,
        )
    }

    /// How much the ledger holds.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn ledger_totals(&self) -> Result<LedgerTotals, SqlError> {
        self.query_one(
            "SELECT COUNT(*), COALESCE(SUM(effects), 0), COALESCE(SUM(undos), 0)
             FROM skein_operations",
            &[],
            |row| Ok(LedgerTotals { keys: row.get(0)?, effects: row.get(1)?, undos: row.get(2)? }),
        )
    }
}

fn effect(row: &Row<'_>) -> Result<Effect, SqlError> {
    Ok(Effect { key: row.get(0)?, state: row.get(1)?, effects: row.get(2)?, undos: row.get(3)? })
}
