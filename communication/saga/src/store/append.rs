//! One append: the records, the new state, what the observer adds, the sagas that follow.

use std::sync::Arc;

use ::store::{SqlError, Transaction, params};
use base::Timestamp;
use tracing::error;

use super::{
    Definitions,
    entry::{Append, Before, input_hash, is_open, new_before, write_records},
    line,
    signals::wake_waiting,
    to_json,
};
use crate::{
    caller::Observer,
    machine::{Arrival, Place, Saga, Signal, Start, Status, accept},
    view::SagaView,
};

/// What became of an append.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Appended {
    /// It is part of the transaction; words that had waited for the new saga come with it.
    Done { row: i64, waiting: Vec<Signal> },
    /// The saga is new and durable, and not ours to work on: it waits for its turn, or was turned
    /// away.
    LinedUp,
    /// A saga of that id and input exists.
    Exists { row: i64, status: Status },
    /// A saga of that id and another input exists.
    OtherInput { row: i64 },
    /// Somebody else owns the saga, or the owner to take it from is alive, or another saga of its
    /// subject has the turn that this one gave up before.
    Stale,
}

/// Does one append. Everything of it is kept, or nothing.
pub(crate) fn append<O: Observer>(
    transaction: &mut Transaction<'_>,
    definitions: &Definitions,
    observer: &O,
    append: &Append,
) -> Result<Appended, SqlError> {
    if append.row.is_none() {
        let place = line::place_of(transaction, append, Arrival::Last)?;
        if let Some(lined) = line::lined_up(append, place) {
            return Ok(match enter(transaction, definitions, observer, &lined)? {
                Appended::Done { .. } => Appended::LinedUp,
                other => other,
            });
        }
    }
    enter(transaction, definitions, observer, append)
}

/// Does an append whose saga has its place in the line.
fn enter<O: Observer>(
    transaction: &mut Transaction<'_>,
    definitions: &Definitions,
    observer: &O,
    append: &Append,
) -> Result<Appended, SqlError> {
    let (row, waiting) = match append.row {
        None => match insert(transaction, append)? {
            Inserted::Row(row) => (row, wake_waiting(transaction, &append.view.id)?),
            Inserted::Before(row) => return Ok(Appended::Done { row, waiting: Vec::new() }),
            Inserted::Refused(refused) => return Ok(refused),
        },
        Some(row) => {
            if !may_take(transaction, append)? || !line::may_return(transaction, append)? {
                return Ok(Appended::Stale);
            }
            if !update(transaction, row, append)? {
                let done = was_done_before(transaction, row, append)?;
                let done = done.then_some(Appended::Done { row, waiting: Vec::new() });
                return Ok(done.unwrap_or(Appended::Stale));
            }
            (row, Vec::new())
        }
    };
    let Append { before, view, records, .. } = append;
    write_records(transaction, row, before, view, records, append.moment)?;
    for record in &append.records {
        observer.recorded(transaction, &append.view, record)?;
    }
    for id in &append.signals {
        transaction.execute(
            "UPDATE saga_signals SET standing = 'applied' WHERE saga = ?1 AND id = ?2",
            params![&*append.view.id, id],
        )?;
    }
    let leaves = line::leaves(append);
    for follow_up in &append.starts {
        let after = leaves.then_some(row);
        start(transaction, definitions, observer, follow_up, after, append)?;
    }
    if leaves && let Some(subject) = append.view.subject.as_deref() {
        line::give_turn(transaction, definitions, observer, subject, append.moment)?;
    }
    Ok(Appended::Done { row, waiting })
}

enum Inserted {
    Row(i64),
    /// This very append had been done before.
    Before(i64),
    Refused(Appended),
}

