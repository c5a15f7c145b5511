//! Words to sagas: cancels at every boundary, what a person says, a word that comes twice.

use std::collections::BTreeMap;

use base::Direction;

use super::{
    forward,
    services::{Fault::Refused, Planned},
    start,
    world::AfterCrash,
    world_with_both,
};
use crate::machine::{OperatorAction, Record, Signal, SignalKind, Start, Status, Verb};

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
