//! The circuit breaker of one endpoint.

use std::time::Duration;

/// Settings of a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Failures in a row that open it; 0 switches this reason off.
    pub consecutive_failures: u32,
    /// Share of successes below which it opens; 0 switches this reason off.
    pub success_rate_min: f64,
    /// Requests in the window before the share counts.
    pub requests_min: u32,
    /// The window of the share.
    pub window: Duration,
    /// First time of being open.
    pub open_initial: Duration,
    /// Longest time of being open.
    pub open_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 7,
            success_rate_min: 0.8,
            requests_min: 20,
            window: Duration::from_secs(10),
            open_initial: Duration::from_secs(1),
            open_max: Duration::from_secs(60),
        }
    }
}
