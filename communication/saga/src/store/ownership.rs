//! Who owns what: instances with a lease, and the sagas that an instance may take.

use std::{sync::Arc, time::Duration};

use ::store::{Reader, SqlError, Transaction, params};
use base::Monotonic;
use tracing::error;

use super::{COLUMNS, Definitions, RawSaga, signals::read_signal};
use crate::{config::EngineKind, machine::Signal, view::SagaView};

/// An instance's lease, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is ours until then.
    Until { expires: Monotonic, boot_id: String },
    /// Another process holds it under the same name.
    Held { process: String },
}

/// A saga that can be taken.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) row: i64,
    pub(crate) view: SagaView,
    pub(crate) signals: Vec<Signal>,
}

/// What one look at the store found.
#[derive(Debug, Default)]
pub(crate) struct Polled {
    pub(crate) claimable: Vec<Loaded>,
    /// Words to sagas that this instance owns.
    pub(crate) signals: Vec<(String, Signal)>,
    pub(crate) parked: u64,
}

/// Who looks, and when.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) instance: Arc<str>,
    pub(crate) kind: EngineKind,
    pub(crate) boot_id: String,
    pub(crate) now: Monotonic,
}

/// Takes the lease of an instance: when `alone` is proven, or when it has run out.
pub(crate) fn take_instance(
    transaction: &mut Transaction<'_>,
    name: &str,
    kind: EngineKind,
    process: &str,
    lease: Duration,
    alone: bool,
) -> Result<Taken, SqlError> {
    let (boot_id, now) = (transaction.boot_id().to_owned(), transaction.monotonic());
    let holder = transaction.query_optional(
        "SELECT process FROM saga_instances
         WHERE name = ?1 AND process <> ?2 AND boot_id = ?3 AND expires > ?4",
        params![name, process, boot_id, now],
        |row| row.get::<String>(0),
    )?;
    if let Some(process) = holder
        && !alone
    {
        return Ok(Taken::Held { process });
    }
    let expires = lease_end(transaction, lease);
    transaction.execute(
        "INSERT INTO saga_instances (name, kind, process, boot_id, expires, seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (name) DO UPDATE SET kind = ?2, process = ?3, boot_id = ?4, expires = ?5,
           seen_at = ?6",
        params![name, kind.as_str(), process, boot_id, expires, transaction.now()],
    )?;
    Ok(Taken::Until { expires, boot_id })
}

/// Renews the lease; none when it is another process's now.
pub(crate) fn renew_instance(
    transaction: &mut Transaction<'_>,
    name: &str,
    process: &str,
    lease: Duration,
) -> Result<Option<Monotonic>, SqlError> {
    let expires = lease_end(transaction, lease);
    let boot_id = transaction.boot_id().to_owned();
    let renewed = transaction.execute(
        "UPDATE saga_instances SET expires = ?3, boot_id = ?4, seen_at = ?5
         WHERE name = ?1 AND process = ?2",
        params![name, process, expires, boot_id, transaction.now()],
    )?;
    Ok((renewed == 1).then_some(expires))
}

/// Lets the lease run out now, so that others need not wait for it.
pub(crate) fn release_instance(
    transaction: &mut Transaction<'_>,
    name: &str,
    process: &str,
) -> Result<(), SqlError> {
    let expires = transaction.monotonic();
    transaction.execute(
        "UPDATE saga_instances SET expires = ?3 WHERE name = ?1 AND process = ?2",
        params![name, process, expires],
    )?;
    Ok(())
}

/// Words to own sagas that one look brings; what is left comes with the next.
const WORDS: usize = 256;

