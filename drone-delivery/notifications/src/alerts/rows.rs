//! The table of alerts.

use base::Timestamp;
use serde::Serialize;
use store::{Migration, Reader, Row, SqlError, Transaction};

use super::Raised;
use crate::signature::{hex, hmac};

/// History of the tables. Never edit one: append.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "alerts", sql: FIRST },
    Migration { version: 2, name: "reasons of alerts", sql: SECOND },
];

// What was raised before is a group of its own.
const SECOND: &str = "
ALTER TABLE alerts ADD COLUMN reason TEXT NOT NULL DEFAULT '';
ALTER TABLE alerts ADD COLUMN group_id TEXT NOT NULL DEFAULT '';
UPDATE alerts SET reason = text, group_id = id;
CREATE INDEX alerts_group ON alerts (group_id);
";

const FIRST: &str = "
CREATE TABLE alerts (
  id TEXT PRIMARY KEY,
  severity TEXT NOT NULL,
  service TEXT NOT NULL,
  delivery_id TEXT,
  text TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  last_seen INTEGER NOT NULL,
  count INTEGER NOT NULL,
  acknowledged_at INTEGER,
  acknowledged_by TEXT,
  since INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  next_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_due ON alerts (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX alerts_age ON alerts (last_seen);
CREATE INDEX alerts_delivery ON alerts (delivery_id);
";

/// Alerts that are kept; of more, the ones that were heard of longest ago go.
const KEPT_MAX: u64 = 10_000;
/// Rows that one transaction forgets.
const SLICE: u32 = 500;
/// As the inbox knows us.
const CONSUMER: &str = "alerts";
const COLUMNS: &str = "id, severity, service, delivery_id, text, first_seen, last_seen, count,
  acknowledged_at, acknowledged_by, reason";

/// The severity of what comes first.
const CRITICAL: &str = "critical";

/// An alert, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertRow {
    /// Names it.
    pub id: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// Who raised it.
    pub service: String,
    /// The delivery, when it is about one.
    pub delivery_id: Option<String>,
    /// The same of all that have the same cause.
    pub reason: String,
    /// What happened and what may help.
    pub text: String,
    /// When it was first heard of.
    pub first_seen: Timestamp,
    /// When it was last.
    pub last_seen: Timestamp,
    /// How often.
    pub count: u64,
    /// Since when somebody looks after it.
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    pub acknowledged_by: Option<String>,
}

/// Where a page of the list ended. An alert that is raised again meanwhile stands at the front again, as
/// news: it comes in no page twice, and a reader who wants news begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPlace {
    is_critical: bool,
    last_seen: Timestamp,
    id: String,
}

impl AlertRow {
    /// Its place in the list.
    #[must_use]
    pub fn place(&self) -> AlertPlace {
        let is_critical = self.severity == CRITICAL;
        AlertPlace { is_critical, last_seen: self.last_seen, id: self.id.clone() }
    }
}

impl std::fmt::Display for AlertPlace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rank = u8::from(!self.is_critical);
        write!(formatter, "{rank}.{}.{}", self.last_seen.as_millis(), self.id)
    }
}

impl AlertPlace {
    /// The place that was written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let is_critical = match parts.next()? {
            "0" => true,
            "1" => false,
            _ => return None,
        };
        let last_seen = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let id = parts.next().filter(|it| !it.is_empty())?.to_owned();
        Some(Self { is_critical, last_seen, id })
    }
}

/// An alert whose webhook is due.
#[derive(Debug, Clone)]
pub(super) struct DueAlert {
    pub(super) alert: AlertRow,
    pub(super) since: Timestamp,
    /// Tries, this one included.
    pub(super) attempts: u32,
}

/// Takes one in. Gives false when the message was heard before.
pub(super) fn raise(
    transaction: &mut Transaction<'_>,
    raised: &Raised,
    is_pushed: bool,
) -> Result<bool, SqlError> {
    let now = transaction.now();
    if !transaction.first_time(CONSUMER, &raised.source, &raised.message_id)? {
        return Ok(false);
    }
    let next_at = is_pushed.then_some(now);
    // Somebody who looks after it keeps looking: it counts, and is not sent anew.
    transaction.execute(
        "INSERT INTO alerts (id, severity, service, delivery_id, text, first_seen, last_seen,
           count, since, attempts, next_at, reason, group_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1, ?7, 0, ?8, ?9, ?10)
         ON CONFLICT (id) DO UPDATE SET severity = ?2, count = count + 1, attempts = 0, since = ?7,
           first_seen = MIN(first_seen, ?6), last_seen = MAX(last_seen, ?6),
           next_at = CASE WHEN acknowledged_at IS NULL THEN ?8 ELSE next_at END",
        &[
            &id_of(raised),
            &raised.severity,
            &raised.service,
            &raised.delivery_id,
            &raised.text,
            &raised.occurred_at,
            &now,
            &next_at,
            &reason_of(raised),
            &group_of(raised),
        ],
    )?;
    transaction.execute(
        "DELETE FROM alerts WHERE id IN
         (SELECT id FROM alerts ORDER BY last_seen DESC, id LIMIT 100 OFFSET ?1)",
        &[&KEPT_MAX],
    )?;
    Ok(true)
}

/// The same thing has the same id, whenever it is said.
fn id_of(raised: &Raised) -> String {
    let delivery = raised.delivery_id.as_deref().unwrap_or_default();
    name_of(b"alert", [&raised.service, delivery, &raised.text])
}

/// The group of what one service says for one reason.
fn group_of(raised: &Raised) -> String {
    name_of(b"alert group", [&raised.service, "", reason_of(raised)])
}

