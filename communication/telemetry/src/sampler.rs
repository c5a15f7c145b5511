//! Head sampling by rate: so many traces a second are recorded whole, the rest not at all.
//!
//! A rate protects the exporter under load; a share would not. The decision is made once, at the
//! root, and travels with the trace.

use base::Monotonic;

/// A bucket of tokens that holds one second's worth.
#[derive(Debug)]
pub(crate) struct Sampler {
    per_second: u32,
    tokens_milli: u64,
    filled_at: Monotonic,
}

impl Sampler {
    pub(crate) fn new(per_second: u32, now: Monotonic) -> Self {
        Self { per_second, tokens_milli: u64::from(per_second) * 1_000, filled_at: now }
    }

    /// Whether the trace that begins now is recorded.
    pub(crate) fn admit(&mut self, now: Monotonic) -> bool {
        let elapsed_ms =
            u64::try_from(now.saturating_since(self.filled_at).as_millis()).unwrap_or(u64::MAX);
        let full = u64::from(self.per_second) * 1_000;
        let gained = elapsed_ms.saturating_mul(u64::from(self.per_second));
        self.tokens_milli = self.tokens_milli.saturating_add(gained).min(full);
        self.filled_at = now;
        let admitted = self.tokens_milli >= 1_000;
        if admitted {
            self.tokens_milli -= 1_000;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_rate_is_admitted_in_a_second() {
        let mut sampler = Sampler::new(50, Monotonic::from_millis(0));
        let admitted = |sampler: &mut Sampler, at| {
            (0..200).filter(|_| sampler.admit(Monotonic::from_millis(at))).count()
        };
        assert_eq!(admitted(&mut sampler, 0), 50);
        assert_eq!(admitted(&mut sampler, 500), 25);
        assert_eq!(admitted(&mut sampler, 100_000), 50);
    }

    #[test]
    fn a_rate_of_zero_admits_nothing() {
        assert!(!Sampler::new(0, Monotonic::from_millis(0)).admit(Monotonic::from_millis(9_000)));
    }
}
