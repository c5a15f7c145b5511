//! Seeded randomness: the shell draws the seed once, everything below can be replayed from it.

use uuid::{Builder, Uuid};

use crate::Timestamp;

/// A small, fast generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The generator that always gives the same numbers for the same seed.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A uniform draw from `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// A uniform draw from `0..bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A version 7 UUID (RFC 9562): ordered by time to the millisecond, random below it.
    pub fn uuid_v7(&mut self, now: Timestamp) -> Uuid {
        let mut noise = [0; 10];
        self.0.fill(&mut noise);
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &noise).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let mut random = Random::with_seed(seed);
            (random.bits(), random.below(10), random.uuid_v7(Timestamp::from_millis(5)))
        };
        assert_eq!(draw(41), draw(41));
        assert_ne!(draw(41), draw(42));
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let mut random = Random::with_seed(1);
        let early = random.uuid_v7(Timestamp::from_millis(1_000));
        let late = random.uuid_v7(Timestamp::from_millis(1_001));
        assert!(early < late);
        assert_eq!(early.get_version_num(), 7);
    }

    #[test]
    fn a_bound_of_zero_gives_zero() {
        assert_eq!(Random::with_seed(1).below(0), 0);
    }
}
