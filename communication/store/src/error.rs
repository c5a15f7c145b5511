//! Why a statement, a read, a write or an opening failed, in words that a caller can act on.

use std::{fmt, io, path::PathBuf, time::Duration};

use base::FailureClass;

use crate::value::ValueError;

/// Which rule of the schema a statement broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// A row with this key exists.
    Unique,
    /// The row that is referred to does not exist, or is still referred to.
    ForeignKey,
    /// A condition on the row does not hold.
    Check,
    /// A value is missing.
    NotNull,
    /// Another rule.
    Other,
}

/// Why one statement failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SqlError {
    /// One row was asked for; there is none.
    #[error("no row was found")]
    NoRow,
    /// One row was asked for; there are more.
    #[error("more than one row was found")]
    ManyRows,
    /// A rule of the schema does not hold.
    #[error("a constraint does not hold: {message}")]
    Constraint {
        /// The kind of rule.
        constraint: Constraint,
        /// The database's own words.
        message: String,
    },
    /// A parameter or a column is not what the code takes it for. Counted from 0.
    #[error("value {index} cannot be used")]
    Value {
        /// Position of the parameter or column, from 0.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
    /// A message for the outbox is longer than the log takes one.
    #[error("a message of {bytes} bytes is longer than one may be ({bytes_max})")]
    MessageTooLarge {
        /// Its body and further headers.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The statement itself is wrong.
    #[error("the statement is wrong: {message}")]
    Statement {
        /// The database's own words.
        message: String,
    },
    /// Another process holds the lock.
    #[error("another process holds the lock")]
    Locked,
    /// No space is left.
    #[error("no space is left for the database")]
    Full,
    /// The operating system failed to read, write or sync.
    #[error("the disk failed: {message}")]
    Io {
        /// The database's own words.
        message: String,
    },
    /// The file is not what was written into it.
    #[error("the database file is damaged: {message}")]
    Damaged {
        /// The database's own words.
        message: String,
    },
}

impl SqlError {
    /// Whether the same statement may succeed later, unchanged.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Locked | Self::Full | Self::Io { .. })
    }

    /// Whether the row was refused because one with its key exists.
    #[must_use]
    pub const fn is_duplicate(&self) -> bool {
        matches!(self, Self::Constraint { constraint: Constraint::Unique, .. })
    }

    /// Whether the fault lies in the machine, not in the statement: then no later word of the same
    /// closure counts.
    pub(crate) const fn is_environment(&self) -> bool {
        matches!(self, Self::Locked | Self::Full | Self::Io { .. } | Self::Damaged { .. })
    }

    // A function and not `From`, so that the driver's type is no part of the interface.
    pub(crate) fn of(error: rusqlite::Error) -> Self {
        use rusqlite::{Error, ErrorCode};
        let (code, message) = match error {
            Error::SqliteFailure(code, message) => {
                let message = message.unwrap_or_else(|| code.to_string());
                (code, message)
            }
            Error::QueryReturnedNoRows => return Self::NoRow,
            Error::QueryReturnedMoreThanOneRow => return Self::ManyRows,
            other => return Self::Statement { message: other.to_string() },
        };
        match code.code {
            ErrorCode::ConstraintViolation => {
                Self::Constraint { constraint: constraint(code.extended_code), message }
            }
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed => Self::Locked,
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory => {
                Self::Io { message: format!("{message} (code {})", code.extended_code) }
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged { message },
            _ => Self::Statement { message },
        }
    }
}

fn constraint(extended_code: i32) -> Constraint {
    match extended_code {
        rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
        | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | rusqlite::ffi::SQLITE_CONSTRAINT_ROWID => Constraint::Unique,
        rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Constraint::ForeignKey,
        rusqlite::ffi::SQLITE_CONSTRAINT_CHECK => Constraint::Check,
        rusqlite::ffi::SQLITE_CONSTRAINT_NOTNULL => Constraint::NotNull,
        _ => Constraint::Other,
    }
}

/// Why the store takes no work right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The queue is full.
    Overloaded,
    /// Another process held the lock for longer than the bound.
    Locked,
    /// No space is left.
    Full,
    /// The disk failed; the file is opened anew before the next write.
    Disk,
    /// The store was closed.
    Closed,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Overloaded => "its queue is full",
            Self::Locked => "another process holds the lock",
            Self::Full => "no space is left",
            Self::Disk => "the disk failed",
            Self::Closed => "it is closed",
        })
    }
}

/// Whether a failed write may still show in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It does not.
    No,
    /// It may: the sync failed after the data were written. Ask under the same key.
    Unknown,
}

