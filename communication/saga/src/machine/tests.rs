//! One saga played by hand, event by event.

mod forward;
mod line;
mod outside;
mod owners;
mod people;
mod undo;

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
            Self::NoConnection => CallResult::REFUSED,
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
        let accepted = accept(&saga, Place::Now, moment);
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
        for record in transition.records {
            if let Record::FollowUpDropped { start } = &record {
                self.dropped.push(start.id.clone());
            }
            self.history.push((moment, record));
        }
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
    Start::new(id, "stop", Value::Null)
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
