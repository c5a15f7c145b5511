//! How long a request may still take. It shrinks with each hop and is never extended.

use std::time::Duration;

use tokio::time::Instant;

/// The moment after which nobody waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        Self::since(Instant::now(), duration)
    }

    /// So long from a moment.
    #[must_use]
    pub fn since(moment: Instant, duration: Duration) -> Self {
        // A duration that no clock can hold is as good as a day.
        let day = Duration::from_secs(86_400);
        Self(moment + duration.min(day))
    }

    /// Time left; zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether nobody waits any more.
    #[must_use]
    pub fn is_expired(self) -> bool {
        self.remaining().is_zero()
    }

    /// The moment itself.
    #[must_use]
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Milliseconds left as the header says them, rounded down: a callee must not think that it
    /// has longer than its caller.
    #[must_use]
    pub fn header_value(self) -> u64 {
        u64::try_from(self.remaining().as_millis()).unwrap_or(u64::MAX)
    }
}
