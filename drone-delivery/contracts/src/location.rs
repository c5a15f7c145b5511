//! A point over the ground.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A point: degrees (WGS 84) and metres above the ground.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Location {
    /// Metres above the ground.
    #[serde(default)]
    pub altitude: f64,
    /// Degrees north, -90 to 90.
    #[schema(minimum = -90, maximum = 90)]
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    #[schema(minimum = -180, maximum = 180)]
    pub longitude: f64,
}

/// Mean radius of the earth in metres (IUGG).
const EARTH_RADIUS_M: f64 = 6_371_008.8;

impl Location {
    /// A point on the ground.
    #[must_use]
    pub const fn new(latitude: f64, longitude: f64) -> Self {
        Self { altitude: 0.0, latitude, longitude }
    }

    /// Whether it is a point on earth at all.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.altitude.is_finite()
            && (-90.0..=90.0).contains(&self.latitude)
            && (-180.0..=180.0).contains(&self.longitude)
    }

    /// Metres over the ground between two points: the haversine formula on a sphere.
    #[must_use]
    pub fn distance_m(&self, other: &Self) -> f64 {
        let (from, to) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_north = ((to - from) / 2.0).sin();
        let half_east = ((other.longitude - self.longitude).to_radians() / 2.0).sin();
        let chord = half_north.powi(2) + from.cos() * to.cos() * half_east.powi(2);
        2.0 * EARTH_RADIUS_M * chord.sqrt().min(1.0).asin()
    }

    /// The point at that share of the straight way to `other`; 0 is here, 1 is there. Good for the
    /// distances of a city, where the sphere is flat.
    #[must_use]
    pub fn toward(&self, other: &Self, share: f64) -> Self {
        let share = share.clamp(0.0, 1.0);
        let between = |from: f64, to: f64| (to - from).mul_add(share, from);
        Self {
            altitude: between(self.altitude, other.altitude),
            latitude: between(self.latitude, other.latitude),
            longitude: between(self.longitude, other.longitude),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELSINKI: Location = Location::new(60.1699, 24.9384);

    #[test]
    fn a_known_distance_is_met_within_a_percent() {
        let tallinn = Location::new(59.4370, 24.7536);
        let metres = HELSINKI.distance_m(&tallinn);
        assert!((81_500.0..83_200.0).contains(&metres), "{metres}");
        assert!(HELSINKI.distance_m(&HELSINKI) < 1e-6);
    }

    #[test]
    fn half_the_way_is_as_far_from_both_ends() {
        let there = Location::new(60.1799, 24.9484);
        let middle = HELSINKI.toward(&there, 0.5);
        assert!((middle.distance_m(&HELSINKI) - middle.distance_m(&there)).abs() < 1.0);
        assert_eq!(HELSINKI.toward(&there, 7.0), there);
    }

    #[test]
    fn points_off_the_earth_are_refused() {
        assert!(HELSINKI.is_valid());
        assert!(!Location::new(91.0, 0.0).is_valid());
        assert!(!Location::new(0.0, f64::NAN).is_valid());
    }
}
