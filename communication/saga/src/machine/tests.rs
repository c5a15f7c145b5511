use std::collections::VecDeque;

use serde_json::json;

use super::*;
use crate::definition::{Call, Step};

/// How the next call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Refused,
    Exception,
    Busy,
    TimedOut,
    Lost,
    NoConnection,
    Stale,
}

use Answer::{Busy, Done, Exception, Lost, NoConnection, Refused, Stale, TimedOut};

impl Answer {
    fn result(self) -> CallResult {
        match self {
            Self::Done => CallResult::replied(200, json!({"ok": true, "number": 7})),
            Self::Refused => CallResult::problem(409, "taken", false),
            Self::Exception => CallResult::replied(500, Value::Null),
            Self::Busy => CallResult::replied(503, Value::Null),
            Self::TimedOut => CallResult::TimedOut,
            Self::Lost => CallResult::ConnectionLost { sent: true },
            Self::NoConnection => CallResult::Refused,
            Self::Stale => CallResult::problem(409, "stale_epoch", false),
        }
    }
}

/// Three steps that can be undone, the pivot, and one after it.
fn definition() -> Definition {
    let step = |name: &str| {
        Step::compensable(name, "stock", Call::put(format!("/{name}/{{{{saga.id}}}}")))
            .undo(Call::delete(format!("/{name}/{{{{saga.id}}}}")))
    };
    Definition::builder("order", 1)
        .step(step("account"))
        .step(step("stock"))
        .step(step("carrier"))
        .step(Step::pivot("order", "orders", Call::put("/o")).undo(Call::delete("/o")))
        .step(Step::retriable("mail", "mail", Call::post("/m")))
        .build()
        .unwrap()
}

/// One saga played by hand.
#[derive(Clone)]
struct Play {
    definition: Definition,
    input: Value,
    state: State,
    now_ms: u64,
    history: Vec<(Moment, Record)>,
    effects: VecDeque<Effect>,
    calls: Vec<String>,
    alerts: Vec<String>,
    started: Vec<String>,
    dropped: Vec<String>,
    stopped: bool,
}

const START_MS: u64 = 1_000_000;

impl Play {
    fn new(definition: Definition) -> Self {
        let input = json!({"owner": "o 1"});
        let moment = moment(START_MS);
        let saga = Saga { id: "s1", definition: &definition, input: &input };
        let accepted = accept(&saga, moment);
        let mut play = Self {
            state: accepted.state.clone(),
            definition,
            input,
            now_ms: START_MS,
            history: Vec::new(),
            effects: VecDeque::new(),
            calls: Vec::new(),
            alerts: Vec::new(),
            started: Vec::new(),
            dropped: Vec::new(),
            stopped: false,
        };
        play.take(accepted);
        play
    }

    fn take(&mut self, transition: Transition) {
        let moment = moment(self.now_ms);
        self.history.extend(transition.records.into_iter().map(|it| (moment, it)));
        self.dropped.extend(transition.dropped.into_iter().map(|it| it.id));
        self.state = transition.state;
        for effect in transition.effects {
            match effect {
                Effect::Alert { reason } => self.alerts.push(reason),
                Effect::Start(start) => self.started.push(start.id),
                Effect::Stop => self.stopped = true,
                Effect::Call(_) | Effect::WakeAt(_) => self.effects.push_back(effect),
            }
        }
        self.assert_folded();
    }

