//! Waits between tries: exponential growth with full jitter.
//!
//! Full jitter (a uniform draw between zero and the ceiling) spreads a crowd of retries best;
//! source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// A growing wait with a cap. The draw comes from the caller, so a schedule can be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the wait before the first retry.
    pub initial: Duration,
    /// What each further ceiling is multiplied by.
    pub factor: u32,
    /// No ceiling grows past this.
    pub cap: Duration,
}

impl Backoff {
    /// The longest wait before retry number `attempt`; the first retry is 1.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let growth = self.factor.saturating_pow(attempt.saturating_sub(1));
        self.initial.saturating_mul(growth).min(self.cap)
    }

    /// The wait before retry number `attempt`, where `unit` is a uniform draw from `[0, 1)`.
    #[must_use]
    pub fn delay(&self, attempt: u32, unit: f64) -> Duration {
        self.ceiling(attempt).mul_f64(unit.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAGA: Backoff = Backoff {
        initial: Duration::from_millis(100),
        factor: 4,
        cap: Duration::from_millis(1_600),
    };

    #[test]
    fn ceilings_grow_by_the_factor_up_to_the_cap() {
        let ceilings: Vec<u128> = (1..=5).map(|it| SAGA.ceiling(it).as_millis()).collect();
        assert_eq!(ceilings, [100, 400, 1_600, 1_600, 1_600]);
    }

    #[test]
    fn a_draw_never_leaves_zero_to_ceiling() {
        assert_eq!(SAGA.delay(2, 0.0), Duration::ZERO);
        assert_eq!(SAGA.delay(2, 0.5), Duration::from_millis(200));
        assert_eq!(SAGA.delay(2, 7.0), Duration::from_millis(400));
    }

    #[test]
    fn a_huge_attempt_does_not_overflow() {
        assert_eq!(SAGA.ceiling(u32::MAX), SAGA.cap);
    }
}
