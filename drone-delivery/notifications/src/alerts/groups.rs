//! Alerts that have one cause, as one thing to look after.

use base::Timestamp;
use serde::Serialize;
use store::{Reader, SqlError};

/// What one service says for one reason, of however many deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertGroup {
    /// Names it.
    pub id: String,
    /// What they have in common.
    pub reason: String,
    /// The gravest of them: `warning` or `critical`.
    pub severity: String,
    /// Who raised them.
    pub service: String,
    /// When the first was first heard of.
    pub first_seen: Timestamp,
    /// When any of them was heard of last.
    pub last_seen: Timestamp,
    /// How often they were raised, all of them.
    pub count: u64,
    /// How many there are.
    pub alerts: u64,
    /// The one that was heard of last.
    pub latest: LatestAlert,
}

/// One of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatestAlert {
    /// The delivery, when it is about one.
    pub delivery_id: Option<String>,
    /// What happened and what may help.
    pub text: String,
}

/// Groups, those with critical alerts first, then the newest.
pub(super) fn list(
    reader: &Reader<'_>,
    with_acknowledged: bool,
    limit: u32,
) -> Result<Vec<AlertGroup>, SqlError> {
    // At most as many rows as alerts are kept are looked at.
    let sql = "
        SELECT group_id, reason, service, is_critical, begun, heard, times, members, delivery_id, text
        FROM (
          SELECT group_id, reason, service, delivery_id, text,
            MAX(severity = 'critical') OVER same AS is_critical,
            MIN(first_seen) OVER same AS begun, MAX(last_seen) OVER same AS heard,
            SUM(count) OVER same AS times, COUNT(*) OVER same AS members,
            ROW_NUMBER() OVER (PARTITION BY group_id ORDER BY last_seen DESC, id) AS place
          FROM alerts WHERE ?1 OR acknowledged_at IS NULL
          WINDOW same AS (PARTITION BY group_id))
        WHERE place = 1 ORDER BY is_critical DESC, heard DESC, group_id LIMIT ?2";
    reader.query_all(sql, &[&with_acknowledged, &limit], |row| {
        let severity = if row.get::<bool>(3)? { "critical" } else { "warning" };
        Ok(AlertGroup {
            id: row.get(0)?,
            reason: row.get(1)?,
            severity: severity.to_owned(),
            service: row.get(2)?,
            first_seen: row.get(4)?,
            last_seen: row.get(5)?,
            count: row.get(6)?,
            alerts: row.get(7)?,
            latest: LatestAlert { delivery_id: row.get(8)?, text: row.get(9)? },
        })
    })
}
