//! One append as data: what it builds on, what it writes, what follows from it.

use std::sync::Arc;

use ::store::{SqlError, Transaction, params};
use serde_json::Value;

use super::to_json;
use crate::{
    definition::hash_of,
    machine::{InLine, Moment, Record, Start, Status},
    view::SagaView,
};

/// What an append builds on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Before {
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) epoch: u64,
    pub(crate) status: Status,
    /// Where it stood in the line of its subject; outside as long as it was not there.
    pub(crate) in_line: InLine,
    /// Records before.
    pub(crate) version: u64,
}

/// Records of one saga, to be made durable together.
#[derive(Debug)]
pub(crate) struct Append {
    /// The row; none when the saga is new.
    pub(crate) row: Option<i64>,
    /// Hash of the input, when the saga is new.
    pub(crate) input_hash: Option<String>,
    pub(crate) before: Before,
    /// Who writes. It may let the saga go with the same records that took it.
    pub(crate) writer: Arc<str>,
    /// The saga after.
    pub(crate) view: SagaView,
    pub(crate) records: Vec<Record>,
    /// Ids of the signals that the records answer.
    pub(crate) signals: Vec<String>,
    /// Sagas that begin with these records.
    pub(crate) starts: Vec<Start>,
    /// Sagas of one subject that may wait.
    pub(crate) waiting_max: usize,
    pub(crate) moment: Moment,
}

/// What the first append of a saga builds on: nothing.
pub(crate) fn new_before() -> Before {
    let in_line = InLine::Outside;
    Before { owner: None, epoch: 0, status: Status::Running, in_line, version: 0 }
}

/// What tells two inputs apart.
pub(crate) fn input_hash(input: &Value) -> String {
    hash_of(input)
}

pub(super) const fn is_open(status: Status) -> bool {
    matches!(status, Status::Running | Status::Aborting | Status::Compensating)
}

/// Writes the records of a saga behind those that it had.
pub(super) fn write_records(
    transaction: &mut Transaction<'_>,
    row: i64,
    before: &Before,
    view: &SagaView,
    records: &[Record],
    moment: Moment,
) -> Result<(), SqlError> {
    for (number, record) in (before.version..).zip(records) {
        transaction.execute(
            "INSERT INTO saga_records (saga, number, epoch, at, record, since_boot)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![row, number, view.epoch, moment.wall, to_json(record)?, moment.monotonic],
        )?;
    }
    Ok(())
}
