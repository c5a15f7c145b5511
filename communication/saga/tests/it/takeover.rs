//! Processes that die, stop, come back and meet each other on one saga store.

use std::{sync::mpsc, time::Duration};

use saga::{CallResult, Caller, EngineKind, OutgoingCall, StartError, Status};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep},
};

use crate::fixture::{Fixture, Process, STEPS, Services, ends, order, until};

/// Ends a process as `kill -9` would: nothing is released, nothing is finished.
fn kill(runtime: tokio::runtime::Runtime, process: Process) {
    runtime.shutdown_background();
    drop(process);
}

fn runtime() -> tokio::runtime::Runtime {
    // A thread of its own drives it, so that it works while the test does.
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn start_on(
    runtime: &tokio::runtime::Runtime,
    fixture: &std::sync::Arc<Fixture>,
    instance: &'static str,
) -> Result<Process, StartError> {
    let fixture = std::sync::Arc::clone(fixture);
    runtime
        .spawn(async move {
            let config = fixture.config(instance, EngineKind::Forward);
            fixture.start_with(config, Slow(fixture.services.clone())).await
        })
        .await
        .unwrap()
}

/// Services that take a moment, so that there is something to interrupt.
#[derive(Debug)]
struct Slow(Services);

impl Caller for Slow {
    async fn call(&self, call: OutgoingCall) -> CallResult {
        sleep(Duration::from_millis(3)).await;
        self.0.work(&call)
    }
}

fn assert_once(fixture: &Fixture, id: &str) {
    for step in STEPS {
        assert_eq!(fixture.services.effects(id, step), (1, 0), "{id} {step}");
    }
}

#[tokio::test]
async fn an_instance_that_is_killed_and_started_again_and_again_loses_and_doubles_nothing() {
    let fixture = std::sync::Arc::new(Fixture::new());
    let mut ids = Vec::new();
    for round in 0..12 {
        let runtime = runtime();
        let process = until("the dead process's lock is free", || async {
            start_on(&runtime, &fixture, "scheduler-1").await.ok()
        })
        .await;
        for number in 0..20 {
            let id = format!("s-{round}-{number}");
            process.engine.submit(order(&id)).await.unwrap();
            ids.push(id);
        }
        kill(runtime, process);
    }
    let process = until("the dead process's lock is free", || async {
        let config = fixture.config("scheduler-1", EngineKind::Forward);
        fixture.start_with(config, fixture.services.clone()).await.ok()
    })
    .await;
    for id in &ids {
        ends(&process.engine, id, Status::Completed).await;
        assert_once(&fixture, id);
    }
}

#[tokio::test]
async fn a_restart_in_place_does_not_wait_for_the_lease() {
    let fixture = std::sync::Arc::new(Fixture::new());
    let runtime = runtime();
    let process = start_on(&runtime, &fixture, "scheduler-1").await.unwrap();
    fixture.services.plan("mail", base::Direction::Do, &vec![CallResult::REFUSED; 1_000]);
    process.engine.submit(order("a")).await.unwrap();
    until("the last step is being tried", || async {
        (fixture.services.calls() > 5).then_some(())
    })
    .await;
    kill(runtime, process);
    fixture.services.plan("mail", base::Direction::Do, &[]);
    let mut config = fixture.config("scheduler-1", EngineKind::Forward);
    // Longer than the test may take: only the lock can have told that the owner is gone.
    config.settings.lease_ms = 60_000;
    let process = until("the dead process's lock is free", || async {
        fixture.start_with(config.clone(), fixture.services.clone()).await.ok()
    })
    .await;
    let view = ends(&process.engine, "a", Status::Completed).await;
    assert!(view.epoch > 1);
    assert!(process.telemetry.metrics().encode().contains("saga_takeovers_total 1"));
}

#[tokio::test]
async fn the_sagas_of_an_instance_that_died_are_taken_over_by_another() {
    let fixture = std::sync::Arc::new(Fixture::new());
    let runtime = runtime();
    let process = start_on(&runtime, &fixture, "scheduler-1").await.unwrap();
    fixture.services.plan("mail", base::Direction::Do, &vec![CallResult::REFUSED; 1_000]);
    for number in 0..50 {
        process.engine.submit(order(&format!("s-{number}"))).await.unwrap();
    }
    let other = fixture.start("scheduler-2", EngineKind::Forward).await;
    kill(runtime, process);
    fixture.services.plan("mail", base::Direction::Do, &[]);
    for number in 0..50 {
        let id = format!("s-{number}");
        ends(&other.engine, &id, Status::Completed).await;
        assert_once(&fixture, &id);
    }
}

#[tokio::test]
async fn a_second_process_of_the_same_name_does_not_start() {
    let fixture = Fixture::new();
    let _first = fixture.start("scheduler-1", EngineKind::Forward).await;
    let config = fixture.config("scheduler-1", EngineKind::Forward);
    let second = fixture.start_with(config, fixture.services.clone()).await.err();
    assert!(matches!(second, Some(StartError::InstanceRuns { .. })), "{second:?}");
}

#[tokio::test]
async fn two_instances_on_one_store_share_the_work_without_doubling_any() {
    let fixture = Fixture::new();
    let one = fixture.start("scheduler-1", EngineKind::Forward).await;
    let two = fixture.start("scheduler-2", EngineKind::Forward).await;
    for number in 0..60 {
        let engine = if number % 2 == 0 { &one.engine } else { &two.engine };
        engine.submit(order(&format!("s-{number}"))).await.unwrap();
        // The same start at the other one, as after a rebalance.
        let other = if number % 2 == 0 { &two.engine } else { &one.engine };
        other.submit(order(&format!("s-{number}"))).await.unwrap();
    }
    for number in 0..60 {
        let id = format!("s-{number}");
        ends(&one.engine, &id, Status::Completed).await;
        assert_once(&fixture, &id);
    }
    assert_eq!(fixture.services.calls(), 300);
}

/// A service whose first call to `carrier` stops the whole process that makes it, as SIGSTOP does.
#[derive(Debug)]
struct Stops {
    services: Services,
    stopped: mpsc::Sender<()>,
    go_on: std::sync::Mutex<Option<mpsc::Receiver<()>>>,
}

impl Caller for Stops {
    async fn call(&self, call: OutgoingCall) -> CallResult {
        if call.operation.step == "carrier" {
            let go_on = self.go_on.lock().unwrap().take();
            if let Some(go_on) = go_on {
                self.stopped.send(()).unwrap();
                // Blocks the only thread of its runtime.
                go_on.recv().unwrap();
            }
        }
        self.services.work(&call)
    }
}

#[tokio::test]
async fn a_stopped_owner_finds_out_when_it_wakes_and_makes_no_further_call() {
    let fixture = std::sync::Arc::new(Fixture::new());
    let (stopped, has_stopped) = mpsc::channel();
    let (wake, go_on) = mpsc::channel();
    let caller = Stops {
        services: fixture.services.clone(),
        stopped,
        go_on: std::sync::Mutex::new(Some(go_on)),
    };
    let runtime = runtime();
    let sleeper = {
        let fixture = std::sync::Arc::clone(&fixture);
        let start = async move {
            let config = fixture.config("scheduler-1", EngineKind::Forward);
            fixture.start_with(config, caller).await.unwrap()
        };
        runtime.spawn(start).await.unwrap()
    };
    sleeper.engine.submit(order("a")).await.unwrap();
    tokio::task::spawn_blocking(move || has_stopped.recv().unwrap()).await.unwrap();
    let other = fixture.start("scheduler-2", EngineKind::Forward).await;
    let view = ends(&other.engine, "a", Status::Completed).await;
    assert_eq!(view.epoch, 2);
    let calls = fixture.services.calls();
    let lapses = || {
        let page = sleeper.telemetry.metrics().encode();
        let count = page.lines().find_map(|it| it.strip_prefix("saga_lease_lapses_total "));
        count.map_or(0.0, |it| it.parse::<f64>().unwrap())
    };
    let before = lapses();
    wake.send(()).unwrap();
    // A busy machine may make it lapse once more.
    until("the sleeper notices", || async { (lapses() > before).then_some(()) }).await;
    until("its lease is taken anew", || async { sleeper.engine.submit(order("b")).await.ok() })
        .await;
    ends(&other.engine, "b", Status::Completed).await;
    // The call that it was stopped in, and those of the other saga.
    assert_eq!(fixture.services.calls(), calls + 1 + 5);
    assert_once(&fixture, "a");
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_graceful_stop_lets_another_take_over_without_waiting_for_the_lease() {
    let fixture = Fixture::new();
    let mut config = fixture.config("scheduler-1", EngineKind::Forward);
    config.settings.lease_ms = 60_000;
    let first = fixture.start_with(config, fixture.services.clone()).await.unwrap();
    fixture.services.plan("mail", base::Direction::Do, &vec![CallResult::REFUSED; 1_000]);
    first.engine.submit(order("a")).await.unwrap();
    until("the last step is being tried", || async {
        (fixture.services.calls() > 5).then_some(())
    })
    .await;
    let began = Instant::now();
    first.tasks.drain(Duration::from_secs(5)).await;
    fixture.services.plan("mail", base::Direction::Do, &[]);
    let other = fixture.start("scheduler-2", EngineKind::Forward).await;
    ends(&other.engine, "a", Status::Completed).await;
    assert!(began.elapsed() < Duration::from_secs(30));
}
