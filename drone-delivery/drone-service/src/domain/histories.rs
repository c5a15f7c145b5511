//! Random histories of one drone, from a seed: whatever is done to it in whatever order, the
//! battery never goes below nothing, phases go forward, and numbers have no gaps.

use std::time::Duration;

use base::{Random, Timestamp};
use contracts::{Location, drone_management::DronePhase};

use super::{
    Drone, PhaseChange, Trip,
    airframe::tests::{AIRFRAME, RULES},
    base_of,
};

/// Phases that may follow one another.
fn may_follow(before: DronePhase, after: DronePhase) -> bool {
    use DronePhase as P;
    let next: &[P] = match before {
        P::Idle | P::Charging => &[P::Assigned, P::Idle],
        // A waiting flight is announced again once its times are known.
        P::Assigned => &[P::EnRouteToPickup, P::Assigned, P::Idle, P::Charging],
        P::EnRouteToPickup => &[P::AtPickup, P::EnRouteToPickup, P::Returning],
        P::AtPickup => &[P::PickedUp, P::EnRouteToPickup, P::Returning],
        P::PickedUp => &[P::EnRouteToDropoff],
        P::EnRouteToDropoff => &[P::AtDropoff],
        P::AtDropoff => &[P::DroppedOff],
        P::DroppedOff => &[P::Returning],
        // Called home to wait there for a later pickup time, or moved to an earlier one on the way.
        P::Returning => &[P::Idle, P::Charging, P::Assigned, P::EnRouteToPickup, P::Returning],
        P::Failed => &[P::Idle],
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

fn trip(random: &mut Random, now: Timestamp) -> Trip {
    let wait = Duration::from_secs(random.below(3_000));
    Trip {
        pickup: place(random),
        dropoff: place(random),
        pickup_time: (random.below(3) == 0).then(|| now + wait),
        weight_kg: random.unit() * 20.0,
    }
}

/// What one random command announced.
fn command(random: &mut Random, drone: &mut Drone, now: Timestamp) -> Vec<PhaseChange> {
    match random.below(8) {
        0 | 1 => {
            let trip = trip(random, now);
            if !drone.can_serve(&trip, now, &RULES) {
                return Vec::new();
            }
            let booked = drone.book("d".to_owned(), now, &RULES, None).expect("it is free");
            // Sometimes the booking is all that ever happens.
            if random.below(5) > 0 {
                drone.send(&trip, now, &RULES, None);
            }
            vec![booked]
        }
        2 => {
            // A refusal must change nothing.
            let (before, trip) = (drone.clone(), trip(random, now));
            if drone.reroute(&trip, now, &RULES).is_err() {
                assert_eq!(*drone, before);
            }
            Vec::new()
        }
        3 if drone.delivery_id().is_some() => drone.release(now, &RULES).into_iter().collect(),
        4 if random.below(20) == 0 => {
            vec![drone.fail(now, &RULES), drone.repair(now, &RULES)]
        }
        5 => {
            // A restart: what was written is all that is left.
            let text = serde_json::to_string(drone).unwrap();
            *drone = serde_json::from_str(&text).unwrap();
            Vec::new()
        }
        _ => drone.advance(now, &RULES),
    }
}

fn check(seed: u64) {
    let mut random = Random::with_seed(seed);
    let mut now = Timestamp::from_millis(0);
    let mut drone = Drone::new("drone-0001".to_owned(), base_of(1), AIRFRAME, now);
    let (mut phase, mut sequence) = (drone.phase, drone.sequence);
    for step in 0..400 {
        now = now + Duration::from_millis(random.below(90_000));
        let at = format!("seed {seed}, step {step}");
        for change in command(&mut random, &mut drone, now) {
            assert!(may_follow(phase, change.phase), "{at}: {phase:?} then {:?}", change.phase);
            assert_eq!(change.sequence, sequence + 1, "{at}");
            // A flight begins only if it ends with the reserve, and calling it back only shortens it.
            let least = RULES.reserve - 1e-6;
            assert!((least..=1.0).contains(&change.battery), "{at}: {change:?}");
            assert!(change.at <= now, "{at}");
            (phase, sequence) = (change.phase, change.sequence);
        }
        let battery = drone.battery(now, &RULES);
        assert!((0.0..=1.0).contains(&battery), "{at}: {battery}");
        let position = drone.position(now, &RULES);
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
fn no_flight_of_a_random_history_lands_below_the_reserve() {
    let mut random = Random::with_seed(7);
    for _ in 0..500 {
        let now = Timestamp::from_millis(0);
        let mut drone = Drone::new("drone-0001".to_owned(), base_of(2), AIRFRAME, now);
        let trip = trip(&mut random, now);
        if !drone.can_serve(&trip, now, &RULES) {
            continue;
        }
        drone.book("d".to_owned(), now, &RULES, None).unwrap();
        drone.send(&trip, now, &RULES, None);
        let landed = drone.advance(now + Duration::from_secs(86_400), &RULES);
        let lowest = landed.iter().map(|it| it.battery).fold(1.0, f64::min);
        assert!(lowest >= RULES.reserve - 1e-9, "{trip:?}: {lowest}");
    }
}
