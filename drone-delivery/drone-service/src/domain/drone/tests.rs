//! Flights of one drone.

use super::{
    super::samples::{AIRFRAME, rules},
    *,
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn drone() -> Drone {
    Drone::new("drone-0001".to_owned(), Location::new(60.17, 24.94), AIRFRAME, at(0))
}

fn trip() -> Trip {
    Trip {
        pickup: Location::new(60.172, 24.945),
        dropoff: Location::new(60.165, 24.935),
        pickup_time: None,
        weight_kg: 5.0,
    }
}

fn sent(trip: &Trip) -> Drone {
    let mut drone = drone();
    drone.take_off("d1".to_owned(), trip, at(0), &rules(), None).unwrap();
    drone
}

fn phases(changes: &[PhaseChange]) -> Vec<DronePhase> {
    changes.iter().map(|it| it.phase).collect()
}

/// The drone at the moment when it reached a phase.
fn at_phase(trip: &Trip, phase: DronePhase) -> (Drone, Timestamp) {
    let mut drone = sent(trip);
    while drone.phase != phase {
        let due = drone.due(&rules()).expect("the phase is on the way");
        drone.advance(due, &rules());
    }
    let now = drone.due(&rules()).map_or(at(0), |it| it);
    (drone, Timestamp::from_millis(now.as_millis() - 1_000))
}

#[test]
fn a_flight_goes_through_every_phase_in_the_article_s_order() {
    let mut drone = sent(&trip());
    let changes = drone.advance(at(86_400), &rules());
    assert_eq!(
        phases(&changes),
        [
            DronePhase::EnRouteToPickup,
            DronePhase::AtPickup,
            DronePhase::PickedUp,
            DronePhase::EnRouteToDropoff,
            DronePhase::AtDropoff,
            DronePhase::DroppedOff,
            DronePhase::Returning,
            DronePhase::Idle,
        ]
    );
    let served = changes[6].served.as_ref().unwrap();
    assert_eq!(served.delivery_id, "d1");
    assert!(served.metres > 1_500.0 && served.seconds > 100.0, "{served:?}");
    assert!(drone.is_free());
    let sequences: Vec<_> = changes.iter().map(|it| it.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn it_is_where_the_plan_says_and_the_times_add_up() {
    let (drone, _) = at_phase(&trip(), DronePhase::AtPickup);
    let now = drone.due(&rules()).unwrap();
    assert!(drone.position(now, &rules()).distance_m(&trip().pickup) < 0.1);
    let metres = drone.base.distance_m(&trip().pickup);
    let expected = metres / rules().cruise_speed_mps + rules().dwell.as_secs_f64();
    let took = now.saturating_since(at(0)).as_secs_f64();
    assert!((took - expected).abs() < 0.01, "{took} {expected}");
}

#[test]
fn a_release_in_flight_flies_home_from_where_it_is() {
    let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToPickup);
    let away = drone.position(now, &rules());
    assert!(away.distance_m(&drone.base) > 10.0);
    let change = drone.release(now, &rules()).unwrap();
    assert_eq!((change.phase, change.delivery_id), (DronePhase::Returning, None));
    assert!(change.position.distance_m(&away) < 1.0);
    let flown = change.served.unwrap().metres;
    assert!((flown - 2.0 * away.distance_m(&drone.base)).abs() < 1.0, "{flown}");
    assert_eq!(phases(&drone.advance(at(86_400), &rules())), [DronePhase::Idle]);
    assert!(drone.is_free());
}

#[test]
fn nothing_calls_it_back_once_the_package_is_on_board() {
    for phase in [DronePhase::PickedUp, DronePhase::EnRouteToDropoff, DronePhase::DroppedOff] {
        let (mut drone, now) = at_phase(&trip(), phase);
        assert_eq!(drone.release(now, &rules()), Err(ChangeError::PickedUp));
        assert_eq!(drone.reroute(&trip(), at(0), now, &rules()), Err(ChangeError::PickedUp));
    }
}

#[test]
fn a_reroute_in_flight_goes_to_the_new_place_and_numbers_go_on() {
    let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToPickup);
    let before = drone.sequence;
    let other = Trip { pickup: Location::new(60.165, 24.93), ..trip() };
    drone.reroute(&other, at(0), now, &rules()).unwrap();
    let changes = drone.advance(at(86_400), &rules());
    assert_eq!(changes[0].sequence, before + 1);
    assert!(changes[1].position.distance_m(&other.pickup) < 0.1);
    assert_eq!(changes.last().unwrap().phase, DronePhase::Idle);
}

#[test]
fn a_reroute_that_the_drone_cannot_fly_changes_nothing() {
    let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToPickup);
    let before = drone.clone();
    let far = Trip { dropoff: Location::new(60.3172, 24.9633), ..trip() };
    let refused = drone.reroute(&far, at(0), now, &rules());
    assert_eq!(refused, Err(ChangeError::Infeasible(CannotFly::OutOfReach)));
    let heavy = Trip { weight_kg: 26.0, ..trip() };
    assert!(matches!(
        drone.reroute(&heavy, at(0), now, &rules()),
        Err(ChangeError::Infeasible(CannotFly::TooHeavy { .. }))
    ));
    let early = drone.reroute(&trip(), at(90_000), now, &rules());
    assert_eq!(early, Err(ChangeError::TooEarly));
    let zone = fleet_rules::NoFlyZone {
        name: "school".to_owned(),
        latitude: 60.1685,
        longitude: 24.94,
        radius_m: 60.0,
    };
    let zoned = Rules { no_fly: vec![zone], ..rules() };
    let crossing = drone.reroute(&trip(), at(0), now, &zoned);
    assert!(matches!(crossing, Err(ChangeError::Infeasible(CannotFly::NoFly { .. }))));
    assert_eq!(drone, before);
}

#[test]
fn an_empty_drone_charges_before_it_is_idle_and_is_free_when_it_is_full() {
    let long = Trip { dropoff: Location::new(60.245, 24.94), ..trip() };
    let mut drone = sent(&long);
    let free = drone.free_from(&rules()).unwrap();
    let changes = drone.advance(at(86_400), &rules());
    let last = &phases(&changes)[6..];
    assert_eq!(last, [DronePhase::Returning, DronePhase::Charging, DronePhase::Idle]);
    assert!(changes[7].battery < rules().ready_battery);
    assert!(changes[8].battery >= rules().ready_battery);
    let after = drone.free_from(&rules()).unwrap();
    assert!(free.saturating_since(after).max(after.saturating_since(free)).as_secs() < 5);
    assert_eq!(drone.battery(after, &rules()), 1.0);
}

#[test]
fn a_drone_that_fails_before_pick_up_loses_no_delivery_and_after_it_names_it() {
    let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToPickup);
    let change = drone.fail(now, &rules());
    assert_eq!((change.phase, change.delivery_id), (DronePhase::Failed, None));
    let (mut drone, now) = at_phase(&trip(), DronePhase::EnRouteToDropoff);
    let held = drone.battery(now, &rules());
    let change = drone.fail(now, &rules());
    assert_eq!(change.delivery_id.as_deref(), Some("d1"));
    assert_eq!((drone.due(&rules()), drone.free_from(&rules())), (None, None));
    assert_eq!(drone.repair(now, &rules()).battery, held, "a repair is no charger");
    assert!(drone.free_from(&rules()).unwrap() > now);
}
