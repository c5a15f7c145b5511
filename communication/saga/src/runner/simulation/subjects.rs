//! One saga of a subject at a time: never two, in the order of arrival, each with its end, over
//! crashes, takeovers, sleepers, cancels and people.

use std::time::Duration;

use ::store::params;
use base::Direction;

use super::{
    chaos::{act, draw_faults},
    forward,
    services::{
        Fault::{Busy, Refused},
        Planned,
    },
    start,
    world::{AfterCrash, World},
    world_with_both,
};
use crate::{
    config::EngineKind,
    machine::{Moment, OperatorAction, Record, SignalKind, Start, Status, Verb},
    runner::Order,
    store::{Appended, mend},
};

fn about(id: &str) -> Start {
    let (subject, _) = id.split_once('/').unwrap();
    start(id).about(subject)
}

impl World {
    async fn acts(&mut self, saga: &str, verb: Verb) {
        let (actor, reason) = ("ada".to_owned(), "looked".to_owned());
        let word = format!("{verb:?}-{}", self.view(saga).await.state.records);
        self.say(saga, &word, SignalKind::Operator(OperatorAction { actor, verb, reason })).await;
    }

    /// Sagas of a subject in the order in which they came; what followed another is left out.
    async fn arrived(&self, subject: &str) -> Vec<String> {
        let subject = subject.to_owned();
        let read = move |it: &::store::Reader<'_>| {
            it.query_all(
                "SELECT id FROM sagas WHERE subject = ?1 AND id NOT LIKE '%/stop' ORDER BY number",
                params![subject],
                |row| row.get::<String>(0),
            )
        };
        self.store.read(read).await.unwrap()
    }

    /// The sagas of a subject that called anybody, each once for every time it came back.
    fn called(&self, subject: &str) -> Vec<String> {
        let of = |it: &&String| it.split('/').next() == Some(subject);
        let mut blocks: Vec<String> = self.services.callers.iter().filter(of).cloned().collect();
        blocks.dedup();
        blocks
    }

    /// Each saga called in one go, and in the order of arrival.
    async fn check_line(&self, subject: &str, context: &str) {
        let mut called = self.called(subject);
        let whole = called.clone();
        called.sort();
        let blocks = called.len();
        called.dedup();
        assert_eq!(blocks, called.len(), "two at once, {context}: {whole:?}");
        let arrived = self.arrived(subject).await;
        let ordered: Vec<&String> = whole.iter().filter(|it| !it.ends_with("/stop")).collect();
        let expected: Vec<&String> = arrived.iter().filter(|it| ordered.contains(it)).collect();
        assert_eq!(ordered, expected, "out of order, {context}");
    }
}

#[tokio::test]
async fn sagas_of_one_subject_work_in_the_order_in_which_they_came_and_others_beside_them() {
    let mut world = world_with_both(30).await;
    let index = forward(&world);
    for id in ["a/1", "a/2", "b/1", "a/3"] {
        world.submit_start(index, about(id));
    }
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.called("a"), ["a/1", "a/2", "a/3"]);
    assert_ne!(world.services.callers[..15], vec!["a/1"; 15], "b waits for nobody");
    for id in ["a/1", "a/2", "b/1", "a/3"] {
        assert_eq!(world.check(id, id).await, Status::Completed);
    }
}

#[tokio::test]
async fn a_crash_at_any_boundary_leaves_the_line_in_order_and_nobody_behind() {
    for after in [AfterCrash::Restart, AfterCrash::Takeover] {
        let mut world = world_with_both(31).await;
        for boundary in 0..60 {
            let subject = format!("{after:?}{boundary}");
            let ids: Vec<String> = (1..4).map(|it| format!("{subject}/{it}")).collect();
            let (step, direction) = (1, Direction::Do);
            world.faults = vec![Planned { step, direction, fault: Refused, times: 1 }];
            world.crash_after = Some(boundary);
            for id in &ids {
                let index = forward(&world);
                world.submit_start(index, about(id));
                for _ in 0..3 {
                    if world.round(index).await.is_none() {
                        world.crash(index, after).await;
                    }
                }
            }
            world.settle(after).await;
            world.crash_after = None;
            // Whoever was not told submits again.
            for id in &ids {
                let index = forward(&world);
                world.submit_start(index, about(id));
            }
            world.settle(after).await;
            for id in &ids {
                let status = world.check(id, &format!("{subject} {id}")).await;
                assert!(status.is_closed(), "{subject} {id}: {status:?}");
            }
            world.check_line(&subject, &subject).await;
        }
    }
}

