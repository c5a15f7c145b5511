//! Who may write and when: fencing, order of records and calls, repetition, retention.

use std::{sync::Arc, time::Duration};

use ::store::{SqlError, WriteError, params};
use runtime::Tasks;
use serde_json::json;

use super::{forward, start, world::AfterCrash, world_with_both};
use crate::{
    config::EngineKind,
    machine::{Start, Status},
    runner::Order,
    store::{Appended, recover},
};

#[tokio::test]
async fn the_late_append_of_a_stopped_owner_is_refused_and_it_stops() {
    let mut world = world_with_both(14).await;
    let zombie = forward(&world);
    world.submit(zombie, "fenced");
    world.until_it_calls(zombie).await;
    world.processes[zombie].asleep = true;
    world.pass(Duration::from_secs(4)).await;
    world.start("forward-b", EngineKind::Forward).await;
    let taker = world.processes.len() - 1;
    while world.view("fenced").await.owner.as_deref() != Some("forward-b") {
        world.round(taker).await;
    }
    world.processes[zombie].asleep = false;
    let records = world.history("fenced").await.len();
    // It wakes, its call is answered, and it tries to write what it believes.
    let order = world.processes[zombie].orders.pop_front().unwrap();
    assert!(world.carry_out(zombie, order).await);
    let core = &mut world.processes[zombie].core;
    let Some(Order::Append(late)) = core.take_orders().into_iter().next() else { panic!("none") };
    assert_eq!(world.write(&late).await, Appended::Stale);
    let now = world.now();
    world.processes[zombie].core.appended(&late, Some(Appended::Stale), now);
    assert_eq!(world.processes[zombie].core.open_count(), 0);
    assert_eq!(world.history("fenced").await.len(), records);
    // Its lease is gone; the shell would have reset it before.
    world.processes.remove(zombie);
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("fenced", "fenced").await, Status::Completed);
}

#[tokio::test]
async fn the_saga_of_a_live_owner_cannot_be_claimed() {
    let mut world = world_with_both(15).await;
    let index = forward(&world);
    world.submit(index, "mine");
    world.round(index).await;
    let loaded = {
        let definitions = Arc::clone(&world.definitions);
        let read = move |it: &::store::Reader<'_>| recover(it, &definitions, "forward-a", 0, 10);
        world.store.read(read).await.unwrap().0
    };
    assert_eq!(loaded.len(), 1);
    let thief = world.start("forward-b", EngineKind::Forward).await;
    let now = world.now();
    world.processes[thief].core.claim(loaded, true, now);
    let Some(Order::Append(claim)) = world.processes[thief].core.take_orders().pop() else {
        panic!("no claim")
    };
    assert_eq!(world.write(&claim).await, Appended::Stale);
}

/// What a process handed to its store before it died is written when the store gets to it.
#[tokio::test]
async fn a_late_write_of_a_dead_process_does_not_strand_the_saga_that_its_successor_read() {
    let mut world = world_with_both(20).await;
    let index = forward(&world);
    world.submit(index, "late");
    world.until_it_calls(index).await;
    world.round(index).await;
    let orders = world.processes[index].core.take_orders();
    let [Order::Append(late)] = &orders[..] else { panic!("{orders:?}") };
    world.crash(index, AfterCrash::Restart).await;
    assert!(matches!(world.write(late).await, Appended::Done { .. }));
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("late", "late").await, Status::Completed);
}

#[tokio::test]
async fn a_saga_whose_first_append_outlasts_a_reset_is_worked_on() {
    let mut world = world_with_both(21).await;
    let index = forward(&world);
    world.submit(index, "first");
    let orders = world.processes[index].core.take_orders();
    let [Order::Append(late)] = &orders[..] else { panic!("{orders:?}") };
    world.processes[index].core.reset();
    assert_eq!(world.recover(index, 0, 10).await, None);
    let done = world.write(late).await;
    world.processes[index].core.appended_before_reset(late, Some(&done));
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("first", "first").await, Status::Completed);
}

#[tokio::test]
async fn an_append_that_is_tried_again_is_done_once() {
    let mut world = world_with_both(16).await;
    let index = forward(&world);
    world.submit(index, "twice");
    let Some(Order::Append(first)) = world.processes[index].core.take_orders().pop() else {
        panic!("no append")
    };
    let Appended::Done { row, .. } = world.write(&first).await else { panic!("refused") };
    assert_eq!(world.write(&first).await, Appended::Done { row, waiting: Vec::new() });
    assert_eq!(world.history("twice").await.len(), 1);
}

#[tokio::test]
async fn no_call_leaves_before_the_records_that_imply_it_are_durable() {
    let mut world = world_with_both(18).await;
    let index = forward(&world);
    world.submit(index, "slow-disk");
    for _ in 0..5 {
        world.plan(index);
        let orders: Vec<Order> = world.processes[index].orders.drain(..).collect();
        let [Order::Append(append)] = &orders[..] else { panic!("{orders:?}") };
        // However long the disk takes, whatever else happens.
        world.poll(index).await;
        world.plan(index);
        assert!(world.processes[index].orders.is_empty(), "a call before its record");
        let written = world.write(append).await;
        let now = world.now();
        world.processes[index].core.appended(append, Some(written), now);
        world.plan(index);
        let Some(Order::Call(due)) = world.processes[index].orders.pop_front() else {
            panic!("no call")
        };
        world.carry_out(index, Order::Call(due)).await;
    }
}

