//! Messages that leave with the transaction that caused them, in its order.
//!
//! Sequence numbers grow with the commits, because one transaction writes at a time: who has read
//! up to a number has seen all below it. A message that the log refuses for good is *parked*: it
//! stays, the later ones of its key wait behind it, all others pass. A person releases it or
//! discards it; either way the rows of its key get new numbers, in their order, so that a relay
//! that is past the old ones meets them again.

use std::collections::BTreeMap;

use base::{MESSAGE_BYTES_MAX, Timestamp};

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

/// Messages that wait for the relay, from one look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxPage {
    /// With their sequence numbers, in order.
    pub messages: Vec<(i64, OutboxMessage)>,
    /// The last number that was looked at: what waits behind a parked message is none of
    /// `messages`.
    pub read_to: i64,
    /// Whether it was the limit that ended the page.
    pub is_full: bool,
}

/// A message that the log refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedMessage {
    /// Its number, until it is released or discarded.
    pub sequence: i64,
    /// Topic.
    pub topic: String,
    /// The key whose later messages wait behind it; without one, none does.
    pub key: Option<String>,
    /// Its id.
    pub id: String,
    /// `CloudEvents` type.
    pub kind: String,
    /// Length of its body.
    pub bytes: u64,
    /// When it was parked.
    pub parked_at: Timestamp,
    /// Why.
    pub reason: String,
}

/// What is to become of a parked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// It is tried again.
    Release,
    /// It is given up, and those behind it go on.
    Discard,
}

impl OutboxMessage {
    /// What the bound on a message counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.body.len() + headers.sum::<usize>()
    }
}

impl Transaction<'_> {
    /// Puts a message into the outbox: it leaves if and only if this closure is committed.
    ///
    /// # Errors
    /// [`SqlError::MessageTooLarge`], or what the statement failed with.
    pub fn push(&mut self, message: &OutboxMessage) -> Result<(), SqlError> {
        let (bytes, bytes_max) = (message.bytes(), MESSAGE_BYTES_MAX);
        if bytes > bytes_max {
            return Err(SqlError::MessageTooLarge { bytes, bytes_max });
        }
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

    /// Sets a message aside that the log refused for good: it and the later ones of its key wait
    /// for a person.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn park(&mut self, sequence: i64, reason: &str) -> Result<(), SqlError> {
        let now = self.now();
        self.execute(
            "UPDATE skein_outbox SET parked_at = ?2, parked_because = ?3 WHERE sequence = ?1",
            &[&sequence, &now, &reason],
        )?;
        Ok(())
    }

    /// Releases or discards a parked message, and lets those behind it go on. False when no parked
    /// message has this number.
    ///
    /// # Errors
    /// What a statement failed with.
    pub fn settle_parked(&mut self, sequence: i64, how: Parked) -> Result<bool, SqlError> {
        let found = self.query_optional(
            "SELECT topic, key FROM skein_outbox WHERE sequence = ?1 AND parked_at IS NOT NULL",
            &[&sequence],
            |row| Ok((row.get::<String>(0)?, row.get::<Option<String>>(1)?)),
        )?;
        let Some((topic, key)) = found else { return Ok(false) };
        if how == Parked::Discard {
            self.take_from_outbox(&[sequence])?;
        }
        // Without a key each message stands alone.
        let rows = "(?2 IS NOT NULL AND topic = ?1 AND key = ?2 OR sequence = ?3)";
        let last: i64 =
            self.query_one("SELECT COALESCE(MAX(sequence), 0) FROM skein_outbox", &[], |row| {
                row.get(0)
            })?;
        self.execute(
            &format!(
                "INSERT INTO skein_outbox (topic, key, id, kind, source, subject, time, headers,
                   traceparent, tracestate, body, pushed_at)
                 SELECT topic, key, id, kind, source, subject, time, headers, traceparent,
                   tracestate, body, pushed_at
                 FROM skein_outbox WHERE {rows} AND sequence <= ?4 ORDER BY sequence"
            ),
            &[&topic, &key, &sequence, &last],
        )?;
        self.execute(
            &format!("DELETE FROM skein_outbox WHERE {rows} AND sequence <= ?4"),
            &[&topic, &key, &sequence, &last],
        )?;
        self.mark_pushed();
        Ok(true)
    }
}

impl Reader<'_> {
    /// The oldest messages after a sequence number that wait for nothing but the relay, with their
    /// numbers, in order.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox(&self, after: i64, limit: u32) -> Result<Vec<(i64, OutboxMessage)>, SqlError> {
        self.outbox_page(after, limit).map(|it| it.messages)
    }

    /// The same, with how far it looked.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox_page(&self, after: i64, limit: u32) -> Result<OutboxPage, SqlError> {
        let rows = self.query_all(
            "SELECT sequence, topic, key, id, kind, source, subject, time, headers, traceparent,
               tracestate, body, parked_at IS NOT NULL OR EXISTS (
                 SELECT 1 FROM skein_outbox parked
                 WHERE parked.topic = waiting.topic AND parked.key = waiting.key
                   AND parked.parked_at IS NOT NULL)
             FROM skein_outbox waiting WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
            &[&after, &limit],
            |row| {
                let stands: i64 = row.get(12)?;
                if stands == 1 {
                    Ok((row.get(0)?, None))
                } else {
                    message(row).map(|it| (it.0, Some(it.1)))
                }
            },
        )?;
        let is_full = rows.len() == limit as usize;
        let read_to = rows.last().map_or(after, |it| it.0);
        let messages = rows.into_iter().filter_map(|(number, it)| Some((number, it?)));
        Ok(OutboxPage { messages: messages.collect(), read_to, is_full })
    }

    /// One message that waits.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox_message(&self, sequence: i64) -> Result<Option<OutboxMessage>, SqlError> {
        self.query_optional(
            "SELECT sequence, topic, key, id, kind, source, subject, time, headers, traceparent,
               tracestate, body
             FROM skein_outbox WHERE sequence = ?1",
            &[&sequence],
            |row| message(row).map(|it| it.1),
        )
    }

    /// How many messages stand in the outbox, parked ones among them. It looks at every row.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox_depth(&self) -> Result<u64, SqlError> {
        self.query_one("SELECT COUNT(*) FROM skein_outbox", &[], |row| row.get(0))
    }

    /// How many of them are parked.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox_parked_count(&self) -> Result<u64, SqlError> {
        let parked = "SELECT COUNT(*) FROM skein_outbox WHERE parked_at IS NOT NULL";
        self.query_one(parked, &[], |row| row.get(0))
    }

    /// Parked messages after a sequence number, in order.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn outbox_parked(&self, after: i64, limit: u32) -> Result<Vec<ParkedMessage>, SqlError> {
        self.query_all(
            "SELECT sequence, topic, key, id, kind, LENGTH(body), parked_at, parked_because
             FROM skein_outbox WHERE parked_at IS NOT NULL AND sequence > ?1
             ORDER BY sequence LIMIT ?2",
            &[&after, &limit],
            |row| {
                Ok(ParkedMessage {
                    sequence: row.get(0)?,
                    topic: row.get(1)?,
                    key: row.get(2)?,
                    id: row.get(3)?,
                    kind: row.get(4)?,
                    bytes: row.get(5)?,
                    parked_at: row.get(6)?,
                    reason: row.get::<Option<String>>(7)?.unwrap_or_default(),
                })
            },
        )
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
