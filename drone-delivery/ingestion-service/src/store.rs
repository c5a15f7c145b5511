//! The read model's table: one row a request.

use base::Timestamp;
use store::{Migration, Reader, SqlError, Transaction};

use crate::domain::{RequestRecord, RequestState};

/// History of the tables. Never edit one: append.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "requests", sql: FIRST },
    Migration { version: 2, name: "requests that wait", sql: SECOND },
    Migration { version: 3, name: "requests by number", sql: THIRD },
    Migration { version: 4, name: "owners of requests", sql: FOURTH },
    Migration { version: 5, name: "no index of ages", sql: FIFTH },
];

// Since when a request waits to be begun; none once it was, or once somebody was told that it is not.
const SECOND: &str = "
ALTER TABLE requests ADD COLUMN waiting_since INTEGER;
CREATE INDEX requests_waiting ON requests (waiting_since) WHERE waiting_since IS NOT NULL;
";

const FIRST: &str = "
CREATE TABLE requests (
  delivery_id TEXT PRIMARY KEY,
  record TEXT NOT NULL,
  partition INTEGER,
  log_offset INTEGER,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_age ON requests (updated_at);
";

// A request is changed some ten times. In a table without row numbers a row of its length stands in inner pages too.
const THIRD: &str = "
CREATE TABLE requests_3 (
  number INTEGER PRIMARY KEY,
  delivery_id TEXT NOT NULL UNIQUE,
  record TEXT NOT NULL,
  partition INTEGER,
  log_offset INTEGER,
  updated_at INTEGER NOT NULL,
  waiting_since INTEGER
) STRICT;
INSERT INTO requests_3
  SELECT NULL, delivery_id, record, partition, log_offset, updated_at, waiting_since
  FROM requests ORDER BY delivery_id;
DROP TABLE requests;
ALTER TABLE requests_3 RENAME TO requests;
CREATE INDEX requests_age ON requests (updated_at);
CREATE INDEX requests_waiting ON requests (waiting_since) WHERE waiting_since IS NOT NULL;
";

// Whose a request is; and of whose allowance it is a part, until it ends. Who orders for others has none, and
// of his requests no index is written.
const FOURTH: &str = "
ALTER TABLE requests ADD COLUMN owner_id TEXT;
ALTER TABLE requests ADD COLUMN open_of TEXT;
ALTER TABLE requests ADD COLUMN pickup_at INTEGER;
CREATE INDEX requests_open ON requests (open_of) WHERE open_of IS NOT NULL;
";

// Each word about a request moved it in this index, so that a page was written beside that of the row. What is
// old is found without: see `forget_old`.
const FIFTH: &str = "DROP INDEX requests_age;";

/// A request, and where it stands in the log.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) record: RequestRecord,
    /// Partition and offset of its record.
    pub(crate) position: Option<(u32, u64)>,
    /// The account that ships; not known of one that was written before owners were, or of which only
    /// events were heard, until one of its delivery says it.
    pub(crate) owner_id: Option<String>,
}

/// What one owner holds, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Holding {
    /// Deliveries that have not ended.
    pub(crate) open: u64,
    /// Those of them whose pickup lies far ahead.
    pub(crate) booked: u64,
}

/// A request that has just become durable.
#[derive(Debug, Clone)]
pub(crate) struct Accepted<I> {
    pub(crate) id: I,
    pub(crate) owner_id: I,
    /// Partition and offset of its record.
    pub(crate) position: (u32, u64),
    /// Whether it is a part of its owner's allowance.
    pub(crate) counts: bool,
    pub(crate) pickup_at: Option<Timestamp>,
}

/// One request.
pub(crate) fn find(reader: &Reader<'_>, id: &str) -> Result<Option<Found>, SqlError> {
    reader.query_optional(
        "SELECT record, partition, log_offset, owner_id FROM requests WHERE delivery_id = ?1",
        &[&id],
        |row| {
            let (partition, offset): (Option<u32>, Option<u64>) = (row.get(1)?, row.get(2)?);
            let (position, owner_id) = (partition.zip(offset), row.get(3)?);
            Ok(Found { record: decode(&row.get::<String>(0)?)?, position, owner_id })
        },
    )
}

