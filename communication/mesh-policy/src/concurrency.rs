//! The cap of one destination: so many requests at a time, a few wait, the rest are refused.

use std::time::Duration;

/// Settings of a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Requests at a time.
    pub requests_max: usize,
    /// Requests that wait for a place; more is 503 `overloaded`.
    pub queue_max: usize,
    /// Longest wait for a place or for an endpoint; then 503.
    pub queue_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { requests_max: 100, queue_max: 25, queue_wait: Duration::from_secs(3) }
    }
}
