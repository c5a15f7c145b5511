//! Circles over which no drone may fly. They bind every leg of every flight.

use contracts::Location;
use serde::{Deserialize, Serialize};

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

impl NoFlyZone {
    /// Whether the straight way between two points comes into the circle.
    #[must_use]
    pub fn is_crossed(&self, from: &Location, to: &Location) -> bool {
        let centre = Location::new(self.latitude, self.longitude);
        // Flat around the centre: right enough over the ways that a drone flies.
        let east_scale = self.latitude.to_radians().cos();
        let flat = |it: &Location| {
            ((it.longitude - self.longitude) * east_scale, it.latitude - self.latitude)
        };
        let (begin, end) = (flat(from), flat(to));
        let (way_east, way_north) = (end.0 - begin.0, end.1 - begin.1);
        let length = way_north.mul_add(way_north, way_east * way_east);
        let along = -way_north.mul_add(begin.1, begin.0 * way_east);
        let share = if length > 0.0 { along / length } else { 0.0 };
        from.toward(to, share).distance_m(&centre) < self.radius_m
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_over_a_circle_crosses_it_even_when_both_ends_lie_outside() {
        let zone = NoFlyZone {
            name: "hospital".to_owned(),
            latitude: 60.1725,
            longitude: 24.9425,
            radius_m: 50.0,
        };
        let from = Location::new(60.17, 24.94);
        assert!(zone.is_crossed(&from, &Location::new(60.175, 24.945)));
        assert!(!zone.is_crossed(&from, &Location::new(60.17, 24.96)));
        let inside = Location::new(60.1725, 24.9425);
        assert!(zone.is_crossed(&inside, &inside));
    }
}
