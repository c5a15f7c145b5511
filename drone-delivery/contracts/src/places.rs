//! The gazetteer of the demo city: names to points.
//!
//! Names and points are © `OpenStreetMap` contributors, ODbL 1.0; see `NOTICE`.

use std::{collections::BTreeMap, sync::OnceLock};

use crate::Location;

const TABLE: &str = include_str!("../data/places.tsv");
/// South-west and north-east corner of the square that stand-ins are drawn from.
const SOUTH_WEST: (f64, f64) = (60.160, 24.925);
const NORTH_EAST: (f64, f64) = (60.178, 24.960);

/// What a location text may be: a point, or a name of the gazetteer.
///
/// A point is `lat,lon` or `lat,lon,alt`; a name is matched in any letter case.
#[must_use]
pub fn find(text: &str) -> Option<Location> {
    point(text).or_else(|| names().get(&fold(text)).copied())
}

/// A point of the demo city for a text that means nothing: the same text, the same point.
#[must_use]
pub fn stand_in(text: &str) -> Location {
    let hash = fnv1a(fold(text).as_bytes());
    let share = |bits: u64| f64::from(u16::try_from(bits & 0xffff).unwrap_or(0)) / 65_536.0;
    let between = |from: f64, to: f64, share: f64| (to - from).mul_add(share, from);
    Location::new(
        between(SOUTH_WEST.0, NORTH_EAST.0, share(hash >> 16)),
        between(SOUTH_WEST.1, NORTH_EAST.1, share(hash >> 40)),
    )
}

/// Every place, in the order of its folded name.
pub fn all() -> impl Iterator<Item = Location> {
    names().values().copied()
}

/// `None` when it is not written as a point; a point off the earth is none either.
fn point(text: &str) -> Option<Location> {
    let mut parts = text.split(',').map(|it| it.trim().parse::<f64>());
    let (latitude, longitude) = (parts.next()?.ok()?, parts.next()?.ok()?);
    let altitude = parts.next().transpose().ok()?.unwrap_or(0.0);
    let location = Location { altitude, latitude, longitude };
    (parts.next().is_none() && location.is_valid()).then_some(location)
}

fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

fn names() -> &'static BTreeMap<String, Location> {
    // A cache of constant data: the same for every caller, whoever asks first.
    static NAMES: OnceLock<BTreeMap<String, Location>> = OnceLock::new();
    NAMES.get_or_init(|| TABLE.lines().filter_map(row).collect())
}

fn row(line: &str) -> Option<(String, Location)> {
    let mut cells = line.split('\t');
    let name = cells.next()?;
    let (latitude, longitude) = (cells.next()?.parse().ok()?, cells.next()?.parse().ok()?);
    Some((fold(name), Location::new(latitude, longitude)))
}

/// FNV-1a, 64 bits: spreads short texts well and never changes.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_city_is_found_in_any_letter_case() {
        let place = find("k-market erottaja").unwrap();
        assert!(place.distance_m(&Location::new(60.1699, 24.9384)) < 3_000.0, "{place:?}");
        assert!(all().count() > 900);
    }

    #[test]
    fn a_point_is_read_and_a_point_off_the_earth_is_not() {
        assert_eq!(find("60.3172,24.9633"), Some(Location::new(60.3172, 24.9633)));
        let high = Location { altitude: 30.0, latitude: 1.0, longitude: -2.5 };
        assert_eq!(find(" 1.0 , -2.5 , 30 "), Some(high));
        for text in ["95,0", "1,2,3,4", "1", "a,b", "", "NaN,1", "my pickup"] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn a_stand_in_is_stable_inside_the_city_and_not_the_same_for_all() {
        let (one, other) = (stand_in("my pickup"), stand_in("my dropoff"));
        assert_eq!(one, stand_in("My Pickup "));
        assert!(one.distance_m(&other) > 50.0);
        for location in [one, other] {
            assert!((SOUTH_WEST.0..=NORTH_EAST.0).contains(&location.latitude), "{location:?}");
            assert!((SOUTH_WEST.1..=NORTH_EAST.1).contains(&location.longitude), "{location:?}");
        }
    }
}
