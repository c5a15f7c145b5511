use base::Timestamp;
use contracts::{
    ConfirmationType, Location,
    drone_management::{DronePhase, DronePositioned},
    shipping::RequestEventKind,
    third_party_transport::{CarrierPhase, CarrierPhaseChanged},
};

use super::*;

/// What the page hears.
#[derive(Debug, Clone)]
enum Heard {
    Delivery(DeliveryEvent),
    Request(RequestEvent),
}

pub(crate) fn reached(id: &str, sequence: u64, stage: DeliveryStage) -> DeliveryEvent {
    DeliveryEvent {
        event_id: format!("{id}/{sequence}"),
        delivery_id: id.to_owned(),
        stage,
        location: None,
        sequence,
        occurred_at: Timestamp::from_millis(i64::try_from(sequence).unwrap() * 10),
        owner_id: "owner".to_owned(),
        drone_id: Some("drone-1".to_owned()),
        pickup: Location::new(60.17, 24.94),
        dropoff: Location::new(60.16, 24.95),
        pickup_time: None,
        confirmation_required: ConfirmationType::None,
        eta: None,
        reason: None,
    }
}

pub(crate) fn told(id: &str, kind: RequestEventKind) -> RequestEvent {
    RequestEvent {
        delivery_id: id.to_owned(),
        kind,
        operation: "delivery".to_owned(),
        operation_id: None,
        failed_step: Some("package".to_owned()),
        reason: Some("because".to_owned()),
        occurred_at: Timestamp::from_millis(15),
    }
}

pub(crate) fn positioned(id: &str, phase: DronePhase, sequence: u64) -> DronePositioned {
    DronePositioned {
        drone_id: id.to_owned(),
        delivery_id: Some("d1".to_owned()),
        phase,
        position: Location::new(60.17, 24.94),
        battery: 0.5,
        sequence,
        occurred_at: Timestamp::from_millis(1),
    }
}

pub(crate) fn carried(id: &str, phase: CarrierPhase, sequence: u64) -> CarrierPhaseChanged {
    CarrierPhaseChanged {
        delivery_id: id.to_owned(),
        carrier: "acme".to_owned(),
        phase,
        position: Location::new(60.17, 24.94),
        sequence,
        occurred_at: Timestamp::from_millis(1),
        delivery_eta: Some(Timestamp::from_millis(9_000)),
    }
}

/// Where the delivery stands after the stages and the words, whichever topic is read first.
#[track_caller]
fn check(stages: &[DeliveryStage], words: &[RequestEventKind], expected: Standing) {
    let stages = (1..).zip(stages).map(|(it, stage)| Heard::Delivery(reached("d1", it, *stage)));
    let words = words.iter().map(|it| Heard::Request(told("d1", *it)));
    let orders =
        [stages.clone().chain(words.clone()).collect::<Vec<_>>(), words.chain(stages).collect()];
    for order in orders {
        let mut view = View::default();
        for heard in &order {
            match heard {
                Heard::Delivery(event) => view.heard_of_delivery(event),
                Heard::Request(event) => view.heard_of_request(event),
            }
        }
        let mut totals = Totals::default();
        totals.add(expected);
        assert_eq!(view.since(0).deliveries[0].stage, expected, "{order:?}");
        assert_eq!(view.since(0).totals, totals, "{order:?}");
    }
}

