//! What holds for every drone: how fast it is, what each part of a flight takes from its battery.

use std::time::Duration;

use contracts::Location;

use crate::{Airframe, NoFlyZone};

/// Tolerance of comparisons of shares of a battery: sums of distances are not exact.
pub const HAIR: f64 = 1e-9;

/// What holds for every drone.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Metres a second over the ground.
    pub cruise_speed_mps: f64,
    /// Metres above the ground on the way.
    pub cruise_altitude_m: f64,
    /// Share of the battery that a drone lands with at the least.
    pub reserve: f64,
    /// At a place, until the package is taken or handed over.
    pub dwell: Duration,
    /// To make the package fast, or to let it go.
    pub handling: Duration,
    /// From empty to full.
    pub full_charge: Duration,
    /// Share of the battery below which a drone on its base counts as charging.
    pub ready_battery: f64,
    /// How much more a metre takes with the heaviest load, as a share.
    pub load_share: f64,
    /// Metres of level flight that take as much as a metre of climb.
    pub climb_factor: f64,
    /// Metres of level flight that take as much as a second at a place.
    pub dwell_metres_per_second: f64,
    /// Where nobody flies.
    pub no_fly: Vec<NoFlyZone>,
}

impl Rules {
    /// Share of a battery that a flight from one place up, over so many metres and down takes.
    #[must_use]
    pub fn flight_energy(&self, airframe: &Airframe, metres: f64, load_kg: f64) -> f64 {
        let level = self.climb_factor.mul_add(self.cruise_altitude_m, metres);
        let load = self.load_share.mul_add(load_kg / airframe.payload_kg, 1.0);
        self.share_of(airframe, level * load)
    }

    /// Share of a battery that a while at a place takes.
    #[must_use]
    pub fn dwell_energy(&self, airframe: &Airframe, time: Duration) -> f64 {
        self.share_of(airframe, time.as_secs_f64() * self.dwell_metres_per_second)
    }

    fn share_of(&self, airframe: &Airframe, level_metres: f64) -> f64 {
        level_metres * (1.0 - self.reserve) / airframe.range_m
    }

    /// How long so many metres take.
    #[must_use]
    pub fn time_for(&self, metres: f64) -> Duration {
        seconds(metres / self.cruise_speed_mps)
    }

    /// The zone that the straight way between two points crosses.
    #[must_use]
    pub fn zone_between(&self, from: &Location, to: &Location) -> Option<&NoFlyZone> {
        self.no_fly.iter().find(|it| it.is_crossed(from, to))
    }

    /// What a battery on a charger is after a while.
    #[must_use]
    pub fn charged(&self, battery: f64, after: Duration) -> f64 {
        let gained = after.as_secs_f64() / self.full_charge.as_secs_f64();
        (battery + gained).min(1.0)
    }

    /// How long a battery on a charger needs until it is ready.
    #[must_use]
    pub fn time_to_ready(&self, battery: f64) -> Duration {
        self.time_to(battery, self.ready_battery)
    }

    /// How long it needs until it is full.
    #[must_use]
    pub fn time_to_full(&self, battery: f64) -> Duration {
        if battery >= 1.0 { Duration::ZERO } else { self.time_to(battery, 1.0) }
    }

    fn time_to(&self, battery: f64, wanted: f64) -> Duration {
        let missing = (wanted - battery).max(0.0);
        // A millisecond more, so that the rounding to whole ones cannot leave it just below.
        seconds(missing * self.full_charge.as_secs_f64()) + Duration::from_millis(1)
    }
}

/// Seconds that may be any number; what is no duration counts as the longest.
#[must_use]
pub fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FleetConfig;

    #[test]
    fn level_flight_over_the_range_leaves_exactly_the_reserve() {
        let config = FleetConfig { cruise_altitude_m: 1e-9, ..FleetConfig::default() };
        let (rules, airframe) = (config.rules(), config.airframe());
        let left = 1.0 - rules.flight_energy(&airframe, 20_000.0, 0.0);
        assert!((left - rules.reserve).abs() < 1e-6, "{left}");
        assert!(airframe.carries(25.0) && !airframe.carries(25.1));
    }

    #[test]
    fn load_climb_and_dwell_each_take_their_share() {
        let config = FleetConfig::default();
        let (rules, airframe) = (config.rules(), config.airframe());
        let plain = rules.flight_energy(&airframe, 1_000.0, 0.0);
        assert!(rules.flight_energy(&airframe, 1_000.0, 25.0) > plain * 1.2);
        assert!(plain > 1_000.0 * (1.0 - rules.reserve) / airframe.range_m);
        assert!(rules.dwell_energy(&airframe, Duration::from_secs(20)) > 0.0);
    }

    #[test]
    fn a_battery_is_ready_when_it_says_so_and_never_more_than_full() {
        let rules = FleetConfig::default().rules();
        let low = 0.2;
        assert!(rules.charged(low, rules.time_to_ready(low)) >= rules.ready_battery);
        assert!(rules.charged(low, rules.time_to_full(low)) >= 1.0);
        assert_eq!(rules.charged(0.9, Duration::from_secs(86_400)), 1.0);
        assert_eq!(seconds(f64::NAN), Duration::MAX);
    }
}
