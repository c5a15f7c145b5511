//! Retry: whether a request is tried again, when, and within which budget.

use std::time::Duration;

/// What a route says about retries: the `retry` member of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteRetry {
    /// Statuses that are tried again.
    pub codes: Vec<u16>,
    /// Extra tries; absent takes the destination's.
    pub attempts: Option<u32>,
    /// Shortest wait before another try.
    pub backoff: Option<Duration>,
    /// Our own: tries again whatever the method.
    pub is_idempotent: bool,
}

/// Settings of retries of one destination.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Extra tries.
    pub attempts: u32,
    /// Statuses that are tried again where the request may be.
    pub codes: Vec<u16>,
    /// Longest first wait.
    pub backoff_initial: Duration,
    /// Longest wait.
    pub backoff_max: Duration,
    /// Bytes of a body that are kept for another try.
    pub body_bytes_max: usize,
    /// Retries as a share of requests.
    pub budget_ratio: f64,
    /// Time over which the share is counted.
    pub budget_window: Duration,
    /// Retries a second that are always there.
    pub budget_min_per_second: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attempts: 2,
            codes: vec![502, 503, 504],
            backoff_initial: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            body_bytes_max: 64 << 10,
            budget_ratio: 0.2,
            budget_window: Duration::from_secs(10),
            budget_min_per_second: 10.0,
        }
    }
}
