//! Simulated time: wall time that runs at another pace, anchored at one moment. Whoever shares it
//! between processes keeps the anchor where all of them read it.

use std::time::Duration;

use crate::Timestamp;

/// Leads from wall time to simulated time and back. Every replica reads the same anchor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedClock {
    /// Wall time at the anchor.
    pub wall: Timestamp,
    /// Simulated time at the anchor.
    pub simulated: Timestamp,
    /// Simulated seconds in one real second.
    pub scale: f64,
}

impl SimulatedClock {
    /// A clock that shows wall time now, and runs faster from here on.
    #[must_use]
    pub const fn starting_at(now: Timestamp, scale: f64) -> Self {
        Self { wall: now, simulated: now, scale }
    }

    /// The same clock, running at another pace from now on.
    #[must_use]
    pub fn paced(&self, now: Timestamp, scale: f64) -> Self {
        Self { wall: now, simulated: self.at(now), scale }
    }

    /// Simulated time at a moment of wall time. It stands still before the anchor.
    #[must_use]
    pub fn at(&self, wall: Timestamp) -> Timestamp {
        self.simulated + scaled(wall.saturating_since(self.wall), self.scale)
    }

    /// The wall time at which a moment of simulated time is reached.
    #[must_use]
    pub fn wall_of(&self, simulated: Timestamp) -> Timestamp {
        if simulated >= self.simulated {
            return self.wall
                + scaled(simulated.saturating_since(self.simulated), 1.0 / self.scale);
        }
        let earlier = scaled(self.simulated.saturating_since(simulated), 1.0 / self.scale);
        let millis = i64::try_from(earlier.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.wall.as_millis().saturating_sub(millis))
    }
}

/// A duration times a factor; the longest there is when that does not fit.
fn scaled(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_clock_twenty_times_as_fast_shows_twenty_seconds_after_one() {
        let clock = SimulatedClock::starting_at(at(5_000), 20.0);
        assert_eq!(clock.at(at(6_000)), at(25_000));
        assert_eq!(clock.wall_of(at(25_000)), at(6_000));
        assert_eq!(clock.wall_of(at(-15_000)), at(4_000));
    }

    #[test]
    fn another_pace_begins_where_the_old_one_was() {
        let slow = SimulatedClock::starting_at(at(0), 1.0);
        let fast = slow.paced(at(10_000), 100.0);
        assert_eq!(fast.at(at(10_000)), slow.at(at(10_000)));
        assert_eq!(fast.at(at(11_000)), at(110_000));
    }

    #[test]
    fn a_far_future_is_far_and_no_overflow() {
        let clock = SimulatedClock::starting_at(at(0), 0.001);
        let far = Timestamp::parse("2099-01-01T00:00:00Z").unwrap();
        assert!(clock.wall_of(far) > far);
        assert_eq!(clock.at(at(-1)), at(0));
    }
}
