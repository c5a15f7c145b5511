//! The saga as a pure machine: (state, event, moment) gives (state, records, effects).
//!
//! No clock, no I/O, no randomness of its own: the owner passes the moment, makes the records
//! durable, and only then carries out the effects. The state is the fold of the records, so a
//! crash after any of them loses nothing. Undo is data in the state, never code in a catch block.
//!
//! ```text
//! Queued ──its turn──▶ Running
//! Running ──all steps done──▶ Closed(Completed)
//!    │  ▲
//!    │  └── handed back ──┐
//!    ├─ failed, cancelled ▶ Aborting ──▶ Compensating ──all undone──▶ Closed(Compensated, Cancelled)
//!    │                                       │ ▲
//!    └─ refused after the pivot ▶ Parked ◀───┘ │ an undo keeps failing
//!                                   └──retry───┘      └──resolve──▶ Closed(Resolved)
//! ```
//! A saga that names a *subject* is the only one of that subject that works; see [`InLine`].
//!
//! Decisions that the text of the pattern leaves open:
//! - The intent of a step is not a record of its own: the accepted saga with its pinned definition
//!   implies it, and whoever takes over treats the step at hand as in doubt.
//! - A pivot that anybody left unanswered is repeated until somebody answers, whatever the limits
//!   say; a person is alerted once. A first, plain refusal or exception of the pivot aborts, with
//!   the pivot in the undo plan as in doubt.
//! - After the pivot a step that fails transiently is repeated for ever with capped waits, and a
//!   person is alerted once, at the latest when the time is up; one that is refused is parked at once.
//! - A step may say that it is parked instead: then only a refusal aborts the saga, and whatever else
//!   keeps it from being done is looked at by a person.
//! - Undos are first tried in the order of the plan; one that fails waits aside, and the next goes
//!   on. An exception (500) of an undo is retried, since an undo is idempotent by contract.

mod forward;
mod line;
mod operate;
mod record;
mod state;
mod undo;

use std::time::Duration;

use base::{Direction, Monotonic, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use line::{Arrival, InLine, Instead, Line, Place};
pub use operate::{OperatorAction, Verb};
pub use record::{PlannedUndo, Record};
pub use state::{
    Budget, Cause, CauseKind, Certainty, Flight, Forward, Outcome, Parked, Phase, State, Status,
    StepDone, UndoProgress, UndoStatus,
};

use crate::{
    definition::{Definition, Rendered, Scope},
    outcome::CallResult,
};

/// Time without a record that a takeover counts against complete-by at the most: one lease.
pub const TAKEOVER_CLAMP: Duration = Duration::from_secs(3);
/// The longest wait that survives a change of owner; guards against readings of another boot.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What never changes about one saga.
#[derive(Debug, Clone, Copy)]
pub struct Saga<'a> {
    /// Its id.
    pub id: &'a str,
    /// The definition that it was accepted under.
    pub definition: &'a Definition,
    /// Its input.
    pub input: &'a Value,
}

/// When an event happens, and the draw for whatever is random about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Wall time: shown to people, and what outside parties' deadlines are counted in.
    pub wall: Timestamp,
    /// Time since boot: what every other decision is counted in.
    pub monotonic: Monotonic,
    /// A uniform draw from `[0, 1)`.
    pub draw: f64,
}

/// What happens to a saga.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody became its owner.
    Claimed {
        /// Whether somebody owned it before, who may have called without telling.
        was_owned: bool,
    },
    /// The owner looks at it: at the start, when a wait is over, or just to be sure.
    Woken,
    /// A call of this owner ended.
    Answered {
        /// The call.
        flight: Flight,
        /// How it ended.
        result: CallResult,
    },
    /// Something was said to the saga from outside.
    Signalled(Signal),
    /// The supervisor gives a saga that failed transiently another try.
    HandedBack,
    /// The supervisor begins to undo.
    UndoBegun,
    /// The one before it in the line of its subject has given up the turn.
    TurnCame,
}

/// A word to a saga, delivered at least once; the id makes it one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Identifies the word, such as the id of the message that carried it.
    pub id: String,
    /// What is said.
    pub kind: SignalKind,
}

/// What can be said to a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SignalKind {
    /// Stop and undo, if the pivot has not passed.
    Cancel {
        /// Why; kept in the cause.
        reason: String,
        /// The saga to start when this one is past its pivot, in the transaction that finishes it.
        /// When this one ends otherwise, a record says that it will not be.
        or_else: Option<Start>,
    },
    /// Start another saga in the transaction that completes this one.
    Then {
        /// The saga to start.
        start: Start,
    },
    /// An outside party has finished an undo, or says that it cannot.
    UndoFinished {
        /// The step.
        step: String,
        /// Why it cannot; none when it is undone.
        refused: Option<String>,
    },
    /// A person acts.
    Operator(OperatorAction),
}

/// A saga to be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Id of the new saga: starting it twice with the same input is the same as once.
    pub id: String,
    /// Name of its definition; the newest version is taken.
    pub definition: String,
    /// Its input.
    pub input: Value,
    /// `traceparent` of the request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What it works on: at most one saga of a subject works at a time, the next in the order of
    /// arrival begins when that is over. None for one that stands in nobody's way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Another definition, when the saga that this one follows says so; without one to follow it
    /// has no meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Instead>,
}

impl Start {
    /// A saga to be started that nothing caused and that stands in nobody's way.
    #[must_use]
    pub fn new(id: impl Into<String>, definition: impl Into<String>, input: Value) -> Self {
        let (id, definition) = (id.into(), definition.into());
        Self { id, definition, input, trace: None, subject: None, instead: None }
    }

