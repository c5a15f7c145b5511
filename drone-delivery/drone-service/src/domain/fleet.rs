//! The fleet as one process knows it: which free drone is nearest, what is due next.
//!
//! The database is right and this is a copy of it, at most a moment old. It only proposes: a booking
//! is decided by the rows, in a transaction, so two processes with two copies cannot book one drone
//! twice. It refuses to be asked what a drone is doing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::{Monotonic, Timestamp};
use contracts::Location;

use super::{
    airframe::Rules,
    drone::{Activity, Drone},
    trip::Trip,
};

/// A drone that was just booked is not proposed again for so long; by then its row has been read.
const CLAIM: Duration = Duration::from_secs(1);

/// A drone with the number of the change that made it what it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) drone: Drone,
    /// Grows with every change of any drone.
    pub(crate) changed: u64,
}

#[derive(Debug)]
struct Slot {
    known: Known,
    due: Option<Timestamp>,
    claimed_until: Monotonic,
    /// Shrinks degrees of longitude to those of latitude at its base.
    east_scale: f64,
}

/// Every drone that this process knows.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    slots: Vec<Slot>,
    by_id: BTreeMap<String, usize>,
    due: BTreeSet<(Timestamp, usize)>,
    airborne: BTreeSet<usize>,
    booked: BTreeSet<usize>,
    seen: u64,
}

impl Fleet {
    /// Forgets everything and takes these in.
    pub(crate) fn replace(&mut self, all: Vec<Known>, rules: &Rules) {
        *self = Self::default();
        self.follow(all, rules);
    }

    /// Takes in what was read in the order of its changes.
    pub(crate) fn follow(&mut self, newer: Vec<Known>, rules: &Rules) {
        for known in newer {
            self.seen = self.seen.max(known.changed);
            self.note(known, rules);
        }
    }

    /// The newest change that was read; what came after it is still to be read.
    pub(crate) const fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes in one drone, unless something newer is known.
    pub(crate) fn note(&mut self, known: Known, rules: &Rules) {
        let index = match self.by_id.get(&known.drone.id) {
            Some(index) if self.slots[*index].known.changed >= known.changed => return,
            Some(index) => *index,
            None => self.slots.len(),
        };
        let due = known.drone.due(rules);
        let old = self.slots.get(index).and_then(|it| it.due);
        if let Some(old) = old {
            self.due.remove(&(old, index));
        }
        self.due.extend(due.map(|it| (it, index)));
        mark(&mut self.airborne, index, known.drone.is_airborne());
        mark(&mut self.booked, index, known.drone.delivery_id().is_some());
        let east_scale = known.drone.base.latitude.to_radians().cos();
        let slot = Slot { known, due, claimed_until: Monotonic::default(), east_scale };
        match self.slots.get_mut(index) {
            Some(place) => *place = slot,
            None => {
                self.by_id.insert(slot.known.drone.id.clone(), index);
                self.slots.push(slot);
            }
        }
    }

    /// The free drone that is nearest to the pickup and can fly the trip now.
    pub(crate) fn nearest(
        &self,
        trip: &Trip,
        now: Timestamp,
        rules: &Rules,
        clock: Monotonic,
    ) -> Option<&str> {
        let mut best: Option<(f64, &Slot)> = None;
        for slot in &self.slots {
            let drone = &slot.known.drone;
            if !drone.is_free() || slot.claimed_until > clock {
                continue;
            }
            // The exact question is asked only of those that would win: a handful of thousands.
            let distance = slot.square_distance(&trip.pickup);
            if best.is_none_or(|it| distance < it.0) && drone.can_serve(trip, now, rules) {
                best = Some((distance, slot));
            }
        }
        best.map(|it| it.1.known.drone.id.as_str())
    }

    /// A drone was booked in a transaction that may still fail: do not propose it for a moment.
    pub(crate) fn claim(&mut self, id: &str, clock: Monotonic) {
        if let Some(index) = self.by_id.get(id) {
            self.slots[*index].claimed_until = clock + CLAIM;
        }
    }

    /// Whether any drone, free and full, could fly the trip.
    pub(crate) fn can_ever_serve(&self, trip: &Trip, rules: &Rules) -> bool {
        self.slots.iter().any(|it| it.known.drone.can_ever_serve(trip, rules))
    }

    /// When the next flight lands, as far as that is planned.
    pub(crate) fn next_landing(&self) -> Option<Timestamp> {
        let landing = |slot: &Slot| match &slot.known.drone.activity {
            Activity::Flying(flight) => Some(flight.ends()),
            Activity::Based { .. } | Activity::Booked { .. } | Activity::Failed { .. } => None,
        };
        self.slots.iter().filter_map(landing).min()
    }

