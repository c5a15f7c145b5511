//! What is known of a request: of each kind of fact the newest, so that the order in which they are
//! heard does not matter.

use base::Timestamp;
use contracts::{
    DeliveryStage,
    shipping::{DeliveryEvent, RequestEvent, RequestEventKind},
};
use serde::{Deserialize, Serialize};

use super::{DELIVERY, RequestRecord, RequestState};

/// The facts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// When the delivery was made.
    scheduled: Option<Timestamp>,
    /// When it last waited for a person, and why.
    parked: Option<Word>,
    /// How the workflow ended, when it came to nothing.
    undone: Option<(Undone, Word)>,
    /// How far the delivery is.
    stage: Option<Reached>,
}

/// How a workflow ended that came to nothing. The later ones win over the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Undone {
    Failed,
    Cancelled,
}

/// What was said, and when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Word {
    at: Timestamp,
    failed_step: Option<String>,
    reason: Option<String>,
}

/// A stage that a delivery reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reached {
    sequence: u64,
    stage: DeliveryStage,
    reason: Option<String>,
}

impl Word {
    fn of(event: &RequestEvent) -> Self {
        let (failed_step, reason) = (event.failed_step.clone(), event.reason.clone());
        Self { at: event.occurred_at, failed_step, reason }
    }
}

impl Facts {
    /// What a row says that was written before facts were kept.
    pub(crate) fn of(record: &RequestRecord) -> Self {
        let (at, failed_step) = (record.updated_at, record.failed_step.clone());
        let word = Word { at, failed_step, reason: record.reason.clone() };
        let stage = record.stage.map(|stage| Reached { sequence: 0, stage, reason: None });
        let known = Self { stage, ..Self::default() };
        match record.state {
            RequestState::Accepted | RequestState::Scheduling => known,
            RequestState::Scheduled => Self { scheduled: Some(at), ..known },
            RequestState::Parked => Self { parked: Some(word), ..known },
            RequestState::Cancelled => Self { undone: Some((Undone::Cancelled, word)), ..known },
            RequestState::Failed => Self { undone: Some((Undone::Failed, word)), ..known },
            RequestState::Completed => {
                let stage = DeliveryStage::Completed;
                let reached = Reached { sequence: u64::MAX, stage, reason: None };
                Self { stage: Some(reached), ..known }
            }
        }
    }

    pub(super) fn heard_of_request(&mut self, event: &RequestEvent) {
        let word = Word::of(event);
        match event.kind {
            RequestEventKind::RequestScheduled => {
                self.scheduled = self.scheduled.max(Some(event.occurred_at));
            }
            // A cancel or a move that is parked leaves the request as it is.
            RequestEventKind::RequestParked if event.operation == DELIVERY => {
                self.parked = self.parked.take().max(Some(word));
            }
            RequestEventKind::RequestFailed => self.undone_as(Undone::Failed, word),
            RequestEventKind::RequestCancelled => self.undone_as(Undone::Cancelled, word),
            RequestEventKind::RequestParked
            | RequestEventKind::RequestRefused
            | RequestEventKind::RequestSuperseded
            | RequestEventKind::RequestRescheduled => {}
        }
    }

    fn undone_as(&mut self, how: Undone, word: Word) {
        self.undone = self.undone.take().max(Some((how, word)));
    }

    pub(super) fn heard_of_delivery(&mut self, event: &DeliveryEvent) {
        let Reached { sequence, stage, .. } = match &self.stage {
            // An end is final; of the rest the newest counts, however late an older one comes.
            Some(known) if known.stage.is_end() || known.sequence >= event.sequence => return,
            _ => Reached { sequence: event.sequence, stage: event.stage, reason: None },
        };
        self.stage = Some(Reached { sequence, stage, reason: event.reason.clone() });
    }

    /// The stage of the delivery, once it exists.
    pub(super) fn stage(&self) -> Option<DeliveryStage> {
        self.stage.as_ref().map(|it| it.stage)
    }

    /// Whether the delivery came to nothing after it had been made: no workflow ends it then.
    fn failed_in_flight(&self) -> bool {
        self.scheduled.is_some() && self.stage() == Some(DeliveryStage::Failed)
    }

    pub(super) fn state(&self) -> RequestState {
        let waits =
            self.parked.as_ref().is_some_and(|it| self.scheduled.is_none_or(|at| it.at > at));
        match &self.undone {
            _ if self.stage() == Some(DeliveryStage::Completed) => RequestState::Completed,
            _ if self.failed_in_flight() => RequestState::Failed,
            Some((Undone::Failed, _)) => RequestState::Failed,
            Some((Undone::Cancelled, _)) => RequestState::Cancelled,
            None if waits => RequestState::Parked,
            None if self.scheduled.is_some() => RequestState::Scheduled,
            None => RequestState::Accepted,
        }
    }

    /// The step that failed and why, as far as the state needs to be explained.
    pub(super) fn explanation(&self) -> (Option<String>, Option<String>) {
        let of = |word: &Word| (word.failed_step.clone(), word.reason.clone());
        match (self.state(), &self.undone, &self.parked) {
            (RequestState::Failed, _, _) if self.failed_in_flight() => {
                (None, self.stage.as_ref().and_then(|it| it.reason.clone()))
            }
            (RequestState::Failed | RequestState::Cancelled, Some((_, word)), _)
            | (RequestState::Parked, _, Some(word)) => of(word),
            _ => (None, None),
        }
    }
}
