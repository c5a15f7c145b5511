//! From the drone context and the carriers' into ours: where something physically is, as what it
//! means for a delivery.
//!
//! This is the only module of Shipping that reads those contexts' contracts. A drone at a doorstep
//! is a fact of theirs; a delivery that is completed is one of ours.

use contracts::{
    Location,
    drone_management::{DroneAssignment, DronePhase, DronePhaseChanged, DronePositioned},
    event::{Event as _, name_of},
    third_party_transport::{CarrierPhase, CarrierPhaseChanged},
};

use crate::domain::{Assignment, Milestone, Report};

/// A report about one delivery; `None` when it is about none, or means nothing for it.
pub(crate) fn of_drone(event: &DronePhaseChanged) -> Option<(String, Report)> {
    let milestone = match event.phase {
        DronePhase::Assigned => Milestone::Assigned,
        DronePhase::EnRouteToPickup | DronePhase::AtPickup => Milestone::HeadedToPickup,
        DronePhase::PickedUp | DronePhase::EnRouteToDropoff | DronePhase::AtDropoff => {
            Milestone::HeadedToDropoff
        }
        DronePhase::DroppedOff => Milestone::DroppedOff,
        DronePhase::Failed => Milestone::Lost,
        DronePhase::Idle | DronePhase::Returning | DronePhase::Charging => return None,
    };
    let report = Report {
        drone_id: Some(event.drone_id.clone()),
        carrier: None,
        milestone,
        sequence: event.sequence,
        at: event.occurred_at,
        location: event.position,
        pickup_eta: event.pickup_eta,
        delivery_eta: event.delivery_eta,
    };
    Some((event.delivery_id.clone()?, report))
}

/// What a record about drones is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DroneWord {
    /// A phase that a drone reached; also what comes without a type of ours.
    Phase,
    /// Who flies for a delivery.
    Assignment,
    /// Nothing of ours: a package that somebody must fetch was lost for its delivery before.
    Other,
}

/// What a record of that type is about.
pub(crate) fn word_of(kind: &str) -> DroneWord {
    let is_of =
        |types: Vec<contracts::event::EventType>, name| types.iter().any(|it| it.name == name);
    match name_of(kind) {
        None => DroneWord::Phase,
        Some((name, _)) if is_of(DronePhaseChanged::types(), name) => DroneWord::Phase,
        Some((name, _)) if is_of(DroneAssignment::types(), name) => DroneWord::Assignment,
        Some(_) => DroneWord::Other,
    }
}

/// Who flies for a delivery from now on.
pub(crate) fn of_assignment(event: DroneAssignment) -> (String, Assignment) {
    let assignment = Assignment {
        drone_id: event.drone_id,
        turn: event.turn,
        pickup_eta: event.pickup_eta,
        delivery_eta: event.delivery_eta,
        reason: event.reason,
    };
    (event.delivery_id, assignment)
}

/// A carrier's progress drives the same stages.
pub(crate) fn of_carrier(event: &CarrierPhaseChanged) -> (String, Report) {
    let milestone = match event.phase {
        CarrierPhase::Booked => Milestone::Assigned,
        CarrierPhase::EnRouteToPickup => Milestone::HeadedToPickup,
        CarrierPhase::PickedUp => Milestone::HeadedToDropoff,
        CarrierPhase::DroppedOff => Milestone::DroppedOff,
        CarrierPhase::Failed => Milestone::Lost,
    };
    let report = Report {
        drone_id: None,
        carrier: Some(event.carrier.clone()),
        milestone,
        sequence: event.sequence,
        at: event.occurred_at,
        location: event.position,
        pickup_eta: None,
        delivery_eta: event.delivery_eta,
    };
    (event.delivery_id.clone(), report)
}

/// A position in flight, while it serves a delivery.
pub(crate) fn of_position(event: &DronePositioned) -> Option<(String, Location)> {
    let serves = matches!(
        event.phase,
        DronePhase::EnRouteToPickup
            | DronePhase::AtPickup
            | DronePhase::PickedUp
            | DronePhase::EnRouteToDropoff
            | DronePhase::AtDropoff
    );
    Some((event.delivery_id.clone().filter(|_| serves)?, event.position))
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;

    fn phase(phase: DronePhase) -> DronePhaseChanged {
        DronePhaseChanged {
            drone_id: "drone-0001".to_owned(),
            delivery_id: Some("d1".to_owned()),
            phase,
            position: Location::new(60.17, 24.94),
            battery: 0.5,
            sequence: 9,
            occurred_at: Timestamp::from_millis(0),
            pickup_eta: None,
            delivery_eta: None,
        }
    }

    #[track_caller]
    fn check(from: DronePhase, expected: Option<Milestone>) {
        let report = of_drone(&phase(from));
        assert_eq!(report.map(|it| it.1.milestone), expected, "{from:?}");
    }

    #[test]
    fn each_phase_means_what_the_article_says() {
        check(DronePhase::Idle, None);
        check(DronePhase::Assigned, Some(Milestone::Assigned));
        check(DronePhase::EnRouteToPickup, Some(Milestone::HeadedToPickup));
        check(DronePhase::AtPickup, Some(Milestone::HeadedToPickup));
        check(DronePhase::PickedUp, Some(Milestone::HeadedToDropoff));
        check(DronePhase::EnRouteToDropoff, Some(Milestone::HeadedToDropoff));
        check(DronePhase::AtDropoff, Some(Milestone::HeadedToDropoff));
        check(DronePhase::DroppedOff, Some(Milestone::DroppedOff));
        check(DronePhase::Returning, None);
        check(DronePhase::Charging, None);
        check(DronePhase::Failed, Some(Milestone::Lost));
    }

    #[test]
    fn each_word_about_drones_is_known_by_its_name() {
        use contracts::drone_management as drones;
        let word = |kind: contracts::event::EventType| word_of(&kind.to_string());
        assert_eq!(word(drones::DRONE_PHASE_CHANGED), DroneWord::Phase);
        assert_eq!(word(drones::DRONE_ASSIGNED), DroneWord::Assignment);
        assert_eq!(word(drones::DRONE_REASSIGNED), DroneWord::Assignment);
        assert_eq!(word(drones::DRONE_UNASSIGNED), DroneWord::Assignment);
        assert_eq!(word(drones::PACKAGE_STRANDED), DroneWord::Other);
        assert_eq!(word_of("com.example.Telemetry"), DroneWord::Phase);
    }

    #[test]
    fn a_report_without_a_delivery_means_nothing() {
        let event = DronePhaseChanged { delivery_id: None, ..phase(DronePhase::DroppedOff) };
        assert_eq!(of_drone(&event), None);
    }
}
