//! The way forward: the next step, what an answer to it means, and when the saga fails.

use std::time::Duration;

use base::{Direction, FailureClass};

use super::{
    Cause, CauseKind, Certainty, Effect, Flight, Forward, Outcome, Phase, PlannedCall, PlannedUndo,
    Record, State, Turn,
};
use crate::{
    definition::{Condition, Step, StepKind, WhenItFails},
    outcome::{CallResult, Evidence, Failure, Patience, Verdict, classify},
};

impl<'a> Turn<'a> {
    fn forward(&self) -> Option<Forward> {
        match &self.state.phase {
            Phase::Running(forward) => Some(*forward),
            Phase::Queued
            | Phase::Aborting { .. }
            | Phase::Compensating { .. }
            | Phase::Parked(_)
            | Phase::Closed { .. } => None,
        }
    }

    fn step(&self, position: usize) -> Option<&'a Step> {
        let definition = self.saga.definition;
        definition.steps().get(position)
    }

    /// Judges an answer to the step at hand. False when the owner must stop itself.
    pub(super) fn step_answered(&mut self, flight: Flight, result: &CallResult) -> bool {
        let Some(verdict) = self.step(flight.step).map(|it| classify(&it.call, result)) else {
            return true;
        };
        match verdict {
            Verdict::StaleEpoch => return false,
            Verdict::Done => self.step_done(flight, result),
            Verdict::Failed(failure) => self.step_failed(flight, &failure),
        }
        true
    }

    fn step_done(&mut self, flight: Flight, result: &CallResult) {
        let used = self.saga.definition.compiled[flight.step].output_is_used;
        let output = match result {
            CallResult::Replied(reply) if used => Some(reply.body.clone()),
            _ => None,
        };
        self.record(Record::StepDone { step: flight.step, attempt: flight.attempt, output });
    }

    /// Passes the steps that are left out, and completes the saga after the last.
    pub(super) fn skip_steps(&mut self) {
        while let Some(forward) = self.forward() {
            let Some(step) = self.step(forward.step) else {
                self.close(Outcome::Completed);
                return;
            };
            let skipped = step.skip_when.as_ref().is_some_and(|it| self.holds(it));
            if !skipped && step.do_when.as_ref().is_none_or(|it| self.holds(it)) {
                return;
            }
            self.record(Record::StepSkipped { step: forward.step });
        }
    }

    pub(super) fn holds(&self, condition: &Condition) -> bool {
        let asked = self.saga.definition.position(&condition.step);
        let output = asked.and_then(|step| crate::definition::Scope::output(self, step));
        output.and_then(|it| it.pointer(&condition.pointer)) == Some(&condition.equals)
    }

    fn step_failed(&mut self, flight: Flight, failure: &Failure) {
        let (Some(forward), Some(step)) = (self.forward(), self.step(flight.step)) else { return };
        let counts = failure.patience == Patience::Attempts;
        let failures = forward.failures + u32::from(counts);
        // The waits grow with the calls made, so that a busy service is asked more and more rarely.
        let wait = step.backoff.backoff().delay(flight.attempt, self.moment.draw);
        let wait = wait.max(failure.retry_after.unwrap_or_default());
        self.record(Record::StepFailed {
            step: flight.step,
            attempt: flight.attempt,
            class: failure.class,
            code: failure.code.clone(),
            evidence: failure.evidence,
            counts,
            unsent: failure.unsent,
            wake: self.moment.monotonic + wait,
        });
        let lasting = failure.class == FailureClass::NonTransient;
        let exhausted = counts && failures >= step.attempts_max;
        if !lasting && !exhausted {
            return;
        }
        let (name, code) = (&step.name, &failure.code);
        if step.kind == StepKind::Retriable {
            if lasting {
                self.park_step(&format!("`{name}` was refused: {code}"));
            } else {
                self.alert_once(&format!("`{name}` keeps failing: {code}"));
            }
        } else if self.pivot_is_unknown() && !failure.refused {
            // Only a decision of the service breaks the silence about an earlier attempt: an
            // exception or another timeout says nothing about what that one did.
            self.alert_once(&format!("nobody knows whether `{name}` is done: {code}"));
        } else if step.when_it_fails == WhenItFails::Park && !failure.refused {
            // What it was to change may have changed, or nobody could say: no answer to give.
            self.park_step(&format!("`{name}` failed {} times: {code}", flight.attempt));
        } else if self.state.cancel.is_none() {
            let (kind, reason) = if lasting {
                let why = failure.detail.as_ref().map(|it| format!(" ({it})"));
                (CauseKind::Refused, format!("`{name}` was refused{}", why.unwrap_or_default()))
            } else {
                (CauseKind::Attempts, format!("`{name}` failed {failures} times"))
            };
            self.abort(Cause {
                kind,
                step: name.clone(),
                class: failure.class,
                code: code.clone(),
                reason,
                attempts: flight.attempt,
            });
        } else {
            self.abort_cancelled();
        }
    }

    fn abort_cancelled(&mut self) {
        let reason = self.state.cancel.clone().unwrap_or_default();
        let code = "cancelled".to_owned();
        self.abort(self.cause_at_hand(CauseKind::Cancelled, code, reason));
    }

    /// Whether the step at hand is the pivot and somebody may have done it.
    fn pivot_is_unknown(&self) -> bool {
        self.forward().is_some_and(|it| {
            it.doubt == Evidence::Silent && self.saga.definition.pivot() == Some(it.step)
        })
    }

    /// Decides what happens to the step at hand now: abort, wait or call.
    pub(super) fn plan_step(&mut self) {
        let Some(forward) = self.forward() else { return };
        let Some(step) = self.step(forward.step) else { return };
        let (kind, timeout_ms) = (step.kind, step.timeout_ms);
        if self.state.flight.is_some() {
            return;
        }
        let now = self.moment.monotonic;
        let left_ms = self.state.budget.left_ms(now);
        let bounded = kind != StepKind::Retriable && !self.pivot_is_unknown();
        if bounded && self.state.cancel.is_some() {
            self.abort_cancelled();
        } else if bounded && left_ms == 0 && step.when_it_fails == WhenItFails::Park {
            let name = &step.name;
            self.park_step(&format!(
                "`{name}` was not done in time, after {} tries",
                forward.attempts
            ));
        } else if bounded && left_ms == 0 {
            let reason = "the time was up".to_owned();
            let code = base::Code::DeadlineExpired.as_str().to_owned();
            self.abort(self.cause_at_hand(CauseKind::CompleteBy, code, reason));
        } else if forward.wake > now {
            let end = now + Duration::from_millis(left_ms);
            let wake = if bounded { forward.wake.min(end) } else { forward.wake };
            self.effects.push(Effect::WakeAt(wake));
        } else {
            if left_ms == 0 {
                self.tell_of_lateness(kind, forward);
            }
            let deadline_ms = if bounded { timeout_ms.min(left_ms) } else { timeout_ms };
            self.call_step(forward, deadline_ms);
        }
    }

    /// What is repeated for ever is told to a person when the saga's time is up, also when the
    /// service only asks for patience.
    fn tell_of_lateness(&mut self, kind: StepKind, forward: Forward) {
        match kind {
            StepKind::Pivot => {
                self.alert_once("the time was up, and nobody knows whether the pivot is done");
            }
            StepKind::Retriable if forward.attempts > 0 => {
                let name = self.step(forward.step).map_or("", |it| it.name.as_str());
                self.alert_once(&format!("the time was up, and `{name}` is not done yet"));
            }
            StepKind::Compensable | StepKind::Retriable => {}
        }
    }

    fn call_step(&mut self, forward: Forward, deadline_ms: u64) {
        let definition = self.saga.definition;
        match definition.compiled[forward.step].call.render(self) {
            Ok(request) => {
                let (step, direction) = (forward.step, Direction::Do);
                let flight = Flight { step, direction, attempt: forward.attempts + 1 };
                self.state.flight = Some(flight);
                let deadline = Duration::from_millis(deadline_ms);
                self.effects.push(Effect::Call(PlannedCall { flight, request, deadline }));
            }
            Err(fault) => {
                let reason = fault.to_string();
                if definition.steps()[forward.step].kind == StepKind::Retriable {
                    self.park_step(&reason);
                } else {
                    let code = "unrenderable".to_owned();
                    self.abort(self.cause_at_hand(CauseKind::Refused, code, reason));
                }
            }
        }
    }

    /// A cause that is not the answer to a call.
    pub(super) fn cause_at_hand(&self, kind: CauseKind, code: String, reason: String) -> Cause {
        let forward = self.forward();
        let step = forward.and_then(|it| self.step(it.step)).map(|it| it.name.clone());
        Cause {
            kind,
            step: step.unwrap_or_default(),
            class: FailureClass::NonTransient,
            code,
            reason,
            attempts: forward.map_or(0, |it| it.attempts),
        }
    }

    /// Fails the saga. What is undone: every step that was done, and the one at hand when anything
    /// may have happened there; the last first, except those that hold something scarce.
    pub(super) fn abort(&mut self, cause: Cause) {
        let Some(forward) = self.forward() else { return };
        let steps = self.saga.definition.steps();
        // A pivot that was called is undone even when it was refused: it costs one call, and its
        // effect is the one that must not stay behind. Where no call ever left there is none, and
        // an undo would ask for a person as long as the service is away.
        let pivot_called =
            forward.may_be_seen() && self.saga.definition.pivot() == Some(forward.step);
        let in_doubt = forward.doubt != Evidence::Untouched || pivot_called;
        let at_hand = in_doubt.then_some((forward.step, Certainty::InDoubt));
        let done = self.state.done.iter().rev().filter(|it| !it.skipped);
        let done = done.map(|it| (it.step, Certainty::Applied));
        let undoable = |step: usize| steps.get(step).is_some_and(|it| it.undo.is_some());
        let mut plan: Vec<PlannedUndo> = at_hand
            .into_iter()
            .chain(done)
            .filter(|(step, _)| undoable(*step))
            .map(|(step, certainty)| PlannedUndo { step, certainty })
            .collect();
        // The sort is stable: among equals the last step stays first.
        plan.sort_by_key(|it| !steps[it.step].undo_first);
        self.record(Record::Aborting { cause, plan });
    }

    fn park_step(&mut self, reason: &str) {
        self.alert(reason.to_owned());
        self.record(Record::Parked { reason: reason.to_owned() });
    }

    pub(super) fn alert_once(&mut self, reason: &str) {
        if !self.state.alerted {
            self.alert(reason.to_owned());
        }
    }

    /// The supervisor gives the saga another try, with fresh time.
    pub(super) fn hand_back(&mut self) {
        let Phase::Aborting { .. } = &self.state.phase else { return };
        let fresh_ms = self.saga.definition.document().complete_by_ms;
        let limit_ms = self.state.budget.consumed_ms.saturating_add(fresh_ms);
        let wake = self.moment.monotonic + hand_back_wait(self.state.hand_backs, self.moment.draw);
        self.record(Record::HandedBack { limit_ms, wake });
    }
}

/// Waits before a handed-back saga goes on: at least half of 1, 4, 16 s, so that the tries of all
/// hand-backs together outlive the restart of a service.
fn hand_back_wait(hand_backs: u32, draw: f64) -> Duration {
    let (initial, cap) = (Duration::from_secs(1), Duration::from_secs(30));
    let backoff = base::Backoff { initial, factor: 4, cap };
    backoff.delay(hand_backs + 1, 0.5 + draw / 2.0)
}

impl State {
    /// Whether another try may help a failed saga: its failure was of the kind that goes away by
    /// itself, it was not the time that ran out, nobody asked to stop it, and it had fewer than
    /// `hand_backs_max` such tries.
    #[must_use]
    pub fn may_be_handed_back(&self, hand_backs_max: u32) -> bool {
        let Phase::Aborting { cause, .. } = &self.phase else { return false };
        cause.kind == CauseKind::Attempts
            && cause.class == FailureClass::Transient
            && self.cancel.is_none()
            && self.hand_backs < hand_backs_max
    }
}
