//! How a simulated carrier's tour goes: on time, late, or not to its end. Drawn from a seed and the
//! delivery, so that a restarted process, and another one, draw the same.

use std::time::Duration;

use base::Random;
use serde::{Deserialize, Serialize};

/// How a carrier is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Habits {
    /// Tours of a hundred that are late.
    pub(crate) late_percent: u8,
    /// By how much at the most, in simulated time.
    pub(crate) late_max: Duration,
    /// Tours of a hundred that break down on the way.
    pub(crate) failure_percent: u8,
}

/// How one tour goes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Fate {
    /// Milliseconds that it takes longer than was promised.
    pub(crate) late_ms: u64,
    /// After which share of the tour it breaks down.
    pub(crate) breaks_down: Option<f64>,
}

/// The fate of a delivery's tour.
pub(crate) fn fate(habits: Habits, seed: u64, delivery_id: &str) -> Fate {
    // FNV-1a: near ids are far apart, on every machine alike.
    let hash = delivery_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = Random::with_seed(seed ^ hash);
    let mut happens = |percent: u8| random.below(100) < u64::from(percent);
    let (is_late, fails) = (happens(habits.late_percent), happens(habits.failure_percent));
    let late_max = u64::try_from(habits.late_max.as_millis()).unwrap_or(u64::MAX);
    let (late, breaks_down) = (random.below(late_max.saturating_add(1)), random.unit());
    Fate { late_ms: if is_late { late } else { 0 }, breaks_down: fails.then_some(breaks_down) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HABITS: Habits =
        Habits { late_percent: 30, late_max: Duration::from_secs(600), failure_percent: 10 };

    #[test]
    fn of_many_tours_as_many_are_late_or_fail_as_is_set_and_the_same_each_time() {
        let fates = |seed| {
            let ids = (0..10_000).map(|it| format!("d{it}"));
            ids.map(|id| fate(HABITS, seed, &id)).collect::<Vec<_>>()
        };
        let first = fates(1);
        let late = first.iter().filter(|it| it.late_ms > 0).count();
        let failed = first.iter().filter(|it| it.breaks_down.is_some()).count();
        assert!((2_700..3_300).contains(&late), "{late}");
        assert!((850..1_150).contains(&failed), "{failed}");
        assert!(first.iter().all(|it| it.late_ms <= 600_000));
        assert_eq!(first, fates(1));
        assert_ne!(first, fates(2));
    }

    #[test]
    fn a_carrier_without_habits_is_on_time() {
        let habits = Habits { late_percent: 0, failure_percent: 0, ..HABITS };
        assert_eq!(fate(habits, 7, "d1"), Fate::default());
    }
}
