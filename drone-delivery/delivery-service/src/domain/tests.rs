use base::Random;

use super::*;

const PICKUP: Location = Location::new(60.17, 24.94);
const DROPOFF: Location = Location::new(60.18, 24.95);

fn delivery(confirmation_required: ConfirmationType) -> Delivery {
    let owner = Owner { user_id: "u".to_owned(), account_id: "a".to_owned() };
    Delivery::create(
        "d1".to_owned(),
        Order {
            owner,
            pickup: PICKUP,
            dropoff: DROPOFF,
            pickup_time: None,
            deadline: String::new(),
            expedited: false,
            confirmation_required,
            package_id: None,
            drone_id: Some("drone-0001".to_owned()),
        },
    )
}

fn report(milestone: Milestone, sequence: u64) -> Report {
    Report {
        drone_id: Some("drone-0001".to_owned()),
        carrier: None,
        milestone,
        sequence,
        at: Timestamp::from_millis(0),
        location: PICKUP,
        pickup_eta: None,
        delivery_eta: None,
    }
}

fn reschedule() -> Reschedule {
    Reschedule {
        pickup: Some(PICKUP),
        dropoff: Some(PICKUP),
        deadline: None,
        pickup_time: None,
        revision: None,
    }
}

#[track_caller]
fn check(milestones: &[(Milestone, u64)], expected: &[DeliveryStage]) {
    let mut delivery = delivery(ConfirmationType::None);
    let reached: Vec<_> = milestones
        .iter()
        .flat_map(|(it, sequence)| delivery.report(&report(*it, *sequence)))
        .collect();
    assert_eq!(reached, expected);
}

#[test]
fn reports_walk_the_stages_once_each() {
    use DeliveryStage::{Completed, HeadedToDropoff, HeadedToPickup};
    let flight = [
        (Milestone::Assigned, 1),
        (Milestone::HeadedToPickup, 2),
        (Milestone::HeadedToDropoff, 3),
        (Milestone::HeadedToDropoff, 4),
        (Milestone::DroppedOff, 5),
    ];
    check(&flight, &[HeadedToPickup, HeadedToDropoff, Completed]);
}

#[test]
fn a_skipped_stage_is_reached_on_the_way() {
    use DeliveryStage::{Completed, HeadedToDropoff, HeadedToPickup};
    check(&[(Milestone::HeadedToDropoff, 1)], &[HeadedToPickup, HeadedToDropoff]);
    check(&[(Milestone::DroppedOff, 1)], &[HeadedToPickup, HeadedToDropoff, Completed]);
}

#[test]
fn an_old_or_repeated_report_changes_nothing() {
    use DeliveryStage::{HeadedToDropoff, HeadedToPickup};
    let reports = [
        (Milestone::HeadedToPickup, 5),
        (Milestone::HeadedToPickup, 5),
        (Milestone::DroppedOff, 4),
        (Milestone::HeadedToDropoff, 6),
    ];
    check(&reports, &[HeadedToPickup, HeadedToDropoff]);
}

#[test]
fn a_delivery_waits_at_the_doorstep_for_the_confirmation_that_was_asked_for() {
    let mut delivery = delivery(ConfirmationType::Picture);
    delivery.report(&report(Milestone::DroppedOff, 1));
    assert!(delivery.awaits_confirmation());
    let required = ConfirmationType::Picture;
    assert_eq!(
        delivery.confirm(given(ConfirmationType::Voice, 1)),
        Err(ChangeError::OtherConfirmation { required })
    );
    assert_eq!(delivery.confirm(given(required, 2)), Ok(vec![DeliveryStage::Completed]));
    assert!(!delivery.awaits_confirmation());
    assert_eq!(delivery.evidence, Some(given(required, 2)), "of the one that counted");
}

fn given(kind: ConfirmationType, at: i64) -> Evidence {
    let (place, hash) = (Some(DROPOFF), Some("ab".repeat(32)));
    Evidence { kind, at: Timestamp::from_millis(at), place, hash }
}

