//! What a connection counted, and from when to when.

use std::{fmt, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use crate::histogram::Histogram;

/// Longest wait for one answer; then it is an error and the connection is given up.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// When requests are sent, and which of them count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) counts_from: Instant,
    pub(crate) ends: Instant,
}

impl Window {
    pub(crate) fn starting_now(warm_up: Duration, measure: Duration) -> Self {
        let counts_from = Instant::now() + warm_up;
        Self { counts_from, ends: counts_from + measure }
    }

    /// Whether another request may be sent.
    pub(crate) fn is_open(&self) -> bool {
        Instant::now() < self.ends
    }
}

/// What was seen. An answer after the end still counts: its request was sent before.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    window: Window,
    latencies: Histogram,
    verified: u64,
    errors: u64,
    first_error: Option<String>,
    last_at: Instant,
}

impl Tally {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            latencies: Histogram::default(),
            verified: 0,
            errors: 0,
            first_error: None,
            last_at: window.counts_from,
        }
    }

    /// An answer with the expected status, body and trailers to a request that was due then.
    pub(crate) fn verified(&mut self, due: Instant) {
        let now = Instant::now();
        if now >= self.window.counts_from {
            self.verified += 1;
            self.latencies.record(now.saturating_duration_since(due));
            self.last_at = now;
        }
    }

    /// A request that was not answered as expected; counts in the warm-up too.
    pub(crate) fn failed(&mut self, reason: &str) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| reason.to_owned());
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.add(&other.latencies);
        self.verified += other.verified;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.last_at = self.last_at.max(other.last_at);
    }

    #[cfg(test)]
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.verified, self.errors)
    }
}

impl fmt::Display for Tally {
    /// JSON on one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.last_at.saturating_duration_since(self.window.counts_from).as_secs_f64();
        let report = json!({
            "requests": self.verified + self.errors,
            "verified": self.verified,
            "errors": self.errors,
            "firstError": self.first_error,
            "seconds": seconds,
            "p50Us": self.latencies.quantile_us(500),
            "p90Us": self.latencies.quantile_us(900),
            "p99Us": self.latencies.quantile_us(990),
            "p999Us": self.latencies.quantile_us(999),
            "maxUs": self.latencies.quantile_us(1_000),
        });
        report.fmt(formatter)
    }
}
