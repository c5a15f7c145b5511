//! Where a request stands, as a pure fold of the events about it.
//!
//! Events of two topics arrive in no order among each other, and again. What is kept is therefore the
//! facts that they tell, of each kind the newest; the state follows from all of them, so that every
//! order of the same events ends the same. Each cancel and each move has an entry of its own, under
//! the id of its message.

mod facts;

use base::Timestamp;
use contracts::{
    DeliveryStage,
    shipping::{DeliveryEvent, Operation, RequestEvent, RequestEventKind},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::facts::Facts;

/// The word of what a request asks for itself.
const DELIVERY: &str = Operation::Delivery.as_str();

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

/// What became of a cancel or a move. The later ones replace the earlier, never the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OperationState {
    /// It is on its way.
    Pending,
    /// It waits for a person.
    Parked,
    /// It was done.
    Done,
    /// It was not done, for the reason that is given.
    Refused,
    /// It was not done, since a newer one was done before it.
    Superseded,
}

impl OperationState {
    const fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Parked => 1,
            Self::Done | Self::Refused | Self::Superseded => 2,
        }
    }
}

/// A cancel or a move that was asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperationEntry {
    /// Grows from one to the next.
    pub(crate) operation_id: String,
    /// `cancel` or `reschedule`.
    pub(crate) operation: String,
    pub(crate) state: OperationState,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Entries that one request keeps; of more, the newest.
