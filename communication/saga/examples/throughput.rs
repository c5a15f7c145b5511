//! What a saga of five steps costs, and how soon the steps go on after a restart.
//!
//! `cargo run --release -p saga --example throughput -- [sagas] [at once] [directory]`. The
//! services answer at once and cost nothing, so what is measured is the engine and its store.

#![expect(clippy::print_stdout, reason = "an example tells what it found")]

use std::{
    error::Error,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use runtime::{SystemClock, Tasks};
use saga::{
    Call, CallResult, Caller, Definition, Engine, EngineConfig, EngineKind, EngineParts,
    EngineSettings, MIGRATIONS, OutgoingCall, Start, Step, Submitted,
};
use serde_json::json;
use store::{Store, StoreSettings};
use telemetry::Telemetry;
use tokio::{task::JoinSet, time::Instant};

/// Services that do nothing at once, or, while they are `closed`, ask for patience.
#[derive(Debug, Clone, Default)]
struct Services {
    calls: Arc<AtomicU64>,
    closed: bool,
}

impl Caller for Services {
    async fn call(&self, _: OutgoingCall) -> CallResult {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.closed {
            let busy = CallResult::replied(503, json!(null));
            return busy.retry_after(Duration::from_secs(600));
        }
        CallResult::replied(200, json!({"id": 7}))
    }
}

fn definition() -> Result<Definition, Box<dyn Error>> {
    let step = |name: &str| {
        let body = json!({"id": "{{input.id}}", "owner": "{{input.owner}}"});
        Step::compensable(name, name, Call::put(format!("/{name}/{{{{input.id}}}}")).body(body))
            .undo(Call::delete(format!("/{name}/{{{{input.id}}}}")))
    };
    Ok(Definition::builder("order", 1)
        .step(step("account"))
        .step(step("stock"))
        .step(step("carrier"))
        .step(step("van"))
        .step(Step::pivot("order", "orders", Call::put("/orders/{{input.id}}")))
        .build()?)
}

async fn start(
    directory: &Path,
    services: Services,
    tasks: &Tasks,
) -> Result<Engine, Box<dyn Error>> {
    let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
    let path = directory.join("saga.db");
    let store = Store::open(path, MIGRATIONS, StoreSettings::default(), clock.clone(), &telemetry)?;
    let config = EngineConfig {
        instance: "example-1".to_owned(),
        kind: EngineKind::Forward,
        lock_directory: directory.join("instances"),
        settings: EngineSettings { open_sagas_max: 100_000, ..EngineSettings::default() },
    };
    let definitions = vec![definition()?];
    let parts =
        EngineParts { store, definitions, caller: services, observer: (), clock, telemetry };
    Ok(Engine::start(config, parts, tasks).await?)
}

fn order(number: u64) -> Start {
    let input = json!({"id": number, "owner": "somebody", "note": "x".repeat(300)});
    Start::new(format!("order-{number}"), "order", input)
}

/// CPU time of this process so far, in milliseconds.
fn cpu_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // Fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
    fields.get(11..13).into_iter().flatten().filter_map(|it| it.parse::<u64>().ok()).sum::<u64>()
        * 10
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let sagas: u64 = arguments.next().map_or(Ok(20_000), |it| it.parse())?;
    let at_once: u64 = arguments.next().map_or(Ok(64), |it| it.parse())?;
    let parent = arguments.next().unwrap_or_else(|| ".".to_owned());
    let directory = tempfile::tempdir_in(parent)?;

    let (tasks, services) = (Tasks::new(), Services::default());
    let engine = start(directory.path(), services.clone(), &tasks).await?;
    let (began, cpu) = (Instant::now(), cpu_ms());
    let mut clients = JoinSet::new();
    for client in 0..at_once {
        let engine = engine.clone();
        clients.spawn(async move {
            for number in (client..sagas).step_by(usize::try_from(at_once).unwrap_or(1)) {
                let submitted = engine.submit(order(number)).await;
                assert_eq!(submitted, Ok(Submitted::New));
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    let mut watched = engine.clone();
    while services.calls.load(Ordering::Relaxed) < sagas * 5 || watched.open_count() > 0 {
        watched.open_changed().await;
    }
    let (took, cpu) = (began.elapsed(), cpu_ms() - cpu);
    let per_second = f64::from(u32::try_from(sagas)?) / took.as_secs_f64();
    let per_saga = f64::from(u32::try_from(cpu)?) / f64::from(u32::try_from(sagas)?);
    println!("{sagas} sagas, {at_once} at once: {per_second:.0}/s, {per_saga:.3} ms CPU a saga");
    tasks.drain(Duration::from_secs(10)).await;

    let (tasks, closed) = (Tasks::new(), Services { closed: true, ..Services::default() });
    let engine = start(directory.path(), closed.clone(), &tasks).await?;
    let open = 10_000;
    let mut clients = JoinSet::new();
    for number in 0..open {
        let engine = engine.clone();
        clients.spawn(async move { engine.submit(order(1_000_000 + number)).await });
    }
    while clients.join_next().await.is_some() {}
    tasks.drain(Duration::from_secs(10)).await;
    drop(engine);
    let (tasks, again) = (Tasks::new(), Services::default());
    let began = Instant::now();
    let engine = start(directory.path(), again.clone(), &tasks).await?;
    let mut watched = engine.clone();
    while again.calls.load(Ordering::Relaxed) == 0 {
        watched.open_changed().await;
    }
    let first = began.elapsed();
    while again.calls.load(Ordering::Relaxed) < open * 5 {
        watched.open_changed().await;
    }
    println!(
        "restart with {open} open: first step after {first:?}, all done after {:?}",
        began.elapsed()
    );
    tasks.drain(Duration::from_secs(10)).await;
    Ok(())
}