/// Writes a request that was just published. Its events may have come first; then only its place
/// in the log is new.
pub(crate) fn accept<I: AsRef<str>>(
    transaction: &mut Transaction<'_>,
    accepted: &Accepted<I>,
) -> Result<(), SqlError> {
    let (now, id, owner) = (transaction.now(), accepted.id.as_ref(), accepted.owner_id.as_ref());
    let has_ended = find(transaction, id)?.is_some_and(|it| it.record.state.is_end());
    let open_of = (accepted.counts && !has_ended).then_some(owner);
    let record = RequestRecord::accepted(id.to_owned(), now);
    let (partition, offset) = accepted.position;
    transaction.execute(
        "INSERT INTO requests (delivery_id, record, partition, log_offset, updated_at, waiting_since,
           owner_id, open_of, pickup_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8)
         ON CONFLICT (delivery_id) DO UPDATE SET partition = ?3, log_offset = ?4, owner_id = ?6,
           open_of = ?7, pickup_at = ?8",
        &[
            &id,
            &encode(&record)?,
            &partition,
            &offset,
            &now,
            &owner,
            &open_of,
            &accepted.pickup_at,
        ],
    )?;
    Ok(())
}

/// What an owner holds of his allowance; booked is what is fetched later than `booked_from`.
pub(crate) fn held(
    reader: &Reader<'_>,
    owner: &str,
    booked_from: Timestamp,
) -> Result<Holding, SqlError> {
    let held = reader.query_optional(
        "SELECT COUNT(*), COUNT(CASE WHEN pickup_at > ?2 THEN 1 END) FROM requests WHERE open_of = ?1",
        &[&owner, &booked_from],
        |row| Ok(Holding { open: row.get(0)?, booked: row.get(1)? }),
    )?;
    Ok(held.unwrap_or_default())
}

/// Folds something that was heard into a request; makes the row when there is none yet.
pub(crate) fn fold(
    transaction: &mut Transaction<'_>,
    (id, owner): (&str, Option<&str>),
    happened_at: Timestamp,
    change: impl FnOnce(&mut RequestRecord),
) -> Result<(), SqlError> {
    let found = find(transaction, id)?.map(|it| it.record);
    let mut record =
        found.clone().unwrap_or_else(|| RequestRecord::accepted(id.to_owned(), happened_at));
    change(&mut record);
    if found.as_ref() == Some(&record) {
        return Ok(());
    }
    transaction.execute(
        "INSERT INTO requests (delivery_id, record, updated_at, owner_id) VALUES (?1, ?2, ?3, ?5)
         ON CONFLICT (delivery_id) DO UPDATE SET record = ?2, updated_at = ?3,
           owner_id = COALESCE(owner_id, ?5), open_of = CASE WHEN ?6 THEN NULL ELSE open_of END,
           waiting_since = CASE WHEN ?4 THEN waiting_since END",
        &[
            &id,
            &encode(&record)?,
            &record.updated_at,
            &(record.state == RequestState::Accepted),
            &owner,
            &record.state.is_end(),
        ],
    )?;
    Ok(())
}