    /// The state is the fold of the history, and survives being stored.
    fn assert_folded(&self) {
        let folded = State::of(&self.definition, &self.history).unwrap();
        let known = State { flight: None, ..self.state.clone() };
        assert_eq!(State { flight: None, ..folded }, known);
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<State>(&text).unwrap(), known, "{text}");
    }

    fn event(&mut self, event: Event) {
        let saga = Saga { id: "s1", definition: &self.definition, input: &self.input };
        let next = transition(&saga, self.state.clone(), event, moment(self.now_ms));
        self.effects.clear();
        self.take(next);
    }

    fn cancel(&mut self, or_else: Option<&str>) {
        let or_else = or_else.map(start);
        let kind = SignalKind::Cancel { reason: "asked".to_owned(), or_else };
        self.event(Event::Signalled(Signal { id: "c".to_owned(), kind }));
    }

    fn operate(&mut self, verb: Verb) {
        let (actor, reason) = ("ada".to_owned(), "looked into it".to_owned());
        let kind = SignalKind::Operator(OperatorAction { actor, verb, reason });
        self.event(Event::Signalled(Signal { id: "p".to_owned(), kind }));
    }

    /// Carries out the next effect. False when there is none.
    fn advance(&mut self, answer: &mut dyn FnMut(&PlannedCall) -> Answer) -> bool {
        match self.effects.pop_front() {
            None => false,
            Some(Effect::WakeAt(wake)) => {
                self.now_ms = self.now_ms.max(wake.as_millis());
                self.event(Event::Woken);
                true
            }
            Some(Effect::Call(call)) => {
                let step = &self.definition.steps()[call.flight.step].name;
                self.calls.push(format!("{} {step}", call.flight.direction.as_str()));
                let answer = answer(&call);
                let took = if answer == TimedOut { call.deadline.as_millis() } else { 5 };
                self.now_ms += u64::try_from(took).unwrap();
                self.event(Event::Answered { flight: call.flight, result: answer.result() });
                true
            }
            Some(other) => panic!("unexpected effect {other:?}"),
        }
    }

    /// Plays on until nothing is left to do; the supervisor undoes what fails.
    fn run(&mut self, answer: &mut dyn FnMut(&PlannedCall) -> Answer) {
        for _ in 0..2_000 {
            if self.state.status() == Status::Aborting {
                self.event(Event::UndoBegun);
            } else if !self.advance(answer) {
                return;
            }
        }
        panic!("no end: {:?}", self.state);
    }

    fn undone(&self) -> Vec<&str> {
        self.calls.iter().filter_map(|it| it.strip_prefix("undo ")).collect()
    }
}

fn start(id: &str) -> Start {
    Start { id: id.to_owned(), definition: "stop".to_owned(), input: Value::Null, trace: None }
}

fn moment(now_ms: u64) -> Moment {
    let wall = Timestamp::from_millis(i64::try_from(now_ms).unwrap());
    Moment { wall, monotonic: Monotonic::from_millis(now_ms), draw: 0.5 }
}

/// Plays the answers in turn; whatever comes after them is done.
fn play(answers: &[Answer]) -> Play {
    let mut play = Play::new(definition());
    let mut answers: VecDeque<Answer> = answers.iter().copied().collect();
    play.run(&mut |_| answers.pop_front().unwrap_or(Done));
    play
}

#[track_caller]
fn check(answers: &[Answer], status: Status, undone: &[&str]) {
    let play = play(answers);
    assert_eq!(play.state.status(), status, "{answers:?}: {:?}", play.state);
    assert_eq!(play.undone(), undone, "{answers:?}");
}

#[test]
fn a_saga_whose_steps_are_all_done_completes() {
    check(&[Done, Done, Done, Done, Done], Status::Completed, &[]);
    assert_eq!(play(&[]).calls.len(), 5);
}

#[test]
fn a_refused_step_undoes_the_done_ones_in_reverse() {
    check(&[Refused], Status::Compensated, &[]);
    check(&[Done, Refused], Status::Compensated, &["account"]);
    check(&[Done, Done, Refused], Status::Compensated, &["stock", "account"]);
}

#[test]
fn a_refused_pivot_is_undone_as_in_doubt_with_all_before_it() {
    let all = ["order", "carrier", "stock", "account"];
    check(&[Done, Done, Done, Refused], Status::Compensated, &all);
    check(&[Done, Done, Done, Exception], Status::Compensated, &all);
}

#[test]
fn an_exception_gets_no_second_call_and_leaves_the_step_in_doubt() {
    let play = play(&[Done, Exception]);
    assert_eq!(play.calls, ["do account", "do stock", "undo stock", "undo account"]);
    assert_eq!(play.state.cause().unwrap().kind, CauseKind::Refused);
}

#[test]
fn a_transient_failure_is_retried_and_completes() {
    for failure in [Busy, TimedOut, Lost, NoConnection] {
        check(&[failure, failure, failure, Done], Status::Completed, &[]);
    }
}

