//! Where a request stands, as a pure fold of the events about it.
//!
//! Events of two topics arrive in no order among each other; a state therefore never goes back:
//! each has a rank, an end is final, and what is late only adds what it knows.

use base::Timestamp;
use contracts::{
    DeliveryStage,
    shipping::{DeliveryEvent, RequestEvent, RequestEventKind},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub(crate) enum RequestState {
    /// It is durable.
    Accepted,
    /// The Scheduler has taken it.
    Scheduling,
    /// The delivery exists.
    Scheduled,
    /// It waits for a person.
    Parked,
    /// It is at the doorstep.
    Completed,
    /// It was called off, and everything is undone.
    Cancelled,
    /// It failed, and everything is undone.
    Failed,
}

impl RequestState {
    /// Whether nothing can happen to it any more.
    pub(crate) const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }
}

/// The last thing that was asked for besides the delivery itself, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LastOperation {
    /// A cancel or a move is on its way.
    Pending,
    /// It was done.
    Done,
    /// It came too late.
    Refused,
}

/// A request and where it stands: what `GET` at its `Location` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestRecord {
    pub(crate) delivery_id: String,
    pub(crate) state: RequestState,
    /// The step that failed.
    pub(crate) failed_step: Option<String>,
    /// Why, for people.
    pub(crate) reason: Option<String>,
    /// What became of the last cancel or move.
    pub(crate) last_operation: Option<LastOperation>,
    /// The stage of the delivery, once it exists.
    pub(crate) stage: Option<DeliveryStage>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Timestamp,
}

/// Why a cancel or a move is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooLate {
    /// The package is on its way.
    #[error("the package has been picked up")]
    PickedUp,
    /// It is over.
    #[error("the request is over: {0:?}")]
    Ended(RequestState),
}

impl RequestRecord {
    /// A request that has just become durable.
    pub(crate) fn accepted(delivery_id: String, now: Timestamp) -> Self {
        Self {
            delivery_id,
            state: RequestState::Accepted,
            failed_step: None,
            reason: None,
            last_operation: None,
            stage: None,
            updated_at: now,
        }
    }

    /// Takes an event of the Scheduler or the Supervisor in.
    pub(crate) fn heard_of_request(&mut self, event: &RequestEvent) {
        match event.kind {
            RequestEventKind::RequestScheduled => {
                // Also out of Parked: a person helped.
                if self.state == RequestState::Parked {
                    self.state = RequestState::Scheduled;
                }
                self.move_to(RequestState::Scheduled);
            }
            RequestEventKind::RequestParked => self.park(event),
            RequestEventKind::RequestFailed => {
                self.explain(event);
                self.move_to(RequestState::Failed);
            }
            RequestEventKind::RequestCancelled => {
                self.explain(event);
                self.last_operation = Some(LastOperation::Done);
                self.move_to(RequestState::Cancelled);
            }
            RequestEventKind::RequestRefused => self.last_operation = Some(LastOperation::Refused),
            RequestEventKind::RequestRescheduled => self.last_operation = Some(LastOperation::Done),
        }
        self.updated_at = self.updated_at.max(event.occurred_at);
    }

    /// Takes an event of the delivery itself in.
    pub(crate) fn heard_of_delivery(&mut self, event: &DeliveryEvent) {
        if self.stage.is_none_or(|it| !it.is_end()) {
            self.stage = Some(event.stage);
        }
        match event.stage {
            DeliveryStage::Completed => self.move_to(RequestState::Completed),
            // A workflow that fails or is called off ends with its own event, when everything is
            // undone; a delivery that fails in flight has no workflow any more.
            DeliveryStage::Failed if self.state == RequestState::Scheduled => {
                self.reason = event.reason.clone();
                self.move_to(RequestState::Failed);
            }
            DeliveryStage::Created
            | DeliveryStage::Rescheduled
            | DeliveryStage::HeadedToPickup
            | DeliveryStage::HeadedToDropoff
            | DeliveryStage::Cancelled
            | DeliveryStage::Failed => {}
        }
        self.updated_at = self.updated_at.max(event.occurred_at);
    }

    /// Whether a cancel or a move may still be asked for.
    pub(crate) fn check_open(&self) -> Result<(), TooLate> {
        if self.state.is_end() {
            Err(TooLate::Ended(self.state))
        } else if self.stage == Some(DeliveryStage::HeadedToDropoff) {
            Err(TooLate::PickedUp)
        } else {
            Ok(())
        }
    }

