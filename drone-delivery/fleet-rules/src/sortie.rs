//! One flight for one package as numbers: from the base over both places and home.

use std::time::Duration;

use contracts::Location;

use crate::{Airframe, HAIR, Rules};

/// What is to be carried from where to where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errand {
    /// Where the package is.
    pub pickup: Location,
    /// Where it goes.
    pub dropoff: Location,
    /// Kilograms.
    pub weight_kg: f64,
}

/// How long each part of a flight takes, and what all of it takes from the battery.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sortie {
    /// From the base to the pickup.
    pub out: Duration,
    /// From the arrival at the pickup to the arrival at the drop-off.
    pub carry: Duration,
    /// From the arrival at the drop-off to the landing on the base.
    pub home: Duration,
    /// On the charger, until what was taken is back.
    pub charge: Duration,
    /// Share of a battery.
    pub energy: f64,
}

/// Why a drone cannot fly for an errand, now or ever.
#[derive(Debug, Clone, PartialEq)]
pub enum CannotFly {
    /// It does not lift it.
    TooHeavy {
        /// The heaviest that it lifts, in kilograms.
        payload_kg: f64,
    },
    /// A full battery is not enough.
    OutOfReach,
    /// A leg crosses a zone.
    NoFly {
        /// Name of the zone.
        zone: String,
    },
}

impl Sortie {
    /// The flight of a drone with a full battery from its base.
    ///
    /// # Errors
    /// [`CannotFly`].
    pub fn plan(
        base: &Location,
        airframe: &Airframe,
        errand: &Errand,
        rules: &Rules,
    ) -> Result<Self, CannotFly> {
        let Errand { pickup, dropoff, weight_kg } = errand;
        if !airframe.carries(*weight_kg) {
            return Err(CannotFly::TooHeavy { payload_kg: airframe.payload_kg });
        }
        let ways = [base.distance_m(pickup), pickup.distance_m(dropoff), dropoff.distance_m(base)];
        let stay = rules.dwell + rules.handling;
        let energy = rules.flight_energy(airframe, ways[0], 0.0)
            + rules.flight_energy(airframe, ways[1], *weight_kg)
            + rules.flight_energy(airframe, ways[2], 0.0)
            + 2.0 * rules.dwell_energy(airframe, stay);
        if energy > 1.0 - rules.reserve + HAIR {
            return Err(CannotFly::OutOfReach);
        }
        let crossed = [(base, pickup), (pickup, dropoff), (dropoff, base)]
            .into_iter()
            .find_map(|(from, to)| rules.zone_between(from, to));
        if let Some(zone) = crossed {
            return Err(CannotFly::NoFly { zone: zone.name.clone() });
        }
        Ok(Self {
            out: rules.time_for(ways[0]),
            carry: stay + rules.time_for(ways[1]),
            home: stay + rules.time_for(ways[2]),
            charge: rules.time_to_full(1.0 - energy),
            energy,
        })
    }

    /// From the take-off until the drone could take off again.
    #[must_use]
    pub fn whole(&self) -> Duration {
        self.out + self.carry + self.home + self.charge
    }
}

impl std::fmt::Display for CannotFly {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooHeavy { payload_kg } => {
                write!(formatter, "no drone lifts more than {payload_kg} kg")
            }
            Self::OutOfReach => write!(formatter, "a full battery does not reach that far"),
            Self::NoFly { zone } => write!(formatter, "nobody flies over {zone}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FleetConfig, NoFlyZone};

    const BASE: Location = Location::new(60.17, 24.94);

    fn errand(north: f64, weight_kg: f64) -> Errand {
        Errand {
            pickup: Location::new(60.172, 24.945),
            dropoff: Location::new(north, 24.935),
            weight_kg,
        }
    }

    #[track_caller]
    fn check(config: &FleetConfig, errand: &Errand, expected: Option<&CannotFly>) {
        let planned = Sortie::plan(&BASE, &config.airframe(), errand, &config.rules());
        assert_eq!(planned.err().as_ref(), expected);
    }

    #[test]
    fn a_trip_needs_the_lift_the_battery_and_a_free_way_on_every_leg() {
        let config = FleetConfig::default();
        check(&config, &errand(60.165, 25.0), None);
        check(&config, &errand(60.165, 26.0), Some(&CannotFly::TooHeavy { payload_kg: 25.0 }));
        check(&config, &errand(60.27, 1.0), Some(&CannotFly::OutOfReach));
        // Between base and pickup, between the places, between drop-off and base.
        for (latitude, longitude) in [(60.171, 24.9425), (60.1685, 24.94), (60.1675, 24.9375)] {
            let zone = NoFlyZone { name: "school".to_owned(), latitude, longitude, radius_m: 40.0 };
            let zoned = FleetConfig { no_fly: vec![zone], ..FleetConfig::default() };
            let refused = CannotFly::NoFly { zone: "school".to_owned() };
            check(&zoned, &errand(60.165, 1.0), Some(&refused));
        }
    }

    #[test]
    fn the_heavier_the_load_the_longer_the_charge() {
        let config = FleetConfig::default();
        let plan = |weight| {
            let errand = errand(60.165, weight);
            Sortie::plan(&BASE, &config.airframe(), &errand, &config.rules()).unwrap()
        };
        assert!(plan(20.0).energy > plan(1.0).energy && plan(20.0).charge > plan(1.0).charge);
        assert_eq!(plan(20.0).out, plan(1.0).out);
    }
}
