//! What is known about one saga; an impossible combination cannot be written.

use base::{Direction, FailureClass, Monotonic, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Moment, Record, Start, TAKEOVER_CLAMP, WAIT_MAX};
use crate::{definition::Definition, outcome::Evidence};

/// Everything that is known about one saga besides its input. It is stored as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Records that were folded.
    pub records: u64,
    /// Where it stands.
    pub phase: Phase,
    /// The steps that are behind it, in order.
    pub done: Vec<StepDone>,
    /// Its time.
    pub budget: Budget,
    /// How often the supervisor gave it another try.
    pub hand_backs: u32,
    /// Why somebody asked to stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// Sagas to start when it completes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<Start>,
    /// Whether a person was alerted about what it is doing now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alerted: bool,
    /// The call that this owner has in flight; another owner cannot know of it.
    #[serde(skip)]
    pub flight: Option<Flight>,
}

/// A step that is behind the saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDone {
    /// Its position.
    pub step: usize,
    /// Whether it was left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What it replied, when somebody refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

/// Time that a saga may consume. Only time in which somebody owns it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Milliseconds consumed so far.
    pub consumed_ms: u64,
    /// Milliseconds that it may consume; grows when it is handed back.
    pub limit_ms: u64,
    /// Up to when the consumed time was counted.
    pub counted_at: Monotonic,
}

/// Where a saga stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Another saga of its subject has the turn.
    Queued,
    /// Its steps are being done.
    Running(Forward),
    /// It failed; the supervisor decides.
    Aborting {
        /// Why.
        cause: Cause,
        /// Where it stood.
        at: Forward,
        /// What will be undone, in order.
        undos: Vec<UndoProgress>,
    },
    /// Its steps are being undone.
    Compensating {
        /// Why.
        cause: Cause,
        /// What is and will be undone, in order.
        undos: Vec<UndoProgress>,
    },
    /// Only a person can help.
    Parked(Parked),
    /// It is over.
    Closed {
        /// How.
        outcome: Outcome,
        /// Why it did not complete.
        cause: Option<Cause>,
    },
}

/// The step that is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// Its position.
    pub step: usize,
    /// Calls made for it so far, whose end is known.
    pub attempts: u32,
    /// Those that count against its limit.
    pub failures: u32,
    /// Those that no service can have seen. None in a row from before they were told apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsent: u32,
    /// What may have happened at the service.
    pub doubt: Evidence,
    /// Not before then.
    pub wake: Monotonic,
}

/// Why a saga waits for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "parked", rename_all = "snake_case")]
pub enum Parked {
    /// A step after the pivot was refused.
    Forward {
        /// The step.
        at: Forward,
        /// What to tell the person.
        reason: String,
    },
    /// Undos keep failing; all others are done.
    Undo {
        /// Why the saga failed.
        cause: Cause,
        /// The undos, done and given up.
        undos: Vec<UndoProgress>,
        /// What to tell the person.
        reason: String,
    },
}

/// How far one undo is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoProgress {
    /// Position of the step.
    pub step: usize,
    /// Whether the step was done or only may have been.
    pub certainty: Certainty,
    /// How far.
    pub status: UndoStatus,
}

/// What is known of a step that must be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It was done.
    Applied,
    /// It may have been done, or may still be.
    InDoubt,
}

/// How far an undo is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum UndoStatus {
    /// To be tried, or tried again.
    Pending {
        /// Failed tries so far.
        attempts: u32,
        /// Not before then.
        wake: Monotonic,
    },
    /// An outside party is at it.
    Awaited {
        /// Until then.
        deadline: Timestamp,
    },
    /// Undone.
    Undone,
    /// It keeps failing.
    GivenUp {
        /// Failed tries.
        attempts: u32,
        /// Short reason code of the last failure.
        code: String,
    },
}

/// Why a saga did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What ended the patience.
    pub kind: CauseKind,
    /// Name of the step at hand.
    pub step: String,
    /// Class of its last failure.
    pub class: FailureClass,
    /// Short reason code of its last failure.
    pub code: String,
    /// Text for people.
    pub reason: String,
    /// Calls made for the step.
    pub attempts: u32,
}

/// What ended the patience with a saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// A step was refused.
    Refused,
    /// A step failed as often as it may.
    Attempts,
    /// The time was up.
    CompleteBy,
    /// Somebody asked to stop it.
    Cancelled,
    /// A person asked to undo it.
    Operator,
    /// As many sagas of its subject waited as may; nothing of it was done.
    LineFull,
}

/// How a saga ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step is done.
    Completed,
    /// It failed, and everything is undone.
    Compensated,
    /// Somebody asked to stop it, and everything is undone.
    Cancelled,
    /// A person ended it.
    Resolved,
}

