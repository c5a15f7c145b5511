//! The way back: which undo is next, what its answer means, and when a person is needed.

use std::time::Duration;

use base::{Direction, Monotonic};

use super::{
    CauseKind, Effect, Flight, Outcome, Parked, Phase, PlannedCall, Record, Turn, UndoProgress,
    UndoStatus,
};
use crate::outcome::{CallResult, Failure, Verdict, classify};

/// What the undos of a saga want now.
enum Next {
    Try { step: usize, attempt: u32 },
    Overdue { step: usize },
    WaitUntil(Monotonic),
    Settled,
}

impl Turn<'_> {
    /// The supervisor begins to undo.
    pub(super) fn begin_undo(&mut self) {
        if let Phase::Aborting { .. } = &self.state.phase {
            self.record(Record::CompensationBegun);
        }
    }

    fn undos(&self) -> &[UndoProgress] {
        match &self.state.phase {
            Phase::Compensating { undos, .. } | Phase::Parked(Parked::Undo { undos, .. }) => undos,
            Phase::Queued
            | Phase::Running(_)
            | Phase::Aborting { .. }
            | Phase::Parked(Parked::Forward { .. })
            | Phase::Closed { .. } => &[],
        }
    }

    /// Judges an answer to an undo. False when the owner must stop itself.
    pub(super) fn undo_answered(&mut self, flight: Flight, result: &CallResult) -> bool {
        let step = self.saga.definition.steps().get(flight.step);
        let Some(undo) = step.and_then(|it| it.undo.as_ref()) else { return true };
        match classify(&undo.call, result) {
            Verdict::StaleEpoch => return false,
            Verdict::Done => match undo.external {
                None => self.record(Record::UndoDone { step: flight.step }),
                Some(external) => {
                    let deadline = self.moment.wall + Duration::from_millis(external.deadline_ms);
                    self.record(Record::UndoAwaited { step: flight.step, deadline });
                }
            },
            Verdict::Failed(failure) => self.undo_failed(flight, undo.attempts_max, failure),
        }
        true
    }

    fn undo_failed(&mut self, flight: Flight, attempts_max: u32, failure: Failure) {
        let (step, attempt, code) = (flight.step, flight.attempt, failure.code);
        // A refusal lasts. An exception may not, and an undo can always be repeated.
        if failure.refused || attempt >= attempts_max {
            self.record(Record::UndoGivenUp { step, attempts: attempt, code });
            return;
        }
        let backoff = self.saga.definition.steps()[step].backoff.backoff();
        let wait = backoff.delay(attempt, self.moment.draw);
        let wait = wait.max(failure.retry_after.unwrap_or_default());
        let wake = self.moment.monotonic + wait;
        self.record(Record::UndoFailed { step, attempt, class: failure.class, code, wake });
    }

    /// An outside party says how its undo went. Good news is welcome even after the deadline.
    pub(super) fn undo_finished(&mut self, id: String, step: &str, refused: Option<String>) {
        let position = self.saga.definition.position(step);
        let good = refused.is_none();
        let waits = |it: &&UndoProgress| {
            let waits = match it.status {
                UndoStatus::Awaited { .. } | UndoStatus::Pending { .. } => true,
                UndoStatus::GivenUp { .. } => good,
                UndoStatus::Undone => false,
            };
            Some(it.step) == position && waits
        };
        let Some(step) = self.undos().iter().find(waits).map(|it| it.step) else {
            let reason = format!("no undo of `{step}` is awaited");
            return self.record(Record::SignalIgnored { id, reason });
        };
        // The call that asked for it may still be in flight; its answer is no news then.
        if self.state.flight.is_some_and(|it| it.step == step) {
            self.state.flight = None;
        }
        match refused {
            None => self.record(Record::UndoDone { step }),
            Some(code) => self.record(Record::UndoGivenUp { step, attempts: 1, code }),
        }
    }

    /// Decides what is undone now: the next in order, then those that failed before.
    pub(super) fn plan_undo(&mut self) {
        if self.state.flight.is_some() {
            return;
        }
        loop {
            match self.next_undo() {
                Next::Try { step, attempt } => {
                    if self.call_undo(step, attempt) {
                        return;
                    }
                }
                Next::Overdue { step } => {
                    let code = "callback_overdue".to_owned();
                    self.record(Record::UndoGivenUp { step, attempts: 1, code });
                }
                Next::WaitUntil(wake) => return self.effects.push(Effect::WakeAt(wake)),
                Next::Settled => return self.settle(),
            }
        }
    }

    fn next_undo(&self) -> Next {
        let (now, wall) = (self.moment.monotonic, self.moment.wall);
        let mut again = None;
        let mut wait: Option<Monotonic> = None;
        for undo in self.undos() {
            let until = match &undo.status {
                UndoStatus::Pending { attempts: 0, wake } if *wake <= now => {
                    return Next::Try { step: undo.step, attempt: 1 };
                }
                UndoStatus::Pending { attempts, wake } if *wake <= now => {
                    again = again.or(Some(Next::Try { step: undo.step, attempt: attempts + 1 }));
                    continue;
                }
                UndoStatus::Pending { wake, .. } => *wake,
                UndoStatus::Awaited { deadline } if *deadline <= wall => {
                    return Next::Overdue { step: undo.step };
                }
                UndoStatus::Awaited { deadline } => now + deadline.saturating_since(wall),
                UndoStatus::Undone | UndoStatus::GivenUp { .. } => continue,
            };
            wait = Some(wait.map_or(until, |it| it.min(until)));
        }
        again.or(wait.map(Next::WaitUntil)).unwrap_or(Next::Settled)
    }

    /// False when the call cannot even be filled in; it is given up then.
    fn call_undo(&mut self, step: usize, attempt: u32) -> bool {
        let template = self.saga.definition.compiled[step].undo.as_ref();
        let Some(Ok(request)) = template.map(|it| it.render(self)) else {
            let code = "unrenderable".to_owned();
            self.record(Record::UndoGivenUp { step, attempts: attempt, code });
            return false;
        };
        let flight = Flight { step, direction: Direction::Undo, attempt };
        self.state.flight = Some(flight);
        let deadline = Duration::from_millis(self.saga.definition.steps()[step].timeout_ms);
        self.effects.push(Effect::Call(PlannedCall { flight, request, deadline }));
        true
    }

    /// Closes a parked saga whose last undo was finished from outside.
    pub(super) fn unpark(&mut self) {
        let undone = |it: &UndoProgress| it.status == UndoStatus::Undone;
        if self.undos().iter().all(undone) {
            self.settle();
        }
    }

    /// Nothing is left to try: either everything is undone, or a person is needed.
    fn settle(&mut self) {
        let given_up = self.undos().iter().filter_map(|it| match &it.status {
            UndoStatus::GivenUp { code, .. } => Some((it.step, code)),
            UndoStatus::Pending { .. } | UndoStatus::Awaited { .. } | UndoStatus::Undone => None,
        });
        let steps = self.saga.definition.steps();
        let faults: Vec<String> = given_up
            .map(|(step, code)| format!("undo of `{}`: {code}", steps[step].name))
            .collect();
        if faults.is_empty() {
            let cancelled = self.state.cancel.is_some()
                || self.state.cause().is_some_and(|it| it.kind == CauseKind::Cancelled);
            self.close(if cancelled { Outcome::Cancelled } else { Outcome::Compensated });
        } else {
            let reason = faults.join("; ");
            self.alert(reason.clone());
            self.record(Record::Parked { reason });
        }
    }
}
