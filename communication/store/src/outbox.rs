//! Messages that leave with the transaction that caused them, in its order.

use std::collections::BTreeMap;

use base::Timestamp;

use crate::{
    error::SqlError,
    query::{Reader, Row, Transaction},
};

/// A message that waits for the relay: an envelope, as the messaging crate publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxMessage {
    /// Topic.
    pub topic: String,
    /// What its order hangs on.
    pub key: Option<String>,
    /// Stable over repetitions; unique together with `source`.
    pub id: String,
    /// `CloudEvents` type.
    pub kind: String,
    /// Who says it.
    pub source: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened.
    pub time: Timestamp,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// W3C trace context of what caused it.
    pub traceparent: Option<String>,
    /// W3C trace context: vendor state.
    pub tracestate: Option<String>,
    /// JSON.
    pub body: Vec<u8>,
}

impl Transaction<'_> {
    /// Puts a message into the outbox: it leaves if and only if this closure is committed.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn push(&mut self, message: &OutboxMessage) -> Result<(), SqlError> {
        let headers = if message.headers.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&message.headers)
                .map_err(|it| SqlError::Statement { message: it.to_string() })?
        };
        let now = self.now();
        self.execute(
            "INSERT INTO skein_outbox (topic, key, id, kind, source, subject, time, headers,
               traceparent, tracestate, body, pushed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            &[
                &message.topic,
                &message.key,
                &message.id,
                &message.kind,
                &message.source,
                &message.subject,
                &message.time,
                &headers,
                &message.traceparent,
                &message.tracestate,
                &message.body,
                &now,
            ],
        )?;
        self.mark_pushed();
        Ok(())
    }

    /// Takes messages out that were published. Gives how many were there.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn take_from_outbox(&mut self, sequences: &[i64]) -> Result<u64, SqlError> {
        let mut taken = 0;
        for sequence in sequences {
            taken += self.execute("DELETE FROM skein_outbox WHERE sequence = ?1", &[sequence])?;
        }
        Ok(taken)
    }
}

impl Reader<'_> {
    /// The oldest messages after a sequence number, with theirs, in order.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox(&self, after: i64, limit: u32) -> Result<Vec<(i64, OutboxMessage)>, SqlError> {
        self.query_all(
            "SELECT sequence, topic, key, id, kind, source, subject, time, headers, traceparent,
               tracestate, body
             FROM skein_outbox WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            &[&after, &limit],
            message,
        )
    }

    /// How many messages wait.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox_depth(&self) -> Result<u64, SqlError> {
        self.query_one("SELECT COUNT(*) FROM skein_outbox", &[], |row| row.get(0))
    }
}

fn message(row: &Row<'_>) -> Result<(i64, OutboxMessage), SqlError> {
    let headers: String = row.get(8)?;
    let headers = if headers.is_empty() {
        BTreeMap::new()
    } else {
        serde_json::from_str(&headers)
            .map_err(|it| SqlError::Damaged { message: format!("headers of a message: {it}") })?
    };
    let message = OutboxMessage {
        topic: row.get(1)?,
        key: row.get(2)?,
        id: row.get(3)?,
        kind: row.get(4)?,
        source: row.get(5)?,
        subject: row.get(6)?,
        time: row.get(7)?,
        headers,
        traceparent: row.get(9)?,
        tracestate: row.get(10)?,
        body: row.get(11)?,
    };
    Ok((row.get(0)?, message))
}