#[test]
fn a_delivery_stands_where_it_got_to_whichever_topic_is_read_first() {
    use DeliveryStage::{Cancelled, Completed, Created, Failed, HeadedToDropoff, HeadedToPickup};
    use RequestEventKind::{
        RequestCancelled, RequestFailed, RequestParked, RequestRefused, RequestScheduled,
    };
    check(&[], &[RequestScheduled], Standing::At(Created));
    check(&[Created, HeadedToPickup], &[RequestScheduled], Standing::At(HeadedToPickup));
    check(&[Created, HeadedToDropoff, Completed], &[RequestScheduled], Standing::At(Completed));
    check(&[], &[RequestFailed], Standing::At(Failed));
    check(&[Created, Failed], &[RequestFailed], Standing::At(Failed));
    check(&[Created, Cancelled], &[RequestScheduled, RequestCancelled], Standing::At(Cancelled));
    check(&[Created, Failed], &[RequestScheduled], Standing::At(Failed));
    check(&[Created], &[RequestParked], Standing::Parked);
    check(&[Created, Failed], &[RequestParked], Standing::Parked);
    check(&[Created], &[RequestParked, RequestScheduled], Standing::At(Created));
    check(&[Created], &[RequestScheduled, RequestParked, RequestRefused], Standing::At(Created));
    check(&[Created, Completed], &[RequestScheduled, RequestParked], Standing::At(Completed));
    check(&[], &[RequestFailed, RequestScheduled], Standing::At(Failed));
}

#[test]
fn a_repeated_or_late_event_changes_nothing_but_the_story() {
    let mut view = View::default();
    let stages = [DeliveryStage::Created, DeliveryStage::HeadedToPickup, DeliveryStage::Completed];
    let events: Vec<_> = (1..).zip(stages).map(|(it, stage)| reached("d1", it, stage)).collect();
    for index in [2, 2, 0, 1, 0] {
        view.heard_of_delivery(&events[index]);
    }
    let story = view.find("d1").unwrap();
    let kinds: Vec<_> = story.events.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["Created", "HeadedToPickup", "Completed"]);
    assert_eq!(story.summary.stage, Standing::At(DeliveryStage::Completed));
    assert_eq!(view.since(0).totals, Totals { completed: 1, ..Totals::default() });
}

#[test]
fn what_was_asked_for_is_open_until_something_comes_of_it() {
    let (mut view, at) = (View::default(), Timestamp::from_millis(5));
    view.asked("d1", Operation::Delivery, at);
    assert_eq!(view.find("d1").unwrap().summary.stage, Standing::Accepted);
    assert_eq!(view.since(0).totals.open, 1);
    view.heard_of_delivery(&reached("d1", 1, DeliveryStage::Created));
    view.asked("d1", Operation::Cancel, Timestamp::from_millis(20));
    view.asked("d1", Operation::Delivery, at);
    let story = view.find("d1").unwrap();
    let kinds: Vec<_> = story.events.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["DeliveryRequested", "Created", "CancelRequested"]);
    assert_eq!(story.summary.stage, Standing::At(DeliveryStage::Created));
}

#[test]
fn a_failure_says_at_which_step_and_why() {
    let mut view = View::default();
    view.heard_of_request(&told("d1", RequestEventKind::RequestFailed));
    let story = serde_json::to_value(view.find("d1").unwrap()).unwrap();
    assert_eq!((&story["stage"], &story["failedStep"]), (&"Failed".into(), &"package".into()));
    assert_eq!(story["reason"], "because");
    let line = &story["events"][0];
    assert_eq!(
        (&line["kind"], &line["at"]),
        (&"RequestFailed".into(), &"1970-01-01T00:00:00.015Z".into())
    );
    assert_eq!(line["detail"], "because");
}

#[test]
fn a_reader_gets_only_what_is_newer_than_it_has() {
    let mut view = View::default();
    view.heard_of_drone(positioned("a", DronePhase::Idle, 1).into());
    view.heard_of_delivery(&reached("d1", 1, DeliveryStage::Created));
    let seen = view.since(0);
    assert_eq!((seen.drones.len(), seen.deliveries.len()), (1, 1));
    view.heard_of_delivery(&reached("d2", 1, DeliveryStage::Created));
    let newer = view.since(seen.version);
    assert_eq!(newer.drones, []);
    assert_eq!(newer.deliveries[0].id, "d2");
    assert_eq!(view.since(newer.version).deliveries, []);
}

