//! Leaders and followers over one database.

use std::{path::Path, sync::Arc};

use base::{ManualClock, Random};
use runtime::{Drained, Tasks};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::booking::tests::{Process, manual_clock, paced_process, process, refused, request};

const SOON: Duration = Duration::from_secs(20);
/// A flight of minutes takes a second of the clock, a lease still takes three.
const SCALE: f64 = 300.0;

/// A process that runs.
struct Running {
    process: Process,
    metrics: FleetMetrics,
    tasks: Tasks,
}

async fn start(path: &Path, clock: &Arc<ManualClock>, instance: &str, drones: u32) -> Running {
    let process = paced_process(path, clock, drones, SCALE).await;
    let (metrics, tasks) = (FleetMetrics::new(&process.telemetry), Tasks::new());
    let flights = Flights {
        store: process.store.clone(),
        tower: process.tower.clone(),
        clock: Arc::<ManualClock>::clone(clock),
        instance: instance.to_owned(),
        metrics: metrics.clone(),
    };
    tasks.spawn("flights", |shutdown| flights.run(shutdown));
    Running { process, metrics, tasks }
}

/// Lets time pass in small steps until the condition holds.
async fn until(clock: &ManualClock, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        clock.advance(Duration::from_millis(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn is_delivered(process: &Process, id: &str) -> bool {
    let id = id.to_owned();
    let found = process.store.read(move |it| crate::store::find_booking(it, &id)).await.unwrap();
    found.is_some_and(|it| it.state == crate::store::BookingState::Delivered)
}

async fn assert_said_once(process: &Process) {
    for (drone, said) in process.said().await {
        let numbers: Vec<u64> = said.iter().map(|it| it.0).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{drone}: {said:?}");
    }
}

#[tokio::test]
async fn two_processes_move_each_flight_on_exactly_once() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let one = start(&path, &clock, "one", 10).await;
    until(&clock, "the first leads", async || one.process.tower.leads()).await;
    let other = start(&path, &clock, "other", 10).await;
    let mut random = Random::with_seed(3);
    for number in 0..8 {
        let (id, here) = (format!("d{number}"), if number % 2 == 0 { &one } else { &other });
        here.process.book(&id, request(&mut random)).await.unwrap();
        here.process.send(&id).await;
    }
    for number in 0..8 {
        let id = format!("d{number}");
        until(&clock, &id, async || is_delivered(&one.process, &id).await).await;
    }
    assert_said_once(&one.process).await;
    assert!(one.metrics.moves.get() > 0);
    assert_eq!(other.metrics.moves.get(), 0, "the one without the lease moved a drone");
    assert_eq!(one.tasks.drain(SOON).await, Drained::Complete);
    assert_eq!(other.tasks.drain(SOON).await, Drained::Complete);
}

#[tokio::test]
async fn the_other_takes_over_when_the_leader_is_gone() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let one = start(&path, &clock, "one", 4).await;
    until(&clock, "the first leads", async || one.process.tower.leads()).await;
    let other = start(&path, &clock, "other", 4).await;
    other.process.book("d1", request(&mut Random::with_seed(4))).await.unwrap();
    other.process.send("d1").await;
    until(&clock, "the flight began", async || one.metrics.moves.get() > 0).await;
    one.tasks.drain(SOON).await;
    // The first may have ended before its leader did; nobody but the other can fly the second.
    other.process.book("d2", request(&mut Random::with_seed(5))).await.unwrap();
    other.process.send("d2").await;
    for id in ["d1", "d2"] {
        until(&clock, id, async || is_delivered(&other.process, id).await).await;
    }
    assert!(other.metrics.moves.get() > 0);
    assert_said_once(&other.process).await;
    other.tasks.drain(SOON).await;
}

#[tokio::test]
async fn a_restart_in_mid_flight_goes_on_where_it_was() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let before = start(&path, &clock, "one", 2).await;
    before.process.book("d1", request(&mut Random::with_seed(5))).await.unwrap();
    before.process.send("d1").await;
    until(&clock, "it is away", async || before.process.tower.fleet().airborne() == 1).await;
    let due = before.process.tower.fleet().next_due();
    before.tasks.drain(SOON).await;
    drop(before);
    let after = start(&path, &clock, "one", 2).await;
    assert_eq!(after.process.tower.fleet().next_due(), due, "the plan is another");
    until(&clock, "it was delivered", async || is_delivered(&after.process, "d1").await).await;
    assert_said_once(&after.process).await;
    after.tasks.drain(SOON).await;
}

#[tokio::test]
async fn a_leader_that_slept_through_its_lease_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let (path, clock) = (directory.path().join("drone.db"), manual_clock());
    let here = process(&path, &clock, 1).await;
    let taken = here.store.write(|it| it.take_lease(LEASE, "sleeper", LEASE_FOR)).await;
    let Ok(Lease::Taken { epoch }) = taken.map_err(refused::<SqlError>) else {
        panic!("the lease is free");
    };
    here.book("d1", request(&mut Random::with_seed(6))).await.unwrap();
    here.send("d1").await;
    clock.advance(LEASE_FOR + Duration::from_secs(60));
    let sleeper = Flights {
        store: here.store.clone(),
        tower: here.tower.clone(),
        clock: Arc::<ManualClock>::clone(&clock),
        instance: "sleeper".to_owned(),
        metrics: FleetMetrics::new(&here.telemetry),
    };
    here.follow().await;
    let due = here.tower.fleet().due(here.tower.now(base::Clock::now(&*clock)), 10);
    assert_eq!(due.len(), 1);
    assert!(matches!(sleeper.advance_batch(epoch, due).await, Lead::Theirs { .. }));
    assert!(here.said().await.is_empty(), "it moved a drone without the lease");
}