const OPERATIONS_MAX: usize = 16;

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
    pub(crate) last_operation: Option<OperationState>,
    /// What became of each, the oldest first; at most 16.
    #[serde(default)]
    pub(crate) operations: Vec<OperationEntry>,
    /// The stage of the delivery, once it exists.
    pub(crate) stage: Option<DeliveryStage>,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) updated_at: Timestamp,
    /// What the rest follows from; none in a row from before they were kept. Never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub(crate) facts: Option<Facts>,
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
            operations: Vec::new(),
            stage: None,
            updated_at: now,
            facts: None,
        }
    }

    /// As clients read it.
    pub(crate) fn shown(self) -> Self {
        Self { facts: None, ..self }
    }

    /// Takes an event of the Scheduler or the Supervisor in.
    pub(crate) fn heard_of_request(&mut self, event: &RequestEvent) {
        self.learn(|facts| facts.heard_of_request(event));
        self.answered(event);
        self.updated_at = self.updated_at.max(event.occurred_at);
    }

    /// Takes an event of the delivery itself in.
    pub(crate) fn heard_of_delivery(&mut self, event: &DeliveryEvent) {
        self.learn(|facts| facts.heard_of_delivery(event));
        self.updated_at = self.updated_at.max(event.occurred_at);
    }

    /// Takes a fact in, and says anew what follows from all of them.
    fn learn(&mut self, hear: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.take().unwrap_or_else(|| Facts::of(self));
        hear(&mut facts);
        self.state = facts.state();
        self.stage = facts.stage();
        (self.failed_step, self.reason) = facts.explanation();
        self.facts = Some(facts);
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

    /// Notes that a cancel or a move is on its way.
    pub(crate) fn asked(&mut self, operation_id: String, operation: &str) {
        let (operation, reason) = (operation.to_owned(), None);
        let state = OperationState::Pending;
        self.note(OperationEntry { operation_id, operation, state, reason });
    }

    fn answered(&mut self, event: &RequestEvent) {
        let state = match event.kind {
            _ if event.operation == DELIVERY => return,
            RequestEventKind::RequestCancelled | RequestEventKind::RequestRescheduled => {
                OperationState::Done
            }
            RequestEventKind::RequestRefused => OperationState::Refused,
            RequestEventKind::RequestSuperseded => OperationState::Superseded,
            RequestEventKind::RequestParked => OperationState::Parked,
            RequestEventKind::RequestScheduled | RequestEventKind::RequestFailed => return,
        };
        let (operation, reason) = (event.operation.clone(), event.reason.clone());
        match event.operation_id.clone() {
            Some(operation_id) => {
                self.note(OperationEntry { operation_id, operation, state, reason });
            }
            // Of a Scheduler from before operations had ids: there was only the last.
            None => self.last_operation = Some(state),
        }
    }

    /// Takes an entry in. Ids order them, so that it does not matter which was heard of first.
    fn note(&mut self, entry: OperationEntry) {
        match self.operations.binary_search_by(|it| it.operation_id.cmp(&entry.operation_id)) {
            Ok(at) if self.operations[at].state.rank() < entry.state.rank() => {
                self.operations[at] = entry;
            }
            Ok(_) => {}
            Err(at) => self.operations.insert(at, entry),
        }
        let surplus = self.operations.len().saturating_sub(OPERATIONS_MAX);
        self.operations.drain(..surplus);
        self.last_operation = self.operations.last().map(|it| it.state);
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
            operation_id: None,
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

    fn answer(kind: RequestEventKind, operation: &str, id: &str) -> RequestEvent {
        let operation_id = Some(id.to_owned());
        RequestEvent { operation: operation.to_owned(), operation_id, ..request(kind) }
    }

    #[test]
    fn each_operation_has_its_own_answer_in_whatever_order_it_is_heard() {
        use RequestEventKind::{RequestParked, RequestRefused, RequestRescheduled};
        let heard = [
            answer(RequestRescheduled, "reschedule", "m1"),
            answer(RequestParked, "cancel", "m2"),
            answer(RequestRefused, "cancel", "m2"),
            answer(RequestRescheduled, "reschedule", "m3"),
        ];
        let fold = |order: &[usize], asked_first: bool| {
            let mut record = record();
            let ask = |record: &mut RequestRecord| {
                for (id, operation) in
                    [("m1", "reschedule"), ("m2", "cancel"), ("m3", "reschedule")]
                {
                    record.asked(id.to_owned(), operation);
                }
            };
            if asked_first {
                ask(&mut record);
            }
            order.iter().for_each(|it| record.heard_of_request(&heard[*it]));
            if !asked_first {
                ask(&mut record);
            }
            record
        };
        let expected = fold(&[0, 1, 2, 3], true);
        let states: Vec<_> = expected.operations.iter().map(|it| it.state).collect();
        use OperationState::{Done, Refused};
        assert_eq!(states, [Done, Refused, Done]);
        assert_eq!(expected.last_operation, Some(Done));
        for order in [[3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            assert_eq!(fold(&order, false), expected, "{order:?}");
        }
    }

    #[test]
    fn a_cancel_that_is_parked_leaves_the_request_as_it_is_and_shows_at_its_own_entry() {
        let mut record = record();
        record.heard_of_request(&request(RequestEventKind::RequestScheduled));
        record.heard_of_request(&answer(RequestEventKind::RequestParked, "cancel", "m1"));
        assert_eq!(record.state, RequestState::Scheduled);
        assert_eq!(record.last_operation, Some(OperationState::Parked));
        // Asked again, and done.
        record.heard_of_request(&answer(RequestEventKind::RequestCancelled, "cancel", "m2"));
        assert_eq!(record.state, RequestState::Cancelled);
        assert_eq!(record.last_operation, Some(OperationState::Done));
    }

    #[test]
    fn of_many_operations_the_newest_are_kept() {
        let mut record = record();
        for number in 10..40 {
            record.asked(format!("m{number}"), "reschedule");
        }
        let ids: Vec<_> = record.operations.iter().map(|it| it.operation_id.as_str()).collect();
        assert_eq!((ids.len(), ids[0], ids[15]), (16, "m24", "m39"));
    }

    /// Every order of these.
    fn orders(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![Vec::new()];
        }
        let shorter = orders(count - 1);
        let insert = |order: &Vec<usize>, at| {
            let mut longer = order.clone();
            longer.insert(at, count - 1);
            longer
        };
        shorter.iter().flat_map(|it| (0..count).map(move |at| insert(it, at))).collect()
    }

    #[derive(Debug, Clone)]
    enum Heard {
        Request(RequestEvent),
        Delivery(DeliveryEvent),
    }

    fn at(kind: RequestEventKind, at: i64) -> Heard {
        let occurred_at = Timestamp::from_millis(NOW + at);
        Heard::Request(RequestEvent {
            reason: Some(format!("{kind:?}")),
            occurred_at,
            ..request(kind)
        })
    }

    fn stage(stage: DeliveryStage, sequence: u64) -> Heard {
        Heard::Delivery(DeliveryEvent { sequence, ..delivery(stage) })
    }

    #[track_caller]
    fn check_orders(heard: &[Heard], state: RequestState, last: Option<DeliveryStage>) {
        for order in orders(heard.len()) {
            let mut record = record();
            // Each again at the end: a redelivery changes nothing.
            for number in order.iter().chain(&order) {
                match &heard[*number] {
                    Heard::Request(event) => record.heard_of_request(event),
                    Heard::Delivery(event) => record.heard_of_delivery(event),
                }
            }
            assert_eq!((record.state, record.stage), (state, last), "{order:?} of {heard:?}");
        }
    }

    #[test]
    fn every_order_of_the_same_events_ends_the_same() {
        use DeliveryStage::{Completed, Created, Failed, HeadedToDropoff, HeadedToPickup};
        use RequestEventKind::{RequestCancelled, RequestFailed, RequestParked, RequestScheduled};
        let flight = [at(RequestScheduled, 1), stage(Created, 1), stage(HeadedToPickup, 2)];
        let with = |more: &[Heard]| [&flight[..], more].concat();
        check_orders(&flight, RequestState::Scheduled, Some(HeadedToPickup));
        let lost = with(&[stage(HeadedToDropoff, 3), stage(Failed, 4)]);
        check_orders(&lost, RequestState::Failed, Some(Failed));
        let done = with(&[stage(HeadedToDropoff, 3), stage(Completed, 4)]);
        check_orders(&done, RequestState::Completed, Some(Completed));
        // A person helped: it is parked no more, however often that it was is heard.
        let helped = [at(RequestParked, 1), at(RequestScheduled, 2), stage(Created, 1)];
        check_orders(&helped, RequestState::Scheduled, Some(Created));
        // Its undo is parked, with the delivery undone already; then it is over.
        let undoing = [stage(Created, 1), stage(Failed, 2), at(RequestParked, 3)];
        check_orders(&undoing, RequestState::Parked, Some(Failed));
        let undone = [&undoing[..], &[at(RequestFailed, 4)]].concat();
        check_orders(&undone, RequestState::Failed, Some(Failed));
        let called_off = with(&[stage(DeliveryStage::Cancelled, 3), at(RequestCancelled, 5)]);
        check_orders(&called_off, RequestState::Cancelled, Some(DeliveryStage::Cancelled));
    }

    #[test]
    fn a_row_from_before_facts_were_kept_goes_on_from_its_state() {
        for state in [RequestState::Accepted, RequestState::Scheduled, RequestState::Parked] {
            let mut record = RequestRecord { state, ..record() };
            record.heard_of_request(&request(RequestEventKind::RequestScheduled));
            assert_eq!(record.state, RequestState::Scheduled, "from {state:?}");
        }
        for state in [RequestState::Completed, RequestState::Cancelled, RequestState::Failed] {
            let mut record = RequestRecord { state, ..record() };
            record.heard_of_request(&request(RequestEventKind::RequestScheduled));
            assert_eq!(record.state, state, "an end stays");
        }
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
        record.asked("m1".to_owned(), "cancel");
        assert_eq!(record.last_operation, Some(OperationState::Pending));
        record.heard_of_request(&answer(RequestEventKind::RequestRefused, "cancel", "m1"));
        assert_eq!(record.last_operation, Some(OperationState::Refused));
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
