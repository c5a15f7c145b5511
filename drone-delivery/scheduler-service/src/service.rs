//! Wiring of one Scheduler process.

use contracts::topics;
use messaging::Subscription;
use saga::{Engine, EngineConfig, EngineKind, EngineParts, EngineSettings};
use serde::{Deserialize, Serialize};
use service_kit::{
    Bound, SagaCaller, Service, ServiceContext, StartError, start_relay, start_sweeper,
};
use store::StoreSettings;
use utoipa::OpenApi as _;
use workflows::Announcer;

use crate::{
    api::{Document, Shared, routes},
    domain::{Bounds, definitions},
    events::ROLE,
    intake::{Intake, watch_load},
    store::{lock_directory, open},
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulerConfig {
    /// The saga store.
    pub store: StoreSettings,
    /// The engine.
    pub engine: EngineSettings,
    /// Milliseconds that a create or a move may consume before it is given up.
    pub complete_by_ms: u64,
    /// Milliseconds for which whoever serves a delivery is asked to call it off before a person is
    /// told: the customer was told that it is being done, so giving up quickly would help nobody.
    pub cancel_complete_by_ms: u64,
    /// Milliseconds for which carriers are asked to take over what no drone flies. Then a person is
    /// told, and a cancel or a move that waits behind gets its turn: one silent company holds up no
    /// customer for longer.
    pub hand_over_complete_by_ms: u64,
    /// Tries of one undo before a person is asked; twelve outlive an outage of two minutes.
    pub undo_attempts_max: u32,
    /// Records of the intake that are worked on at the same time.
    pub intake_lanes: usize,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            engine: EngineSettings::default(),
            complete_by_ms: saga::definition::COMPLETE_BY_MS,
            cancel_complete_by_ms: 3_600_000,
            hand_over_complete_by_ms: 300_000,
            undo_attempts_max: saga::definition::UNDO_ATTEMPTS_MAX,
            intake_lanes: 64,
        }
    }
}

/// Starts the service on the context's tasks.
///
/// # Errors
/// There is no log, the saga store cannot be opened, another process runs under the instance's
/// name, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: SchedulerConfig) -> Result<Bound, StartError> {
    let messaging = context.require_messaging()?;
    let store = open(&context, config.store)?;
    let SchedulerConfig {
        complete_by_ms,
        cancel_complete_by_ms,
        hand_over_complete_by_ms,
        undo_attempts_max,
        ..
    } = config;
    let call_timeout_ms = u64::try_from(context.config.call_timeout.as_millis());
    let call_timeout_ms = call_timeout_ms.unwrap_or(u64::MAX);
    let definitions = definitions(Bounds {
        complete_by_ms,
        cancel_complete_by_ms,
        hand_over_complete_by_ms,
        undo_attempts_max,
        call_timeout_ms,
    })
    .map_err(|it| StartError::Part { what: "the workflows", source: it.into() })?;
    let engine_config = EngineConfig {
        instance: context.config.instance.clone(),
        kind: EngineKind::Forward,
        lock_directory: lock_directory(&context.config.data),
        settings: config.engine,
    };
    let parts = EngineParts {
        store: store.clone(),
        definitions,
        caller: SagaCaller::new(context.client().clone()),
        observer: Announcer::new(ROLE),
        clock: context.clock.clone(),
        telemetry: context.telemetry.clone(),
    };
    let engine = Engine::start(engine_config, parts, &context.tasks)
        .await
        .map_err(|it| StartError::Part { what: "the saga engine", source: it.into() })?;
    start_relay(&context, &store);
    start_sweeper(&context, &store);
    let intake = Intake { engine: engine.clone(), profile: context.config.profile };
    let requests = Subscription::new([topics::DELIVERY_REQUESTS], ROLE).lanes(config.intake_lanes);
    let subscription = messaging.subscribe(&requests, intake, &context.tasks)?;
    let watched = engine.clone();
    context.tasks.spawn("intake load", |shutdown| watch_load(watched, subscription, shutdown));
    Service::new(routes(Shared { engine, messaging }))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}