#[test]
fn a_step_that_fails_as_often_as_it_may_is_undone_when_in_doubt() {
    check(
        &[Done, TimedOut, TimedOut, TimedOut, TimedOut],
        Status::Compensated,
        &["stock", "account"],
    );
    check(&[Done, Lost, Lost, Lost, Lost], Status::Compensated, &["stock", "account"]);
    check(
        &[Done, NoConnection, NoConnection, NoConnection, NoConnection],
        Status::Compensated,
        &["account"],
    );
    let failed = play(&[NoConnection, NoConnection, NoConnection, NoConnection]);
    let cause = failed.state.cause().unwrap();
    assert_eq!((cause.kind, cause.attempts), (CauseKind::Attempts, 4));
}

#[test]
fn one_attempt_in_doubt_is_enough_for_the_undo() {
    let answers = [Done, Lost, NoConnection, NoConnection, NoConnection];
    check(&answers, Status::Compensated, &["stock", "account"]);
}

#[test]
fn a_service_that_is_busy_for_ever_is_undone_at_complete_by() {
    let mut play = Play::new(definition());
    play.run(&mut |call| match (call.flight.step, call.flight.direction) {
        (1, Direction::Do) => Busy,
        _ => Done,
    });
    assert_eq!(play.state.status(), Status::Compensated);
    assert_eq!(play.state.cause().unwrap().kind, CauseKind::CompleteBy);
    assert_eq!(play.undone(), ["stock", "account"]);
    let asked = play.calls.iter().filter(|it| *it == "do stock").count();
    assert!((4..30).contains(&asked), "{asked}");
    let took = play.now_ms - START_MS;
    assert!((60_000..62_100).contains(&took), "{took} ms");
}

#[test]
fn a_wish_to_wait_is_honoured() {
    let mut play = Play::new(definition());
    let Some(Effect::Call(call)) = play.effects.pop_front() else { panic!("no call") };
    let busy = CallResult::replied(503, Value::Null).retry_after(Duration::from_secs(7));
    play.event(Event::Answered { flight: call.flight, result: busy });
    let until = Monotonic::from_millis(START_MS + 7_000);
    assert_eq!(play.effects, [Effect::WakeAt(until)]);
}

#[test]
fn an_unknown_pivot_is_repeated_until_known_and_never_undone() {
    let mut lost = 0;
    let mut play = Play::new(definition());
    play.run(&mut |call| {
        if call.flight.step == 3 && lost < 40 {
            lost += 1;
            // Neither silence nor exceptions nor a busy service break the silence of the first.
            return [Lost, TimedOut, Exception, Busy][lost % 4];
        }
        Done
    });
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.undone(), [""; 0]);
    assert_eq!(play.alerts.len(), 1, "{:?}", play.alerts);
    assert!(play.now_ms - START_MS > 60_000, "complete-by does not end it");
}

#[test]
fn a_refusal_breaks_the_silence_about_the_pivot() {
    let all = ["order", "carrier", "stock", "account"];
    check(&[Done, Done, Done, Lost, Refused], Status::Compensated, &all);
}

#[test]
fn a_pivot_that_was_never_reached_is_not_waited_for() {
    let answers = [Done, Done, Done, NoConnection, NoConnection, NoConnection, NoConnection];
    check(&answers, Status::Compensated, &["order", "carrier", "stock", "account"]);
}

#[test]
fn after_the_pivot_a_step_is_repeated_past_its_attempts_with_one_alert() {
    let mut failures = 0;
    let mut play = Play::new(definition());
    play.run(&mut |call| {
        failures += u32::from(call.flight.step == 4);
        if call.flight.step == 4 && failures < 50 { NoConnection } else { Done }
    });
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.alerts.len(), 1);
}

#[test]
fn after_the_pivot_a_refused_step_is_parked_and_a_person_resumes_it() {
    let mut play = play(&[Done, Done, Done, Done, Refused]);
    assert_eq!(play.state.status(), Status::Parked);
    assert_eq!((play.undone().len(), play.alerts.len()), (0, 1));
    play.operate(Verb::Compensate);
    assert_eq!(play.state.status(), Status::Parked, "there is no way back behind the pivot");
    play.operate(Verb::Retry);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
}

