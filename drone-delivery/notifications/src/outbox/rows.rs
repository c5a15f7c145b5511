//! The statements.

use base::Timestamp;
use store::{Migration, Reader, Row, SqlError, Transaction};

use super::{Entry, State};
use crate::notice::{Channel, Notice};

/// History of the tables. Never edit one: append.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "messages, and who wants none", sql: FIRST },
    Migration { version: 2, name: "what is due by channel", sql: SECOND },
];

// Due is what has a time in `next_at`; what is settled has none.
const FIRST: &str = "
CREATE TABLE messages (
  sequence INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  channel TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  owner_id TEXT,
  template TEXT NOT NULL,
  reason TEXT,
  occurred_at INTEGER NOT NULL,
  since INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  next_at INTEGER,
  outcome TEXT,
  token TEXT NOT NULL UNIQUE,
  recipient BLOB,
  UNIQUE (id, channel)
) STRICT;
CREATE INDEX messages_due ON messages (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX messages_delivery ON messages (delivery_id, sequence);
CREATE INDEX messages_age ON messages (since);

CREATE TABLE suppressed (
  recipient BLOB PRIMARY KEY,
  why TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secret (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  key BLOB NOT NULL
) STRICT;
";

// Each channel looks for its own: what waits for one makes no other read past it.
const SECOND: &str = "
DROP INDEX messages_due;
CREATE INDEX messages_due ON messages (channel, next_at) WHERE next_at IS NOT NULL;
";

/// A message that was taken to be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(super) sequence: i64,
    pub(crate) channel: Channel,
    pub(crate) notice: Notice,
    /// When it was taken in: its deadline counts from then.
    pub(crate) since: Timestamp,
    /// Tries, this one included.
    pub(crate) attempts: u32,
    pub(crate) token: String,
}

/// The key of the file; `secret` when it has none yet.
pub(super) fn key(
    transaction: &mut Transaction<'_>,
    secret: &[u8; 32],
) -> Result<[u8; 32], SqlError> {
    transaction
        .execute("INSERT OR IGNORE INTO secret (one, key) VALUES (1, ?1)", &[&&secret[..]])?;
    let key = transaction.query_one("SELECT key FROM secret", &[], |row| row.get::<Vec<u8>>(0))?;
    key.try_into().map_err(|_| SqlError::Damaged { message: "the key of the file".to_owned() })
}

pub(super) fn waiting(reader: &Reader<'_>) -> Result<u64, SqlError> {
    let sql = "SELECT COUNT(*) FROM messages WHERE next_at IS NOT NULL";
    reader.query_one(sql, &[], |row| row.get(0))
}

pub(super) fn insert(
    transaction: &mut Transaction<'_>,
    notice: &Notice,
    channel: Channel,
    token: &str,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT OR IGNORE INTO messages (id, channel, delivery_id, owner_id, template, reason,
           occurred_at, since, state, attempts, next_at, token)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'waiting', 0, ?8, ?9)",
        &[
            &notice.id,
            &channel.as_str(),
            &notice.delivery_id,
            &notice.owner_id,
            &notice.template,
            &notice.reason,
            &notice.occurred_at,
            &now,
            &token,
        ],
    )?;
    Ok(())
}

pub(super) fn take_due(
    transaction: &mut Transaction<'_>,
    channel: Channel,
    again_at: Timestamp,
    limit: u32,
) -> Result<Vec<Due>, SqlError> {
    let now = transaction.now();
    let due = transaction.query_all(
        "SELECT sequence, channel, id, delivery_id, owner_id, template, reason, occurred_at, since,
           attempts, token
         FROM messages WHERE channel = ?1 AND next_at <= ?2 ORDER BY next_at, sequence LIMIT ?3",
        &[&channel.as_str(), &now, &limit],
        due,
    )?;
    for message in &due {
        transaction.execute(
            "UPDATE messages SET attempts = attempts + 1, next_at = ?2 WHERE sequence = ?1",
            &[&message.sequence, &again_at],
        )?;
    }
    Ok(due)
}

fn due(row: &Row<'_>) -> Result<Due, SqlError> {
    let attempts: u32 = row.get(9)?;
    Ok(Due {
        sequence: row.get(0)?,
        channel: channel(&row.get::<String>(1)?)?,
        notice: Notice {
            id: row.get(2)?,
            delivery_id: row.get(3)?,
            owner_id: row.get(4)?,
            template: row.get(5)?,
            reason: row.get(6)?,
            occurred_at: row.get(7)?,
        },
        since: row.get(8)?,
        attempts: attempts + 1,
        token: row.get(10)?,
    })
}

pub(super) fn settle(
    transaction: &mut Transaction<'_>,
    sequence: i64,
    state: State,
    next_at: Option<Timestamp>,
    outcome: Option<&str>,
    recipient: Option<&[u8]>,
) -> Result<(), SqlError> {
    transaction.execute(
        "UPDATE messages SET state = ?2, next_at = ?3, outcome = ?4, recipient = ?5
         WHERE sequence = ?1",
        &[&sequence, &state.as_str(), &next_at, &outcome, &recipient],
    )?;
    Ok(())
}

pub(super) fn suppress(
    transaction: &mut Transaction<'_>,
    recipient: &[u8],
    why: &str,
) -> Result<(), SqlError> {
    let now = transaction.now();
    transaction.execute(
        "INSERT OR IGNORE INTO suppressed (recipient, why, since) VALUES (?1, ?2, ?3)",
        &[&recipient, &why, &now],
    )?;
    Ok(())
}

pub(super) fn is_suppressed(reader: &Reader<'_>, recipient: &[u8]) -> Result<bool, SqlError> {
    let sql = "SELECT 1 FROM suppressed WHERE recipient = ?1";
    Ok(reader.query_optional(sql, &[&recipient], |row| row.get::<i64>(0))?.is_some())
}

pub(super) fn recipient(reader: &Reader<'_>, token: &str) -> Result<Option<Vec<u8>>, SqlError> {
    let sql = "SELECT recipient FROM messages WHERE token = ?1";
    let found = reader.query_optional(sql, &[&token], |row| row.get::<Option<Vec<u8>>>(0))?;
    Ok(found.flatten())
}

pub(super) fn entries(
    reader: &Reader<'_>,
    delivery_id: &str,
    limit: u32,
) -> Result<Vec<Entry>, SqlError> {
    reader.query_all(
        "SELECT template, channel, state, attempts, outcome, occurred_at FROM messages
         WHERE delivery_id = ?1 ORDER BY sequence LIMIT ?2",
        &[&delivery_id, &limit],
        |row| {
            let word: String = row.get(2)?;
            Ok(Entry {
                template: row.get(0)?,
                channel: channel(&row.get::<String>(1)?)?,
                state: State::parse(&word).ok_or_else(|| damaged(&word))?,
                attempts: row.get(3)?,
                outcome: row.get(4)?,
                occurred_at: row.get(5)?,
            })
        },
    )
}

pub(super) fn forget(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
    limit: u32,
) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM messages WHERE sequence IN
         (SELECT sequence FROM messages WHERE since < ?1 LIMIT ?2)",
        &[&before, &limit],
    )
}

fn channel(word: &str) -> Result<Channel, SqlError> {
    Channel::parse(word).ok_or_else(|| damaged(word))
}

fn damaged(word: &str) -> SqlError {
    SqlError::Damaged { message: format!("`{word}` of a message") }
}