/// Looks for sagas that nobody owns or whose owner is gone, and for words to our own.
pub(crate) fn poll(
    reader: &Reader<'_>,
    definitions: &Definitions,
    asker: &Asker,
    limit: usize,
) -> Result<Polled, SqlError> {
    let mut raw = Vec::new();
    for status in asker.kind.statuses() {
        raw.extend(reader.query_all(
            &format!(
                "SELECT {COLUMNS} FROM sagas s
                 WHERE s.open = 1 AND s.owner IS NULL AND s.status = ?1 ORDER BY s.number LIMIT ?2"
            ),
            params![status.as_str(), limit],
            RawSaga::read,
        )?);
        raw.extend(reader.query_all(
            &format!(
                "SELECT {COLUMNS} FROM saga_instances i
                 JOIN sagas s ON s.open = 1 AND s.owner = i.name AND s.status = ?1
                 WHERE i.name <> ?2 AND (i.boot_id <> ?3 OR i.expires <= ?4) LIMIT ?5"
            ),
            params![status.as_str(), &*asker.instance, asker.boot_id, asker.now, limit],
            RawSaga::read,
        )?);
    }
    // What a person says to a parked saga is heard when no other of its subject has the turn.
    let addressed = reader.query_all(
        &format!(
            "SELECT s.status, {COLUMNS} FROM sagas s WHERE s.open <> 1 AND s.owner IS NULL
               AND s.id IN (SELECT saga FROM saga_signals WHERE standing = 'pending')
               AND NOT (s.status = 'parked' AND EXISTS (SELECT 1 FROM sagas o
                 WHERE o.subject = s.subject AND o.turn = 1 AND o.number <> s.number))"
        ),
        params![],
        |row| Ok((row.get::<String>(0)?, RawSaga::read_from(row, 1)?)),
    )?;
    let ours = |it: &str| asker.kind.answers_for().iter().any(|status| status.as_str() == it);
    raw.extend(addressed.into_iter().filter(|it| ours(&it.0)).map(|it| it.1).take(limit));
    let signals = reader.query_all(
        "SELECT g.saga, g.signal FROM saga_signals g JOIN sagas s ON s.id = g.saga
         WHERE g.standing = 'pending' AND s.owner = ?1 ORDER BY g.at, g.id LIMIT ?2",
        params![&*asker.instance, WORDS],
        |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)),
    )?;
    let parked = reader.query_one(
        "SELECT count(*) FROM sagas WHERE open = 0 AND owner IS NULL AND status = 'parked'",
        params![],
        |row| row.get(0),
    )?;
    let signals = signals
        .into_iter()
        .filter_map(|(saga, text)| match read_signal(&text) {
            Ok(signal) => Some((saga, signal)),
            Err(fault) => {
                error!(saga, error = %fault, "a word to a saga cannot be read");
                None
            }
        })
        .collect();
    Ok(Polled { claimable: load_all(reader, definitions, raw)?, signals, parked })
}

/// The sagas that this instance owned before it was started anew, from row `after` on.
pub(crate) fn recover(
    reader: &Reader<'_>,
    definitions: &Definitions,
    instance: &str,
    after: i64,
    limit: usize,
) -> Result<(Vec<Loaded>, Option<i64>), SqlError> {
    let raw = reader.query_all(
        &format!(
            "SELECT {COLUMNS} FROM sagas s WHERE s.open = 1 AND s.owner = ?1 AND s.number > ?2
             ORDER BY s.number LIMIT ?3"
        ),
        params![instance, after, limit],
        RawSaga::read,
    )?;
    let last = raw.last().map(|it| it.number);
    Ok((load_all(reader, definitions, raw)?, last))
}

/// Reads the documents; a saga that this program cannot read is left alone and told about.
fn load_all(
    reader: &Reader<'_>,
    definitions: &Definitions,
    raw: Vec<RawSaga>,
) -> Result<Vec<Loaded>, SqlError> {
    let mut loaded = Vec::with_capacity(raw.len());
    for saga in raw {
        let (row, id) = (saga.number, saga.id.clone());
        let definition = definitions.pinned(reader, &saga.definition);
        let view = match definition.and_then(|it| saga.view(it)) {
            Ok(view) => view,
            Err(fault @ (SqlError::Damaged { .. } | SqlError::NoRow)) => {
                error!(saga = id, error = %fault, "a saga cannot be read and is left alone");
                continue;
            }
            Err(fault) => return Err(fault),
        };
        let signals = reader.query_all(
            "SELECT signal FROM saga_signals WHERE saga = ?1 AND standing = 'pending' ORDER BY at, id",
            params![id],
            |row| row.get::<String>(0),
        )?;
        let signals = signals.iter().filter_map(|it| read_signal(it).ok()).collect();
        loaded.push(Loaded { row, view, signals });
    }
    Ok(loaded)
}

/// A point of the boot clock at which a lease that is renewed now ends.
fn lease_end(transaction: &Transaction<'_>, lease: Duration) -> Monotonic {
    transaction.monotonic() + lease
}