#[test]
fn a_confirmation_counts_from_when_the_package_is_on_its_way_and_not_before() {
    let mut delivery = delivery(ConfirmationType::Voice);
    for milestone in [None, Some(Milestone::HeadedToPickup)] {
        if let Some(milestone) = milestone {
            delivery.report(&report(milestone, 1));
        }
        let early = delivery.confirm(given(ConfirmationType::Voice, 1));
        assert_eq!(early, Err(ChangeError::TooEarly));
    }
    delivery.report(&report(Milestone::HeadedToDropoff, 2));
    for at in [2, 3] {
        assert_eq!(delivery.confirm(given(ConfirmationType::Voice, at)), Ok(Vec::new()));
    }
    assert_eq!(delivery.evidence, Some(given(ConfirmationType::Voice, 2)), "the first stays");
    let reached = delivery.report(&report(Milestone::DroppedOff, 3));
    assert_eq!(reached.last(), Some(&DeliveryStage::Completed));
}

#[test]
fn a_delivery_is_called_off_until_its_package_is_picked_up() {
    let mut early = delivery(ConfirmationType::None);
    early.report(&report(Milestone::HeadedToPickup, 1));
    let cancelled = early.call_off(Ending::Cancelled, None);
    assert_eq!(cancelled, Ok(vec![DeliveryStage::Cancelled]));
    assert_eq!(
        early.call_off(Ending::Cancelled, None),
        Ok(Vec::new()),
        "again is the same as once"
    );
    let mut late = delivery(ConfirmationType::None);
    late.report(&report(Milestone::HeadedToDropoff, 1));
    assert_eq!(late.call_off(Ending::Cancelled, None), Err(ChangeError::PickedUp));
    assert_eq!(late.reschedule(reschedule()), Err(ChangeError::PickedUp));
}

#[test]
fn a_move_during_the_approach_begins_the_approach_anew() {
    let mut delivery = delivery(ConfirmationType::None);
    delivery.report(&report(Milestone::HeadedToPickup, 1));
    assert_eq!(delivery.reschedule(reschedule()), Ok(vec![DeliveryStage::Rescheduled]));
    let reached = delivery.report(&report(Milestone::HeadedToPickup, 2));
    assert_eq!(reached, [DeliveryStage::HeadedToPickup]);
}

fn agreed(revision: u64, dropoff: Location) -> Reschedule {
    Reschedule { dropoff: Some(dropoff), revision: Some(revision), ..reschedule() }
}

fn door(latitude: f64) -> Location {
    Location { latitude, ..PICKUP }
}

#[test]
fn a_move_that_the_drone_had_agreed_to_is_followed_after_the_pick_up_and_after_the_end() {
    for milestone in [Milestone::HeadedToDropoff, Milestone::DroppedOff] {
        let mut delivery = delivery(ConfirmationType::None);
        delivery.report(&report(milestone, 1));
        let stage = delivery.stage;
        assert_eq!(delivery.reschedule(agreed(3, door(61.0))), Ok(Vec::new()));
        assert_eq!((delivery.order.dropoff, delivery.stage), (door(61.0), stage));
    }
}

#[test]
fn a_lower_revision_changes_nothing() {
    let mut delivery = delivery(ConfirmationType::None);
    let moved = delivery.reschedule(agreed(5, door(61.0)));
    assert_eq!(moved, Ok(vec![DeliveryStage::Rescheduled]));
    let after = delivery.clone();
    for revision in [4, 5] {
        assert_eq!(delivery.reschedule(agreed(revision, door(62.0))), Ok(Vec::new()));
        assert_eq!(delivery, after, "{revision}");
    }
}

#[test]
fn what_a_move_leaves_out_stays_as_it_was() {
    let mut delivery = delivery(ConfirmationType::None);
    delivery.order.deadline = "by noon".to_owned();
    delivery.order.pickup_time = Some(Timestamp::from_millis(9));
    delivery.reschedule(agreed(1, door(61.0))).unwrap();
    assert_eq!(delivery.order.deadline, "by noon");
    assert_eq!(delivery.order.pickup_time, Some(Timestamp::from_millis(9)));
}

