//! Words to a saga: kept until its owner has answered each of them in its records, once.

use ::store::{SqlError, Transaction, params};
use base::Timestamp;

use super::{Definitions, from_json, to_json};
use crate::{
    caller::Observer,
    machine::{Signal, SignalKind, Status},
};

/// Words that one look gives up; what is left comes with the next.
const WORDS: usize = 500;

/// What became of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    /// The saga will answer it; it stood like this when the word came.
    Delivered(Status),
    /// There is no such saga; the word waits for it.
    Waiting,
    /// A word of that id was said before; it counts once.
    Known,
    /// It wants to start a saga of a kind that nobody has defined; it was not kept.
    UnknownDefinition,
}

/// Keeps a word for a saga.
pub(crate) fn signal(
    transaction: &mut Transaction<'_>,
    definitions: &Definitions,
    saga: &str,
    signal: &Signal,
) -> Result<Signalled, SqlError> {
    let follow_up = match &signal.kind {
        SignalKind::Cancel { or_else, .. } => or_else.as_ref(),
        SignalKind::Then { start } => Some(start),
        SignalKind::UndoFinished { .. } | SignalKind::Operator(_) => None,
    };
    if let Some(start) = follow_up
        && definitions.newest(transaction, &start.definition)?.is_none()
    {
        return Ok(Signalled::UnknownDefinition);
    }
    let status = transaction.query_optional(
        "SELECT status FROM sagas WHERE id = ?1",
        params![saga],
        |row| row.get::<String>(0),
    )?;
    let status = status.as_deref().and_then(Status::parse);
    let standing = if status.is_some() { "pending" } else { "waiting" };
    let kept = transaction.execute(
        "INSERT INTO saga_signals (saga, id, signal, standing, at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (saga, id) DO NOTHING",
        params![saga, signal.id, to_json(signal)?, standing, transaction.now()],
    )?;
    Ok(match (kept, status) {
        (0, _) => Signalled::Known,
        (_, Some(status)) => Signalled::Delivered(status),
        (_, None) => Signalled::Waiting,
    })
}

/// Reads a stored word.
pub(super) fn read_signal(text: &str) -> Result<Signal, SqlError> {
    from_json(text)
}

/// The words that had waited for a saga that begins now, oldest first.
pub(super) fn wake_waiting(
    transaction: &mut Transaction<'_>,
    saga: &str,
) -> Result<Vec<Signal>, SqlError> {
    let changed = transaction.execute(
        "UPDATE saga_signals SET standing = 'pending' WHERE saga = ?1 AND standing = 'waiting'",
        params![saga],
    )?;
    if changed == 0 {
        return Ok(Vec::new());
    }
    let waiting = transaction.query_all(
        "SELECT signal FROM saga_signals WHERE saga = ?1 AND standing = 'pending' ORDER BY at, id",
        params![saga],
        |row| row.get::<String>(0),
    )?;
    waiting.iter().map(|it| read_signal(it)).collect()
}

/// Gives up words that were said before `before` to sagas that have not come since. Their ids stay
/// known, so that a repetition of one is not a new word.
pub(crate) fn give_up<O: Observer>(
    transaction: &mut Transaction<'_>,
    observer: &O,
    before: Timestamp,
) -> Result<(), SqlError> {
    let unheard = transaction.query_all(
        "SELECT saga, signal FROM saga_signals WHERE standing = 'waiting' AND at < ?1
           ORDER BY at LIMIT ?2",
        params![before, WORDS],
        |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)),
    )?;
    for (saga, text) in unheard {
        let word = read_signal(&text)?;
        transaction.execute(
            "UPDATE saga_signals SET standing = 'applied' WHERE saga = ?1 AND id = ?2",
            params![saga, word.id],
        )?;
        observer.unheard(transaction, &saga, &word)?;
    }
    Ok(())
}
