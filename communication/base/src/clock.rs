//! The clock as a value: shells pass the real one, tests one they move by hand.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Monotonic, Timestamp};

/// Where the time comes from.
pub trait Clock: Send + Sync + Debug {
    /// Wall time. It may jump; nothing that must be safe is decided by it.
    fn now(&self) -> Timestamp;
    /// Time since boot, the same for every process of one machine. Leases are counted in it.
    fn monotonic(&self) -> Monotonic;
}

/// A clock that many owners hold.
pub type SharedClock = Arc<dyn Clock>;

/// A clock for tests: it stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`, with a monotonic reading of one hour after boot.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { wall_ms: AtomicI64::new(now.as_millis()), monotonic_ms: AtomicU64::new(3_600_000) }
    }

    /// Moves wall and monotonic time forward together.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.monotonic_ms.fetch_add(millis, Ordering::SeqCst);
        self.wall_ms.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Moves wall time alone, as an operator or NTP may do.
    pub fn jump_wall(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_jump_leaves_monotonic_time_alone() {
        let clock = ManualClock::new(Timestamp::from_millis(0));
        let before = clock.monotonic();
        clock.jump_wall(-3_600_000);
        assert_eq!(clock.monotonic(), before);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.monotonic().saturating_since(before), Duration::from_secs(1));
    }
}
