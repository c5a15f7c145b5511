//! What a store says about itself.

use telemetry::{Counter, Histogram, Telemetry};

pub(crate) const COMMIT_DURATION: &str = "store_commit_duration_seconds";
pub(crate) const WRITES: &str = "store_writes_total";
pub(crate) const COMMITS: &str = "store_commits_total";
pub(crate) const FAILURES: &str = "store_commit_failures_total";

/// Handles on the metrics of one store.
#[derive(Debug, Clone)]
pub(crate) struct StoreMetrics {
    pub(crate) commit_duration: Histogram,
    pub(crate) writes: Counter,
    pub(crate) commits: Counter,
    pub(crate) failures: Counter,
}

impl StoreMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        Self {
            commit_duration: metrics
                .histogram(COMMIT_DURATION, "One group commit, sync included.", &[])
                .with(&[]),
            writes: metrics.counter(WRITES, "Closures that were committed.", &[]).with(&[]),
            commits: metrics.counter(COMMITS, "Group commits.", &[]).with(&[]),
            failures: metrics.counter(FAILURES, "Group commits that failed.", &[]).with(&[]),
        }
    }
}
