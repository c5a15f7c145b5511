//! Wiring of one Ingestion process.

use std::{sync::Arc, time::Duration};

use contracts::topics;
use messaging::Subscription;
use serde::{Deserialize, Serialize};
use service_kit::{
    Bound, Service, ServiceContext, StartError, start_forgetting, start_relay, start_sweeper,
};
use store::StoreSettings;
use utoipa::OpenApi as _;

use crate::{
    allowance::Allowance,
    api::{Document, Shared, routes},
    backlog::{Backlog, Limits},
    disk::Disk,
    events::{ROLE, ReadModel},
    store::{Holding, MIGRATIONS, forget_old},
    watch::watch,
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestionConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Records that the Scheduler may be behind before requests are answered with 429.
    pub backlog_records_max: u64,
    /// Seconds that the oldest of them may be old.
    pub backlog_seconds_max: u32,
    /// Bytes that must be free on the disk for new requests; what is left is for cancels and for the
    /// work on what was accepted.
    pub disk_free_bytes_min: u64,
    /// Seconds after which a request that was accepted and is not begun is brought before a person;
    /// more than `backlog_seconds_max`, which is load and no fault.
    pub stuck_after_s: u32,
    /// Deliveries that one account which orders for itself may have open at a time; more is 429.
    pub open_per_owner_max: u64,
    /// Those of them whose pickup may lie more than an hour ahead; more is 429.
    pub booked_per_owner_max: u64,
    /// Days that a request is shown after the last thing that was heard of it.
    pub requests_kept_days: u32,
}

impl Default for IngestionConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            backlog_records_max: 1_000_000,
            backlog_seconds_max: 900,
            disk_free_bytes_min: 64 << 20,
            stuck_after_s: 1_800,
            open_per_owner_max: 50,
            booked_per_owner_max: 10,
            requests_kept_days: 37,
        }
    }
}

/// Starts the service on the context's tasks. `pickup_ahead` is how far ahead the fleet plans.
///
/// # Errors
/// There is no log, the database cannot be opened, or an address cannot be listened on.
pub async fn run(
    context: ServiceContext,
    config: IngestionConfig,
    pickup_ahead: Duration,
) -> Result<Bound, StartError> {
    let messaging = context.require_messaging()?;
    let store = context.open_store(MIGRATIONS, config.store)?;
    start_sweeper(&context, &store);
    start_relay(&context, &store);
    let stuck_after = Duration::from_secs(u64::from(config.stuck_after_s));
    let watched = store.clone();
    context.tasks.spawn("watch", move |shutdown| watch(watched, stuck_after, shutdown));
    let limits = Limits {
        records_max: config.backlog_records_max,
        seconds_max: f64::from(config.backlog_seconds_max),
    };
    let backlog = Arc::new(Backlog::new(limits));
    let (watched, log) = (Arc::clone(&backlog), messaging.clone());
    context.tasks.spawn("backlog", |shutdown| async move { watched.watch(&log, shutdown).await });
    let disk = Arc::new(Disk::new(context.config.data.clone(), config.disk_free_bytes_min));
    let watched = Arc::clone(&disk);
    context.tasks.spawn("disk", |shutdown| async move { watched.watch(shutdown).await });
    let heard = [topics::REQUEST_EVENTS, topics::DELIVERY_EVENTS];
    let read_model = ReadModel::new(store.clone());
    messaging.subscribe(&Subscription::new(heard, ROLE), read_model, &context.tasks)?;
    start_forgetting(&context, &store, "requests", config.requests_kept_days, forget_old);
    let most = Holding { open: config.open_per_owner_max, booked: config.booked_per_owner_max };
    let shared = Shared {
        allowance: Allowance::new(most),
        store: store.clone(),
        messaging,
        backlog,
        disk,
        clock: context.clock.clone(),
        telemetry: context.telemetry.clone(),
        profile: context.config.profile,
        pickup_ahead,
    };
    Service::new(routes(shared))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        // Where the original's framework served it.
        .openapi_at("/v3/api-docs")
        .serve(&context)
}
