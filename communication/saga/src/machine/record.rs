//! What is kept about a saga for ever, and what each record does to the large phases of the state.

use base::{FailureClass, Monotonic, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Cause, Certainty, Forward, OperatorAction, Outcome, Parked, Phase, Start, State, UndoProgress,
    UndoStatus, Verb,
};
use crate::{definition::Definition, outcome::Evidence};

/// One fact about a saga. Records are only ever appended; the state is their fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// The saga exists: from here on it ends one way or the other.
    Accepted {
        /// Hash of the definition that it is pinned to.
        definition: String,
    },
    /// Another saga of its subject has the turn: it waits.
    Queued,
    /// It is its turn.
    TurnCame,
    /// As many sagas of its subject waited as may. It ends here.
    TurnedAway,
    /// An owner took it. The epoch stands beside the record.
    Claimed {
        /// Whether somebody owned it before.
        was_owned: bool,
    },
    /// A step is done. Of the pivot: there is no way back from here.
    StepDone {
        /// Its position.
        step: usize,
        /// Which attempt did it.
        attempt: u32,
        /// What it replied, when somebody refers to it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    },
    /// A step was left out.
    StepSkipped {
        /// Its position.
        step: usize,
    },
    /// A call for a step failed.
    StepFailed {
        /// Its position.
        step: usize,
        /// Which attempt failed.
        attempt: u32,
        /// The article's class.
        class: FailureClass,
        /// Short reason code.
        code: String,
        /// What may have happened at the service.
        evidence: Evidence,
        /// Whether it counts against the attempts of the step.
        counts: bool,
        /// Whether no service can have seen it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unsent: bool,
        /// Not again before then.
        wake: Monotonic,
    },
    /// Somebody asked to stop the saga.
    CancelRequested {
        /// Why.
        reason: String,
        /// What to start instead when it is too late.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        or_else: Option<Start>,
    },
    /// A saga is to follow this one.
    FollowUp {
        /// The saga to start when this one completes.
        start: Start,
    },
    /// A saga that was to follow this one will not, since this one did not complete.
    FollowUpDropped {
        /// The saga that is not started.
        start: Start,
    },
    /// A word from outside came that changes nothing.
    SignalIgnored {
        /// Id of the signal.
        id: String,
        /// Why it changes nothing.
        reason: String,
    },
    /// A person was told.
    Alerted {
        /// What about.
        reason: String,
    },
    /// The saga failed. This is the message to the supervisor.
    Aborting {
        /// Why.
        cause: Cause,
        /// What will be undone, in order.
        plan: Vec<PlannedUndo>,
    },
    /// The supervisor gave it another try.
    HandedBack {
        /// Milliseconds that it may now consume in all.
        limit_ms: u64,
        /// Not before then.
        wake: Monotonic,
    },
    /// The supervisor began to undo.
    CompensationBegun,
    /// A step is undone.
    UndoDone {
        /// Its position.
        step: usize,
    },
    /// An outside party was asked to undo a step.
    UndoAwaited {
        /// Its position.
        step: usize,
        /// How long it has.
        deadline: Timestamp,
    },
    /// A call to undo a step failed.
    UndoFailed {
        /// Its position.
        step: usize,
        /// Which attempt failed.
        attempt: u32,
        /// The article's class.
        class: FailureClass,
        /// Short reason code.
        code: String,
        /// Not again before then.
        wake: Monotonic,
    },
    /// Undoing a step keeps failing.
    UndoGivenUp {
        /// Its position.
        step: usize,
        /// Failed tries.
        attempts: u32,
        /// Short reason code of the last failure.
        code: String,
    },
    /// Only a person can help now.
    Parked {
        /// What to tell the person.
        reason: String,
    },
    /// A person acted.
    OperatorActed(OperatorAction),
    /// It is over.
    Closed {
        /// How.
        outcome: Outcome,
    },
}

/// A step that will be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedUndo {
    /// Its position.
    pub step: usize,
    /// Whether it was done or only may have been.
    pub certainty: Certainty,
}

impl Record {
    /// Whether the owner gives the saga up with this record.
    #[must_use]
    pub fn releases(&self) -> bool {
        matches!(
            self,
            Self::Aborting { .. }
                | Self::HandedBack { .. }
                | Self::Parked { .. }
                | Self::Closed { .. }
        )
    }
}

fn pending(wake: Monotonic) -> UndoStatus {
    UndoStatus::Pending { attempts: 0, wake }
}