#[test]
fn a_move_of_what_was_called_off_changes_nothing() {
    let mut delivery = delivery(ConfirmationType::None);
    delivery.call_off(Ending::Cancelled, None).unwrap();
    let after = delivery.clone();
    assert_eq!(delivery.reschedule(agreed(7, door(61.0))), Ok(Vec::new()));
    assert_eq!(delivery, after);
}

#[test]
fn a_carrier_that_is_lost_fails_the_delivery() {
    let mut delivery = delivery(ConfirmationType::None);
    assert_eq!(delivery.report(&report(Milestone::Lost, 1)), [DeliveryStage::Failed]);
    assert!(delivery.reason.is_some());
}

/// Any history: an end is final, events are numbered without a gap, and no stage but Rescheduled
/// and the approach after it comes twice.
#[test]
fn no_history_leaves_an_end_or_skips_a_number() {
    for seed in 0..500 {
        let mut random = Random::with_seed(seed);
        let mut delivery = delivery(ConfirmationType::Picture);
        let mut numbered = 1;
        let mut ended = None;
        for sequence in 1..30 {
            let reached = any_change(&mut delivery, sequence, &mut random);
            numbered += u64::try_from(reached.len()).unwrap();
            assert_eq!(delivery.sequence, numbered, "seed {seed}");
            if let Some(end) = ended {
                assert_eq!((delivery.stage, reached), (end, Vec::new()), "seed {seed}");
            }
            ended = delivery.stage.is_end().then_some(delivery.stage);
        }
    }
}

fn any_change(delivery: &mut Delivery, sequence: u64, random: &mut Random) -> Reached {
    match random.below(8) {
        0 => delivery.reschedule(reschedule()).unwrap_or_default(),
        1 if random.below(4) == 0 => delivery.call_off(Ending::Cancelled, None).unwrap_or_default(),
        2 => delivery.confirm(given(ConfirmationType::Picture, 1)).unwrap_or_default(),
        3 => delivery.report(&report(Milestone::HeadedToDropoff, sequence)),
        4 if random.below(4) == 0 => delivery.report(&report(Milestone::DroppedOff, sequence)),
        _ => delivery.report(&report(Milestone::HeadedToPickup, sequence)),
    }
}

fn assignment(drone_id: Option<&str>, turn: u64) -> Assignment {
    Assignment {
        drone_id: drone_id.map(str::to_owned),
        turn,
        pickup_eta: Some(Timestamp::from_millis(10)),
        delivery_eta: Some(Timestamp::from_millis(20)),
        reason: None,
    }
}

#[test]
fn a_delivery_follows_the_drone_that_took_over_and_hears_no_more_of_the_first() {
    let mut delivery = delivery(ConfirmationType::None);
    delivery.report(&report(Milestone::HeadedToPickup, 40));
    assert!(delivery.assign(assignment(Some("drone-0002"), 2)));
    assert!(!delivery.assign(assignment(Some("drone-0003"), 1)), "an older word");
    assert_eq!(delivery.order.drone_id.as_deref(), Some("drone-0002"));
    assert_eq!(delivery.delivery_eta, Some(Timestamp::from_millis(20)));
    assert_eq!(delivery.report(&report(Milestone::Lost, 41)), []);
    let second = |milestone, sequence| Report {
        drone_id: Some("drone-0002".to_owned()),
        ..report(milestone, sequence)
    };
    // Its numbers are its own: lower ones are new.
    assert_eq!(delivery.report(&second(Milestone::HeadedToPickup, 3)), []);
    let reached = delivery.report(&second(Milestone::HeadedToDropoff, 5));
    assert_eq!(reached, [DeliveryStage::HeadedToDropoff]);
}

