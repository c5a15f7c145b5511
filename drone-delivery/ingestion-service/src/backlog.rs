//! How far the Scheduler is behind, and whether that is too far to take more in.
//!
//! The log takes requests faster than they are worked off: that is its purpose. Past a limit a
//! client is better told to come back later than to wait for hours.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use contracts::topics;
use messaging::{Lag, Messaging};
use runtime::Shutdown;

/// The consumer group of the Scheduler.
pub(crate) const SCHEDULER_GROUP: &str = "scheduler";
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// Records that the Scheduler may be behind.
    pub(crate) records_max: u64,
    /// Seconds that the oldest of them may be old.
    pub(crate) seconds_max: f64,
}

/// The newest look at the backlog. Until the first one nothing is refused.
#[derive(Debug)]
pub(crate) struct Backlog {
    limits: Limits,
    lag: Mutex<Lag>,
}

impl Backlog {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, lag: Mutex::new(Lag::default()) }
    }

    /// Whether more may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        let lag = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        lag.records <= self.limits.records_max && lag.seconds <= self.limits.seconds_max
    }

    /// Whether the Scheduler has taken the record at that place.
    pub(crate) fn is_taken(&self, partition: u32, offset: u64) -> bool {
        let lag = self.lag.lock().unwrap_or_else(PoisonError::into_inner);
        lag.committed.get(&partition).is_some_and(|it| *it > offset)
    }

    /// Looks again and again until the service stops. A look that fails leaves the last one.
    pub(crate) async fn watch(&self, messaging: &Messaging, shutdown: Shutdown) {
        while shutdown.or_cancel(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let look = messaging.lag(SCHEDULER_GROUP, topics::DELIVERY_REQUESTS);
            match shutdown.or_cancel(look).await {
                Some(Ok(lag)) => *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag,
                Some(Err(error)) => tracing::debug!(%error, "the backlog cannot be read"),
                None => return,
            }
        }
    }

    #[cfg(test)]
    fn set(&self, lag: Lag) {
        *self.lag.lock().unwrap() = lag;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_past_either_limit_has_no_room() {
        let backlog = Backlog::new(Limits { records_max: 10, seconds_max: 5.0 });
        assert!(backlog.has_room());
        backlog.set(Lag { records: 11, ..Lag::default() });
        assert!(!backlog.has_room());
        backlog.set(Lag { records: 10, seconds: 5.1, ..Lag::default() });
        assert!(!backlog.has_room());
        backlog.set(Lag { records: 10, seconds: 5.0, ..Lag::default() });
        assert!(backlog.has_room());
    }
}