impl State {
    /// Records that move the saga to another phase.
    pub(super) fn fold_phase(&mut self, definition: &Definition, record: &Record, now: Monotonic) {
        // Every phase change ends what the alert and the call in flight were about.
        self.flight = None;
        let next = match (std::mem::replace(&mut self.phase, nowhere()), record) {
            (Phase::Running(at), Record::Aborting { cause, plan }) => {
                let undo = |it: &PlannedUndo| UndoProgress {
                    step: it.step,
                    certainty: it.certainty,
                    status: pending(now),
                };
                let undos = plan.iter().map(undo).collect();
                Phase::Aborting { cause: cause.clone(), at, undos }
            }
            (Phase::Aborting { at, .. }, Record::HandedBack { limit_ms, wake }) => {
                self.hand_backs += 1;
                self.budget.limit_ms = *limit_ms;
                Phase::Running(Forward { failures: 0, wake: *wake, ..at })
            }
            (Phase::Aborting { cause, undos, .. }, Record::CompensationBegun) => {
                Phase::Compensating { cause, undos }
            }
            (Phase::Running(at), Record::Parked { reason }) => {
                Phase::Parked(Parked::Forward { at, reason: reason.clone() })
            }
            (Phase::Compensating { cause, undos }, Record::Parked { reason }) => {
                Phase::Parked(Parked::Undo { cause, undos, reason: reason.clone() })
            }
            (before, Record::Closed { outcome }) => {
                self.follow_ups.clear();
                Phase::Closed { outcome: *outcome, cause: before.into_cause() }
            }
            (before, _) => before,
        };
        self.phase = next;
        if self.alerted && !matches!(record, Record::Parked { .. }) {
            self.alerted = false;
        }
        debug_assert!(self.steps_fit(definition), "a record points past the steps");
    }

    /// Records about one undo.
    pub(super) fn fold_undo(&mut self, record: &Record) {
        let (position, status) = match record {
            Record::UndoDone { step } => (*step, UndoStatus::Undone),
            Record::UndoAwaited { step, deadline } => {
                (*step, UndoStatus::Awaited { deadline: *deadline })
            }
            Record::UndoFailed { step, attempt, wake, .. } => {
                (*step, UndoStatus::Pending { attempts: *attempt, wake: *wake })
            }
            Record::UndoGivenUp { step, attempts, code } => {
                (*step, UndoStatus::GivenUp { attempts: *attempts, code: code.clone() })
            }
            _ => return,
        };
        let (Phase::Compensating { undos, .. } | Phase::Parked(Parked::Undo { undos, .. })) =
            &mut self.phase
        else {
            return;
        };
        if let Some(undo) = undos.iter_mut().find(|it| it.step == position) {
            undo.status = status;
        }
    }

    /// What a person did to a parked saga.
    pub(super) fn fold_operator(
        &mut self,
        definition: &Definition,
        action: &OperatorAction,
        now: Monotonic,
    ) {
        let again = match action.verb {
            Verb::Retry => true,
            Verb::Compensate => matches!(self.phase, Phase::Parked(Parked::Undo { .. })),
            Verb::Resolve => false,
        };
        if !again {
            return;
        }
        self.alerted = false;
        let next = match std::mem::replace(&mut self.phase, nowhere()) {
            Phase::Parked(Parked::Forward { at, .. }) => {
                // Before the pivot its time counts, and may be what had run out.
                let fresh_ms = definition.document().complete_by_ms;
                self.budget.limit_ms = self.budget.consumed_ms.saturating_add(fresh_ms);
                Phase::Running(Forward { failures: 0, wake: now, ..at })
            }
            Phase::Parked(Parked::Undo { cause, mut undos, .. }) => {
                for undo in &mut undos {
                    if matches!(undo.status, UndoStatus::GivenUp { .. }) {
                        undo.status = pending(now);
                    }
                }
                Phase::Compensating { cause, undos }
            }
            other => other,
        };
        self.phase = next;
    }

    fn steps_fit(&self, definition: &Definition) -> bool {
        self.done.iter().all(|it| it.step < definition.steps().len())
    }
}

/// Stands in while the phase is being replaced.
fn nowhere() -> Phase {
    Phase::Closed { outcome: Outcome::Resolved, cause: None }
}

impl Phase {
    fn into_cause(self) -> Option<Cause> {
        match self {
            Self::Aborting { cause, .. }
            | Self::Compensating { cause, .. }
            | Self::Parked(Parked::Undo { cause, .. }) => Some(cause),
            Self::Closed { cause, .. } => cause,
            Self::Queued | Self::Running(_) | Self::Parked(Parked::Forward { .. }) => None,
        }
    }
}
