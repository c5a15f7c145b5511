//! The article's question about every failed remote call: will it go away by itself?

use serde::{Deserialize, Serialize};

/// What a caller may conclude from a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// It may go away by itself: the same call may succeed later.
    Transient,
    /// It will not go away: the transaction fails.
    NonTransient,
    /// Nobody knows whether the call took effect: repeat it under the same key, or undo it as in doubt.
    Unknown,
}

impl FailureClass {
    /// The word in metrics, records and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::NonTransient => "non_transient",
            Self::Unknown => "unknown",
        }
    }
}
