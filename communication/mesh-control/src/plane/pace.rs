//! How fast what changes is told on, and how much one identity may change.

use std::{sync::Mutex, time::Duration};

use base::Monotonic;
use identity::SpiffeId;
use mesh_policy::{
    Moment,
    rate::{Limiter, RateKey, RateLimit},
};
use tokio::time::Instant;

use super::lock;

/// Between two states. istiod waits 100 ms; who asks whether he is found waits for this one.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest that a state waits, however much was sent.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Bytes of states that are sent in a second, by and large: at some 100 MB/s that a core writes and as much that
/// one reads again, a tenth of it.
const BYTES_PER_SECOND: u64 = 10 << 20;

/// Changes of one identity in a second.
const CHANGES_PER_SECOND: u32 = 100;
/// And at once: all instances that one service may have.
const CHANGES_AT_ONCE: u32 = 1_000;
/// Identities that are counted apart; the rest share one count.
const IDENTITIES_MAX: usize = 4_096;

/// When the state was made last, and how much had been sent by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    last: Instant,
    sent_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::since(Instant::now(), 0)
    }
}

impl Pace {
    pub(super) const fn since(last: Instant, sent_bytes: u64) -> Self {
        Self { last, sent_bytes }
    }

    /// When the next state may be made, where so much was sent up to now.
    pub(super) fn next(self, sent_bytes: u64) -> Instant {
        let bytes = sent_bytes.saturating_sub(self.sent_bytes);
        let sending = Duration::from_millis(bytes.saturating_mul(1_000) / BYTES_PER_SECOND);
        self.last + sending.clamp(PAUSE, PAUSE_MAX)
    }
}

/// What each identity has changed of late.
#[derive(Debug)]
pub(super) struct Changes(Mutex<Limiter>);

impl Default for Changes {
    fn default() -> Self {
        let limit = RateLimit::per_second(
            "changes",
            CHANGES_PER_SECOND,
            CHANGES_AT_ONCE,
            RateKey::Header("identity".to_owned()),
        );
        Self(Mutex::new(Limiter::new(limit, IDENTITIES_MAX)))
    }
}

impl Changes {
    /// Counts one; answers how long nothing more is to be read of it.
    pub(super) fn count(&self, identity: Option<&SpiffeId>, now: Monotonic) -> Duration {
        let key = identity.map(ToString::to_string);
        let now = Moment::from_millis(now.as_millis());
        lock(&self.0).check(key.as_deref(), now).retry_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_state_waits_for_what_was_sent_and_never_long() {
        let start = Instant::now();
        let pace = Pace::since(start, 1_000);
        let after = |sent: u64| pace.next(sent).duration_since(start);
        assert_eq!(after(1_000), PAUSE);
        assert_eq!(after(1_000 + BYTES_PER_SECOND / 2), Duration::from_millis(500));
        assert_eq!(after(1_000 + 100 * BYTES_PER_SECOND), PAUSE_MAX);
        assert_eq!(after(0), PAUSE, "a count never goes back, and nothing breaks where it did");
    }

    #[test]
    fn who_changes_more_than_he_may_is_read_later_and_nobody_else() {
        let changes = Changes::default();
        let (one, other): (SpiffeId, SpiffeId) = (
            "spiffe://mesh/ns/shop/svc/cart".parse().unwrap(),
            "spiffe://mesh/ns/shop/svc/stock".parse().unwrap(),
        );
        let at = Monotonic::from_millis(5_000);
        for _ in 0..CHANGES_AT_ONCE {
            assert_eq!(changes.count(Some(&one), at), Duration::ZERO);
        }
        assert_eq!(changes.count(Some(&one), at), Duration::from_millis(10));
        assert_eq!(changes.count(Some(&other), at), Duration::ZERO);
        assert_eq!(changes.count(Some(&one), at + Duration::from_millis(10)), Duration::ZERO);
    }
}
