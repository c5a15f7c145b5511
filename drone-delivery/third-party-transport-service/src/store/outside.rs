//! The table of companies that were asked to take a delivery. A row is written before the first call: what
//! may have been booked can be called off, whatever became of the answer.

use base::Timestamp;
use store::{Reader, SqlError, Transaction};

// The times are wall time.
pub(super) const TABLE: &str = "
CREATE TABLE asked (
  delivery_id TEXT NOT NULL,
  carrier TEXT NOT NULL,
  call_at INTEGER,
  PRIMARY KEY (delivery_id, carrier)
) STRICT, WITHOUT ROWID;
CREATE INDEX asked_due ON asked (carrier, call_at) WHERE call_at IS NOT NULL;
";

/// A company is about to be asked.
pub(crate) fn note(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    carrier: &str,
) -> Result<(), SqlError> {
    let sql = "INSERT OR IGNORE INTO asked (delivery_id, carrier) VALUES (?1, ?2)";
    transaction.execute(sql, &[&delivery_id, &carrier]).map(drop)
}

/// Nothing is booked with it any more.
pub(crate) fn forget(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    carrier: &str,
) -> Result<(), SqlError> {
    let sql = "DELETE FROM asked WHERE delivery_id = ?1 AND carrier = ?2";
    transaction.execute(sql, &[&delivery_id, &carrier]).map(drop)
}

/// Who was asked to take a delivery.
pub(crate) fn of(reader: &Reader<'_>, delivery_id: &str) -> Result<Vec<String>, SqlError> {
    let sql = "SELECT carrier FROM asked WHERE delivery_id = ?1 ORDER BY carrier";
    reader.query_all(sql, &[&delivery_id], |row| row.get(0))
}

/// Who was asked at all, about how many deliveries that have not ended, and one of these.
pub(crate) fn counted(reader: &Reader<'_>) -> Result<Vec<(String, u64, String)>, SqlError> {
    let sql = "SELECT carrier, COUNT(*), MIN(delivery_id) FROM asked GROUP BY carrier";
    reader.query_all(sql, &[], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

/// When whoever was asked is called next about a delivery.
pub(crate) fn call_at(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    at: Timestamp,
) -> Result<(), SqlError> {
    let sql = "UPDATE asked SET call_at = ?2 WHERE delivery_id = ?1";
    transaction.execute(sql, &[&delivery_id, &at]).map(drop)
}

/// Deliveries about which a company is to be called now, the most overdue first.
pub(crate) fn due(
    reader: &Reader<'_>,
    carrier: &str,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<String>, SqlError> {
    let sql = "SELECT delivery_id FROM asked WHERE carrier = ?1 AND call_at <= ?2
               ORDER BY call_at LIMIT ?3";
    reader.query_all(sql, &[&carrier, &now, &limit], |row| row.get(0))
}
