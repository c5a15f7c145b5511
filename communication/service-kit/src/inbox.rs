//! What keeps a handler from its work, as its subscription's failure.

use std::fmt;

use messaging::Failure;
use store::{ReadError, SqlError, WriteError};

/// An error that a handler may meet in its store.
pub trait IntoFailure {
    /// What the subscription should do about it.
    fn into_failure(self) -> Failure;
}

/// What the subscription should do about a store's error: wait while the machine has trouble, give
/// the message again a few times otherwise.
#[must_use]
pub fn failure_of(error: impl IntoFailure) -> Failure {
    error.into_failure()
}

/// A message that cannot be read now cannot be read later either: it goes to the dead letters.
#[must_use]
pub fn rejected(why: impl fmt::Display) -> Failure {
    Failure::Rejected(why.to_string())
}

/// A message that was not read: one of a kind that is not known here is passed over, any other
/// cannot be read later either.
#[must_use]
pub fn unread(why: impl fmt::Display, is_unknown: bool) -> Failure {
    if is_unknown { Failure::Unknown(why.to_string()) } else { rejected(why) }
}

impl IntoFailure for SqlError {
    fn into_failure(self) -> Failure {
        if self.is_transient() {
            Failure::Unavailable(self.to_string())
        } else {
            Failure::Transient(self.to_string())
        }
    }
}

impl IntoFailure for WriteError<SqlError> {
    fn into_failure(self) -> Failure {
        match self {
            Self::Refused(error) => error.into_failure(),
            Self::Unavailable { .. } => Failure::Unavailable(self.to_string()),
            Self::Failed { .. } => Failure::Transient(self.to_string()),
        }
    }
}

impl IntoFailure for ReadError {
    fn into_failure(self) -> Failure {
        match self {
            Self::Sql(error) => error.into_failure(),
            Self::Unavailable { .. } => Failure::Unavailable(self.to_string()),
            Self::Panicked => Failure::Transient(self.to_string()),
        }
    }
}
