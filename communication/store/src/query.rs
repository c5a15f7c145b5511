//! Statements: what a closure may do with the database.
//!
//! A [`Reader`] asks, a [`Transaction`] also changes. Neither can begin, commit or roll back: that
//! is the store's, because one commit carries the work of many closures.

use std::{cell::RefCell, fmt, ops::Deref};

use base::{Monotonic, Timestamp};
use rusqlite::{
    CachedStatement, Connection,
    types::{ToSqlOutput, ValueRef as Raw},
};

use crate::{
    error::SqlError,
    value::{FromValue, ToValue, ValueError, ValueRef},
};

/// Asks. All statements of one closure see the same state.
pub struct Reader<'c> {
    connection: &'c Connection,
    /// The first failure of the machine (not of a statement) that this closure met.
    fault: RefCell<Option<SqlError>>,
}

/// Asks and changes. What it does is kept or undone as a whole.
pub struct Transaction<'c> {
    reader: Reader<'c>,
    moment: Moment<'c>,
    pushed: bool,
}

/// When and where a closure runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'c> {
    pub(crate) now: Timestamp,
    pub(crate) monotonic: Monotonic,
    pub(crate) boot_id: &'c str,
}

/// One row of an answer.
pub struct Row<'r> {
    row: &'r rusqlite::Row<'r>,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transaction").field("moment", &self.moment).finish_non_exhaustive()
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Row").finish_non_exhaustive()
    }
}

impl<'c> Reader<'c> {
    pub(crate) const fn new(connection: &'c Connection) -> Self {
        Self { connection, fault: RefCell::new(None) }
    }

    /// The one row of the answer.
    ///
    /// # Errors
    /// [`SqlError::NoRow`], [`SqlError::ManyRows`], or what the statement or `read` failed with.
    pub fn query_one<T>(
        &self,
        sql: &str,
        params: &[&dyn ToValue],
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        self.query_optional(sql, params, read)?.ok_or(SqlError::NoRow)
    }

    /// The one row of the answer, or none.
    ///
    /// # Errors
    /// [`SqlError::ManyRows`], or what the statement or `read` failed with.
    pub fn query_optional<T>(
        &self,
        sql: &str,
        params: &[&dyn ToValue],
        read: impl FnOnce(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        let mut statement = self.bind(sql, params)?;
        let mut rows = statement.raw_query();
        let Some(row) = self.check(rows.next())? else { return Ok(None) };
        let value = read(&Row { row })?;
        match self.check(rows.next())? {
            None => Ok(Some(value)),
            Some(_) => Err(SqlError::ManyRows),
        }
    }

    /// All rows of the answer, in its order. Bound it with `LIMIT` where the table can grow.
    ///
    /// # Errors
    /// What the statement or `read` failed with.
    pub fn query_all<T>(
        &self,
        sql: &str,
        params: &[&dyn ToValue],
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut statement = self.bind(sql, params)?;
        let mut rows = statement.raw_query();
        let mut values = Vec::new();
        while let Some(row) = self.check(rows.next())? {
            values.push(read(&Row { row })?);
        }
        Ok(values)
    }

    pub(crate) fn take_fault(&self) -> Option<SqlError> {
        self.fault.take()
    }

    fn bind(&self, sql: &str, params: &[&dyn ToValue]) -> Result<CachedStatement<'c>, SqlError> {
        refuse_control(sql)?;
        let mut statement = self.check(self.connection.prepare_cached(sql))?;
        let wanted = statement.parameter_count();
        if wanted != params.len() {
            let message = format!("{} parameters for {wanted} places", params.len());
            return Err(SqlError::Statement { message });
        }
        for (index, param) in params.iter().enumerate() {
            let value = param.to_value().map_err(|source| SqlError::Value { index, source })?;
            self.check(statement.raw_bind_parameter(index + 1, raw(value)))?;
        }
        Ok(statement)
    }

    fn check<T>(&self, result: rusqlite::Result<T>) -> Result<T, SqlError> {
        result.map_err(|error| {
            let error = SqlError::of(error);
            if error.is_environment() {
                self.fault.borrow_mut().get_or_insert_with(|| error.clone());
            }
            error
        })
    }
}

impl<'c> Transaction<'c> {
    pub(crate) const fn new(connection: &'c Connection, moment: Moment<'c>) -> Self {
        Self { reader: Reader::new(connection), moment, pushed: false }
    }

