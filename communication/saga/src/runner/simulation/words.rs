//! Words to sagas: cancels at every boundary, what a person says, a word that comes twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use ::store::{SqlError, Transaction};
use base::{Clock as _, Direction};

use super::{
    forward,
    services::{Fault::Refused, Planned},
    start,
    world::{AfterCrash, World},
    world_with_both,
};
use crate::{
    caller::Observer,
    machine::{OperatorAction, Record, Signal, SignalKind, Start, Status, Verb},
    store::{ago, give_up},
    view::SagaView,
};

#[tokio::test]
async fn a_cancel_at_any_boundary_ends_in_one_way_only() {
    let mut world = world_with_both(11).await;
    let mut ends = BTreeMap::new();
    for rounds in 0..40 {
        let id = format!("cancelled-{rounds}");
        let index = forward(&world);
        world.submit(index, &id);
        for _ in 0..rounds {
            for index in 0..world.processes.len() {
                world.round(index).await;
            }
        }
        world.cancel(&id).await;
        world.settle(AfterCrash::Restart).await;
        let found = world.check(&id, &id).await;
        let follow_up = world.kept(&format!("{id}/stop"), "stop").effects;
        match found {
            Status::Cancelled => assert_eq!(follow_up, 0, "{id}"),
            Status::Completed => assert_eq!(follow_up, 1, "{id}: the cancel was lost"),
            other => panic!("{id}: {other:?}"),
        }
        *ends.entry(found).or_insert(0) += 1;
    }
    assert_eq!(ends.len(), 2, "{ends:?}");
}

#[tokio::test]
async fn a_cancel_of_a_saga_that_comes_later_refuses_it_without_a_call() {
    let mut world = world_with_both(12).await;
    world.cancel("later").await;
    let index = forward(&world);
    world.submit(index, "later");
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("later", "later").await, Status::Cancelled);
    assert_eq!(world.services.calls, 0);
}

#[tokio::test]
async fn a_parked_saga_costs_nothing_until_a_person_resumes_it() {
    let mut world = world_with_both(13).await;
    let (step, direction) = (4, Direction::Do);
    world.faults = vec![Planned { step, direction, fault: Refused, times: 1 }];
    let index = forward(&world);
    world.submit(index, "stuck");
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.view("stuck").await.status(), Status::Parked);
    assert_eq!(world.processes.iter().map(|it| it.core.open_count()).sum::<usize>(), 0);
    let (actor, reason, verb) = ("ada".to_owned(), "fixed".to_owned(), Verb::Retry);
    world.say("stuck", "r", SignalKind::Operator(OperatorAction { actor, verb, reason })).await;
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("stuck", "resumed").await, Status::Completed);
}

#[tokio::test]
async fn a_word_that_the_store_shows_twice_is_answered_once() {
    let mut world = world_with_both(20).await;
    let index = forward(&world);
    world.submit(index, "told-twice");
    world.round(index).await;
    let start = Start { definition: "stop".to_owned(), ..start("after") };
    for _ in 0..2 {
        let (id, kind) = ("w".to_owned(), SignalKind::Then { start: start.clone() });
        let now = world.now();
        world.processes[index].core.signalled("told-twice", Signal { id, kind }, now);
    }
    world.settle(AfterCrash::Restart).await;
    let history = world.history("told-twice").await;
    let kept = history.iter().filter(|it| matches!(it.record, Record::FollowUp { .. })).count();
    assert_eq!(kept, 1, "{history:?}");
}

/// Notes which words were given up.
#[derive(Debug, Clone, Default)]
struct Deaf(Arc<Mutex<Vec<String>>>);

impl Observer for Deaf {
    fn recorded(&self, _: &mut Transaction<'_>, _: &SagaView, _: &Record) -> Result<(), SqlError> {
        Ok(())
    }

    fn unheard(&self, _: &mut Transaction<'_>, saga: &str, word: &Signal) -> Result<(), SqlError> {
        self.0.lock().unwrap().push(format!("{saga} {}", word.id));
        Ok(())
    }
}

impl World {
    /// The words that are given up now, when each waits for a minute.
    async fn gives_up(&self) -> Vec<String> {
        let (deaf, before) = (Deaf::default(), ago(self.clock.now(), Duration::from_secs(60)));
        let observer = deaf.clone();
        self.store.write(move |it| give_up(it, &observer, before)).await.unwrap();
        std::mem::take(&mut *deaf.0.lock().unwrap())
    }
}

#[tokio::test]
async fn a_word_to_a_saga_that_never_comes_is_given_up_once_and_not_heard_later() {
    let mut world = world_with_both(21).await;
    world.cancel("later").await;
    assert!(world.gives_up().await.is_empty(), "it may be on its way");
    world.pass(Duration::from_secs(61)).await;
    world.cancel("soon").await;
    assert_eq!(world.gives_up().await, ["later c"]);
    assert!(world.gives_up().await.is_empty());
    // The same word again is the same word.
    world.cancel("later").await;
    let index = forward(&world);
    for id in ["later", "soon"] {
        world.submit(index, id);
    }
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("later", "its cancel was refused").await, Status::Completed);
    assert_eq!(world.check("soon", "its cancel was in time").await, Status::Cancelled);
}
