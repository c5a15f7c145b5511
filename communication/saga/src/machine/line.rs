//! The line of a subject: of the sagas that work on one thing, one has its turn and the others
//! wait, in the order in which they came.
//!
//! The turn is held from the first step to the end, and also by a saga whose undo waits for a
//! person: half of it is undone, and nobody may build on that. One that waits for a person on its
//! way forward has given the turn up: what it stands at may be just what the next would mend. The
//! line is bounded; who finds it full is turned away, which is an end like any other.

use serde::{Deserialize, Serialize};

use super::{Parked, Phase, Start, State, Turn};
use crate::definition::Condition;

/// Where a saga stands in its subject's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InLine {
    /// It has the turn: it may work, and nobody else of its subject may.
    First,
    /// It waits for the turn.
    Waiting,
    /// It needs none: it is over, or waits for a person.
    Outside,
}

/// The line of a subject, as a saga that arrives finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    /// Whether somebody has the turn.
    pub held: bool,
    /// How many wait.
    pub waiting: usize,
}

/// How a saga comes to the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// By itself: behind everybody.
    Last,
    /// It follows a saga that gives up the turn at this moment: before everybody.
    Next,
}

/// Where a saga that arrives begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// It has the turn, or needs none.
    #[default]
    Now,
    /// It waits.
    Behind,
    /// The line is full: it is over before it began.
    TurnedAway,
}

impl Line {
    /// Where a saga that arrives begins, when at most `waiting_max` may wait.
    #[must_use]
    pub const fn place(self, arrival: Arrival, waiting_max: usize) -> Place {
        let free = match arrival {
            Arrival::Last => !self.held && self.waiting == 0,
            Arrival::Next => !self.held,
        };
        if free {
            Place::Now
        } else if self.waiting < waiting_max {
            Place::Behind
        } else {
            Place::TurnedAway
        }
    }
}

impl State {
    /// Where it stands in its subject's line.
    #[must_use]
    pub const fn in_line(&self) -> InLine {
        match &self.phase {
            Phase::Queued => InLine::Waiting,
            Phase::Running(_)
            | Phase::Aborting { .. }
            | Phase::Compensating { .. }
            | Phase::Parked(Parked::Undo { .. }) => InLine::First,
            Phase::Parked(Parked::Forward { .. }) | Phase::Closed { .. } => InLine::Outside,
        }
    }
}

/// Another definition for a saga that follows one whose reply says so: who serves a thing decides
/// how it is stopped, and that is known only when it is served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instead {
    /// Questions to the saga that is followed.
    pub when: Vec<Condition>,
    /// Name of the definition that is taken when the answer to any of them is yes.
    pub definition: String,
}

impl Turn<'_> {
    /// A saga that follows this one, with its definition decided.
    pub(super) fn decided(&self, mut start: Start) -> Start {
        if let Some(Instead { when, definition }) = start.instead.take()
            && when.iter().any(|it| self.holds(it))
        {
            start.definition = definition;
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(held: bool, waiting: usize, arrival: Arrival, expected: Place) {
        assert_eq!(Line { held, waiting }.place(arrival, 2), expected);
    }

    #[test]
    fn who_comes_first_has_the_turn_and_the_rest_wait_in_a_line_that_ends() {
        check(false, 0, Arrival::Last, Place::Now);
        check(true, 0, Arrival::Last, Place::Behind);
        check(true, 1, Arrival::Last, Place::Behind);
        check(true, 2, Arrival::Last, Place::TurnedAway);
    }

    #[test]
    fn nobody_overtakes_those_who_wait_but_who_follows_the_one_that_leaves() {
        check(false, 1, Arrival::Last, Place::Behind);
        check(false, 1, Arrival::Next, Place::Now);
        check(true, 1, Arrival::Next, Place::Behind);
    }
}