/// Why a write was not acknowledged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WriteError<E> {
    /// The closure refused; everything that it had written was rolled back.
    #[error("{0}")]
    Refused(E),
    /// Not applied; the same write may succeed after the time given.
    #[error("the store cannot take writes: {reason}")]
    Unavailable {
        /// Why.
        reason: Unavailable,
        /// When to try again.
        retry_after: Duration,
    },
    /// The write failed for good, or nobody knows.
    #[error("the write failed: {message}")]
    Failed {
        /// What happened.
        message: String,
        /// Whether it may show all the same.
        applied: Applied,
    },
}

impl<E> WriteError<E> {
    /// The class of the failure, where the closure's own refusal counts as non-transient.
    #[must_use]
    pub const fn class(&self) -> FailureClass {
        match self {
            Self::Unavailable { .. } => FailureClass::Transient,
            Self::Failed { applied: Applied::Unknown, .. } => FailureClass::Unknown,
            Self::Refused(_) | Self::Failed { applied: Applied::No, .. } => {
                FailureClass::NonTransient
            }
        }
    }

    /// Changes the closure's own error and leaves the store's as they are.
    pub fn map_refused<F>(self, change: impl FnOnce(E) -> F) -> WriteError<F> {
        match self {
            Self::Refused(error) => WriteError::Refused(change(error)),
            Self::Unavailable { reason, retry_after } => {
                WriteError::Unavailable { reason, retry_after }
            }
            Self::Failed { message, applied } => WriteError::Failed { message, applied },
        }
    }
}

/// Why a read gave nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// A statement failed.
    #[error(transparent)]
    Sql(SqlError),
    /// The same read may succeed after the time given.
    #[error("the store cannot take reads: {reason}")]
    Unavailable {
        /// Why.
        reason: Unavailable,
        /// When to try again.
        retry_after: Duration,
    },
    /// The closure panicked.
    #[error("the read panicked")]
    Panicked,
}

impl ReadError {
    /// Whether the same read may succeed later, unchanged.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Sql(error) => error.is_transient(),
            Self::Unavailable { .. } => true,
            Self::Panicked => false,
        }
    }
}

/// A migration by number and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationName {
    /// Its number.
    pub version: u32,
    /// Its name.
    pub name: String,
}

impl fmt::Display for MigrationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} `{}`", self.version, self.name)
    }
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or its directory cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The database refused.
    #[error("cannot open {}", path.display())]
    Sql {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: SqlError,
    },
    /// Another process kept the file locked for the whole of the waiting time.
    #[error("{} is locked by another process", path.display())]
    Locked {
        /// Which file.
        path: PathBuf,
    },
    /// The file holds tables of somebody else.
    #[error("{} is a database, but no store", path.display())]
    NotAStore {
        /// Which file.
        path: PathBuf,
    },
    /// The file has another format.
    #[error("{} has store format {found}, this program knows {known}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The version in the file.
        found: String,
        /// The version that this program reads and writes.
        known: u32,
    },
    /// The migrations given are not numbered 1, 2, 3, …
    #[error("migration {found} stands where {expected} is due")]
    MigrationOrder {
        /// The number that was due.
        expected: u32,
        /// The one that stood there.
        found: MigrationName,
    },
    /// The file was changed by a migration that this program does not have: a newer program's.
    #[error("the file has {group} migration {found}, this program ends at {known}")]
    UnknownMigration {
        /// Whose migrations: `store` or `service`.
        group: &'static str,
        /// The one in the file.
        found: MigrationName,
        /// The last one of this program.
        known: MigrationName,
    },
    /// A migration was changed after it had run.
    #[error(
        "{group} migration {found} ran with checksum {found_checksum}, this program has {given} with {given_checksum}"
    )]
    ChangedMigration {
        /// Whose migrations: `store` or `service`.
        group: &'static str,
        /// The one in the file.
        found: MigrationName,
        /// Its SHA-256 in the file.
        found_checksum: Box<str>,
        /// The one of this program.
        given: MigrationName,
        /// Its SHA-256 in this program.
        given_checksum: Box<str>,
    },
    /// A migration uses what one request could break for all others of its group.
    #[error("migration {migration} defers a constraint to the commit")]
    DeferredConstraint {
        /// The migration.
        migration: MigrationName,
    },
    /// A migration failed; none of this run was applied.
    #[error("migration {migration} failed")]
    Migration {
        /// The migration.
        migration: MigrationName,
        /// Why.
        #[source]
        source: SqlError,
    },
    /// The kernel gives no boot id, and none was set.
    #[error("the id of this boot cannot be read")]
    BootId(#[source] io::Error),
}