/// Where a saga stands, in one word: what the store sorts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Another saga of its subject has the turn.
    Queued,
    /// Its steps are being done.
    Running,
    /// It failed; the supervisor decides.
    Aborting,
    /// Its steps are being undone.
    Compensating,
    /// Only a person can help.
    Parked,
    /// Every step is done.
    Completed,
    /// It failed, and everything is undone.
    Compensated,
    /// Somebody asked to stop it, and everything is undone.
    Cancelled,
    /// A person ended it.
    Resolved,
}

/// A call in flight: an answer to any other is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// Position of the step.
    pub step: usize,
    /// Do or undo.
    pub direction: Direction,
    /// Which attempt; the first is 1.
    pub attempt: u32,
}

impl Status {
    /// The word in the store, in metrics and for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Aborting => "aborting",
            Self::Compensating => "compensating",
            Self::Parked => "parked",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Cancelled => "cancelled",
            Self::Resolved => "resolved",
        }
    }

    /// The status of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Running,
        Self::Aborting,
        Self::Compensating,
        Self::Parked,
        Self::Completed,
        Self::Compensated,
        Self::Cancelled,
        Self::Resolved,
    ];

    /// Whether the saga is over.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated | Self::Cancelled | Self::Resolved)
    }
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Compensated => Self::Compensated,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Resolved => Self::Resolved,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Forward {
    /// Whether a service may have seen a call for the step.
    pub(super) fn may_be_seen(&self) -> bool {
        self.attempts > self.unsent || self.doubt != Evidence::Untouched
    }

    pub(super) fn at(step: usize, now: Monotonic) -> Self {
        Self { step, attempts: 0, failures: 0, unsent: 0, doubt: Evidence::Untouched, wake: now }
    }
}

impl Budget {
    /// Milliseconds left at that time; zero when it is used up.
    #[must_use]
    pub fn left_ms(&self, now: Monotonic) -> u64 {
        let since = now.as_millis().saturating_sub(self.counted_at.as_millis());
        self.limit_ms.saturating_sub(self.consumed_ms.saturating_add(since))
    }

    fn count(&mut self, now: Monotonic, clamp_ms: u64) {
        let since = now.as_millis().saturating_sub(self.counted_at.as_millis());
        self.consumed_ms = self.consumed_ms.saturating_add(since.min(clamp_ms));
        self.counted_at = now;
    }
}

impl State {
    pub(super) fn accepted(definition: &Definition, now: Monotonic) -> Self {
        let limit_ms = definition.document().complete_by_ms;
        Self {
            records: 0,
            phase: Phase::Running(Forward::at(0, now)),
            done: Vec::new(),
            budget: Budget { consumed_ms: 0, limit_ms, counted_at: now },
            hand_backs: 0,
            cancel: None,
            follow_ups: Vec::new(),
            alerted: false,
            flight: None,
        }
    }