/// Takes requests that have waited since before `before` to be begun, the oldest first, a bounded
/// number. Each is given once.
pub(crate) fn take_stuck(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<(String, Timestamp)>, SqlError> {
    let stuck = transaction.query_all(
        "SELECT delivery_id, waiting_since FROM requests WHERE waiting_since < ?1
         ORDER BY waiting_since, delivery_id LIMIT ?2",
        &[&before, &limit],
        |row| Ok((row.get::<String>(0)?, row.get(1)?)),
    )?;
    for (id, _) in &stuck {
        let sql = "UPDATE requests SET waiting_since = NULL WHERE delivery_id = ?1";
        transaction.execute(sql, &[id])?;
    }
    Ok(stuck)
}

/// Notes that a cancel or a move is on its way.
pub(crate) fn ask(
    transaction: &mut Transaction<'_>,
    id: &str,
    operation_id: String,
    operation: &str,
) -> Result<(), SqlError> {
    let Some(mut record) = find(transaction, id)?.map(|it| it.record) else { return Ok(()) };
    record.asked(operation_id, operation);
    record.updated_at = transaction.now();
    transaction.execute(
        "UPDATE requests SET record = ?2, updated_at = ?3 WHERE delivery_id = ?1",
        &[&id, &encode(&record)?, &record.updated_at],
    )?;
    Ok(())
}

/// Forgets requests that nothing has been heard of since `before`; a few at a time. It looks at those that
/// came first: one that was heard of lately may hold back some behind it until it is old itself.
pub(crate) fn forget_old(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM requests WHERE number IN
         (SELECT number FROM (SELECT number, updated_at FROM requests ORDER BY number LIMIT 1000)
          WHERE updated_at < ?1)",
        &[&before],
    )
}

fn encode(record: &RequestRecord) -> Result<String, SqlError> {
    serde_json::to_string(record).map_err(|it| unreadable(&it))
}

fn decode(text: &str) -> Result<RequestRecord, SqlError> {
    serde_json::from_str(text).map_err(|it| unreadable(&it))
}

fn unreadable(error: &serde_json::Error) -> SqlError {
    SqlError::Damaged { message: format!("a request's row: {error}") }
}

#[cfg(test)]
mod costs;

#[cfg(test)]
mod tests {
    use runtime::SystemClock;
    use store::{Store, StoreSettings, WriteError};
    use telemetry::Telemetry;

    use super::*;

    #[tokio::test]
    async fn a_database_from_before_rows_had_numbers_keeps_its_requests() {
        let directory = tempfile::tempdir().unwrap();
        let open = |migrations| {
            let path = directory.path().join("ingestion.db");
            let (settings, telemetry) = (StoreSettings::default(), Telemetry::disabled());
            Store::open(path, migrations, settings, SystemClock::shared(), &telemetry).unwrap()
        };
        let old = open(&MIGRATIONS[..2]);
        let written: Result<u64, WriteError<SqlError>> = old
            .write(|it| {
                let record = encode(&RequestRecord::accepted("d".to_owned(), it.now()))?;
                let row = "INSERT INTO requests
                    (delivery_id, record, partition, log_offset, updated_at, waiting_since)
                    VALUES ('d', ?1, 3, 44, 5, 5)";
                it.execute(row, &[&record])
            })
            .await;
        written.unwrap();
        drop(old);
        let new = open(MIGRATIONS);
        let found = new.read(|it| find(it, "d")).await.unwrap().unwrap();
        assert_eq!((&*found.record.delivery_id, found.position), ("d", Some((3, 44))));
        let later = Timestamp::from_millis(i64::MAX);
        let stuck: Result<_, WriteError<SqlError>> =
            new.write(move |it| take_stuck(it, later, 9)).await;
        assert_eq!(stuck.unwrap().len(), 1, "it waits still");
    }

    #[tokio::test]
    async fn what_nothing_was_heard_of_is_forgotten_also_behind_one_that_was_heard_of_lately() {
        let directory = tempfile::tempdir().unwrap();
        let (settings, telemetry) = (StoreSettings::default(), Telemetry::disabled());
        let path = directory.path().join("ingestion.db");
        let store =
            Store::open(path, MIGRATIONS, settings, SystemClock::shared(), &telemetry).unwrap();
        let forgotten: Result<_, WriteError<SqlError>> = store
            .write(|it| {
                for (id, heard_ms) in [("long", 90), ("old", 10), ("new", 80)] {
                    let at = Timestamp::from_millis(heard_ms);
                    fold(it, (id, None), at, |record| record.updated_at = at)?;
                }
                let forgotten = forget_old(it, Timestamp::from_millis(50))?;
                Ok((forgotten, find(it, "old")?.is_none(), find(it, "long")?.is_some()))
            })
            .await;
        assert_eq!(forgotten.unwrap(), (1, true, true));
    }
}
