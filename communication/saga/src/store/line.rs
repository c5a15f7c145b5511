//! The line of a subject, as rows: who has the turn, who waits, who is next.
//!
//! Every change stands in the transaction of the append that causes it, so that the turn is never
//! held by two, and never by nobody while somebody waits.

use std::sync::Arc;

use ::store::{SqlError, Transaction, params};
use tracing::error;

use super::{
    COLUMNS, Definitions, RawSaga,
    entry::{Append, Before, is_open, write_records},
    to_json,
};
use crate::{
    caller::Observer,
    machine::{Arrival, Event, InLine, Line, Moment, Place, Saga, Status, accept, transition},
    view::SagaView,
};

/// Lines that one look mends; what is left comes with the next.
const LINES: usize = 500;

/// Where a new saga begins. One that is in the line already, by the same append tried again, does
/// not stand in its own way.
pub(super) fn place_of(
    transaction: &Transaction<'_>,
    append: &Append,
    arrival: Arrival,
) -> Result<Place, SqlError> {
    let Some(subject) = append.view.subject.as_deref() else { return Ok(Place::Now) };
    let line = transaction.query_one(
        "SELECT (SELECT count(*) FROM sagas WHERE subject = ?1 AND turn = 1 AND id <> ?2),
                (SELECT count(*) FROM sagas WHERE subject = ?1 AND turn = 0 AND id <> ?2)",
        params![subject, &*append.view.id],
        |row| {
            let waiting = row.get::<u64>(1)?;
            let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
            Ok(Line { held: row.get::<u64>(0)? > 0, waiting })
        },
    )?;
    Ok(line.place(arrival, append.waiting_max))
}

/// The same new saga at its place in the line, owned by nobody; none when it may begin at once.
pub(super) fn lined_up(append: &Append, place: Place) -> Option<Append> {
    if place == Place::Now {
        return None;
    }
    let view = &append.view;
    let saga = Saga { id: &view.id, definition: &view.definition, input: &view.input };
    let accepted = accept(&saga, place, append.moment);
    Some(Append {
        row: None,
        input_hash: append.input_hash.clone(),
        before: append.before.clone(),
        writer: Arc::clone(&append.writer),
        view: SagaView { state: Arc::new(accepted.state), owner: None, epoch: 0, ..view.clone() },
        records: accepted.records,
        signals: append.signals.clone(),
        starts: Vec::new(),
        waiting_max: append.waiting_max,
        moment: append.moment,
    })
}

/// Whether a saga that gave the turn up may have it again: nobody else has it now.
pub(super) fn may_return(transaction: &Transaction<'_>, append: &Append) -> Result<bool, SqlError> {
    let returns =
        append.before.in_line == InLine::Outside && append.view.state.in_line() == InLine::First;
    let Some(subject) = append.view.subject.as_deref().filter(|_| returns) else {
        return Ok(true);
    };
    let held = transaction.query_optional(
        "SELECT 1 FROM sagas WHERE subject = ?1 AND turn = 1 AND id <> ?2",
        params![subject, &*append.view.id],
        |_| Ok(()),
    )?;
    Ok(held.is_none())
}

/// Whether an append gives up the turn of its subject.
pub(super) fn leaves(append: &Append) -> bool {
    append.before.in_line == InLine::First && append.view.state.in_line() == InLine::Outside
}

/// What stands in the column `turn`.
pub(super) fn turn_column(view: &SagaView) -> Option<u8> {
    view.subject.as_ref()?;
    match view.state.in_line() {
        InLine::First => Some(1),
        InLine::Waiting => Some(0),
        InLine::Outside => None,
    }
}

/// Puts a saga that waits before those that came after row `after`.
pub(super) fn put_before(
    transaction: &mut Transaction<'_>,
    row: i64,
    after: i64,
) -> Result<(), SqlError> {
    transaction.execute("UPDATE sagas SET line = ?2 WHERE number = ?1", params![row, after])?;
    Ok(())
}

/// Gives the turn of a subject that nobody has to the next who waits for it, if anybody does.
pub(super) fn give_turn<O: Observer>(
    transaction: &mut Transaction<'_>,
    definitions: &Definitions,
    observer: &O,
    subject: &str,
    moment: Moment,
) -> Result<(), SqlError> {
    let next = transaction.query_optional(
        &format!(
            "SELECT {COLUMNS} FROM sagas s WHERE s.subject = ?1 AND s.turn = 0
               AND NOT EXISTS (SELECT 1 FROM sagas o WHERE o.subject = ?1 AND o.turn = 1)
             ORDER BY coalesce(s.line, s.number), s.number LIMIT 1"
        ),
        params![subject],
        RawSaga::read,
    )?;
    let Some(raw) = next else { return Ok(()) };
    let (row, id) = (raw.number, raw.id.clone());
    let definition = definitions.pinned(transaction, &raw.definition);
    let mut view = match definition.and_then(|it| raw.view(it)) {
        Ok(view) => view,
        Err(fault) => {
            // A program that can read it mends the line.
            error!(saga = id, error = %fault, "a saga cannot be read and keeps its place");
            return Ok(());
        }
    };
    let before = Before {
        owner: None,
        epoch: view.epoch,
        status: Status::Queued,
        in_line: InLine::Waiting,
        version: view.state.records,
    };
    let saga = Saga { id: &view.id, definition: &view.definition, input: &view.input };
    let turned = transition(&saga, (*view.state).clone(), Event::TurnCame, moment);
    // Whoever claims it makes the call.
    let state = crate::machine::State { flight: None, ..turned.state };
    (view.state, view.updated_at) = (Arc::new(state), moment.wall);
    transaction.execute(
        "UPDATE sagas SET state = ?2, version = ?3, updated_at = ?4, status = ?5, open = ?6,
           turn = ?7 WHERE number = ?1",
        params![
            row,
            to_json(&*view.state)?,
            view.state.records,
            view.updated_at,
            view.status().as_str(),
            is_open(view.status()),
            turn_column(&view)
        ],
    )?;
    write_records(transaction, row, &before, &view, &turned.records, moment)?;
    for record in &turned.records {
        observer.recorded(transaction, &view, record)?;
    }
    Ok(())
}

/// Gives turns that nobody has any more to those who wait for them. There are none unless a program
/// from before lines closed the saga that had the turn.
pub(crate) fn mend<O: Observer>(
    transaction: &mut Transaction<'_>,
    definitions: &Definitions,
    observer: &O,
    moment: Moment,
) -> Result<(), SqlError> {
    transaction.execute(
        "UPDATE sagas SET turn = NULL WHERE turn = 1 AND status IN
           ('completed', 'compensated', 'cancelled', 'resolved')",
        params![],
    )?;
    let stuck = transaction.query_all(
        "SELECT DISTINCT subject FROM sagas w WHERE w.turn = 0
           AND NOT EXISTS (SELECT 1 FROM sagas o WHERE o.subject = w.subject AND o.turn = 1)
         LIMIT ?1",
        params![LINES],
        |row| row.get::<String>(0),
    )?;
    for subject in stuck {
        give_turn(transaction, definitions, observer, &subject, moment)?;
    }
    Ok(())
}