    /// Where it stands, in one word.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::Queued => Status::Queued,
            Phase::Running(_) => Status::Running,
            Phase::Aborting { .. } => Status::Aborting,
            Phase::Compensating { .. } => Status::Compensating,
            Phase::Parked(_) => Status::Parked,
            Phase::Closed { outcome, .. } => Status::from(*outcome),
        }
    }

    /// How it ended, when it is over.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match &self.phase {
            Phase::Closed { outcome, .. } => Some(*outcome),
            Phase::Queued
            | Phase::Running(_)
            | Phase::Aborting { .. }
            | Phase::Compensating { .. }
            | Phase::Parked(_) => None,
        }
    }

    /// Why it did not complete, as far as it did not.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match &self.phase {
            Phase::Aborting { cause, .. }
            | Phase::Compensating { cause, .. }
            | Phase::Parked(Parked::Undo { cause, .. }) => Some(cause),
            Phase::Closed { cause, .. } => cause.as_ref(),
            Phase::Queued | Phase::Running(_) | Phase::Parked(Parked::Forward { .. }) => None,
        }
    }

    /// What a person is told about a parked saga.
    #[must_use]
    pub fn parked_reason(&self) -> Option<&str> {
        match &self.phase {
            Phase::Parked(Parked::Forward { reason, .. } | Parked::Undo { reason, .. }) => {
                Some(reason)
            }
            Phase::Queued
            | Phase::Running(_)
            | Phase::Aborting { .. }
            | Phase::Compensating { .. }
            | Phase::Closed { .. } => None,
        }
    }

    /// Whether the pivot is behind it. A definition without one has none to pass.
    #[must_use]
    pub fn pivot_passed(&self, definition: &Definition) -> bool {
        definition.pivot().is_some_and(|pivot| self.done.iter().any(|it| it.step == pivot))
    }

    /// The state that a history of records leads to; the machine makes no other.
    #[must_use]
    pub fn of(definition: &Definition, history: &[(Moment, Record)]) -> Option<Self> {
        let (first, _) = history.first()?;
        let mut state = Self::accepted(definition, first.monotonic);
        for (moment, record) in history {
            state.fold(definition, record, *moment);
        }
        Some(state)
    }

    /// Takes in one more record, when its state was kept before it.
    pub(crate) fn follow(&mut self, definition: &Definition, record: &Record, moment: Moment) {
        self.fold(definition, record, moment);
    }

    /// Applies one record.
    pub(super) fn fold(&mut self, definition: &Definition, record: &Record, moment: Moment) {
        let now = moment.monotonic;
        self.records += 1;
        let clamp_ms = match record {
            Record::Claimed { .. } => u64::try_from(TAKEOVER_CLAMP.as_millis()).unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        match &self.phase {
            Phase::Running(_) => self.budget.count(now, clamp_ms),
            _ => self.budget.counted_at = now,
        }
        match record {
            Record::Claimed { was_owned } => self.fold_claim(*was_owned, now),
            Record::StepDone { step, output, .. } => {
                self.fold_step(
                    StepDone { step: *step, skipped: false, output: output.clone() },
                    now,
                );
            }
            Record::StepSkipped { step } => {
                self.fold_step(StepDone { step: *step, skipped: true, output: None }, now);
            }
            Record::StepFailed { .. } => self.fold_step_failure(record),
            Record::CancelRequested { reason, or_else } => {
                self.cancel = Some(reason.clone());
                self.follow_ups.extend(or_else.clone());
            }
            Record::FollowUp { start } if !self.status().is_closed() => {
                self.follow_ups.push(start.clone());
            }
            // After the end a follow-up is started with its record: nothing is left to wait for.
            Record::Accepted { .. }
            | Record::FollowUp { .. }
            | Record::FollowUpDropped { .. }
            | Record::SignalIgnored { .. } => {}
            Record::Queued => self.phase = Phase::Queued,
            Record::TurnCame => self.phase = Phase::Running(Forward::at(0, now)),
            Record::TurnedAway => self.fold_turned_away(),
            Record::Alerted { .. } => self.alerted = true,
            Record::Aborting { .. }
            | Record::HandedBack { .. }
            | Record::CompensationBegun
            | Record::Parked { .. }
            | Record::Closed { .. } => self.fold_phase(definition, record, now),
            Record::UndoDone { .. }
            | Record::UndoAwaited { .. }
            | Record::UndoFailed { .. }
            | Record::UndoGivenUp { .. } => self.fold_undo(record),
            Record::OperatorActed(action) => self.fold_operator(definition, action, now),
        }
    }

    fn fold_claim(&mut self, was_owned: bool, now: Monotonic) {
        self.flight = None;
        let soon = |wake: Monotonic| if was_owned { now } else { wake.min(now + WAIT_MAX) };
        match &mut self.phase {
            Phase::Running(forward) => {
                forward.wake = soon(forward.wake);
                if was_owned {
                    // The owner before may have called and not lived to tell.
                    forward.doubt = Evidence::Silent;
                }
            }
            Phase::Compensating { undos, .. } => {
                for undo in undos {
                    if let UndoStatus::Pending { wake, .. } = &mut undo.status {
                        *wake = soon(*wake);
                    }
                }
            }
            Phase::Queued | Phase::Aborting { .. } | Phase::Parked(_) | Phase::Closed { .. } => {}
        }
    }

    fn fold_turned_away(&mut self) {
        let cause = Cause {
            kind: CauseKind::LineFull,
            step: String::new(),
            class: FailureClass::NonTransient,
            code: "line_full".to_owned(),
            reason: "too many of the same subject wait".to_owned(),
            attempts: 0,
        };
        self.phase = Phase::Closed { outcome: Outcome::Compensated, cause: Some(cause) };
    }

    fn fold_step(&mut self, done: StepDone, now: Monotonic) {
        let next = done.step + 1;
        self.done.push(done);
        self.alerted = false;
        self.phase = Phase::Running(Forward::at(next, now));
    }

    fn fold_step_failure(&mut self, record: &Record) {
        let (
            Phase::Running(forward),
            Record::StepFailed { attempt, evidence, counts, unsent, wake, .. },
        ) = (&mut self.phase, record)
        else {
            return;
        };
        forward.attempts = *attempt;
        forward.failures += u32::from(*counts);
        forward.unsent += u32::from(*unsent);
        forward.doubt = forward.doubt.max(*evidence);
        forward.wake = *wake;
    }
}
