//! What a drone can do, and the rules that every flight keeps.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Tolerance of comparisons of shares of a battery: sums of distances are not exact.
pub(crate) const HAIR: f64 = 1e-9;

/// What one drone can do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Airframe {
    /// Heaviest load.
    pub(crate) payload_kg: f64,
    /// Metres that a full battery flies without touching the reserve.
    pub(crate) range_m: f64,
}

/// What holds for every drone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// Metres a second over the ground.
    pub(crate) cruise_speed_mps: f64,
    /// Metres above the ground on the way.
    pub(crate) cruise_altitude_m: f64,
    /// Share of the battery that a drone lands with at the least.
    pub(crate) reserve: f64,
    /// At a place, until the package is taken or handed over.
    pub(crate) dwell: Duration,
    /// To make the package fast, or to let it go.
    pub(crate) handling: Duration,
    /// From empty to full.
    pub(crate) full_charge: Duration,
    /// Share of the battery below which a drone on its base counts as charging.
    pub(crate) ready_battery: f64,
}

impl Airframe {
    /// Share of a battery that so many metres take.
    pub(crate) fn battery_for(&self, metres: f64, rules: &Rules) -> f64 {
        metres * (1.0 - rules.reserve) / self.range_m
    }

    /// Whether it lifts so much.
    pub(crate) fn carries(&self, weight_kg: f64) -> bool {
        weight_kg <= self.payload_kg
    }
}

impl Rules {
    /// How long so many metres take.
    pub(crate) fn time_for(&self, metres: f64) -> Duration {
        seconds(metres / self.cruise_speed_mps)
    }

    /// What a battery on a charger is after a while.
    pub(crate) fn charged(&self, battery: f64, after: Duration) -> f64 {
        let gained = after.as_secs_f64() / self.full_charge.as_secs_f64();
        (battery + gained).min(1.0)
    }

    /// How long a battery on a charger needs until it is ready.
    pub(crate) fn time_to_ready(&self, battery: f64) -> Duration {
        let missing = (self.ready_battery - battery).max(0.0);
        // A millisecond more, so that the rounding to whole ones cannot leave it just below.
        seconds(missing * self.full_charge.as_secs_f64()) + Duration::from_millis(1)
    }
}

/// Seconds that may be any number; what is no duration counts as the longest.
pub(crate) fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const RULES: Rules = Rules {
        cruise_speed_mps: 15.0,
        cruise_altitude_m: 60.0,
        reserve: 0.1,
        dwell: Duration::from_secs(20),
        handling: Duration::from_secs(5),
        full_charge: Duration::from_secs(1_800),
        ready_battery: 0.5,
    };
    pub(crate) const AIRFRAME: Airframe = Airframe { payload_kg: 25.0, range_m: 20_000.0 };

    #[test]
    fn the_range_leaves_exactly_the_reserve() {
        assert!((1.0 - AIRFRAME.battery_for(20_000.0, &RULES) - RULES.reserve).abs() < HAIR);
        assert!(AIRFRAME.carries(25.0) && !AIRFRAME.carries(25.1));
    }

    #[test]
    fn a_battery_is_ready_when_it_says_so_and_never_more_than_full() {
        let low = 0.2;
        assert!(RULES.charged(low, RULES.time_to_ready(low)) >= RULES.ready_battery);
        assert_eq!(RULES.charged(0.9, Duration::from_secs(86_400)), 1.0);
        assert_eq!(seconds(f64::NAN), Duration::MAX);
    }
}
