//! Messages that were seen: delivered at least once, they have their effect once.

use crate::{error::SqlError, query::Transaction};

impl Transaction<'_> {
    /// Whether a consumer meets a message for the first time; remembers it with this closure.
    ///
    /// # Errors
    /// What the statement failed with.
    pub fn first_time(&mut self, consumer: &str, source: &str, id: &str) -> Result<bool, SqlError> {
        let now = self.now();
        let added = self.execute(
            "INSERT OR IGNORE INTO skein_inbox (consumer, source, id, first_time)
             VALUES (?1, ?2, ?3, ?4)",
            &[&consumer, &source, &id, &now],
        )?;
        Ok(added == 1)
    }
}
