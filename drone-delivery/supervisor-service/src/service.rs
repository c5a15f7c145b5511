//! Wiring of one Supervisor process.

use std::path::PathBuf;

use contracts::topics;
use messaging::Subscription;
use notifications::{
    AlertConfig,
    alerts::{self, AlertDesk},
};
use saga::{Engine, EngineConfig, EngineKind, EngineParts, EngineSettings};
use serde::{Deserialize, Serialize};
use service_kit::{
    Bound, SagaCaller, Service, ServiceContext, StartError, start_forgetting, start_relay,
    start_sweeper,
};
use store::StoreSettings;
use utoipa::OpenApi as _;
use workflows::Announcer;

use crate::{
    api::{Document, Shared, routes},
    events::{Alerts, Queue, ROLE},
    store::{default_path, lock_directory, open},
};

/// Settings of the role.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisorConfig {
    /// How the saga store is opened.
    pub store: StoreSettings,
    /// The engine.
    pub engine: EngineSettings,
    /// The Schedulers' saga store; `scheduler/saga.db` beside the role's own directory when absent.
    pub saga_store: Option<PathBuf>,
    /// Where alerts are sent to.
    pub alerts: AlertConfig,
}

/// Days that an alert is kept after it was last heard of; the longest redrive is over by then.
const ALERTS_KEPT_DAYS: u32 = 37;

/// Starts the service on the context's tasks.
///
/// # Errors
/// There is no log, the saga store cannot be opened, another process runs under the instance's
/// name, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: SupervisorConfig) -> Result<Bound, StartError> {
    let messaging = context.require_messaging()?;
    let path = config.saga_store.unwrap_or_else(|| default_path(&context.config.data));
    let store = open(&context, &path, config.store.clone())?;
    let desk = open_desk(&context, config.alerts, config.store)?;
    let engine_config = EngineConfig {
        instance: context.config.instance.clone(),
        kind: EngineKind::Compensating,
        lock_directory: lock_directory(&path),
        settings: config.engine,
    };
    let parts = EngineParts {
        store: store.clone(),
        // What to undo is read from the store: this service knows no workflow.
        definitions: Vec::new(),
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
    let queue = Subscription::new([topics::SUPERVISOR], ROLE);
    messaging.subscribe(&queue, Queue(engine.clone()), &context.tasks)?;
    let raised = Subscription::new([topics::ALERTS], "alert-desk");
    messaging.subscribe(&raised, Alerts(desk.clone()), &context.tasks)?;
    Service::new(routes(Shared { engine, desk }))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

/// Where alerts come together: in a file of its own, since the saga store is the Schedulers'.
fn open_desk(
    context: &ServiceContext,
    config: AlertConfig,
    settings: StoreSettings,
) -> Result<AlertDesk, StartError> {
    let path = context.config.data.join("alerts.db");
    let authorities = context.config.authorities.as_deref();
    let surroundings = (context.clock.clone(), &context.telemetry);
    let desk = AlertDesk::open(&path, config, settings, authorities, surroundings)
        .map_err(|it| StartError::Part { what: "the alerts", source: it.into() })?;
    start_sweeper(context, desk.store());
    start_forgetting(context, desk.store(), "alerts", ALERTS_KEPT_DAYS, alerts::forget_old);
    desk.start(&context.tasks);
    Ok(desk)
}