fn insert(transaction: &mut Transaction<'_>, append: &Append) -> Result<Inserted, SqlError> {
    let Append { view, input_hash, .. } = append;
    let inserted = transaction.query_optional(
        "INSERT INTO sagas (id, definition, input, input_hash, trace, status, open, owner, epoch,
           version, state, accepted_at, updated_at, subject, turn)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, ?13, ?14)
         ON CONFLICT (id) DO NOTHING RETURNING number",
        params![
            &*view.id,
            view.definition.hash(),
            to_json(&*view.input)?,
            input_hash,
            view.trace.as_deref(),
            view.status().as_str(),
            is_open(view.status()),
            view.owner.as_deref(),
            view.epoch,
            view.state.records,
            to_json(&*view.state)?,
            view.accepted_at,
            view.subject.as_deref(),
            line::turn_column(view)
        ],
        |row| row.get::<i64>(0),
    )?;
    if let Some(row) = inserted {
        return Ok(Inserted::Row(row));
    }
    let (row, hash, status, accepted_at) = transaction.query_one(
        "SELECT number, input_hash, status, accepted_at FROM sagas WHERE id = ?1",
        params![&*view.id],
        |row| {
            let (hash, status): (String, String) = (row.get(1)?, row.get(2)?);
            Ok((row.get::<i64>(0)?, hash, status, row.get::<Timestamp>(3)?))
        },
    )?;
    if Some(&hash) != input_hash.as_ref() {
        return Ok(Inserted::Refused(Appended::OtherInput { row }));
    }
    // The same moment of acceptance under our name and epoch is our own append, tried again.
    if accepted_at == view.accepted_at && was_done_before(transaction, row, append)? {
        return Ok(Inserted::Before(row));
    }
    let status = Status::parse(&status)
        .ok_or_else(|| SqlError::Damaged { message: format!("status `{status}`") })?;
    Ok(Inserted::Refused(Appended::Exists { row, status }))
}

/// Records that a saga has: its state may be behind them.
const RECORDS: &str = "max(s.version, coalesce(
  (SELECT max(r.number) + 1 FROM saga_records r WHERE r.saga = s.number), 0))";
/// When the last of them was written.
const UPDATED_AT: &str = "coalesce((SELECT r.at FROM saga_records r
  WHERE r.saga = s.number AND r.number >= s.version ORDER BY r.number DESC LIMIT 1), s.updated_at)";

