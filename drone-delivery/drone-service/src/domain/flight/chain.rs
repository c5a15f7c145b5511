//! The legs of a flight as they are kept: each begins where, when and with what the one before ends.
//!
//! The row of a drone is written at each of its phases, and whole. With both ends of every leg it took
//! three pages of the database, so it takes one.

use std::time::Duration;

use base::Timestamp;
use contracts::{Location, drone_management::DronePhase};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Leg;

/// What stands in the document of a drone.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Chain(Chain),
    /// As all were kept before; and what is no chain.
    Each(Vec<Leg>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Chain {
    /// Latitude and longitude.
    from: (f64, f64),
    /// Milliseconds since 1970.
    starts: i64,
    battery: f64,
    links: Vec<Link>,
}

/// A phase, how many milliseconds it lasts, what is left in the battery then; and where it leads,
/// when that is another place.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Link {
    Stay(DronePhase, u64, f64),
    Move(DronePhase, u64, f64, f64, f64),
}

pub(super) fn serialize<S: Serializer>(legs: &[Leg], serializer: S) -> Result<S::Ok, S::Error> {
    let kept = chained(legs).map_or_else(|| Kept::Each(legs.to_vec()), Kept::Chain);
    kept.serialize(serializer)
}

pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<Leg>, D::Error> {
    Kept::deserialize(deserializer).map(|it| match it {
        Kept::Chain(chain) => chain.legs(),
        Kept::Each(legs) => legs,
    })
}

/// None when something would be lost.
fn chained(legs: &[Leg]) -> Option<Chain> {
    let first = legs.first()?;
    let is_chain = legs.windows(2).all(|it| {
        let (one, next) = (&it[0], &it[1]);
        (one.to, one.ends, one.battery_to) == (next.from, next.starts, next.battery_from)
    });
    let is_on_ground = |it: &Leg| it.from.altitude == 0.0 && it.to.altitude == 0.0;
    let in_order = |it: &Leg| it.ends >= it.starts;
    if !is_chain || !legs.iter().all(|it| is_on_ground(it) && in_order(it)) {
        return None;
    }
    let links = legs.iter().map(Link::of).collect();
    let Location { latitude, longitude, .. } = first.from;
    let (starts, battery) = (first.starts.as_millis(), first.battery_from);
    Some(Chain { from: (latitude, longitude), starts, battery, links })
}

impl Link {
    fn of(leg: &Leg) -> Self {
        let lasts = leg.ends.saturating_since(leg.starts);
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let (phase, battery, to) = (leg.phase, leg.battery_to, leg.to);
        if to == leg.from {
            Self::Stay(phase, lasts, battery)
        } else {
            Self::Move(phase, lasts, battery, to.latitude, to.longitude)
        }
    }
}

impl Chain {
    fn legs(self) -> Vec<Leg> {
        let mut from = Location::new(self.from.0, self.from.1);
        let (mut starts, mut battery_from) = (Timestamp::from_millis(self.starts), self.battery);
        let leg = |link: Link| {
            let (phase, lasts, battery_to, to) = match link {
                Link::Stay(phase, lasts, battery) => (phase, lasts, battery, from),
                Link::Move(phase, lasts, battery, latitude, longitude) => {
                    (phase, lasts, battery, Location::new(latitude, longitude))
                }
            };
            let ends = starts + Duration::from_millis(lasts);
            let leg = Leg { phase, from, to, starts, ends, battery_from, battery_to };
            (from, starts, battery_from) = (to, ends, battery_to);
            leg
        };
        self.links.into_iter().map(leg).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        flight::{Departure, Flight},
        samples::{AIRFRAME, rules},
        trip::Trip,
    };

    fn flight() -> Flight {
        let trip = Trip {
            pickup: Location::new(60.164_027_154_652_57, 24.933_775_571_795_12),
            dropoff: Location::new(60.168_300_156_750_16, 24.936_237_029_843_465),
            pickup_time: None,
            weight_kg: 3.0,
        };
        let departure = Departure {
            from: Location::new(60.166_012_345_678_91, 24.940_123_456_789_01),
            battery: 0.912_345_678_901,
            now: Timestamp::from_millis(1_700_000_000_123),
            base: Location::new(60.162_012_345_678_91, 24.944_123_456_789_01),
            airframe: &AIRFRAME,
            rules: &rules(),
        };
        Flight::serving("d1".to_owned(), &trip, departure, None)
    }

    #[test]
    fn a_flight_is_kept_in_a_quarter_of_its_length_and_read_as_it_was() {
        let flight = flight();
        let text = serde_json::to_string(&flight).unwrap();
        let each = serde_json::to_string(&flight.legs).unwrap();
        assert!(text.len() * 4 <= each.len() + 4 * 60, "{text}");
        assert_eq!(serde_json::from_str::<Flight>(&text).unwrap(), flight);
    }

    #[test]
    fn a_flight_of_a_program_that_kept_both_ends_of_each_leg_is_read() {
        let flight = flight();
        let mut document = serde_json::to_value(&flight).unwrap();
        document["legs"] = serde_json::to_value(&flight.legs).unwrap();
        assert_eq!(serde_json::from_value::<Flight>(document).unwrap(), flight);
    }

    #[test]
    fn legs_with_a_gap_between_them_or_in_the_air_lose_nothing() {
        let (mut gap, mut up) = (flight(), flight());
        gap.legs[2].starts = gap.legs[2].ends;
        up.legs[0].from.altitude = 40.0;
        for flight in [gap, up] {
            let text = serde_json::to_string(&flight).unwrap();
            assert_eq!(serde_json::from_str::<Flight>(&text).unwrap(), flight);
        }
    }
}