#[tokio::test]
async fn who_finds_the_line_full_is_told_so_at_once() {
    let mut world = World::new(32).await;
    world.settings.waiting_max = 2;
    world.start("forward-a", EngineKind::Forward).await;
    // The first has the turn until the time goes on.
    world.faults = vec![Planned { step: 0, direction: Direction::Do, fault: Busy, times: 1 }];
    for number in 1..=5 {
        let id = format!("a/{number}");
        world.submit_start(0, about(&id));
        while world.view_of(&id).await.is_none() {
            world.round(0).await;
        }
    }
    assert_eq!(world.view("a/3").await.status(), Status::Queued);
    for id in ["a/4", "a/5"] {
        let view = world.view(id).await;
        assert_eq!(view.status(), Status::Compensated, "{id}");
        assert_eq!(view.cause().unwrap().code, "line_full", "{id}");
    }
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.called("a"), ["a/1", "a/2", "a/3"]);
}

#[tokio::test]
async fn what_is_parked_lets_the_next_work_and_waits_for_the_turn_when_it_is_resumed() {
    let mut world = world_with_both(33).await;
    let index = forward(&world);
    let refused = Planned { step: 4, direction: Direction::Do, fault: Refused, times: 1 };
    world.faults = vec![refused];
    for id in ["a/1", "a/2"] {
        world.submit_start(index, about(id));
    }
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.view("a/1").await.status(), Status::Parked);
    assert_eq!(world.view("a/2").await.status(), Status::Completed, "nobody is held up");
    // A third has the turn, and waits for a busy service, when a person resumes the first.
    let busy = Planned { step: 0, direction: Direction::Do, fault: Busy, times: 3 };
    world.faults = vec![busy];
    world.submit_start(index, about("a/3"));
    for _ in 0..8 {
        world.round(index).await;
    }
    assert_eq!(world.view("a/3").await.status(), Status::Running);
    world.acts("a/1", Verb::Retry).await;
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.view("a/1").await.status(), Status::Completed);
    assert_eq!(world.called("a"), ["a/1", "a/2", "a/3", "a/1"], "not beside the third");
}

#[tokio::test]
async fn who_comes_back_too_late_by_a_moment_is_refused_the_turn() {
    let mut world = world_with_both(36).await;
    let index = forward(&world);
    world.faults = vec![Planned { step: 4, direction: Direction::Do, fault: Refused, times: 1 }];
    world.submit_start(index, about("a/1"));
    world.settle(AfterCrash::Restart).await;
    world.acts("a/1", Verb::Retry).await;
    let undo = world.processes.iter().position(|it| it.kind == EngineKind::Compensating).unwrap();
    world.poll(undo).await;
    let Some(Order::Append(back)) = world.processes[undo].core.take_orders().pop() else {
        panic!("the word is not heard")
    };
    // Before that is written another has come.
    world.submit_start(index, about("a/2"));
    world.round(index).await;
    assert_eq!(world.view("a/2").await.status(), Status::Running);
    assert_eq!(world.write(&back).await, Appended::Stale);
    let now = world.now();
    world.processes[undo].core.appended(&back, Some(Appended::Stale), now);
    world.settle(AfterCrash::Restart).await;
    for id in ["a/1", "a/2"] {
        assert_eq!(world.check(id, id).await, Status::Completed, "the word is heard later");
    }
    assert_eq!(world.called("a"), ["a/1", "a/2", "a/1"]);
}

#[tokio::test]
async fn what_follows_a_saga_goes_before_those_that_wait_behind_it() {
    let mut world = world_with_both(34).await;
    let index = forward(&world);
    for id in ["a/1", "a/2"] {
        world.submit_start(index, about(id));
    }
    // Up to its pivot: the cancel comes too late for the first, which is not over yet.
    world.faults = vec![Planned { step: 4, direction: Direction::Do, fault: Busy, times: 1 }];
    while world.view_of("a/1").await.is_none_or(|it| it.state.done.len() < 4) {
        world.round(index).await;
    }
    world.cancel("a/1").await;
    let too = Start { definition: "stop".to_owned(), ..about("a/1/stop-too") };
    world.say("a/1", "too", SignalKind::Then { start: too }).await;
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.called("a"), ["a/1", "a/1/stop", "a/1/stop-too", "a/2"]);
}

