//! What people ask: one saga, a list, a history, the instances.

use ::store::{Reader, SqlError, Transaction, params};
use base::Timestamp;
use serde::Serialize;

use super::{COLUMNS, Definitions, RawSaga, from_json};
use crate::{
    machine::{Record, Status},
    view::{HistoryRow, SagaView},
};

/// Which sagas a list has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only those that stand like this; none for all.
    pub status: Vec<Status>,
    /// Only those of this kind.
    pub definition: Option<String>,
    /// Only those whose id begins with this and a slash.
    pub under: Option<String>,
    /// Only those that are older than the one of this id; none where there is no such saga any more.
    pub after: Option<String>,
    /// At most so many, the newest first.
    pub limit: usize,
}

/// A process that owns, or owned, sagas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// `forward` or `compensating`.
    pub kind: String,
    /// When its lease was last renewed.
    pub seen_at: Timestamp,
    /// Open sagas that it owns.
    pub sagas: u64,
}

/// One saga.
pub(crate) fn get(
    reader: &Reader<'_>,
    definitions: &Definitions,
    id: &str,
) -> Result<Option<SagaView>, SqlError> {
    let raw = reader.query_optional(
        &format!("SELECT {COLUMNS} FROM sagas s WHERE s.id = ?1"),
        params![id],
        RawSaga::read,
    )?;
    raw.map(|it| view(reader, definitions, it)).transpose()
}

fn view(
    reader: &Reader<'_>,
    definitions: &Definitions,
    raw: RawSaga,
) -> Result<SagaView, SqlError> {
    let definition = definitions.pinned(reader, &raw.definition)?;
    raw.view(definition)
}

/// The newest sagas that the filter lets through.
pub(crate) fn list(
    reader: &Reader<'_>,
    definitions: &Definitions,
    filter: &ListFilter,
) -> Result<Vec<SagaView>, SqlError> {
    let mut raw = Vec::new();
    // `0` is the character after `/`: all ids that begin with the prefix and a slash lie between.
    let holds =
        "(?2 IS NULL OR s.definition IN (SELECT hash FROM saga_definitions WHERE name = ?2))
        AND (?3 IS NULL OR (s.id > ?3 || '/' AND s.id < ?3 || '0'))
        AND (?4 IS NULL OR s.number < (SELECT number FROM sagas WHERE id = ?4))";
    let (limit, definition, under) = (filter.limit, &filter.definition, &filter.under);
    let after = &filter.after;
    if filter.status.is_empty() {
        raw = reader.query_all(
            &format!("SELECT {COLUMNS} FROM sagas s WHERE {holds} ORDER BY s.number DESC LIMIT ?1"),
            params![limit, definition, under, after],
            RawSaga::read,
        )?;
    }
    for status in &filter.status {
        raw.extend(reader.query_all(
            &format!(
                "SELECT {COLUMNS} FROM sagas s
                 WHERE s.open IN (0, 1, 2) AND s.status = ?5 AND {holds}
                 ORDER BY s.number DESC LIMIT ?1"
            ),
            params![limit, definition, under, after, status.as_str()],
            RawSaga::read,
        )?);
    }
    raw.sort_by_key(|it| std::cmp::Reverse(it.number));
    raw.truncate(filter.limit);
    raw.into_iter().map(|it| view(reader, definitions, it)).collect()
}

/// The records of a saga, oldest first.
pub(crate) fn history(reader: &Reader<'_>, id: &str) -> Result<Vec<HistoryRow>, SqlError> {
    let rows = reader.query_all(
        "SELECT r.number, r.epoch, r.at, r.record FROM saga_records r
         JOIN sagas s ON s.number = r.saga WHERE s.id = ?1 ORDER BY r.number",
        params![id],
        |row| {
            let record: String = row.get(3)?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, record))
        },
    )?;
    let read = |(number, epoch, at, record): (u64, u64, Timestamp, String)| {
        let record = from_json::<Record>(&record)?;
        Ok(HistoryRow { number, epoch, at, record })
    };
    rows.into_iter().map(read).collect()
}

/// Every instance that ever was, with what it owns.
pub(crate) fn instances(reader: &Reader<'_>) -> Result<Vec<InstanceView>, SqlError> {
    reader.query_all(
        "SELECT name, kind, seen_at,
           (SELECT count(*) FROM sagas WHERE open = 1 AND owner = name) FROM saga_instances",
        params![],
        |row| {
            let (name, kind) = (row.get(0)?, row.get(1)?);
            Ok(InstanceView { name, kind, seen_at: row.get(2)?, sagas: row.get(3)? })
        },
    )
}

impl SagaView {
    /// The saga of that id as the transaction of an observer or a service sees it: its status and
    /// nothing that would need its definition.
    ///
    /// # Errors
    /// The database refused.
    pub fn status_of(transaction: &Transaction<'_>, id: &str) -> Result<Option<Status>, SqlError> {
        let status = transaction.query_optional(
            "SELECT status FROM sagas WHERE id = ?1",
            params![id],
            |row| row.get::<String>(0),
        )?;
        Ok(status.as_deref().and_then(Status::parse))
    }
}