    /// Runs a statement that changes rows; gives how many.
    ///
    /// # Errors
    /// What the statement failed with; [`SqlError::Statement`] when it gives rows or would end the
    /// transaction.
    pub fn execute(&mut self, sql: &str, params: &[&dyn ToValue]) -> Result<u64, SqlError> {
        let mut statement = self.reader.bind(sql, params)?;
        let changed = self.reader.check(statement.raw_execute())?;
        Ok(changed as u64)
    }

    /// Runs `part` so that it alone is undone when it refuses; what was done before it stays.
    ///
    /// # Errors
    /// What `part` refused with.
    pub fn nested<T, E: From<SqlError>>(
        &mut self,
        part: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.control("SAVEPOINT skein_part")?;
        let pushed = self.pushed;
        let result = part(self);
        if result.is_err() {
            self.control("ROLLBACK TO skein_part")?;
            self.pushed = pushed;
        }
        self.control("RELEASE skein_part")?;
        result
    }

    /// Wall time when this closure began.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.moment.now
    }

    /// Time since boot when this closure began.
    #[must_use]
    pub const fn monotonic(&self) -> Monotonic {
        self.moment.monotonic
    }

    /// The boot that [`monotonic`](Self::monotonic) counts from.
    #[must_use]
    pub const fn boot_id(&self) -> &str {
        self.moment.boot_id
    }

    /// Says that the commit of this closure should wake the outbox relay.
    pub(crate) const fn mark_pushed(&mut self) {
        self.pushed = true;
    }

    pub(crate) const fn has_pushed(&self) -> bool {
        self.pushed
    }

    fn control(&self, sql: &str) -> Result<(), SqlError> {
        let mut statement = self.reader.check(self.reader.connection.prepare_cached(sql))?;
        self.reader.check(statement.raw_execute()).map(|_| ())
    }
}

impl<'c> Deref for Transaction<'c> {
    type Target = Reader<'c>;

    fn deref(&self) -> &Self::Target {
        &self.reader
    }
}

impl Row<'_> {
    /// The value of a column, counted from 0.
    ///
    /// # Errors
    /// [`SqlError::Value`]: there is no such column, or it holds something else.
    pub fn get<T: FromValue>(&self, index: usize) -> Result<T, SqlError> {
        let refuse = |source| SqlError::Value { index, source };
        let raw = self
            .row
            .get_ref(index)
            .map_err(|error| refuse(ValueError::Content(error.to_string())))?;
        let value = match raw {
            Raw::Null => ValueRef::Null,
            Raw::Integer(number) => ValueRef::Integer(number),
            Raw::Real(number) => ValueRef::Real(number),
            Raw::Text(bytes) => ValueRef::Text(
                std::str::from_utf8(bytes)
                    .map_err(|error| refuse(ValueError::Content(error.to_string())))?,
            ),
            Raw::Blob(bytes) => ValueRef::Blob(bytes),
        };
        T::from_value(value).map_err(refuse)
    }
}

const fn raw(value: ValueRef<'_>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match value {
        ValueRef::Null => Raw::Null,
        ValueRef::Integer(number) => Raw::Integer(number),
        ValueRef::Real(number) => Raw::Real(number),
        ValueRef::Text(text) => Raw::Text(text.as_bytes()),
        ValueRef::Blob(bytes) => Raw::Blob(bytes),
    })
}

/// Refuses statements that would cut the group of closures apart.
fn refuse_control(sql: &str) -> Result<(), SqlError> {
    const CONTROL: [&str; 9] = [
        "BEGIN",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "ATTACH",
        "DETACH",
        "VACUUM",
    ];
    let first = sql.trim_start().split(|it: char| !it.is_ascii_alphabetic()).next().unwrap_or("");
    if CONTROL.iter().any(|it| it.eq_ignore_ascii_case(first)) {
        let message = format!("`{first}` belongs to the store");
        return Err(SqlError::Statement { message });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_would_end_the_transaction_is_refused() {
        for sql in ["COMMIT", " rollback to x", "end;", "BEGIN IMMEDIATE", "attach 'x' as y"] {
            assert!(refuse_control(sql).is_err(), "{sql} was accepted");
        }
        for sql in ["SELECT 1", "INSERT INTO endings VALUES (1)", "UPDATE t SET commit_at = 1"] {
            assert_eq!(refuse_control(sql), Ok(()));
        }
    }
}
