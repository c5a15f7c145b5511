//! The floor: how many endpoints of a destination may be excluded at a time.

use crate::Moment;

/// Whether an endpoint may be excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Floor {
    /// It may: while its breaker is open nothing reaches it.
    #[default]
    Excludable,
    /// As many as may be are excluded already. It stays in rotation without waiting for its time,
    /// with one request in flight.
    Kept,
}

/// How many of so many endpoints may be excluded at a time: half, and the only one of one.
#[must_use]
pub const fn excludable_max(endpoints: usize) -> usize {
    let half = endpoints / 2;
    if half == 0 { 1 } else { half }
}

/// The floor of each endpoint, given since when each is open ([`Breaker::open_since`]).
///
/// Those that opened first are excluded, the later ones kept: an exclusion that once holds is not
/// undone by the next endpoint's trouble. To be computed anew when a breaker changes its state or
/// an endpoint comes or goes.
///
/// [`Breaker::open_since`]: super::Breaker::open_since
#[must_use]
pub fn floors(open_since: &[Option<Moment>]) -> Vec<Floor> {
    let mut open: Vec<(Moment, usize)> = open_since
        .iter()
        .enumerate()
        .filter_map(|(index, since)| since.map(|since| (since, index)))
        .collect();
    open.sort_unstable();
    let mut floors = vec![Floor::Excludable; open_since.len()];
    for (_, index) in open.into_iter().skip(excludable_max(open_since.len())) {
        floors[index] = Floor::Kept;
    }
    floors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(open_since: &[Option<u64>], kept: &[usize]) {
        let moments: Vec<_> = open_since.iter().map(|it| it.map(Moment::from_millis)).collect();
        let floors = floors(&moments);
        let found: Vec<_> = (0..floors.len()).filter(|&it| floors[it] == Floor::Kept).collect();
        assert_eq!(found, kept, "{open_since:?}");
    }

    // mesh 12b: 8
    #[test]
    fn those_that_opened_last_beyond_half_are_kept() {
        check(&[], &[]);
        check(&[Some(1)], &[]);
        check(&[Some(1), Some(2)], &[1]);
        check(&[Some(2), Some(1)], &[0]);
        check(&[Some(3), None, Some(1), Some(2)], &[0]);
        check(&[Some(4), Some(3), Some(2), Some(1)], &[0, 1]);
        check(&[Some(1), Some(1), Some(1)], &[1, 2]);
    }
}
