//! Forgetting: what would otherwise grow for ever goes when it is old enough, a little at a time.

use std::time::Duration;

use base::Timestamp;

use crate::{error::SqlError, query::Transaction};

/// Rows that one call deletes from one table: a sweep must not hold up the writes.
const ROWS_MAX: u32 = 1_000;
const DAY: Duration = Duration::from_secs(86_400);

/// How long the built-in tables remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Keys of public requests.
    pub keys: Duration,
    /// Operations and tombstones.
    pub operations: Duration,
    /// Messages that were seen.
    pub inbox: Duration,
}

impl Default for Retention {
    /// Keys a day; the rest the longest retention of a topic (30 days) and 7 days of redrive.
    fn default() -> Self {
        Self { keys: DAY, operations: DAY * 37, inbox: DAY * 37 }
    }
}

impl Transaction<'_> {
    /// Deletes rows that are past their time, a bounded number. Gives how many; zero means that
    /// nothing is left to delete now.
    ///
    /// # Errors
    /// What a statement failed with.
    pub fn sweep(&mut self, retention: &Retention) -> Result<u64, SqlError> {
        let before = |kept: Duration| {
            let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(self.now().as_millis().saturating_sub(kept))
        };
        let (keys, operations, inbox) =
            (before(retention.keys), before(retention.operations), before(retention.inbox));
        let mut swept = self.execute(
            "DELETE FROM skein_idempotency WHERE rowid IN
             (SELECT rowid FROM skein_idempotency WHERE created_at < ?1 LIMIT ?2)",
            &[&keys, &ROWS_MAX],
        )?;
        swept += self.execute(
            // Those that came first: one that was undone lately may hold back some behind it until it is
            // old itself.
            "DELETE FROM skein_operations WHERE number IN
             (SELECT number FROM (SELECT number, updated_at FROM skein_operations
                ORDER BY number LIMIT ?2) WHERE updated_at < ?1)",
            &[&operations, &ROWS_MAX],
        )?;
        swept += self.execute(
            "DELETE FROM skein_inbox WHERE (consumer, source, id) IN
             (SELECT consumer, source, id FROM skein_inbox WHERE first_time < ?1 LIMIT ?2)",
            &[&inbox, &ROWS_MAX],
        )?;
        Ok(swept)
    }
}
