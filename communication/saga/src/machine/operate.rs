//! Words from outside: cancel, follow-ups, callbacks and what a person does.

use serde::{Deserialize, Serialize};

use super::{
    CauseKind, Effect, Outcome, Parked, Phase, Record, Signal, SignalKind, State, Status, Turn,
};
use crate::definition::Definition;

/// What a person does to a saga; kept in its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorAction {
    /// Who.
    pub actor: String,
    /// What.
    pub verb: Verb,
    /// Why.
    pub reason: String,
}

/// What a person can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Try a parked saga again, with fresh attempts.
    Retry,
    /// Undo a saga whose pivot has not passed; go on with an undo that is parked.
    Compensate,
    /// End a saga that a person was alerted about: whatever is left was settled by hand.
    Resolve,
}

impl Verb {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Compensate => "compensate",
            Self::Resolve => "resolve",
        }
    }
}

impl Turn<'_> {
    pub(super) fn signalled(&mut self, signal: Signal) {
        let Signal { id, kind } = signal;
        match kind {
            SignalKind::Cancel { reason, or_else } => self.cancel(id, reason, or_else),
            SignalKind::Then { start } => match &self.state.phase {
                Phase::Queued | Phase::Running(_) | Phase::Parked(Parked::Forward { .. }) => {
                    self.record(Record::FollowUp { start });
                }
                Phase::Closed { outcome: Outcome::Completed, .. } => self.start_late(start),
                Phase::Aborting { .. }
                | Phase::Compensating { .. }
                | Phase::Parked(Parked::Undo { .. })
                | Phase::Closed { .. } => self.record(Record::FollowUpDropped { start }),
            },
            SignalKind::UndoFinished { step, refused } => self.undo_finished(id, &step, refused),
            SignalKind::Operator(action) => self.operate(id, action),
        }
    }

    fn ignore(&mut self, id: String, reason: &str) {
        self.record(Record::SignalIgnored { id, reason: reason.to_owned() });
    }

    /// The word came after the saga had completed: what it was to start is due now.
    fn start_late(&mut self, start: super::Start) {
        let start = self.decided(start);
        self.record(Record::FollowUp { start: start.clone() });
        self.effects.push(Effect::Start(start));
    }

    /// Before the pivot: noted, and acted upon once the call in flight has ended. After it: too
    /// late, and what was to be started instead follows the end of the saga.
    fn cancel(&mut self, id: String, reason: String, or_else: Option<super::Start>) {
        match &self.state.phase {
            Phase::Running(_) | Phase::Parked(Parked::Forward { .. })
                if self.state.pivot_passed(self.saga.definition) =>
            {
                match or_else {
                    Some(start) => self.record(Record::FollowUp { start }),
                    None => self.ignore(id, "the pivot has passed"),
                }
            }
            // A failed saga is noted too: it must not be handed back and complete after all.
            Phase::Queued | Phase::Running(_) | Phase::Aborting { .. } => {
                self.record(Record::CancelRequested { reason, or_else });
            }
            // Its pivot may have been done: the person who looks into that decides.
            Phase::Parked(Parked::Forward { .. }) => match or_else {
                Some(start) => self.record(Record::FollowUp { start }),
                None => self.ignore(id, "the saga waits for a person"),
            },
            Phase::Closed { outcome: Outcome::Completed, .. } => match or_else {
                Some(start) => self.start_late(start),
                None => self.ignore(id, "the saga has completed"),
            },
            // What follows is answered when everything is undone.
            Phase::Compensating { .. } | Phase::Parked(Parked::Undo { .. }) => match or_else {
                Some(start) => self.record(Record::FollowUp { start }),
                None => self.ignore(id, "the saga is already being undone"),
            },
            Phase::Closed { .. } => match or_else {
                Some(start) => self.record(Record::FollowUpDropped { start }),
                None => self.ignore(id, "the saga is over"),
            },
        }
    }

    fn operate(&mut self, id: String, action: OperatorAction) {
        let verb = action.verb;
        if let Some(refusal) = self.state.refusal(self.saga.definition, verb) {
            return self.ignore(id, refusal);
        }
        let reason = format!("{}: {}", action.actor, action.reason);
        match verb {
            Verb::Retry => self.record(Record::OperatorActed(action)),
            Verb::Compensate if self.state.status() == Status::Parked => {
                self.record(Record::OperatorActed(action));
            }
            Verb::Compensate => {
                self.record(Record::OperatorActed(action));
                // The call in flight is not waited for: the step at hand is in doubt.
                self.doubt_flight();
                let code = "operator".to_owned();
                self.abort(self.cause_at_hand(CauseKind::Operator, code, reason));
            }
            Verb::Resolve => {
                self.record(Record::OperatorActed(action));
                self.close(Outcome::Resolved);
            }
        }
    }

    fn doubt_flight(&mut self) {
        let Some(flight) = self.state.flight.take() else { return };
        self.record(Record::StepFailed {
            step: flight.step,
            attempt: flight.attempt,
            class: base::FailureClass::Unknown,
            code: "interrupted".to_owned(),
            evidence: crate::outcome::Evidence::Silent,
            counts: false,
            unsent: false,
            wake: self.moment.monotonic,
        });
    }
}

impl State {
    /// Why a person's verb does not fit the state; none when it does.
    #[must_use]
    pub fn refusal(&self, definition: &Definition, verb: Verb) -> Option<&'static str> {
        let parked = matches!(self.phase, Phase::Parked(_));
        match (verb, &self.phase) {
            (_, Phase::Closed { .. }) => Some("the saga is over"),
            (Verb::Retry, _) if !parked => Some("the saga is not parked"),
            (Verb::Resolve, _) if !parked && !self.alerted => {
                Some("the saga is neither parked nor in need of a person")
            }
            (Verb::Compensate, Phase::Running(_)) => {
                if self.pivot_passed(definition) {
                    Some("the pivot has passed")
                } else if self.pivot_is_at_hand(definition) {
                    Some("the pivot is being done: nobody knows yet whether it has passed")
                } else {
                    None
                }
            }
            (Verb::Compensate, Phase::Queued) => Some("another saga of its subject has the turn"),
            (Verb::Compensate, Phase::Parked(Parked::Forward { .. })) => {
                Some("the pivot has passed, or nobody knows whether it has")
            }
            (Verb::Compensate, Phase::Aborting { .. } | Phase::Compensating { .. }) => {
                Some("the saga is being undone")
            }
            (Verb::Compensate, Phase::Parked(Parked::Undo { .. }))
            | (Verb::Retry | Verb::Resolve, _) => None,
        }
    }

    fn pivot_is_at_hand(&self, definition: &Definition) -> bool {
        let Phase::Running(forward) = &self.phase else { return false };
        let called = self.flight.is_some() || forward.attempts > 0;
        let doubted = forward.doubt != crate::outcome::Evidence::Untouched;
        definition.pivot() == Some(forward.step) && (called || doubted)
    }
}
