//! When an identity is renewed, as a machine over wall time and chance: at half its life, with jitter
//! so that a crowd that started together does not stay together; while the authority is away again
//! and again with a growing wait; at its end closed.
//!
//! Wall time, because everybody else judges a certificate by it: a clock that jumps ahead ends the
//! identity here as it does there.

use std::time::Duration;

use base::{Backoff, Timestamp};
use serde::Deserialize;

/// When to renew.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RenewalConfig {
    /// Part of an identity's life after which it is renewed.
    pub at: f64,
    /// Width of the random spread around it, as a part of the life.
    pub jitter: f64,
    /// Ceiling of the wait after the first failure, in milliseconds; it doubles.
    pub backoff_ms: u64,
    /// No wait is longer, in milliseconds.
    pub backoff_max_ms: u64,
}

impl Default for RenewalConfig {
    fn default() -> Self {
        Self { at: 0.5, jitter: 0.1, backoff_ms: 200, backoff_max_ms: 30_000 }
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalStep {
    /// Ask the authority.
    Renew,
    /// The identity is over: show it no more, let nobody in. Said once.
    Close,
    /// Nothing before that moment.
    Wait {
        /// The moment.
        until: Timestamp,
    },
}

/// The life of the identity that a process holds.
#[derive(Debug, Clone)]
pub struct Renewal {
    config: RenewalConfig,
    /// The end of the identity; `None` without one.
    ends: Option<Timestamp>,
    next_try: Timestamp,
    failures: u32,
}

impl Renewal {
    /// Without an identity: the first step is to ask for one.
    #[must_use]
    pub const fn new(config: RenewalConfig, now: Timestamp) -> Self {
        Self { config, ends: None, next_try: now, failures: 0 }
    }

    /// The step at this moment.
    pub fn step(&mut self, now: Timestamp) -> RenewalStep {
        if self.ends.is_some_and(|it| now >= it) {
            self.ends = None;
            return RenewalStep::Close;
        }
        if now >= self.next_try {
            return RenewalStep::Renew;
        }
        // Whatever comes first: a try, or the end.
        RenewalStep::Wait { until: self.ends.map_or(self.next_try, |it| it.min(self.next_try)) }
    }

    /// An identity came that ends at `not_after`; `unit` is a uniform draw from `[0, 1)`.
    pub fn issued(&mut self, now: Timestamp, not_after: Timestamp, unit: f64) {
        let life = not_after.saturating_since(now);
        let part = self.config.at + self.config.jitter * (unit - 0.5);
        self.next_try = now + life.mul_f64(part.clamp(0.0, 1.0));
        self.ends = Some(not_after);
        self.failures = 0;
    }

    /// None came; `unit` is a uniform draw from `[0, 1)`.
    pub fn failed(&mut self, now: Timestamp, unit: f64) {
        self.failures = self.failures.saturating_add(1);
        let backoff = Backoff {
            initial: Duration::from_millis(self.config.backoff_ms),
            factor: 2,
            cap: Duration::from_millis(self.config.backoff_max_ms),
        };
        self.next_try = now + backoff.delay(self.failures, unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn issued(unit: f64) -> Renewal {
        let mut renewal = Renewal::new(RenewalConfig::default(), at(0));
        assert_eq!(renewal.step(at(0)), RenewalStep::Renew);
        renewal.issued(at(0), at(3_600), unit);
        renewal
    }

    #[test]
    fn an_identity_is_renewed_around_half_its_life() {
        for (unit, second) in [(0.0, 1_620), (0.5, 1_800), (1.0, 1_980)] {
            let mut renewal = issued(unit);
            assert_eq!(renewal.step(at(1)), RenewalStep::Wait { until: at(second) });
            assert_eq!(renewal.step(at(second)), RenewalStep::Renew);
        }
    }

    /// mesh 12b: 49.
    #[test]
    fn while_the_authority_is_away_the_identity_serves_to_its_end_and_then_it_is_closed() {
        let mut renewal = issued(0.5);
        let (mut now, mut tries, mut longest) = (at(0), 0, Duration::ZERO);
        let closed = loop {
            match renewal.step(now) {
                RenewalStep::Renew => {
                    tries += 1;
                    renewal.failed(now, 0.999);
                }
                RenewalStep::Wait { until } => {
                    longest = longest.max(until.saturating_since(now).min(Duration::from_secs(60)));
                    now = until;
                }
                RenewalStep::Close => break now,
            }
        };
        assert_eq!(closed, at(3_600));
        // Half an hour with waits that grow to 30 s.
        assert!((60..80).contains(&tries), "{tries}");
        // It goes on asking, and says only once that it is over.
        let RenewalStep::Wait { until } = renewal.step(closed) else { panic!("a wait") };
        assert!(until <= closed + Duration::from_secs(30));
        assert_eq!(renewal.step(until), RenewalStep::Renew);
        renewal.issued(until, until + Duration::from_secs(10), 0.5);
        assert_eq!(
            renewal.step(until),
            RenewalStep::Wait { until: until + Duration::from_secs(5) }
        );
    }

    #[test]
    fn a_clock_that_jumps_past_the_end_closes_at_once() {
        let mut renewal = issued(0.5);
        assert_eq!(renewal.step(at(7_200)), RenewalStep::Close);
        assert_eq!(renewal.step(at(7_200)), RenewalStep::Renew);
    }

    #[test]
    fn every_setting_takes_effect() {
        let config =
            RenewalConfig { at: 0.25, jitter: 0.0, backoff_ms: 1_000, backoff_max_ms: 3_000 };
        let mut renewal = Renewal::new(config, at(0));
        renewal.issued(at(0), at(100), 0.9);
        assert_eq!(renewal.step(at(0)), RenewalStep::Wait { until: at(25) });
        let waits = [1, 2, 3, 3].map(|seconds| {
            renewal.failed(at(25), 1.0);
            (renewal.step(at(25)), RenewalStep::Wait { until: at(25 + seconds) })
        });
        assert!(waits.iter().all(|(left, right)| left == right), "{waits:?}");
    }
}