fn reason_of(raised: &Raised) -> &str {
    raised.reason.as_deref().unwrap_or(&raised.text)
}

fn name_of(what: &[u8], [service, delivery, rest]: [&str; 3]) -> String {
    let parts = [service.as_bytes(), b"\0", delivery.as_bytes(), b"\0", rest.as_bytes()];
    hex(&hmac(what, &parts)[..12])
}

/// Alerts, critical ones first, then the newest: those behind a place, where there is one.
pub(super) fn list(
    reader: &Reader<'_>,
    with_acknowledged: bool,
    after: Option<&AlertPlace>,
    limit: u32,
) -> Result<Vec<AlertRow>, SqlError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM alerts WHERE (?1 OR acknowledged_at IS NULL)
         AND (?2 IS NULL OR (severity <> '{CRITICAL}', -last_seen, id) > (?2, -?3, ?4))
         ORDER BY severity = '{CRITICAL}' DESC, last_seen DESC, id LIMIT ?5"
    );
    let rank = after.map(|it| i64::from(!it.is_critical));
    let (seen, id) = (after.map(|it| it.last_seen), after.map(|it| it.id.as_str()));
    reader.query_all(&sql, &[&with_acknowledged, &rank, &seen, &id, &limit], alert)
}

/// Somebody looks after an alert, or all that are meant now. Again, they stay with who was first.
/// False when there is none.
pub(super) fn acknowledge(
    transaction: &mut Transaction<'_>,
    of: Of<'_>,
    by: &str,
    is_pushed: bool,
) -> Result<bool, SqlError> {
    acknowledge_all(transaction, of, by, is_pushed)?;
    let (column, key) = of.column();
    let sql = format!("SELECT 1 FROM alerts WHERE {column} = ?1 LIMIT 1");
    Ok(transaction.query_optional(&sql, &[&key], |row| row.get::<i64>(0))?.is_some())
}

/// Somebody acted on a delivery: whatever was said about it is looked after.
pub(super) fn acknowledge_delivery(
    transaction: &mut Transaction<'_>,
    delivery_id: &str,
    by: &str,
    is_pushed: bool,
) -> Result<u64, SqlError> {
    acknowledge_all(transaction, Of::Delivery(delivery_id), by, is_pushed)
}

/// Which alerts are meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    Alert(&'a str),
    Delivery(&'a str),
    Group(&'a str),
}

impl<'a> Of<'a> {
    /// The column that says which, and what stands in it.
    const fn column(self) -> (&'static str, &'a str) {
        match self {
            Self::Alert(id) => ("id", id),
            Self::Delivery(id) => ("delivery_id", id),
            Self::Group(id) => ("group_id", id),
        }
    }
}

fn acknowledge_all(
    transaction: &mut Transaction<'_>,
    of: Of<'_>,
    by: &str,
    is_pushed: bool,
) -> Result<u64, SqlError> {
    let (column, key) = of.column();
    let sql = format!(
        "UPDATE alerts SET acknowledged_at = ?2, acknowledged_by = ?3, attempts = 0, since = ?2,
           next_at = ?4
         WHERE {column} = ?1 AND acknowledged_at IS NULL"
    );
    let now = transaction.now();
    transaction.execute(&sql, &[&key, &now, &by, &is_pushed.then_some(now)])
}

/// Takes what is due for a while, as messages to customers are taken.
pub(super) fn take_due(
    transaction: &mut Transaction<'_>,
    again_at: Timestamp,
    limit: u32,
) -> Result<Vec<DueAlert>, SqlError> {
    let now = transaction.now();
    let sql = format!(
        "SELECT {COLUMNS}, since, attempts FROM alerts WHERE next_at <= ?1
         ORDER BY next_at, id LIMIT ?2"
    );
    let due = transaction.query_all(&sql, &[&now, &limit], |row| {
        let attempts: u32 = row.get(12)?;
        Ok(DueAlert { alert: alert(row)?, since: row.get(11)?, attempts: attempts + 1 })
    })?;
    for taken in &due {
        transaction.execute(
            "UPDATE alerts SET attempts = attempts + 1, next_at = ?2 WHERE id = ?1",
            &[&taken.alert.id, &again_at],
        )?;
    }
    Ok(due)
}

/// Writes down when the next try is; none when it was taken or is given up. What was raised again
/// in between stays due.
pub(super) fn settle(
    transaction: &mut Transaction<'_>,
    due: &DueAlert,
    next_at: Option<Timestamp>,
) -> Result<(), SqlError> {
    transaction.execute(
        "UPDATE alerts SET next_at = ?2 WHERE id = ?1 AND attempts = ?3 AND since = ?4",
        &[&due.alert.id, &next_at, &due.attempts, &due.since],
    )?;
    Ok(())
}

/// Forgets alerts that were last heard of before `before`, a slice at a time.
///
/// # Errors
/// The tables failed.
pub fn forget_old(transaction: &mut Transaction<'_>, before: Timestamp) -> Result<u64, SqlError> {
    transaction.execute(
        "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE last_seen < ?1 LIMIT ?2)",
        &[&before, &SLICE],
    )
}

fn alert(row: &Row<'_>) -> Result<AlertRow, SqlError> {
    Ok(AlertRow {
        id: row.get(0)?,
        severity: row.get(1)?,
        service: row.get(2)?,
        delivery_id: row.get(3)?,
        text: row.get(4)?,
        first_seen: row.get(5)?,
        last_seen: row.get(6)?,
        count: row.get(7)?,
        acknowledged_at: row.get(8)?,
        acknowledged_by: row.get(9)?,
        reason: row.get(10)?,
    })
}