    fn park(&mut self, event: &RequestEvent) {
        self.explain(event);
        // A cancel that is parked leaves the delivery where it is, but a person must see it.
        if !self.state.is_end() {
            self.state = RequestState::Parked;
        }
    }

    fn explain(&mut self, event: &RequestEvent) {
        self.failed_step = event.failed_step.clone().or_else(|| self.failed_step.take());
        self.reason = event.reason.clone().or_else(|| self.reason.take());
    }

    fn move_to(&mut self, state: RequestState) {
        if self.state.is_end() || state <= self.state {
            return;
        }
        self.state = state;
        // What was still on its way finds nothing any more that it could change.
        if state.is_end() && self.last_operation == Some(LastOperation::Pending) {
            self.last_operation = Some(LastOperation::Refused);
        }
    }
}

#[cfg(test)]
mod tests {
    use contracts::{ConfirmationType, Location};

    use super::*;

    const NOW: i64 = 1_000;

    fn record() -> RequestRecord {
        RequestRecord::accepted("d1".to_owned(), Timestamp::from_millis(NOW))
    }

    fn request(kind: RequestEventKind) -> RequestEvent {
        RequestEvent {
            delivery_id: "d1".to_owned(),
            kind,
            operation: "delivery".to_owned(),
            failed_step: None,
            reason: Some("because".to_owned()),
            occurred_at: Timestamp::from_millis(NOW + 1),
        }
    }

    fn delivery(stage: DeliveryStage) -> DeliveryEvent {
        DeliveryEvent {
            event_id: "e".to_owned(),
            delivery_id: "d1".to_owned(),
            stage,
            location: None,
            sequence: 1,
            occurred_at: Timestamp::from_millis(NOW + 2),
            owner_id: "o".to_owned(),
            drone_id: None,
            pickup: Location::default(),
            dropoff: Location::default(),
            pickup_time: None,
            confirmation_required: ConfirmationType::None,
            eta: None,
            reason: None,
        }
    }

    #[test]
    fn a_move_of_a_delivery_that_fails_is_refused() {
        let mut record = record();
        record.last_operation = Some(LastOperation::Pending);
        record.heard_of_request(&request(RequestEventKind::RequestFailed));
        assert_eq!(record.last_operation, Some(LastOperation::Refused));
    }

    #[test]
    fn an_end_is_final_whatever_comes_late() {
        let mut record = record();
        record.heard_of_delivery(&delivery(DeliveryStage::Completed));
        record.heard_of_request(&request(RequestEventKind::RequestScheduled));
        record.heard_of_request(&request(RequestEventKind::RequestParked));
        assert_eq!(record.state, RequestState::Completed);
        assert_eq!(record.check_open(), Err(TooLate::Ended(RequestState::Completed)));
    }

    #[test]
    fn a_delivery_that_fails_before_its_workflow_has_ended_waits_for_the_workflow() {
        let mut record = record();
        record.heard_of_delivery(&delivery(DeliveryStage::Failed));
        assert_eq!(record.state, RequestState::Accepted);
        record.heard_of_request(&request(RequestEventKind::RequestFailed));
        assert_eq!(record.state, RequestState::Failed);
    }

    #[test]
    fn a_delivery_that_fails_in_flight_fails_the_request() {
        let mut record = record();
        record.heard_of_request(&request(RequestEventKind::RequestScheduled));
        record.heard_of_delivery(&delivery(DeliveryStage::Failed));
        assert_eq!(record.state, RequestState::Failed);
    }

    #[test]
    fn nothing_is_asked_for_after_the_package_is_picked_up() {
        let mut record = record();
        assert_eq!(record.check_open(), Ok(()));
        record.heard_of_delivery(&delivery(DeliveryStage::HeadedToDropoff));
        assert_eq!(record.check_open(), Err(TooLate::PickedUp));
    }

    #[test]
    fn a_cancel_that_loses_the_race_shows_as_refused() {
        let mut record = record();
        record.heard_of_request(&request(RequestEventKind::RequestScheduled));
        record.last_operation = Some(LastOperation::Pending);
        record.heard_of_request(&request(RequestEventKind::RequestRefused));
        assert_eq!(record.last_operation, Some(LastOperation::Refused));
        assert_eq!(record.state, RequestState::Scheduled);
    }

    #[test]
    fn a_person_who_helps_unparks_the_request() {
        let mut record = record();
        record.heard_of_request(&request(RequestEventKind::RequestParked));
        assert_eq!(record.state, RequestState::Parked);
        record.heard_of_request(&request(RequestEventKind::RequestScheduled));
        assert_eq!(record.state, RequestState::Scheduled);
    }
}
