//! What a log counts.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Numbers since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Appends that were acknowledged.
    pub appends: u64,
    /// Group commits.
    pub commits: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Syncs that were asked for.
    pub syncs: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Time that the syncs took in all.
    pub sync_time: Duration,
    /// Records that are lost: those before a floor, and those that somebody wanted to read and that
    /// no whole frame has; each gap counts once.
    pub lost_records: u64,
    /// Segments that are kept now.
    pub segments: u64,
}

/// The numbers as they grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    appends: AtomicU64,
    commits: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    failed_syncs: AtomicU64,
    sync_micros: AtomicU64,
    lost_records: AtomicU64,
}

impl Counters {
    pub(crate) fn committed(&self, appends: usize, bytes: usize) {
        self.appends.fetch_add(appends as u64, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn synced(&self, took: Duration, succeeded: bool) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.failed_syncs.fetch_add(u64::from(!succeeded), Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self, records: u64) {
        self.lost_records.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, segments: usize) -> LogStats {
        let get = |it: &AtomicU64| it.load(Ordering::Relaxed);
        LogStats {
            appends: get(&self.appends),
            commits: get(&self.commits),
            bytes: get(&self.bytes),
            syncs: get(&self.syncs),
            failed_syncs: get(&self.failed_syncs),
            sync_time: Duration::from_micros(get(&self.sync_micros)),
            lost_records: get(&self.lost_records),
            segments: segments as u64,
        }
    }
}
