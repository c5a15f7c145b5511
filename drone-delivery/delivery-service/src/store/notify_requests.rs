//! Where customers want to hear of a delivery, which may be still to come.

use base::Timestamp;
use store::{Reader, SqlError, Transaction};

use super::columns::{SLICE, first_end};

/// Where a customer wants to hear of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotifyRequest {
    pub(crate) email_address: Option<String>,
    pub(crate) sms: Option<String>,
    /// As a language tag; empty for English.
    pub(crate) language: String,
    /// The account of who asked, where he asked for himself.
    pub(crate) asker: Option<String>,
}

/// Addresses that are kept for deliveries that are not made yet; of more, the oldest go. A stranger who
/// makes ids up costs no more than that.
pub(super) const EARLY_MAX: u32 = 10_000;
/// Those of one customer among them: whoever asks for more loses his own, and nobody another's.
pub(super) const EARLY_OF_ONE_MAX: u32 = 100;

/// Remembers where a customer wants to hear of a delivery, which may be still to come: how its request
/// ends is told also when none does.
pub(crate) fn keep_notify_request(
    transaction: &mut Transaction<'_>,
    id: &str,
    request: &NotifyRequest,
) -> Result<(), SqlError> {
    let delivery = "SELECT 1 FROM deliveries WHERE id = ?1";
    let found = transaction.query_optional(delivery, &[&id], |row| row.get::<i64>(0))?;
    let (now, is_early) = (transaction.now(), found.is_none());
    transaction.execute(
        "INSERT INTO notify_requests
           (delivery_id, email_address, sms, asked_at, language, early, asker)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (delivery_id) DO UPDATE
         SET email_address = ?2, sms = ?3, asked_at = ?4, language = ?5, early = ?6, asker = ?7",
        &[
            &id,
            &request.email_address,
            &request.sms,
            &now,
            &request.language,
            &is_early,
            &request.asker,
        ],
    )?;
    if is_early {
        transaction.execute(
            "DELETE FROM notify_requests WHERE delivery_id IN (
               SELECT delivery_id FROM notify_requests WHERE early = 1
               ORDER BY asked_at DESC LIMIT ?1 OFFSET ?2)",
            &[&SLICE, &EARLY_MAX],
        )?;
        transaction.execute(
            "DELETE FROM notify_requests WHERE delivery_id IN (
               SELECT delivery_id FROM notify_requests WHERE early = 1 AND asker = ?3
               ORDER BY asked_at DESC LIMIT ?1 OFFSET ?2)",
            &[&SLICE, &EARLY_OF_ONE_MAX, &request.asker],
        )?;
    }
    Ok(())
}

/// Whether somebody wants to hear of a delivery.
pub(crate) fn is_asked_for(reader: &Reader<'_>, id: &str) -> Result<bool, SqlError> {
    let sql = "SELECT 1 FROM notify_requests WHERE delivery_id = ?1";
    Ok(reader.query_optional(sql, &[&id], |row| row.get::<i64>(0))?.is_some())
}

/// Where a customer wants to hear of a delivery.
pub(crate) fn notify_request(
    reader: &Reader<'_>,
    id: &str,
) -> Result<Option<NotifyRequest>, SqlError> {
    reader.query_optional(
        "SELECT email_address, sms, language, asker FROM notify_requests WHERE delivery_id = ?1",
        &[&id],
        |row| {
            let (email_address, sms) = (row.get(0)?, row.get(1)?);
            Ok(NotifyRequest { email_address, sms, language: row.get(2)?, asker: row.get(3)? })
        },
    )
}

/// Forgets the addresses of one customer.
pub(crate) fn erase_notify_request(
    transaction: &mut Transaction<'_>,
    id: &str,
) -> Result<(), SqlError> {
    transaction.execute("DELETE FROM notify_requests WHERE delivery_id = ?1", &[&id]).map(|_| ())
}

/// Forgets the addresses of customers whose delivery ended before `before`, and of those who had asked
/// by then for one that never came, a slice at a time.
pub(crate) fn erase_old_notify_requests(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, SqlError> {
    let in_vain = transaction.execute(
        "DELETE FROM notify_requests WHERE delivery_id IN (
           SELECT delivery_id FROM notify_requests WHERE early = 1 AND asked_at < ?1 LIMIT ?2)",
        &[&before, &SLICE],
    )?;
    let ended = transaction.execute(
        "DELETE FROM notify_requests WHERE delivery_id IN (
           SELECT notify_requests.delivery_id FROM notify_requests
           JOIN deliveries ON deliveries.id = notify_requests.delivery_id
           WHERE asked_at < ?1 AND stage >= ?2 AND changed_at < ?1 LIMIT ?3)",
        &[&before, &first_end(), &SLICE],
    )?;
    Ok(in_vain + ended)
}