    /// Says what it works on.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }
}

/// What the owner must do once the records are durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Make a call.
    Call(PlannedCall),
    /// Look again at that time, if nothing happens before.
    WakeAt(Monotonic),
    /// Tell a person.
    Alert {
        /// What about.
        reason: String,
    },
    /// Start another saga, in the same transaction as the records.
    Start(Start),
    /// Stop: somebody else owns the saga. Nothing may be written.
    Stop,
}

/// A call that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCall {
    /// Which call; comes back with the answer.
    pub flight: Flight,
    /// Method, path and body.
    pub request: Rendered,
    /// How long it may take: its timeout, or less when complete-by is nearer.
    pub deadline: Duration,
}

/// What an event changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The state after.
    pub state: State,
    /// What must be durable before any effect; empty when nothing happened that counts.
    pub records: Vec<Record>,
    /// What the owner does then.
    pub effects: Vec<Effect>,
}

impl Transition {
    /// Whether the owner gives the saga up with these records: somebody else goes on, or nobody.
    #[must_use]
    pub fn releases(&self) -> bool {
        self.records.iter().any(Record::releases)
    }
}

/// Accepts a saga at its place in the line: its first state and its first records.
#[must_use]
pub fn accept(saga: &Saga<'_>, place: Place, moment: Moment) -> Transition {
    let state = State::accepted(saga.definition, moment.monotonic);
    let mut turn = Turn::new(saga, state, moment);
    turn.record(Record::Accepted { definition: saga.definition.hash().to_owned() });
    match place {
        Place::Now => {}
        Place::Behind => turn.record(Record::Queued),
        Place::TurnedAway => {
            turn.record(Record::TurnedAway);
            turn.close(Outcome::Compensated);
        }
    }
    turn.finish()
}

/// Applies an event.
#[must_use]
pub fn transition(saga: &Saga<'_>, state: State, event: Event, moment: Moment) -> Transition {
    let mut turn = Turn::new(saga, state, moment);
    match event {
        Event::Claimed { was_owned } => turn.record(Record::Claimed { was_owned }),
        Event::Woken => {}
        Event::Answered { flight, result } => {
            if !turn.answered(flight, &result) {
                return turn.into_transition();
            }
        }
        Event::Signalled(signal) => turn.signalled(signal),
        Event::HandedBack => turn.hand_back(),
        Event::UndoBegun => turn.begin_undo(),
        Event::TurnCame => turn.turn_came(),
    }
    turn.finish()
}

/// One event being applied: what is known, what changed so far.
struct Turn<'a> {
    saga: &'a Saga<'a>,
    state: State,
    moment: Moment,
    records: Vec<Record>,
    effects: Vec<Effect>,
}

impl<'a> Turn<'a> {
    fn new(saga: &'a Saga<'a>, state: State, moment: Moment) -> Self {
        Self { saga, state, moment, records: Vec::new(), effects: Vec::new() }
    }

    /// Folds a record and keeps it.
    fn record(&mut self, record: Record) {
        self.state.fold(self.saga.definition, &record, self.moment);
        self.records.push(record);
    }

    /// Judges the answer to a call in flight. False when it is nobody's any more.
    fn answered(&mut self, flight: Flight, result: &CallResult) -> bool {
        // An answer to an attempt that is not in flight belongs to somebody who gave up on it.
        if self.state.flight != Some(flight) {
            return true;
        }
        self.state.flight = None;
        let alive = match flight.direction {
            Direction::Do => self.step_answered(flight, result),
            Direction::Undo => self.undo_answered(flight, result),
        };
        if !alive {
            self.effects.push(Effect::Stop);
        }
        alive
    }

    /// Plans what comes next, closes what is settled.
    fn finish(mut self) -> Transition {
        match &self.state.phase {
            Phase::Running(_) => {
                // Also for a history that was cut between the records of one transition.
                self.skip_steps();
                self.plan_step();
            }
            Phase::Compensating { .. } => self.plan_undo(),
            Phase::Parked(Parked::Undo { .. }) => self.unpark(),
            Phase::Queued
            | Phase::Aborting { .. }
            | Phase::Parked(Parked::Forward { .. })
            | Phase::Closed { .. } => {}
        }
        self.into_transition()
    }

    fn into_transition(self) -> Transition {
        let Self { state, records, effects, .. } = self;
        Transition { state, records, effects }
    }

    fn alert(&mut self, reason: String) {
        self.effects.push(Effect::Alert { reason: reason.clone() });
        self.record(Record::Alerted { reason });
    }

    /// Ends the saga; follow-ups start only after a saga that completed or was resolved.
    fn close(&mut self, outcome: Outcome) {
        let waiting = std::mem::take(&mut self.state.follow_ups);
        self.record(Record::Closed { outcome });
        for start in waiting {
            match outcome {
                Outcome::Completed => self.effects.push(Effect::Start(self.decided(start))),
                Outcome::Compensated | Outcome::Cancelled | Outcome::Resolved => {
                    self.record(Record::FollowUpDropped { start });
                }
            }
        }
    }

    fn turn_came(&mut self) {
        if self.state.phase == Phase::Queued {
            self.record(Record::TurnCame);
        }
    }
}

impl Scope for Turn<'_> {
    fn saga_id(&self) -> &str {
        self.saga.id
    }

    fn input(&self) -> &Value {
        self.saga.input
    }

    fn output(&self, step: usize) -> Option<&Value> {
        self.state.done.iter().find(|it| it.step == step).and_then(|it| it.output.as_ref())
    }
}

#[cfg(test)]
mod tests;
