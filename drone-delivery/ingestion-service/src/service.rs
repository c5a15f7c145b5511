//! Wiring of one Ingestion process.

use std::{sync::Arc, time::Duration};

use base::Timestamp;
use contracts::topics;
use messaging::Subscription;
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use service_kit::{Bound, Service, ServiceContext, StartError, start_sweeper};
use store::{SqlError, Store, StoreSettings, WriteError};
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    backlog::{Backlog, Limits},
    events::{ROLE, ReadModel},
    store::{MIGRATIONS, forget_old},
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
    /// Days that a request is shown after the last thing that was heard of it.
    pub requests_kept_days: u32,
}

impl Default for IngestionConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            backlog_records_max: 1_000_000,
            backlog_seconds_max: 900,
            requests_kept_days: 37,
        }
    }
}

/// Time between two looks for requests that are old enough to be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

/// Starts the service on the context's tasks.
///
/// # Errors
/// There is no log, the database cannot be opened, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: IngestionConfig) -> Result<Bound, StartError> {
    let messaging = context.require_messaging()?;
    let store = context.open_store(MIGRATIONS, config.store)?;
    start_sweeper(&context, &store);
    let limits = Limits {
        records_max: config.backlog_records_max,
        seconds_max: f64::from(config.backlog_seconds_max),
    };
    let backlog = Arc::new(Backlog::new(limits));
    let (watched, log) = (Arc::clone(&backlog), messaging.clone());
    context.tasks.spawn("backlog", |shutdown| async move { watched.watch(&log, shutdown).await });
    let heard = [topics::REQUEST_EVENTS, topics::DELIVERY_EVENTS];
    let read_model = ReadModel::new(store.clone());
    messaging.subscribe(&Subscription::new(heard, ROLE), read_model, &context.tasks);
    let (forgetful, days) = (store.clone(), config.requests_kept_days);
    context.tasks.spawn("request sweeper", move |shutdown| forget(forgetful, days, shutdown));
    let shared = Shared {
        store: store.clone(),
        messaging,
        backlog,
        clock: context.clock.clone(),
        telemetry: context.telemetry.clone(),
        profile: context.config.profile,
    };
    Service::new(routes(shared))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

async fn forget(store: Store, days: u32, shutdown: Shutdown) {
    while shutdown.or_cancel(tokio::time::sleep(FORGET_EVERY)).await.is_some() {
        let forgotten = store.write(move |transaction| {
            let kept = i64::from(days).saturating_mul(DAY_MS);
            let before = transaction.now().as_millis().saturating_sub(kept);
            forget_old(transaction, Timestamp::from_millis(before))
        });
        let forgotten: Result<u64, WriteError<SqlError>> = forgotten.await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, "old requests were not forgotten; will try again");
        }
    }
}
