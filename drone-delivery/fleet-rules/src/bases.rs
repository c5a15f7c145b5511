//! Where the drones of the demo city stand: the same on every machine.

use contracts::Location;

/// The square that bases are spread over: the demo city.
const SOUTH_WEST: (f64, f64) = (60.160, 24.925);
const NORTH_EAST: (f64, f64) = (60.178, 24.960);
/// Steps of a sequence that fills a square evenly, however long it gets: the inverses of the
/// plastic number and of its square.
const STEPS: (f64, f64) = (0.754_877_666_246_692_8, 0.569_840_290_998_053_2);

/// The id of the `number`-th drone, counted from 1.
#[must_use]
pub fn name_of(number: u32) -> String {
    format!("drone-{number:04}")
}

/// The base of the `number`-th drone, evenly spread.
#[must_use]
pub fn base_of(number: u32) -> Location {
    let between = |from: f64, to: f64, step: f64| {
        let share = f64::from(number).mul_add(step, 0.5).fract();
        (to - from).mul_add(share, from)
    };
    Location::new(
        between(SOUTH_WEST.0, NORTH_EAST.0, STEPS.0),
        between(SOUTH_WEST.1, NORTH_EAST.1, STEPS.1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_spread_over_the_city() {
        let centre = Location::new(60.169, 24.9425);
        for number in 1..=500 {
            assert!(base_of(number).distance_m(&centre) < 1_500.0, "{number}");
        }
        let north = (1..=100).filter(|it| base_of(*it).latitude > centre.latitude).count();
        assert!((40..=60).contains(&north), "{north}");
        assert_eq!(name_of(7), "drone-0007");
    }
}
