//! The rule: a drone when one can, a carrier when none can, nobody past the carrier's limits.

use contracts::Location;
use serde::{Deserialize, Serialize};

use super::trip::Trip;

/// A circle over which no drone may fly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoFlyZone {
    /// What is there.
    pub name: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Metres around that point.
    pub radius_m: f64,
}

/// What drones and carriers can do, as far as this context knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits {
    pub(crate) drone_payload_kg: f64,
    /// Metres from a base over both places and back.
    pub(crate) drone_range_m: f64,
    /// Middle of the bases, and how far from it they lie: any of them can serve what is near enough.
    pub(crate) drone_bases: Location,
    pub(crate) drone_bases_radius_m: f64,
    pub(crate) no_fly: Vec<NoFlyZone>,
    pub(crate) carrier_payload_kg: f64,
    /// Metres from the depot over the pickup to the drop-off.
    pub(crate) carrier_range_m: f64,
    pub(crate) depot: Location,
}

/// Who serves a trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// The fleet can.
    Drone,
    /// No drone can, a carrier does.
    Carrier,
}

/// Nobody can.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(crate) enum NoTransport {
    /// It weighs more than any carrier takes.
    #[error("no carrier takes more than {carrier_payload_kg} kg")]
    TooHeavy { carrier_payload_kg: f64 },
    /// It is farther than any carrier goes.
    #[error("no carrier goes farther than {carrier_range_m} m")]
    TooFar { carrier_range_m: f64 },
}

impl Limits {
    /// Decides who serves a trip.
    pub(crate) fn decide(&self, trip: &Trip) -> Result<Transport, NoTransport> {
        if self.drone_can(trip) {
            return Ok(Transport::Drone);
        }
        let (carrier_payload_kg, carrier_range_m) = (self.carrier_payload_kg, self.carrier_range_m);
        let way = self.depot.distance_m(&trip.pickup) + trip.pickup.distance_m(&trip.dropoff);
        if trip.weight_kg > carrier_payload_kg {
            Err(NoTransport::TooHeavy { carrier_payload_kg })
        } else if way > carrier_range_m {
            Err(NoTransport::TooFar { carrier_range_m })
        } else {
            Ok(Transport::Carrier)
        }
    }

    /// Whether every drone could, wherever its base is: a `true` here that the fleet must take back
    /// would fail the delivery, a carrier too many only costs more.
    fn drone_can(&self, trip: &Trip) -> bool {
        let from_any_base =
            |place: &Location| self.drone_bases.distance_m(place) + self.drone_bases_radius_m;
        let way = from_any_base(&trip.pickup)
            + trip.pickup.distance_m(&trip.dropoff)
            + from_any_base(&trip.dropoff);
        trip.weight_kg <= self.drone_payload_kg
            && way <= self.drone_range_m
            && !self.no_fly.iter().any(|it| it.is_crossed(trip))
    }
}

impl NoFlyZone {
    /// Whether the straight way from pickup to drop-off comes into the circle.
    fn is_crossed(&self, trip: &Trip) -> bool {
        let centre = Location::new(self.latitude, self.longitude);
        // Flat around the centre: right enough over the ways that a drone flies.
        let east_scale = self.latitude.to_radians().cos();
        let flat = |it: &Location| {
            ((it.longitude - self.longitude) * east_scale, it.latitude - self.latitude)
        };
        let (from, to) = (flat(&trip.pickup), flat(&trip.dropoff));
        let (way_east, way_north) = (to.0 - from.0, to.1 - from.1);
        let length = way_north.mul_add(way_north, way_east * way_east);
        let along = -way_north.mul_add(from.1, from.0 * way_east);
        let share = if length > 0.0 { along / length } else { 0.0 };
        trip.pickup.toward(&trip.dropoff, share).distance_m(&centre) < self.radius_m
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn limits() -> Limits {
        Limits {
            drone_payload_kg: 25.0,
            drone_range_m: 20_000.0,
            drone_bases: Location::new(60.169, 24.9425),
            drone_bases_radius_m: 1_500.0,
            no_fly: Vec::new(),
            carrier_payload_kg: 500.0,
            carrier_range_m: 300_000.0,
            depot: Location::new(60.169, 24.9425),
        }
    }

    pub(crate) fn trip(dropoff: (f64, f64), weight_kg: f64) -> Trip {
        Trip {
            pickup: Location::new(60.17, 24.94),
            dropoff: Location::new(dropoff.0, dropoff.1),
            pickup_time: None,
            weight_kg,
        }
    }

    const NEAR: (f64, f64) = (60.175, 24.945);

    #[track_caller]
    fn check(trip: &Trip, expected: Result<Transport, &str>) {
        let decided = limits().decide(trip).map_err(|it| it.to_string());
        assert_eq!(decided.as_ref().map(|it| *it).map_err(String::as_str), expected, "{trip:?}");
    }

    #[test]
    fn a_drone_flies_what_it_can_and_a_van_takes_the_rest() {
        check(&trip(NEAR, 25.0), Ok(Transport::Drone));
        check(&trip(NEAR, 25.1), Ok(Transport::Carrier));
        check(&trip((60.3172, 24.9633), 1.0), Ok(Transport::Carrier));
        check(&trip(NEAR, 900.0), Err("no carrier takes more than 500 kg"));
        check(&trip((66.5039, 25.7294), 1.0), Err("no carrier goes farther than 300000 m"));
    }

    #[test]
    fn no_drone_flies_over_a_zone_even_when_both_ends_lie_outside() {
        let zone = |radius_m| NoFlyZone {
            name: "hospital".to_owned(),
            latitude: 60.1725,
            longitude: 24.9425,
            radius_m,
        };
        let over = Limits { no_fly: vec![zone(50.0)], ..limits() };
        assert_eq!(over.decide(&trip(NEAR, 1.0)), Ok(Transport::Carrier));
        let beside = trip((60.17, 24.96), 1.0);
        assert_eq!(over.decide(&beside), Ok(Transport::Drone));
    }

    #[test]
    fn a_drone_of_any_base_can_fly_what_is_left_to_drones() {
        // The edge of the rule, seen from the base that lies farthest away.
        let mut north = 60.17;
        while limits().decide(&trip((north, 24.94), 1.0)) == Ok(Transport::Drone) {
            north += 0.0005;
        }
        let last = trip((north - 0.0005, 24.94), 1.0);
        let base = Location::new(60.169 - 0.0134, 24.9425);
        let way = base.distance_m(&last.pickup)
            + last.pickup.distance_m(&last.dropoff)
            + last.dropoff.distance_m(&base);
        assert!(way <= 20_000.0, "{way}");
        assert!(way > 15_000.0, "the rule leaves too little to drones: {way}");
    }
}