#[test]
fn a_failing_undo_never_blocks_the_others_and_is_parked_for_a_person() {
    let mut play = Play::new(definition());
    play.run(&mut |call| match (call.flight.step, call.flight.direction) {
        (2, Direction::Do) => Refused,
        (1, Direction::Undo) => Busy,
        _ => Done,
    });
    assert_eq!(play.state.status(), Status::Parked);
    assert_eq!(play.undone()[..2], ["stock", "account"]);
    assert_eq!(play.undone().iter().filter(|it| **it == "stock").count(), 12);
    assert_eq!(play.alerts, ["undo of `stock`: http_503"]);
    for verb in [Verb::Retry, Verb::Compensate] {
        let mut again = play.clone();
        again.operate(verb);
        again.run(&mut |_| Done);
        assert_eq!(again.state.status(), Status::Compensated);
    }
}

#[test]
fn a_refused_undo_is_given_up_at_once_and_an_exception_is_not() {
    let parked = play(&[Done, Refused, Refused]);
    assert_eq!(parked.state.status(), Status::Parked);
    check(&[Done, Refused, Exception, Exception, Done], Status::Compensated, &["account"; 3]);
}

#[test]
fn a_person_may_resolve_what_is_parked_and_nothing_else() {
    let mut running = Play::new(definition());
    running.operate(Verb::Resolve);
    assert_eq!(running.state.status(), Status::Running);
    let mut parked = play(&[Done, Refused, Refused]);
    parked.operate(Verb::Resolve);
    assert_eq!(parked.state.status(), Status::Resolved);
    let acted = parked.history.iter().any(|(_, it)| {
        matches!(it, Record::OperatorActed(it) if it.actor == "ada" && it.reason == "looked into it")
    });
    assert!(acted, "the history names who and why");
}

#[test]
fn a_person_may_undo_a_running_saga_before_its_pivot() {
    let mut play = Play::new(definition());
    assert!(play.advance(&mut |_| Done));
    play.operate(Verb::Compensate);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Compensated);
    assert_eq!(play.undone(), ["stock", "account"], "the call in flight is in doubt");
}

#[test]
fn a_cancel_before_the_pivot_lets_the_call_in_flight_end_and_undoes() {
    for before in 0..3 {
        let mut play = Play::new(definition());
        for _ in 0..before {
            play.advance(&mut |_| Done);
        }
        let call = play.effects.front().cloned();
        play.cancel(Some("s1/cancel"));
        assert_eq!(play.state.status(), Status::Running, "the call in flight is resolved first");
        play.effects.extend(call);
        play.run(&mut |_| Done);
        assert_eq!(play.state.status(), Status::Cancelled);
        assert_eq!(play.undone().len(), before + 1);
        assert!(play.started.is_empty());
        assert_eq!(play.dropped, ["s1/cancel"]);
    }
}

#[test]
fn a_cancel_while_waiting_for_the_next_try_acts_at_once() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Busy);
    play.cancel(None);
    assert_eq!(play.state.status(), Status::Aborting);
}

#[test]
fn a_cancel_that_loses_to_the_pivot_is_too_late_and_its_follow_up_is_started() {
    let mut play = Play::new(definition());
    for _ in 0..3 {
        play.advance(&mut |_| Done);
    }
    let call = play.effects.front().cloned();
    play.cancel(Some("s1/cancel"));
    play.effects.extend(call);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.started, ["s1/cancel"]);
    assert_eq!(play.undone(), [""; 0]);
}

#[test]
fn a_cancel_never_undoes_an_unknown_pivot() {
    let mut play = Play::new(definition());
    for _ in 0..3 {
        play.advance(&mut |_| Done);
    }
    play.advance(&mut |_| Lost);
    play.cancel(Some("s1/cancel"));
    assert_eq!(play.state.status(), Status::Running);
    play.event(Event::Woken);
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.started, ["s1/cancel"]);
}

#[test]
fn a_cancel_of_a_completed_saga_starts_its_follow_up_at_once() {
    let mut play = play(&[]);
    play.cancel(Some("s1/cancel"));
    assert_eq!(play.state.status(), Status::Completed);
    assert_eq!(play.started, ["s1/cancel"]);
    let (id, start) = ("t".to_owned(), start("s1/move"));
    play.event(Event::Signalled(Signal { id, kind: SignalKind::Then { start } }));
    assert_eq!(play.started, ["s1/cancel", "s1/move"]);
}

