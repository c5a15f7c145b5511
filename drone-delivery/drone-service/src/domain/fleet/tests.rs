//! The copy of one process.

use contracts::Location;
use fleet_rules::{Errand, base_of, name_of};

use super::{
    super::samples::{AIRFRAME, PLAN, rules},
    *,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn drone(number: u32) -> Drone {
    Drone::new(name_of(number), base_of(number), AIRFRAME, at(0))
}

fn fleet(drones: u32) -> Fleet {
    let mut fleet = Fleet::new(PLAN);
    let all = (1..=drones).map(|it| Known { drone: drone(it), changed: 1 }).collect();
    fleet.replace((all, Vec::new()), at(0), &rules());
    fleet
}

fn order(id: &str) -> Order {
    let errand = Errand {
        pickup: Location::new(60.172, 24.945),
        dropoff: Location::new(60.165, 24.935),
        weight_kg: 5.0,
    };
    Order {
        delivery_id: id.to_owned(),
        errand,
        rank: 0,
        not_before: at(0),
        latest: None,
        made: true,
        told: None,
    }
}

fn note(fleet: &mut Fleet, drone_id: &str, order: Order, changed: u64) {
    let delivery_id = order.delivery_id.clone();
    let booked = Booked { delivery_id, waits: Some((drone_id.to_owned(), order)), changed };
    fleet.follow((Vec::new(), vec![booked]), at(0), &rules());
}

#[test]
fn the_nearest_of_those_that_are_free_flies_and_then_the_next() {
    let mut fleet = fleet(50);
    let pickup = order("d1").errand.pickup;
    let mut numbers: Vec<u32> = (1..=50).collect();
    numbers.sort_by(|a, b| {
        base_of(*a).distance_m(&pickup).total_cmp(&base_of(*b).distance_m(&pickup))
    });
    for (expected, id) in numbers.iter().zip(["d1", "d2", "d3"]) {
        let (drone_id, _) = fleet.choose(&order(id), at(0), &rules()).unwrap();
        assert_eq!(drone_id, name_of(*expected), "{id}");
        note(&mut fleet, &drone_id, order(id), 2);
    }
    assert_eq!(fleet.waiting(), 3);
}

#[test]
fn what_is_older_than_what_is_known_is_dropped() {
    let mut fleet = fleet(1);
    let mut failed = drone(1);
    failed.fail(at(0), &rules());
    fleet.note(Known { drone: failed, changed: 5 }, &rules());
    fleet.note(Known { drone: drone(1), changed: 4 }, &rules());
    assert_eq!(fleet.choose(&order("d1"), at(0), &rules()), Err(Refusal::Never(None)));
}

#[test]
fn what_is_due_comes_in_the_order_of_its_time() {
    let mut fleet = fleet(3);
    for (number, begins) in [(1, 99), (2, 98)] {
        let place = order("d").errand.pickup;
        let way = base_of(number).distance_m(&place) / rules().cruise_speed_mps;
        let not_before = at(begins) + fleet_rules::seconds(way);
        let order = Order { not_before, ..order(&format!("d{number}")) };
        note(&mut fleet, &name_of(number), order, 2);
    }
    assert_eq!(fleet.next_due(), Some(at(98)));
    assert!(fleet.due(at(97), 10).is_empty());
    assert_eq!(fleet.due(at(99), 10), [name_of(2), name_of(1)]);
    assert_eq!(fleet.due(at(99), 1).len(), 1);
    let flight = fleet.flight_of(&name_of(2), at(98)).unwrap();
    assert_eq!((flight.order.delivery_id.as_str(), flight.start), ("d2", at(98)));
}