/// Whether the saga is as this append would leave it.
fn was_done_before(
    transaction: &Transaction<'_>,
    row: i64,
    append: &Append,
) -> Result<bool, SqlError> {
    let view = &append.view;
    let found = transaction.query_optional(
        &format!(
            "SELECT 1 FROM sagas s WHERE s.number = ?1 AND s.owner IS ?2 AND s.epoch = ?3
               AND {RECORDS} = ?4 AND {UPDATED_AT} = ?5"
        ),
        params![row, view.owner.as_deref(), view.epoch, view.state.records, view.updated_at],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// Whether the saga is as this append builds on: nobody has taken it or written to it since.
fn stands(transaction: &Transaction<'_>, row: i64, before: &Before) -> Result<bool, SqlError> {
    let found = transaction.query_optional(
        &format!(
            "SELECT 1 FROM sagas s WHERE s.number = ?1 AND s.owner IS ?2 AND s.epoch = ?3
               AND {RECORDS} = ?4"
        ),
        params![row, before.owner.as_deref(), before.epoch, before.version],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// A saga may be taken from an instance only when that has let its lease run out, and only by one
/// that holds its own: else two that both slept would take from each other for ever.
fn may_take(transaction: &Transaction<'_>, append: &Append) -> Result<bool, SqlError> {
    if append.before.epoch == append.view.epoch {
        return Ok(true);
    }
    if !is_alive(transaction, &append.writer)? {
        return Ok(false);
    }
    match &append.before.owner {
        Some(owner) if *owner != append.writer => Ok(!is_alive(transaction, owner)?),
        Some(_) | None => Ok(true),
    }
}

fn is_alive(transaction: &Transaction<'_>, instance: &str) -> Result<bool, SqlError> {
    let (boot_id, now) = (transaction.boot_id().to_owned(), transaction.monotonic());
    let alive = transaction.query_optional(
        "SELECT 1 FROM saga_instances WHERE name = ?1 AND boot_id = ?2 AND expires > ?3",
        params![instance, boot_id, now],
        |_| Ok(()),
    )?;
    Ok(alive.is_some())
}

/// The state in a row is behind by fewer records: those that whoever reads it folds.
const BEHIND_MAX: u64 = 8;

/// Whether the records of an append say all of it, so that the row can stay as it is.
fn is_said_by_records(append: &Append) -> bool {
    let Append { before, view, .. } = append;
    let status = view.status();
    let stays = before.owner == view.owner && before.epoch == view.epoch && before.status == status;
    stays && is_open(status) && before.version / BEHIND_MAX == view.state.records / BEHIND_MAX
}

fn update(transaction: &mut Transaction<'_>, row: i64, append: &Append) -> Result<bool, SqlError> {
    let Append { before, view, .. } = append;
    if !stands(transaction, row, before)? {
        return Ok(false);
    }
    if is_said_by_records(append) {
        return Ok(true);
    }
    let status = view.status();
    transaction.execute(
        "UPDATE sagas SET state = ?2, version = ?3, updated_at = ?4 WHERE number = ?1",
        params![row, to_json(&*view.state)?, view.state.records, view.updated_at],
    )?;
    if before.owner != view.owner || before.epoch != view.epoch || before.status != status {
        // To name a column that did not change would write its index.
        transaction.execute(
            "UPDATE sagas SET status = ?2, open = ?3, owner = ?4, epoch = ?5, turn = ?6
             WHERE number = ?1",
            params![
                row,
                status.as_str(),
                is_open(status),
                view.owner.as_deref(),
                view.epoch,
                line::turn_column(view)
            ],
        )?;
    }
    Ok(true)
}

/// Starts a saga that another one asked for. Nobody owns it yet; its first owner claims it. One of
/// the subject whose turn its parent, in row `after`, gives up goes before those that wait.
fn start<O: Observer>(
    transaction: &mut Transaction<'_>,
    definitions: &Definitions,
    observer: &O,
    start: &Start,
    after: Option<i64>,
    parent: &Append,
) -> Result<(), SqlError> {
    let Some(definition) = definitions.newest(transaction, &start.definition)? else {
        // Checked when the word was accepted; its writers are gone since.
        error!(saga = start.id, definition = start.definition, "follow-up has no definition");
        return Ok(());
    };
    let saga = Saga { id: &start.id, definition: &definition, input: &start.input };
    let moment = parent.moment;
    let accepted = accept(&saga, Place::Now, moment);
    let new = Append {
        row: None,
        input_hash: Some(input_hash(&start.input)),
        before: new_before(),
        writer: Arc::from(""),
        view: SagaView {
            id: start.id.as_str().into(),
            definition: Arc::clone(&definition),
            input: Arc::new(start.input.clone()),
            state: Arc::new(accepted.state),
            owner: None,
            epoch: 0,
            trace: start.trace.as_deref().map(Into::into),
            subject: start.subject.as_deref().map(Into::into),
            accepted_at: moment.wall,
            updated_at: moment.wall,
        },
        records: accepted.records,
        signals: Vec::new(),
        starts: Vec::new(),
        waiting_max: parent.waiting_max,
        moment,
    };
    let after = after.filter(|_| new.view.subject == parent.view.subject);
    let arrival = if after.is_some() { Arrival::Next } else { Arrival::Last };
    let place = line::place_of(transaction, &new, arrival)?;
    let lined = line::lined_up(&new, place);
    match enter(transaction, definitions, observer, lined.as_ref().unwrap_or(&new))? {
        Appended::Done { row, .. } => {
            if let (Some(after), Some(_)) = (after, lined) {
                line::put_before(transaction, row, after)?;
            }
        }
        Appended::Exists { .. } => {}
        refused @ (Appended::OtherInput { .. } | Appended::Stale | Appended::LinedUp) => {
            error!(saga = start.id, ?refused, "follow-up was not started");
        }
    }
    Ok(())
}