#[test]
fn a_cancel_of_a_failed_saga_is_not_forgotten_when_another_try_would_help() {
    let mut play = Play::new(definition());
    while play.state.status() == Status::Running {
        play.advance(&mut |_| TimedOut);
    }
    assert!(play.state.may_be_handed_back(3));
    play.cancel(Some("s1/cancel"));
    assert!(!play.state.may_be_handed_back(3), "it would complete although it was cancelled");
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Cancelled);
    assert_eq!((play.started.len(), play.dropped.len()), (0, 1));
}

#[test]
fn a_transiently_failed_saga_is_handed_back_with_fresh_time_and_its_doubt() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    while play.state.status() == Status::Running {
        play.advance(&mut |_| TimedOut);
    }
    assert!(play.state.may_be_handed_back(3));
    assert!(!play.state.may_be_handed_back(0));
    play.event(Event::HandedBack);
    assert_eq!(play.state.status(), Status::Running);
    assert_eq!(play.state.budget.left_ms(Monotonic::from_millis(play.now_ms)), 60_000);
    play.event(Event::Claimed { was_owned: false });
    let mut silent = 0;
    play.run(&mut |call| {
        silent += 1;
        // The second step was in doubt before it was handed back, so it must still be undone.
        if call.flight.step == 1 && silent == 1 { Refused } else { Done }
    });
    assert_eq!(play.state.status(), Status::Compensated);
    assert_eq!(play.undone(), ["stock", "account"]);
}

#[test]
fn a_saga_whose_time_is_up_is_not_handed_back() {
    let mut play = Play::new(definition());
    while play.state.status() == Status::Running {
        play.advance(&mut |_| Busy);
    }
    assert!(!play.state.may_be_handed_back(3));
}

#[test]
fn time_without_an_owner_does_not_count() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    let before = play.state.budget.left_ms(Monotonic::from_millis(play.now_ms));
    play.now_ms += 3_600_000;
    play.event(Event::Claimed { was_owned: true });
    let after = play.state.budget.left_ms(Monotonic::from_millis(play.now_ms));
    assert_eq!(before - after, 3_000, "one lease is counted");
    play.run(&mut |_| Done);
    assert_eq!(play.state.status(), Status::Completed);
}

#[test]
fn a_crash_after_any_record_leads_to_an_end_that_the_run_without_it_allows() {
    for (answers, allowed) in [
        (&[][..], Status::Completed),
        (&[Done, Busy, Done, Lost, Done, TimedOut], Status::Completed),
        (&[Done, Done, Refused, Busy, Done], Status::Compensated),
    ] {
        let whole = play(answers);
        for kept in 1..=whole.history.len() {
            let mut play = Play::new(definition());
            play.effects.clear();
            play.history = whole.history[..kept].to_vec();
            play.now_ms = play.history.last().unwrap().0.monotonic.as_millis() + 3_500;
            play.state = State::of(&play.definition, &play.history).unwrap();
            play.event(Event::Claimed { was_owned: true });
            let refused = allowed == Status::Compensated;
            play.run(&mut |call| match call.flight {
                Flight { step: 2, direction: Direction::Do, .. } if refused => Refused,
                _ => Done,
            });
            assert_eq!(play.state.status(), allowed, "after {kept} records of {answers:?}");
        }
    }
}

#[test]
fn who_takes_over_treats_the_step_at_hand_as_in_doubt() {
    let mut play = Play::new(definition());
    play.advance(&mut |_| Done);
    play.event(Event::Claimed { was_owned: true });
    play.run(&mut |call| if call.flight.step == 1 { Refused } else { Done });
    assert_eq!(play.undone()[0], "stock");
}

#[test]
fn a_stale_epoch_stops_the_owner_without_a_record() {
    let mut play = Play::new(definition());
    let records = play.history.len();
    play.advance(&mut |_| Stale);
    assert!(play.stopped);
    assert_eq!(play.history.len(), records);
    assert!(play.effects.is_empty());
}