/// A delivery that no drone flies any more.
fn unassigned() -> Delivery {
    let mut delivery = delivery(ConfirmationType::None);
    delivery.report(&report(Milestone::HeadedToPickup, 40));
    let reason = Some("no drone".to_owned());
    let nobody = Assignment { reason, pickup_eta: None, delivery_eta: None, ..assignment(None, 1) };
    assert!(delivery.assign(nobody));
    assert!(delivery.awaits_carrier && delivery.order.drone_id.is_none());
    assert_eq!((delivery.delivery_eta, delivery.stage), (None, DeliveryStage::HeadedToPickup));
    delivery
}

#[test]
fn a_delivery_that_no_drone_can_fly_any_more_goes_on_with_a_carrier() {
    let mut delivery = unassigned();
    assert_eq!(delivery.hand_over(true), []);
    assert_eq!(delivery.hand_over(false), [], "it was answered before");
    assert_eq!(delivery.report(&report(Milestone::Lost, 41)), [], "a drone has nothing to say");
    let van = |milestone, sequence| Report { drone_id: None, ..report(milestone, sequence) };
    let reached = delivery.report(&van(Milestone::DroppedOff, 4));
    assert_eq!(reached, [DeliveryStage::HeadedToDropoff, DeliveryStage::Completed]);
}

#[test]
fn a_delivery_that_nobody_takes_fails_with_the_reason() {
    let mut delivery = unassigned();
    assert_eq!(delivery.hand_over(false), [DeliveryStage::Failed]);
    assert_eq!(delivery.reason.as_deref(), Some("no drone; no carrier takes it either"));
    assert!(!delivery.assign(assignment(Some("drone-0002"), 2)));
}

#[test]
fn a_delivery_that_was_called_off_is_not_handed_over() {
    let mut delivery = unassigned();
    delivery.call_off(Ending::Cancelled, None).unwrap();
    assert_eq!(delivery.hand_over(true), []);
    assert_eq!(delivery.stage, DeliveryStage::Cancelled);
}

const PATIENCE: Patience = Patience {
    grace: std::time::Duration::from_millis(10),
    unpromised: std::time::Duration::from_millis(100),
    recipient: std::time::Duration::from_millis(50),
};

#[track_caller]
fn check_overdue(delivery: &Delivery, changed: i64, after: i64, what: Overdue) {
    let at = |now| {
        let (changed, now) = (Timestamp::from_millis(changed), Timestamp::from_millis(now));
        overdue(delivery, changed, now, PATIENCE)
    };
    assert_eq!((at(after), at(after + 1)), (None, Some(what)), "{:?}", delivery.stage);
}

#[test]
fn a_stage_is_overdue_when_what_was_promised_is_past_by_the_grace() {
    let mut delivery = delivery(ConfirmationType::Picture);
    check_overdue(&delivery, 7, 107, Overdue::Pickup);
    delivery.pickup_eta = Some(Timestamp::from_millis(1_000));
    check_overdue(&delivery, 7, 1_010, Overdue::Pickup);
    // Asked for tomorrow: today's promise of a drone does not count.
    delivery.order.pickup_time = Some(Timestamp::from_millis(2_000));
    check_overdue(&delivery, 7, 2_010, Overdue::Pickup);
    delivery.report(&report(Milestone::HeadedToDropoff, 1));
    delivery.delivery_eta = Some(Timestamp::from_millis(3_000));
    check_overdue(&delivery, 7, 3_010, Overdue::Dropoff);
    // A wish for long ago is no promise older than the wish.
    check_overdue(&delivery, 5_000, 5_010, Overdue::Dropoff);
    delivery
        .report(&Report { at: Timestamp::from_millis(4_000), ..report(Milestone::DroppedOff, 2) });
    check_overdue(&delivery, 7, 4_050, Overdue::Confirmation);
    delivery.confirm(given(ConfirmationType::Picture, 1)).unwrap();
    let never = Timestamp::from_millis(1_000_000);
    assert_eq!(overdue(&delivery, Timestamp::from_millis(7), never, PATIENCE), None);
}
