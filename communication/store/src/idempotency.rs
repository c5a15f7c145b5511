//! Keys of public requests: the same key gives the same answer, and one effect.

use std::time::Duration;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::SqlError,
    query::{Reader, Row, Transaction},
};

/// A reply that was given once and is given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReply {
    /// HTTP status.
    pub status: u16,
    /// Headers that belong to the reply itself.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl StoredReply {
    /// With a further header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// It is ours now; what it makes has this id: the caller's, or the one of a try that ended
    /// without an answer.
    Reserved {
        /// The id to use.
        id: String,
        /// By which its end is told from that of a try before or after.
        hold: KeyHold,
    },
    /// Somebody is at it.
    InProgress,
    /// It was answered.
    Done(StoredReply),
    /// It was used with another body.
    OtherBody,
}

/// One hold of a key: a try that outlived its own has none of those that come after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHold(u64);

struct Kept {
    body_hash: Vec<u8>,
    id: String,
    created_at: Timestamp,
    held_until: u64,
    boot_id: String,
    reply: Option<StoredReply>,
}

impl Reader<'_> {
    /// The answer that was given to this body under a key, where there is one.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn key_reply(
        &self,
        scope: &str,
        key: &str,
        body_hash: &[u8; 32],
    ) -> Result<Option<StoredReply>, SqlError> {
        let found = self.query_optional(
            "SELECT status, headers, body FROM skein_idempotency
             WHERE scope = ?1 AND key = ?2 AND body_hash = ?3",
            &[&scope, &key, &body_hash.as_slice()],
            |row| read_reply(row, 0),
        )?;
        Ok(found.flatten())
    }
}

impl Transaction<'_> {
    /// Reserves a key for `hold`, unless it is held or answered. A key older than `kept_for` counts
    /// as new.
    ///
    /// # Errors
    /// What a statement failed with.
    pub fn reserve_key(
        &mut self,
        scope: &str,
        key: &str,
        body_hash: &[u8; 32],
        id: &str,
        hold: Duration,
        kept_for: Duration,
    ) -> Result<KeyState, SqlError> {
        let kept = self.query_optional(
            "SELECT body_hash, id, created_at, held_until, boot_id, status, headers, body
             FROM skein_idempotency WHERE scope = ?1 AND key = ?2",
            &[&scope, &key],
            kept,
        )?;
        let kept = kept.filter(|it| self.now().saturating_since(it.created_at) < kept_for);
        let Some(kept) = kept else {
            let hold = self.hold_key(scope, key, body_hash, id, hold, self.now())?;
            return Ok(KeyState::Reserved { id: id.to_owned(), hold });
        };
        if kept.body_hash != body_hash {
            return Ok(KeyState::OtherBody);
        }
        if let Some(reply) = kept.reply {
            return Ok(KeyState::Done(reply));
        }
        // Counted from boot, and a new boot ends every hold: who held it is gone.
        if kept.boot_id == self.boot_id() && kept.held_until > self.monotonic().as_millis() {
            return Ok(KeyState::InProgress);
        }
        let hold = self.hold_key(scope, key, body_hash, &kept.id, hold, kept.created_at)?;
        Ok(KeyState::Reserved { id: kept.id, hold })
    }

    fn hold_key(
        &mut self,
        scope: &str,
        key: &str,
        body_hash: &[u8; 32],
        id: &str,
        hold: Duration,
        created_at: Timestamp,
    ) -> Result<KeyHold, SqlError> {
        let until = (self.monotonic() + hold).as_millis();
        let boot_id = self.boot_id().to_owned();
        self.execute(
            "INSERT OR REPLACE INTO skein_idempotency
               (scope, key, body_hash, id, created_at, held_until, boot_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            &[&scope, &key, &body_hash.as_slice(), &id, &created_at, &until, &boot_id],
        )?;
        // The next hold begins after this one's end, and ends later.
        Ok(KeyHold(until))
    }

    /// Keeps the answer of a key, unless another try holds or has answered it.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn settle_key(
        &mut self,
        scope: &str,
        key: &str,
        hold: KeyHold,
        reply: &StoredReply,
    ) -> Result<(), SqlError> {
        self.execute(
            "UPDATE skein_idempotency SET status = ?4, headers = ?5, body = ?6
             WHERE scope = ?1 AND key = ?2 AND held_until = ?3 AND status IS NULL",
            &[&scope, &key, &hold.0, &reply.status, &write_headers(reply)?, &reply.body],
        )?;
        Ok(())
    }

    /// Gives a key free whose try had no answer, unless another try holds it; it keeps its id.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn release_key(&mut self, scope: &str, key: &str, hold: KeyHold) -> Result<(), SqlError> {
        self.execute(
            "UPDATE skein_idempotency SET held_until = 0
             WHERE scope = ?1 AND key = ?2 AND held_until = ?3 AND status IS NULL",
            &[&scope, &key, &hold.0],
        )?;
        Ok(())
    }
}

fn kept(row: &Row<'_>) -> Result<Kept, SqlError> {
    Ok(Kept {
        body_hash: row.get(0)?,
        id: row.get(1)?,
        created_at: row.get(2)?,
        held_until: row.get(3)?,
        boot_id: row.get(4)?,
        reply: read_reply(row, 5)?,
    })
}

/// The headers of a reply as they stand in a column.
pub(crate) fn write_headers(reply: &StoredReply) -> Result<String, SqlError> {
    if reply.headers.is_empty() {
        return Ok(String::new());
    }
    serde_json::to_string(&reply.headers)
        .map_err(|it| SqlError::Statement { message: it.to_string() })
}

/// A reply from three columns: status, headers, body. None when there is no status.
pub(crate) fn read_reply(row: &Row<'_>, first: usize) -> Result<Option<StoredReply>, SqlError> {
    let Some(status) = row.get::<Option<u16>>(first)? else { return Ok(None) };
    let headers: Option<String> = row.get(first + 1)?;
    let headers = match headers.as_deref() {
        None | Some("") => Vec::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|it| SqlError::Damaged { message: format!("headers of a reply: {it}") })?,
    };
    let body: Option<Vec<u8>> = row.get(first + 2)?;
    Ok(Some(StoredReply { status, headers, body: body.unwrap_or_default() }))
}
