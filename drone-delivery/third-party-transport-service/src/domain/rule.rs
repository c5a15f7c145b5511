//! The rule: a drone when one can, a carrier when none can, nobody past the carrier's limits.

use contracts::Location;
use fleet_rules::{Airframe, Errand, Rules, Sortie, base_of};

use super::trip::Trip;

/// Drones that are asked about one trip: their bases are spread evenly, so the first of them stand
/// for all.
const ASKED_MAX: u32 = 20;

/// What drones and carriers can do, as far as this context knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits {
    pub(crate) airframe: Airframe,
    pub(crate) rules: Rules,
    pub(crate) drones: u32,
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
    /// The fleet has none, and no carrier takes it.
    Nobody,
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
        self.check_carrier(trip).map(|()| Transport::Carrier)
    }

    /// Whether a carrier takes it, whatever the fleet can.
    pub(crate) fn check_carrier(&self, trip: &Trip) -> Result<(), NoTransport> {
        let (carrier_payload_kg, carrier_range_m) = (self.carrier_payload_kg, self.carrier_range_m);
        let way = self.depot.distance_m(&trip.pickup) + trip.pickup.distance_m(&trip.dropoff);
        if trip.weight_kg > carrier_payload_kg {
            Err(NoTransport::TooHeavy { carrier_payload_kg })
        } else if way > carrier_range_m {
            Err(NoTransport::TooFar { carrier_range_m })
        } else {
            Ok(())
        }
    }

    /// Whether any drone could, by the rules that the fleet itself plans by.
    fn drone_can(&self, trip: &Trip) -> bool {
        let Trip { pickup, dropoff, weight_kg, .. } = trip;
        let errand = Errand { pickup: *pickup, dropoff: *dropoff, weight_kg: *weight_kg };
        (1..=self.drones.min(ASKED_MAX)).any(|number| {
            Sortie::plan(&base_of(number), &self.airframe, &errand, &self.rules).is_ok()
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use fleet_rules::{FleetConfig, NoFlyZone};

    use super::*;

    pub(crate) fn limits() -> Limits {
        Limits {
            airframe: FleetConfig::default().airframe(),
            rules: Rules { no_fly: Vec::new(), ..FleetConfig::default().rules() },
            drones: 20,
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
        let rules = Rules { no_fly: vec![zone(50.0)], ..limits().rules };
        let over = Limits { rules, ..limits() };
        assert_eq!(over.decide(&trip(NEAR, 1.0)), Ok(Transport::Carrier));
        let beside = trip((60.17, 24.96), 1.0);
        assert_eq!(over.decide(&beside), Ok(Transport::Drone));
    }

    #[test]
    fn what_the_fleet_of_other_settings_cannot_lift_goes_to_a_carrier() {
        let config = FleetConfig { payload_kg: 10.0, ..FleetConfig::default() };
        let weaker = Limits { airframe: config.airframe(), ..limits() };
        assert_eq!(weaker.decide(&trip(NEAR, 15.0)), Ok(Transport::Carrier));
        let none = Limits { drones: 0, ..limits() };
        assert_eq!(none.decide(&trip(NEAR, 1.0)), Ok(Transport::Carrier));
    }
}
