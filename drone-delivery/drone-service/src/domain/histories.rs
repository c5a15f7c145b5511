//! Random histories of one drone, from a seed: whatever is done to it in whatever order, the
//! battery never goes below nothing, phases go forward, and numbers have no gaps.

use std::time::Duration;

use base::{Random, Timestamp};
use contracts::{Location, drone_management::DronePhase};

use fleet_rules::{Rules, Sortie, base_of};

use super::{
    Drone, PhaseChange, Trip,
    samples::{AIRFRAME, rules},
};

/// Phases that may follow one another.
fn may_follow(before: DronePhase, after: DronePhase) -> bool {
    use DronePhase as P;
    let next: &[P] = match before {
        P::Idle | P::Charging => &[P::EnRouteToPickup, P::Idle],
        // Of a booking, not of a drone.
        P::Assigned => &[],
        P::EnRouteToPickup => &[P::AtPickup, P::EnRouteToPickup, P::Returning],
        P::AtPickup => &[P::PickedUp, P::EnRouteToPickup, P::Returning],
        P::PickedUp => &[P::EnRouteToDropoff],
        P::EnRouteToDropoff => &[P::AtDropoff],
        P::AtDropoff => &[P::DroppedOff],
        P::DroppedOff => &[P::Returning],
        P::Returning | P::Failed => &[P::Idle, P::Charging],
    };
    after == P::Failed || next.contains(&after)
}

fn place(random: &mut Random) -> Location {
    let spread = if random.below(3) == 0 { 0.12 } else { 0.01 };
    Location::new(
        (random.unit() - 0.5).mul_add(spread, 60.169),
        (random.unit() - 0.5).mul_add(spread, 24.942),
    )
}

fn trip(random: &mut Random) -> Trip {
    Trip {
        pickup: place(random),
        dropoff: place(random),
        pickup_time: None,
        weight_kg: random.unit() * 20.0,
    }
}

/// Sends it off as the plan would: full, with a trip that it can fly. Gives whether it went.
fn send(drone: &mut Drone, trip: &Trip, now: Timestamp, rules: &Rules) -> bool {
    let full = drone.free_from(rules).is_some_and(|it| it <= now) && drone.is_free();
    let can = Sortie::plan(&drone.base, &drone.airframe, &trip.errand(), rules).is_ok();
    if full && can {
        drone.take_off("d".to_owned(), trip, now, rules, None).expect("it can");
    }
    full && can
}

/// What one random command announced.
fn command(
    random: &mut Random,
    drone: &mut Drone,
    now: Timestamp,
    rules: &Rules,
) -> Vec<PhaseChange> {
    match random.below(8) {
        0 | 1 => {
            send(drone, &trip(random), now, rules);
            Vec::new()
        }
        2 => {
            // A refusal must change nothing.
            let (before, trip) = (drone.clone(), trip(random));
            if drone.reroute(&trip, Timestamp::default(), now, rules).is_err() {
                assert_eq!(*drone, before);
            }
            Vec::new()
        }
        3 if drone.delivery_id().is_some() => drone.release(now, rules).into_iter().collect(),
        4 if random.below(20) == 0 => {
            vec![drone.fail(now, rules), drone.repair(now, rules)]
        }
        5 => {
            // A restart: what was written is all that is left.
            let text = serde_json::to_string(drone).unwrap();
            *drone = serde_json::from_str(&text).unwrap();
            Vec::new()
        }
        _ => drone.advance(now, rules),
    }
}

fn check(seed: u64) {
    let mut random = Random::with_seed(seed);
    let rules = rules();
    let mut now = Timestamp::from_millis(0);
    let mut drone = Drone::new("drone-0001".to_owned(), base_of(1), AIRFRAME, now);
    let (mut phase, mut sequence) = (drone.phase, drone.sequence);
    for step in 0..400 {
        now = now + Duration::from_millis(random.below(90_000));
        let at = format!("seed {seed}, step {step}");
        for change in command(&mut random, &mut drone, now, &rules) {
            assert!(may_follow(phase, change.phase), "{at}: {phase:?} then {:?}", change.phase);
            assert_eq!(change.sequence, sequence + 1, "{at}");
            // A flight begins only if it ends with the reserve, and calling it back only shortens it.
            let least = rules.reserve - 1e-6;
            assert!((least..=1.0).contains(&change.battery), "{at}: {change:?}");
            assert!(change.at <= now, "{at}");
            (phase, sequence) = (change.phase, change.sequence);
        }
        let battery = drone.battery(now, &rules);
        assert!((0.0..=1.0).contains(&battery), "{at}: {battery}");
        let position = drone.position(now, &rules);
        assert!(position.is_valid() && position.distance_m(&drone.base) < 20_000.0, "{at}");
    }
}

#[test]
fn whatever_is_done_to_a_drone_it_stays_a_drone() {
    let first = fastrand::u64(..);
    println!("seeds from {first}");
    for seed in 0..300 {
        check(first.wrapping_add(seed));
    }
}

#[test]
fn every_flight_takes_as_long_and_as_much_as_the_plan_says() {
    let (mut random, rules) = (Random::with_seed(7), rules());
    let mut flown = 0;
    for _ in 0..500 {
        let now = Timestamp::from_millis(0);
        let mut drone = Drone::new("drone-0001".to_owned(), base_of(2), AIRFRAME, now);
        let trip = trip(&mut random);
        if !send(&mut drone, &trip, now, &rules) {
            continue;
        }
        flown += 1;
        let errand = trip.errand();
        let sortie = Sortie::plan(&drone.base, &drone.airframe, &errand, &rules).unwrap();
        let free = drone.free_from(&rules).unwrap();
        let planned = now + sortie.whole();
        let off = free.saturating_since(planned).max(planned.saturating_since(free));
        assert!(off < Duration::from_millis(20), "{trip:?}: {free} is not {planned}");
        let landed = drone.advance(now + Duration::from_secs(86_400), &rules);
        let lowest = landed.iter().map(|it| it.battery).fold(1.0, f64::min);
        assert!((lowest - (1.0 - sortie.energy)).abs() < 1e-6, "{trip:?}: {lowest}");
        assert!(lowest >= rules.reserve - 1e-9, "{trip:?}: {lowest}");
    }
    assert!(flown > 200, "{flown}");
}
