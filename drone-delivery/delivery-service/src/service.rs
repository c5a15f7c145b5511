//! Wiring of one Delivery process.

use std::{sync::Arc, time::Duration};

use contracts::topics;
use messaging::Subscription;
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use service_kit::{
    Bound, Profile, Service, ServiceContext, StartError, start_relay, start_sweeper,
};
use store::{SqlError, Store, StoreSettings};
use utoipa::OpenApi as _;

pub use crate::confirmations::Recipient;
use crate::{
    api::{Document, Shared, routes},
    events::{ROLE, Reports},
    notifier::Notifier,
    positions::Positions,
    store::{MIGRATIONS, erase_old_notify_requests},
    stream::Changes,
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Who answers at the doorstep; by the profile when absent: simulated in demo, real in strict.
    pub recipient: Option<Recipient>,
    /// Whether a `PUT` that replaces a delivery answers 201 instead of 204, as the original's
    /// workflow expects.
    pub prefer_201_on_replace: bool,
    /// Days after the end of a delivery until the customer's addresses are erased.
    pub addresses_kept_days: u32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            recipient: None,
            prefer_201_on_replace: false,
            addresses_kept_days: 30,
        }
    }
}

/// Time between two looks for addresses that must be erased.
const ERASE_EVERY: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: DeliveryConfig) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store)?;
    start_relay(&context, &store);
    start_sweeper(&context, &store);
    let recipient = config.recipient.unwrap_or(match context.config.profile {
        Profile::Demo => Recipient::Simulated,
        Profile::Strict => Recipient::Real,
    });
    let shared = Shared {
        store: store.clone(),
        positions: Arc::default(),
        changes: Changes::default(),
        recipient,
        tasks: context.tasks.clone(),
        prefer_201_on_replace: config.prefer_201_on_replace,
    };
    listen(&context, &shared);
    start_tasks(&context, &shared, config.addresses_kept_days);
    Service::new(routes(shared))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

fn listen(context: &ServiceContext, shared: &Shared) {
    let Some(messaging) = &context.messaging else { return };
    let reports = Reports::new(
        shared.store.clone(),
        Arc::clone(&shared.positions),
        shared.changes.clone(),
        shared.recipient,
        &context.telemetry,
    );
    let heard = [topics::DRONE_EVENTS, topics::CARRIER_EVENTS];
    messaging.subscribe(&Subscription::new(heard, ROLE), reports.clone(), &context.tasks);
    // Of their own group: a flood of positions must not hold up a phase.
    let positions = Subscription::new([topics::DRONE_POSITIONS], "delivery-positions").latest();
    messaging.subscribe(&positions, reports, &context.tasks);
    let file = context.config.data.join("notifications.jsonl");
    let notifier = Notifier::new(shared.store.clone(), file);
    let notifications = Subscription::new([topics::NOTIFICATIONS], "notifier");
    messaging.subscribe(&notifications, notifier, &context.tasks);
}

fn start_tasks(context: &ServiceContext, shared: &Shared, addresses_kept_days: u32) {
    let (positions, store): (Arc<Positions>, _) =
        (Arc::clone(&shared.positions), shared.store.clone());
    context.tasks.spawn("positions", |shutdown| async move {
        positions.write_down(&store, shutdown).await;
    });
    let (store, keep) = (shared.store.clone(), DAY * addresses_kept_days);
    context.tasks.spawn("address eraser", |shutdown| erase_addresses(store, keep, shutdown));
}

async fn erase_addresses(store: Store, keep: Duration, shutdown: Shutdown) {
    while shutdown.or_cancel(tokio::time::sleep(ERASE_EVERY)).await.is_some() {
        let erased = store.write(move |transaction| {
            let kept = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            let before = transaction.now().as_millis().saturating_sub(kept);
            let before = base::Timestamp::from_millis(before);
            erase_old_notify_requests(transaction, before)
        });
        match erased.await {
            Ok(0) => {}
            Ok(erased) => tracing::info!(erased, "customers' addresses erased"),
            Err(error) => {
                let _: &store::WriteError<SqlError> = &error;
                tracing::warn!(%error, "customers' addresses were not erased; will try again");
            }
        }
    }
}
