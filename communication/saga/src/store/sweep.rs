//! What is kept how long: records of a closed saga 30 days, its id and its words 37.

use std::time::Duration;

use ::store::{SqlError, Store, Transaction, WriteError, params};
use base::Timestamp;
use runtime::Shutdown;

use crate::machine::Status;

/// Days that the records of a closed saga are kept; from names-and-numbers.
const RECORDS: Duration = Duration::from_secs(30 * 86_400);
/// Days that its id is kept, so that a late repetition of its start is known: the longest topic
/// retention and 7 days of redrive.
const IDS: Duration = Duration::from_secs(37 * 86_400);
/// Rows that one sweep looks at in each table: it shares its transaction with work.
const ROWS: usize = 500;

/// The time that long before `now`.
pub(crate) fn ago(now: Timestamp, age: Duration) -> Timestamp {
    let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(age_ms))
}

/// Sweeps until nothing is left, one slice a transaction, so that no rate of work leaves it behind. Gives
/// how many rows went.
pub(crate) async fn sweep_all(
    store: &Store,
    shutdown: &Shutdown,
) -> Result<u64, WriteError<SqlError>> {
    let mut gone = 0;
    while !shutdown.is_cancelled() {
        match store.write(sweep).await? {
            0 => break,
            rows => gone += rows,
        }
    }
    Ok(gone)
}

/// Deletes a slice of what is past its time; gives how many rows changed or went.
pub(crate) fn sweep(transaction: &mut Transaction<'_>) -> Result<u64, SqlError> {
    let now = transaction.now();
    let ago = |age: Duration| ago(now, age);
    let mut gone = 0;
    for status in Status::ALL.into_iter().filter(|it| it.is_closed()) {
        for number in oldest(transaction, 0, status, ago(RECORDS))? {
            gone +=
                transaction.execute("DELETE FROM saga_records WHERE saga = ?1", params![number])?;
            gone += transaction
                .execute("UPDATE sagas SET open = 2 WHERE number = ?1", params![number])?;
        }
        for number in oldest(transaction, 2, status, ago(IDS))? {
            gone += transaction.execute("DELETE FROM sagas WHERE number = ?1", params![number])?;
        }
    }
    gone += transaction.execute(
        "DELETE FROM saga_signals WHERE standing <> 'pending' AND (saga, id) IN
           (SELECT saga, id FROM saga_signals WHERE at < ?1 ORDER BY at LIMIT ?2)",
        params![ago(IDS), ROWS],
    )?;
    Ok(gone)
}

/// The oldest closed sagas, as far as they are older than `before`. Rows are numbered in the order
/// of acceptance, so a long one holds back those behind it until it is over: that is fine.
fn oldest(
    transaction: &Transaction<'_>,
    open: u8,
    status: Status,
    before: Timestamp,
) -> Result<Vec<i64>, SqlError> {
    transaction.query_all(
        "SELECT number FROM (SELECT number, updated_at FROM sagas
           WHERE open = ?1 AND owner IS NULL AND status = ?2 ORDER BY number LIMIT ?3)
         WHERE updated_at < ?4",
        params![open, status.as_str(), ROWS, before],
        |row| row.get(0),
    )
}