#[tokio::test]
async fn an_append_that_fails_is_tried_again_until_it_is_written() {
    let mut world = world_with_both(19).await;
    let index = forward(&world);
    world.submit(index, "full-disk");
    for _ in 0..3 {
        world.plan(index);
        let Some(Order::Append(append)) = world.processes[index].orders.pop_front() else {
            panic!("no append")
        };
        let now = world.now();
        world.processes[index].core.appended(&append, None, now);
        world.pass(Duration::from_secs(1)).await;
    }
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("full-disk", "full-disk").await, Status::Completed);
}

#[tokio::test]
async fn what_is_past_its_retention_is_swept_and_nothing_else() {
    let mut world = world_with_both(17).await;
    let index = forward(&world);
    world.submit(index, "old");
    world.settle(AfterCrash::Restart).await;
    let tasks = Tasks::new();
    let shutdown = tasks.shutdown_signal();
    let sweep = || crate::store::sweep_all(&world.store, &shutdown);
    assert_eq!(sweep().await.unwrap(), 0);
    world.clock.advance(Duration::from_secs(31 * 86_400));
    assert!(sweep().await.unwrap() > 0);
    assert!(world.history("old").await.is_empty(), "the records are gone");
    assert_eq!(world.view("old").await.status(), Status::Completed, "the id is known still");
    world.clock.advance(Duration::from_secs(7 * 86_400));
    assert_eq!(sweep().await.unwrap(), 1);
}

/// A store that takes in more in a minute than one slice forgets would grow for ever.
#[tokio::test]
async fn a_sweep_goes_on_until_nothing_is_left() {
    let mut world = world_with_both(23).await;
    let index = forward(&world);
    world.submit(index, "old");
    world.settle(AfterCrash::Restart).await;
    // More of them than two slices hold.
    let copies = "WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < 1100)
        INSERT INTO sagas SELECT number + n, id || '-' || n, definition, input, input_hash, trace, status,
            open, owner, epoch, version, state, accepted_at, updated_at, subject, turn, line
        FROM sagas, copies WHERE id = 'old'";
    let copied = world.store.write(|it| it.execute(copies, params![]));
    let copied: Result<u64, WriteError<SqlError>> = copied.await;
    assert_eq!(copied.unwrap(), 1_100);
    world.clock.advance(Duration::from_secs(31 * 86_400));
    let tasks = Tasks::new();
    crate::store::sweep_all(&world.store, &tasks.shutdown_signal()).await.unwrap();
    let open = |reader: &::store::Reader| {
        reader.query_one("SELECT count(*) FROM sagas WHERE open = 0", params![], |it| it.get(0))
    };
    let left: Option<u64> = world.store.read(open).await.unwrap();
    assert_eq!(left, Some(0));
}

/// A start is sent again by whoever got no answer, and may come before the look that takes what was ours.
#[tokio::test]
async fn a_saga_that_is_submitted_again_while_its_owner_starts_anew_is_worked_on() {
    for input in ["somebody", "somebody else"] {
        let mut world = world_with_both(21).await;
        let index = forward(&world);
        world.submit(index, "again");
        world.until_it_calls(index).await;
        // It begins anew with nothing in memory, and looks when it is too late.
        world.processes[index].core.reset();
        world.processes[index].orders.clear();
        let again = Start { input: json!({"for": input}), ..start("again") };
        world.submit_start(index, again);
        assert!(world.recover(index, 0, 10).await.is_some());
        world.settle(AfterCrash::Restart).await;
        assert_eq!(world.check("again", "again").await, Status::Completed, "{input}");
    }
}

/// A step writes its records alone: whoever reads the saga, or takes it, finds it as they say.
#[tokio::test]
async fn a_saga_is_its_row_and_the_records_behind_it() {
    let mut world = world_with_both(24).await;
    let index = forward(&world);
    world.submit(index, "behind");
    world.until_it_calls(index).await;
    while world.view("behind").await.state.done.len() < 3 {
        world.round(index).await;
    }
    let row = |reader: &::store::Reader<'_>| {
        let sql = "SELECT version FROM sagas WHERE id = 'behind'";
        reader.query_one(sql, params![], |it| it.get::<u64>(0))
    };
    assert_eq!(world.store.read(row).await, Ok(1), "as it was accepted");
    assert_eq!(world.view("behind").await.state.records, 4);
    world.crash(index, AfterCrash::Restart).await;
    world.settle(AfterCrash::Restart).await;
    assert_eq!(world.check("behind", "behind").await, Status::Completed);
    // Each step once, and the one at hand perhaps again.
    assert!(world.services.calls <= 6, "{} calls", world.services.calls);
}

/// Whoever got no answer writes the same records again.
#[tokio::test]
async fn a_step_that_is_written_again_is_written_once() {
    let mut world = world_with_both(25).await;
    let index = forward(&world);
    world.submit(index, "again");
    world.until_it_calls(index).await;
    world.round(index).await;
    let orders = world.processes[index].core.take_orders();
    let [Order::Append(step)] = &orders[..] else { panic!("{orders:?}") };
    let first = world.write(step).await;
    assert!(matches!(first, Appended::Done { .. }), "{first:?}");
    assert_eq!(world.write(step).await, first);
    assert_eq!(world.history("again").await.len(), 2);
}