    /// The first moment at which something is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|it| it.0)
    }

    /// The drones whose next phase is due, at most so many, the most overdue first.
    pub(crate) fn due(&self, now: Timestamp, drones_max: usize) -> Vec<Known> {
        let due = self.due.iter().take_while(|it| it.0 <= now).take(drones_max);
        due.map(|it| self.slots[it.1].known.clone()).collect()
    }

    /// The drones in the air, in a fixed order, from one place of that order on, once around.
    pub(crate) fn airborne_from(&self, place: usize) -> impl Iterator<Item = (usize, &Drone)> {
        let (before, after) = (self.airborne.range(..place), self.airborne.range(place..));
        after.chain(before).map(|index| (*index, &self.slots[*index].known.drone))
    }

    /// How many are in the air.
    pub(crate) fn airborne(&self) -> usize {
        self.airborne.len()
    }

    /// How many work for a delivery.
    pub(crate) fn booked(&self) -> usize {
        self.booked.len()
    }
}

impl Slot {
    /// In square degrees of latitude: right enough to say which of two drones is nearer.
    fn square_distance(&self, place: &Location) -> f64 {
        let base = &self.known.drone.base;
        let north = place.latitude - base.latitude;
        let east = (place.longitude - base.longitude) * self.east_scale;
        north.mul_add(north, east * east)
    }
}

fn mark(set: &mut BTreeSet<usize>, index: usize, belongs: bool) {
    if belongs {
        set.insert(index);
    } else {
        set.remove(&index);
    }
}

/// The square that bases are spread over: the demo city.
const SOUTH_WEST: (f64, f64) = (60.160, 24.925);
const NORTH_EAST: (f64, f64) = (60.178, 24.960);
/// Steps of a sequence that fills a square evenly, however long it gets: the inverses of the
/// plastic number and of its square.
const STEPS: (f64, f64) = (0.754_877_666_246_692_8, 0.569_840_290_998_053_2);

/// The id of the `number`-th drone, counted from 1.
pub(crate) fn name_of(number: u32) -> String {
    format!("drone-{number:04}")
}

/// The base of the `number`-th drone: the same on every machine, and evenly spread.
pub(crate) fn base_of(number: u32) -> Location {
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
    use super::{
        super::airframe::tests::{AIRFRAME, RULES},
        *,
    };

    const CLOCK: Monotonic = Monotonic::from_millis(10_000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn fleet(drones: u32) -> Fleet {
        let known = |number| {
            let drone = Drone::new(name_of(number), base_of(number), AIRFRAME, at(0));
            Known { drone, changed: 1 }
        };
        let mut fleet = Fleet::default();
        fleet.replace((1..=drones).map(known).collect(), &RULES);
        fleet
    }

    fn trip() -> Trip {
        Trip {
            pickup: Location::new(60.172, 24.945),
            dropoff: Location::new(60.165, 24.935),
            pickup_time: None,
            weight_kg: 5.0,
        }
    }

    #[test]
    fn the_nearest_free_drone_is_proposed() {
        let fleet = fleet(50);
        let found = fleet.nearest(&trip(), at(0), &RULES, CLOCK).unwrap().to_owned();
        let distance = |number| base_of(number).distance_m(&trip().pickup);
        let nearest = (1..=50).min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap();
        assert_eq!(found, name_of(nearest));
    }

    #[test]
    fn a_drone_that_was_just_claimed_is_passed_over_for_a_moment() {
        let mut fleet = fleet(2);
        let first = fleet.nearest(&trip(), at(0), &RULES, CLOCK).unwrap().to_owned();
        fleet.claim(&first, CLOCK);
        let second = fleet.nearest(&trip(), at(0), &RULES, CLOCK).unwrap().to_owned();
        assert_ne!(first, second);
        fleet.claim(&second, CLOCK);
        assert_eq!(fleet.nearest(&trip(), at(0), &RULES, CLOCK), None);
        let later = CLOCK + CLAIM;
        assert_eq!(fleet.nearest(&trip(), at(0), &RULES, later), Some(first.as_str()));
    }

    #[test]
    fn what_is_older_than_what_is_known_is_dropped() {
        let mut fleet = fleet(1);
        let mut drone = Drone::new(name_of(1), base_of(1), AIRFRAME, at(0));
        drone.book("d1".to_owned(), at(0), &RULES, None).unwrap();
        fleet.note(Known { drone, changed: 5 }, &RULES);
        assert_eq!(fleet.booked(), 1);
        let old = Drone::new(name_of(1), base_of(1), AIRFRAME, at(0));
        fleet.note(Known { drone: old, changed: 4 }, &RULES);
        assert_eq!(fleet.nearest(&trip(), at(0), &RULES, CLOCK), None);
    }

    #[test]
    fn what_is_due_comes_in_the_order_of_its_time() {
        let mut fleet = fleet(3);
        for (number, changed) in [(1, 2), (2, 3)] {
            let mut drone = Drone::new(name_of(number), base_of(number), AIRFRAME, at(0));
            drone.book(format!("d{number}"), at(0), &RULES, None).unwrap();
            let begins = at(100 - i64::from(number));
            drone.send(&trip(), begins, &RULES, None);
            fleet.note(Known { drone, changed }, &RULES);
        }
        assert_eq!(fleet.next_due(), Some(at(98)));
        assert_eq!(fleet.due(at(97), 10), []);
        let due: Vec<_> = fleet.due(at(99), 10).into_iter().map(|it| it.drone.id).collect();
        assert_eq!(due, [name_of(2), name_of(1)]);
        assert_eq!(fleet.due(at(99), 1).len(), 1);
    }

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
