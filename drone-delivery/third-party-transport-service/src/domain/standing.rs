//! Where a booking with a company outside stands, as it said last.

use base::Timestamp;
use contracts::Location;
use serde::{Deserialize, Serialize};

/// What is known of a booking with a company.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outside {
    /// Number of the newest news.
    pub(crate) news: u64,
    pub(crate) position: Option<Location>,
    /// When it expects to be at the drop-off, on the carriers' clock.
    pub(crate) delivery_eta: Option<Timestamp>,
    /// Whether its delivery is made, so that it may leave.
    pub(crate) may_leave: bool,
    /// Whether it has heard that.
    pub(crate) was_told: bool,
}