#[tokio::test]
async fn a_line_that_a_program_from_before_left_without_a_turn_is_mended() {
    let mut world = world_with_both(35).await;
    let index = forward(&world);
    world.submit_start(index, about("a/1"));
    world.round(index).await;
    world.submit_start(index, about("a/2"));
    world.round(index).await;
    assert_eq!(world.view("a/2").await.status(), Status::Queued);
    // It closes the first as it knows how: without a word about turns.
    world.processes.clear();
    let close = "UPDATE sagas SET status = 'completed', open = 0, owner = NULL WHERE id = 'a/1'";
    world.store.write(move |it| it.execute(close, params![])).await.unwrap();
    let (definitions, now) = (std::sync::Arc::clone(&world.definitions), world.now());
    let moment = Moment { wall: now.wall, monotonic: now.monotonic, draw: 0.5 };
    world.store.write(move |it| mend(it, &definitions, &(), moment)).await.unwrap();
    world.start("forward-b", EngineKind::Forward).await;
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.view("a/2").await.status(), Status::Completed);
}

/// Sagas of two subjects in whatever happens, drawn from one seed.
async fn chaos(seed: u64) {
    let mut world = World::new(seed).await;
    (world.settings.calls_max, world.settings.waiting_max) = (3, 4);
    world.start("forward-a", EngineKind::Forward).await;
    world.start("forward-b", EngineKind::Forward).await;
    world.start("undo-a", EngineKind::Compensating).await;
    draw_faults(&mut world);
    let ids = world.submit_and_act().await;
    world.settle_with_people(&ids).await;
    let context = format!("seed {seed}");
    for id in &ids {
        let status = world.check(id, &format!("{context} {id}")).await;
        assert!(status.is_closed(), "{context} {id}: {status:?}");
        world.check_answers(id, &context).await;
    }
    for subject in ["a", "b"] {
        world.check_line(subject, &context).await;
    }
}

impl World {
    /// Submits sagas while whatever happens happens; gives their ids.
    async fn submit_and_act(&mut self) -> Vec<String> {
        let mut ids = Vec::new();
        for number in 0..8 {
            let id = format!("{}/{number}", if self.random.below(3) == 0 { "b" } else { "a" });
            let forward = self.processes.iter().position(|it| it.kind == EngineKind::Forward);
            self.submit_start(forward.unwrap(), about(&id));
            ids.push(id);
            for _ in 0..self.random.below(12) {
                act(self, &ids).await;
            }
        }
        ids
    }

    /// Lets everything come to rest; people settle what is parked, so that nobody waits behind it.
    async fn settle_with_people(&mut self, ids: &[String]) {
        while let Some(index) = self.processes.iter().position(|it| it.asleep) {
            self.awaken(index).await;
        }
        self.crash_after = None;
        // Whoever was not told that a saga is accepted submits it again.
        for id in ids {
            let index = forward(self);
            self.submit_start(index, about(id));
        }
        self.settle(AfterCrash::Restart).await;
        self.pass(Duration::from_secs(4)).await;
        self.settle(AfterCrash::Restart).await;
        for _ in ids {
            for id in ids {
                if self.view(id).await.status() == Status::Parked {
                    self.acts(id, Verb::Resolve).await;
                }
            }
            self.settle(AfterCrash::Restart).await;
        }
    }

    /// A cancel that a saga heard has one answer: it was stopped, or what was to be done instead
    /// has an end, or a record says that it will not be done.
    async fn check_answers(&self, id: &str, context: &str) {
        let history = self.history(id).await;
        let ends = history.iter().filter(|it| matches!(it.record, Record::Closed { .. })).count();
        assert_eq!(ends, 1, "{context} {id}");
        let asked = |it: &Record| match it {
            Record::CancelRequested { or_else, .. } => or_else.is_some(),
            Record::FollowUp { .. } => true,
            _ => false,
        };
        let asked = history.iter().any(|it| asked(&it.record));
        let dropped = |it: &Record| matches!(it, Record::FollowUpDropped { .. });
        let dropped = history.iter().filter(|it| dropped(&it.record)).count();
        let follow_up = self.view_of(&format!("{id}/stop")).await;
        let done = follow_up.iter().filter(|it| it.status().is_closed()).count();
        assert_eq!(done, usize::from(follow_up.is_some()), "{context} {id}: {follow_up:?}");
        let answers = dropped + done;
        assert!(answers <= 1, "{context} {id}: {answers} answers");
        assert!(!asked || answers == 1, "{context} {id}: a cancel without an answer");
    }
}

#[tokio::test]
async fn no_seeded_chaos_has_two_of_a_subject_at_work_or_leaves_one_behind() {
    let runs = std::env::var("SAGA_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(150);
    for seed in 0..runs {
        println!("seed {seed}");
        chaos(seed).await;
    }
}