#[test]
fn the_view_is_bounded_and_forgets_the_stalest_first() {
    let mut view = View::default();
    for index in 0..=DELIVERIES_MAX {
        view.heard_of_delivery(&reached(&format!("d{index}"), 1, DeliveryStage::Created));
    }
    assert_eq!(view.find("d0"), None);
    assert_eq!(view.since(0).totals.open, DELIVERIES_MAX as u64);
    for sequence in 2..200 {
        view.heard_of_delivery(&reached("d1", sequence, DeliveryStage::Rescheduled));
    }
    assert_eq!(view.find("d1").unwrap().events.len(), 64);
    for index in 0..DRONES_MAX + 10 {
        view.heard_of_drone(positioned(&index.to_string(), DronePhase::Idle, 1).into());
    }
    assert_eq!(view.since(0).drones.len(), DRONES_MAX);
}

#[test]
fn what_was_completed_stays_counted_when_it_is_forgotten() {
    let mut view = View::default();
    for index in 0..=DELIVERIES_MAX {
        view.heard_of_delivery(&reached(&format!("d{index}"), 1, DeliveryStage::Completed));
    }
    assert_eq!(view.since(0).totals.completed, DELIVERIES_MAX as u64 + 1);
}

#[test]
fn an_old_position_does_not_move_a_drone_back() {
    let mut view = View::default();
    view.heard_of_drone(positioned("a", DronePhase::Returning, 7).into());
    view.heard_of_drone(positioned("a", DronePhase::EnRouteToPickup, 3).into());
    assert_eq!(view.since(0).drones[0].phase, DronePhase::Returning);
}

#[test]
fn drones_away_from_their_base_are_in_flight() {
    let mut view = View::default();
    for (sequence, phase, flying) in [
        (1, DronePhase::Assigned, 0),
        (2, DronePhase::EnRouteToPickup, 1),
        (3, DronePhase::EnRouteToDropoff, 1),
        (4, DronePhase::Charging, 0),
    ] {
        view.heard_of_drone(positioned("a", phase, sequence).into());
        assert_eq!(view.since(0).totals.flying, flying, "{phase:?}");
    }
}

#[test]
fn a_drone_is_written_as_the_map_reads_it() {
    let drone = Drone::from(positioned("a", DronePhase::EnRouteToPickup, 1));
    let expected = serde_json::json!({"id": "a", "lat": 60.17, "lon": 24.94, "battery": 0.5,
        "phase": "EnRouteToPickup", "deliveryId": "d1"});
    assert_eq!(serde_json::to_value(drone).unwrap(), expected);
}

#[test]
fn a_vehicle_is_where_it_was_heard_of_last_and_leaves_the_map_when_it_is_done() {
    let mut view = View::default();
    for (phase, sequence) in
        [(CarrierPhase::PickedUp, 3), (CarrierPhase::EnRouteToPickup, 2), (CarrierPhase::Booked, 1)]
    {
        view.heard_of_vehicle(carried("d1", phase, sequence).into());
    }
    let [vehicle] = &view.since(0).vehicles[..] else { panic!("one vehicle") };
    assert_eq!(
        (vehicle.phase, vehicle.eta),
        (CarrierPhase::PickedUp, Some(Timestamp::from_millis(9_000)))
    );
    let seen = view.version();
    view.heard_of_vehicle(carried("d1", CarrierPhase::DroppedOff, 4).into());
    assert_eq!(view.since(seen).vehicles.len(), 1, "who shows it hears that it is done");
    assert_eq!(view.since(0).vehicles, [], "who begins does not");
}

#[test]
fn vehicles_that_are_done_make_room_and_past_the_bound_none_is_taken_in() {
    let mut view = View::default();
    for number in 0..VEHICLES_MAX {
        view.heard_of_vehicle(carried(&format!("d{number}"), CarrierPhase::Booked, 1).into());
    }
    view.heard_of_vehicle(carried("more", CarrierPhase::Booked, 1).into());
    assert_eq!(view.vehicles.len(), VEHICLES_MAX);
    view.heard_of_vehicle(carried("d7", CarrierPhase::DroppedOff, 2).into());
    view.heard_of_vehicle(carried("more", CarrierPhase::Booked, 1).into());
    assert!(view.vehicles.contains_key("more") && !view.vehicles.contains_key("d7"));
}