#[test]
fn an_answer_to_an_earlier_attempt_is_nobodys() {
    let mut play = Play::new(definition());
    let Some(Effect::Call(first)) = play.effects.pop_front() else { panic!("no call") };
    play.event(Event::Answered { flight: first.flight, result: TimedOut.result() });
    play.advance(&mut |_| Done);
    let before = play.history.len();
    play.event(Event::Answered { flight: first.flight, result: Refused.result() });
    assert_eq!(play.history.len(), before);
    assert_eq!(play.state.status(), Status::Running);
}

#[test]
fn a_step_is_left_out_when_an_earlier_reply_says_so() {
    let skips = Definition::builder("order", 1)
        .step(Step::compensable("ask", "stock", Call::get("/ask")))
        .step(
            Step::compensable("own", "stock", Call::put("/own"))
                .undo(Call::delete("/own"))
                .skip_when("ask", "/ok", true),
        )
        .step(Step::pivot(
            "order",
            "orders",
            Call::put("/o")
                .body(json!({"by": "{{steps.own.body.number ?? steps.ask.body.number}}"})),
        ))
        .build()
        .unwrap();
    let mut play = Play::new(skips);
    let mut bodies = Vec::new();
    play.run(&mut |call| {
        bodies.push(call.request.body.clone());
        Done
    });
    assert_eq!(play.calls, ["do ask", "do order"]);
    assert_eq!(bodies[1], Some(json!({"by": 7})));
}

#[test]
fn what_holds_something_scarce_is_undone_first() {
    let step = |name: &str| Step::compensable(name, "s", Call::put("/x")).undo(Call::delete("/x"));
    let scarce = Definition::builder("order", 1)
        .step(step("a").undo_first())
        .step(step("b"))
        .step(step("c"))
        .step(Step::pivot("p", "s", Call::put("/p")))
        .build()
        .unwrap();
    let mut play = Play::new(scarce);
    play.run(&mut |call| if call.flight.step == 3 { Refused } else { Done });
    assert_eq!(play.undone(), ["a", "c", "b"]);
}

#[test]
fn an_input_that_does_not_fill_the_call_is_refused_without_a_call() {
    let needs = Definition::builder("order", 1)
        .step(Step::pivot("p", "s", Call::put("/p/{{input.absent}}")))
        .build()
        .unwrap();
    let mut play = Play::new(needs);
    play.run(&mut |_| Done);
    assert!(play.calls.is_empty());
    assert_eq!(play.state.cause().unwrap().code, "unrenderable");
    assert_eq!(play.state.status(), Status::Compensated);
}

mod outside {
    use super::*;

    fn definition() -> Definition {
        let book = Step::compensable("book", "s", Call::put("/b")).undo(Call::delete("/b"));
        Definition::builder("order", 1)
            .step(book.undo_finishes_outside(600_000))
            .step(Step::pivot("p", "s", Call::put("/p")))
            .build()
            .unwrap()
    }

    fn awaited() -> Play {
        let mut play = Play::new(definition());
        play.advance(&mut |_| Done);
        play.advance(&mut |_| Refused);
        play.event(Event::UndoBegun);
        play.advance(&mut |_| Done);
        assert_eq!(play.state.status(), Status::Compensating, "asking is not enough");
        play
    }

    fn call_back(play: &mut Play, refused: Option<&str>) {
        let (step, refused) = ("book".to_owned(), refused.map(str::to_owned));
        let kind = SignalKind::UndoFinished { step, refused };
        play.event(Event::Signalled(Signal { id: "b".to_owned(), kind }));
    }

    #[test]
    fn an_undo_by_an_outside_party_waits_for_its_callback() {
        let mut play = awaited();
        call_back(&mut play, None);
        assert_eq!(play.state.status(), Status::Compensated);
    }

    #[test]
    fn an_outside_party_that_cannot_undo_needs_a_person() {
        let mut play = awaited();
        call_back(&mut play, Some("too_late"));
        assert_eq!(play.state.status(), Status::Parked);
    }

    #[test]
    fn a_callback_that_never_comes_is_parked_and_one_that_comes_late_still_counts() {
        let mut play = awaited();
        play.run(&mut |_| Done);
        assert_eq!(play.state.status(), Status::Parked);
        assert_eq!(play.state.parked_reason(), Some("undo of `book`: callback_overdue"));
        call_back(&mut play, None);
        assert_eq!(play.state.status(), Status::Compensated);
    }
}
