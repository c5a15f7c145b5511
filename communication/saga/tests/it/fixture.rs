//! A saga store in a directory of its own, and services that keep what was done under which key.

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use base::{Direction, SharedClock};
use runtime::{SystemClock, Tasks};
use saga::{
    Call, CallResult, Caller, Definition, Engine, EngineConfig, EngineKind, EngineParts,
    EngineSettings, MIGRATIONS, OutgoingCall, SagaView, Start, StartError, Status, Step,
    definition::Retry,
};
use serde_json::{Value, json};
use store::{Store, StoreSettings};
use telemetry::{Telemetry, TelemetryConfig};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// What a service does to the next calls of a step, in turn.
pub(crate) type Script = BTreeMap<(String, Direction), Vec<CallResult>>;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) script: Script,
    /// Effects and undos by saga and step.
    pub(crate) kept: BTreeMap<(String, String), (u32, u32)>,
    pub(crate) calls: Vec<OutgoingCall>,
}

/// The services of a test; shared by every engine in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Services(pub(crate) Arc<Mutex<Ledger>>);

impl Services {
    pub(crate) fn plan(&self, step: &str, direction: Direction, results: &[CallResult]) {
        let key = (step.to_owned(), direction);
        self.0.lock().unwrap().script.insert(key, results.to_vec());
    }

    pub(crate) fn effects(&self, saga: &str, step: &str) -> (u32, u32) {
        let key = (saga.to_owned(), step.to_owned());
        self.0.lock().unwrap().kept.get(&key).copied().unwrap_or_default()
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls.len()
    }

    /// Does the work of a call, once for its key.
    pub(crate) fn work(&self, call: &OutgoingCall) -> CallResult {
        let mut ledger = self.0.lock().unwrap();
        ledger.calls.push(call.clone());
        let key = (call.operation.step.clone(), call.operation.direction);
        if let Some(planned) = ledger.script.get_mut(&key)
            && !planned.is_empty()
        {
            return planned.remove(0);
        }
        let kept = ledger
            .kept
            .entry((call.operation.saga.clone(), call.operation.step.clone()))
            .or_default();
        match call.operation.direction {
            Direction::Do if kept.1 > 0 => return CallResult::problem(409, "undone", false),
            Direction::Do => kept.0 = 1,
            Direction::Undo => kept.1 = 1,
        }
        CallResult::replied(200, json!({"number": 7}))
    }
}

impl Caller for Services {
    async fn call(&self, call: OutgoingCall) -> CallResult {
        self.work(&call)
    }
}

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) services: Services,
    pub(crate) clock: SharedClock,
}

/// One process: everything of it ends with its tasks.
pub(crate) struct Process {
    pub(crate) engine: Engine,
    pub(crate) telemetry: Telemetry,
    pub(crate) tasks: Tasks,
}

pub(crate) fn quick() -> EngineSettings {
    EngineSettings { lease_ms: 900, renewal_ms: 200, poll_ms: 20, ..EngineSettings::default() }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let shared = PathBuf::from("/dev/shm");
        let directory =
            if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        Self {
            directory: directory.unwrap(),
            services: Services::default(),
            clock: SystemClock::shared(),
        }
    }

    pub(crate) fn config(&self, instance: &str, kind: EngineKind) -> EngineConfig {
        EngineConfig {
            instance: instance.to_owned(),
            kind,
            lock_directory: self.directory.path().join("instances"),
            settings: quick(),
        }
    }

    pub(crate) async fn start(&self, instance: &str, kind: EngineKind) -> Process {
        let config = self.config(instance, kind);
        self.start_with(config, self.services.clone()).await.unwrap()
    }

    pub(crate) async fn start_with<C: Caller>(
        &self,
        config: EngineConfig,
        caller: C,
    ) -> Result<Process, StartError> {
        let (tasks, clock) = (Tasks::new(), Arc::clone(&self.clock));
        let telemetry = Telemetry::new(TelemetryConfig::default(), Arc::clone(&clock));
        let path = self.directory.path().join("saga.db");
        let store =
            Store::open(path, MIGRATIONS, StoreSettings::default(), Arc::clone(&clock), &telemetry)
                .unwrap();
        let definitions = match config.kind {
            EngineKind::Forward => vec![definition(), stop()],
            EngineKind::Compensating => Vec::new(),
        };
        let parts = EngineParts {
            store,
            definitions,
            caller,
            observer: (),
            clock,
            telemetry: telemetry.clone(),
        };
        let engine = Engine::start(config, parts, &tasks).await?;
        Ok(Process { engine, telemetry, tasks })
    }
}

pub(crate) const STEPS: [&str; 5] = ["account", "stock", "carrier", "order", "mail"];

pub(crate) fn definition() -> Definition {
    let soon = Retry { initial_ms: 1, factor: 2, cap_ms: 20 };
    let step = |name: &str| {
        Step::compensable(name, name, Call::put(format!("/{name}/{{{{saga.id}}}}")))
            .undo(Call::delete(format!("/{name}/{{{{saga.id}}}}")))
            .backoff(soon)
    };
    Definition::builder("order", 1)
        .step(step("account"))
        .step(step("stock"))
        .step(step("carrier"))
        .step(Step::pivot("order", "order", Call::put("/o")).undo(Call::delete("/o")).backoff(soon))
        .step(Step::retriable("mail", "mail", Call::post("/m")).backoff(soon))
        .build()
        .unwrap()
}

pub(crate) fn stop() -> Definition {
    Definition::builder("stop", 1)
        .step(Step::pivot("stop", "stop", Call::delete("/o")))
        .build()
        .unwrap()
}

pub(crate) fn order(id: &str) -> Start {
    order_for(id, json!({"for": "somebody"}))
}

pub(crate) fn order_for(id: &str, input: Value) -> Start {
    Start::new(id, "order", input)
}

/// Waits until `probe` finds something; fails after ten seconds with what was waited for.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) async fn ends(engine: &Engine, id: &str, status: Status) -> SagaView {
    until(&format!("{id} is {status:?}"), || async {
        let view = engine.get(id).await.unwrap()?;
        (view.status() == status).then_some(view)
    })
    .await
}
