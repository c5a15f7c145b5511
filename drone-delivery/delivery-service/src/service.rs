//! Wiring of one Delivery process.

use std::sync::Arc;

use contracts::topics;
use messaging::Subscription;
use notifications::{Courier, NotificationConfig, Outbox};
use serde::{Deserialize, Serialize};
use service_kit::{
    Bound, Profile, Service, ServiceContext, StartError, start_forgetting, start_relay,
    start_sweeper,
};
use store::{Store, StoreSettings};
use utoipa::OpenApi as _;

pub use crate::confirmations::Recipient;
use crate::{
    api::{Document, Shared, routes},
    events::{Audience, ROLE, Reports},
    listeners::{Listeners, StreamConfig},
    notifier::{Contacts, Notifier},
    store::{MIGRATIONS, erase_old_notify_requests, forget_ended, forget_tombstones},
    stream::Changes,
    watch::{WatchConfig, watch},
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
    /// How customers are told.
    pub notifications: NotificationConfig,
    /// When a delivery counts as stopped.
    pub watch: WatchConfig,
    /// Who may listen to events, and how many at a time.
    pub streams: StreamConfig,
    /// Days after the end of a delivery until the customer's addresses are erased.
    pub addresses_kept_days: u32,
    /// Days after its end until a delivery and its events are forgotten.
    pub deliveries_kept_days: u32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            store: StoreSettings::default(),
            recipient: None,
            prefer_201_on_replace: false,
            notifications: NotificationConfig::default(),
            watch: WatchConfig::default(),
            streams: StreamConfig::default(),
            addresses_kept_days: 30,
            deliveries_kept_days: 400,
        }
    }
}

/// Days that a tombstone is kept: as long as a repetition of what it forbids may come, the longest
/// retention of a topic and a week of redrive.
const TOMBSTONES_KEPT_DAYS: u32 = 37;

/// Days that what customers were told is shown.
const NOTIFICATIONS_KEPT_DAYS: u32 = 30;

/// Starts the service on the context's tasks.
///
/// # Errors
/// The database cannot be opened, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: DeliveryConfig) -> Result<Bound, StartError> {
    let store = context.open_store(MIGRATIONS, config.store.clone())?;
    let audience = match config.notifications.reaches_out() {
        true => Audience::Owners,
        false => Audience::Askers,
    };
    let courier = open_courier(&context, &store, config.notifications, config.store).await?;
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
        listeners: Listeners::new(config.streams),
        audience,
        outbox: courier.outbox().clone(),
        tasks: context.tasks.clone(),
        prefer_201_on_replace: config.prefer_201_on_replace,
    };
    listen(&context, &shared, recipient, courier)?;
    start_tasks(&context, &shared, config.watch);
    start_forgetting(
        &context,
        &store,
        "addresses",
        config.addresses_kept_days,
        erase_old_notify_requests,
    );
    start_forgetting(&context, &store, "deliveries", config.deliveries_kept_days, forget_ended);
    start_forgetting(&context, &store, "tombstones", TOMBSTONES_KEPT_DAYS, forget_tombstones);
    Service::new(routes(shared))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

/// Those who tell people: a context of its own, in a file of its own.
async fn open_courier(
    context: &ServiceContext,
    store: &Store,
    config: NotificationConfig,
    settings: StoreSettings,
) -> Result<Courier<Contacts>, StartError> {
    let part = |source| StartError::Part { what: "the notifications", source };
    let secret = runtime::secret_from_os().map_err(|it| part(it.into()))?;
    let (clock, telemetry) = (context.clock.clone(), &context.telemetry);
    let path = context.config.data.join("notifications.db");
    let outbox = Outbox::open(&path, settings, clock.clone(), telemetry, secret);
    let outbox = outbox.await.map_err(StartError::Store)?;
    start_sweeper(context, outbox.store());
    start_forgetting(
        context,
        outbox.store(),
        "notifications",
        NOTIFICATIONS_KEPT_DAYS,
        notifications::forget_old,
    );
    let book = Contacts { store: store.clone(), client: context.client().clone() };
    let file = context.config.data.join("notifications.jsonl");
    let surroundings = (clock, telemetry, context.tasks.clone());
    let authorities = context.config.authorities.as_deref();
    let courier = Courier::new(config, outbox, book, file, authorities, surroundings);
    let courier = courier.map_err(|it| part(it.into()))?;
    courier.start();
    Ok(courier)
}

fn listen(
    context: &ServiceContext,
    shared: &Shared,
    recipient: Recipient,
    courier: Courier<Contacts>,
) -> Result<(), StartError> {
    let Some(messaging) = &context.messaging else { return Ok(()) };
    let reports = Reports::new(
        shared.store.clone(),
        Arc::clone(&shared.positions),
        shared.changes.clone(),
        (recipient, shared.audience),
        &context.telemetry,
    );
    let heard = [topics::DRONE_EVENTS, topics::CARRIER_EVENTS];
    messaging.subscribe(&Subscription::new(heard, ROLE), reports.clone(), &context.tasks)?;
    // Of their own group: a flood of positions must not hold up a phase.
    let positions = Subscription::new([topics::DRONE_POSITIONS], "delivery-positions").latest();
    messaging.subscribe(&positions, reports, &context.tasks)?;
    let notifications = Subscription::new([topics::NOTIFICATIONS], "notifier");
    messaging.subscribe(&notifications, Notifier(courier), &context.tasks)?;
    Ok(())
}

fn start_tasks(context: &ServiceContext, shared: &Shared, config: WatchConfig) {
    let (positions, store) = (Arc::clone(&shared.positions), shared.store.clone());
    context.tasks.spawn("positions", |shutdown| async move {
        positions.write_down(&store, shutdown).await;
    });
    let (store, clock, audience) = (shared.store.clone(), context.clock.clone(), shared.audience);
    context.tasks.spawn("watch", move |shutdown| watch(store, clock, config, audience, shutdown));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::{ManualClock, Timestamp};
    use runtime::Tasks;
    use service_kit::ServiceConfig;
    use store::{SqlError, WriteError};
    use telemetry::Telemetry;
    use tokio::time::sleep;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[tokio::test(start_paused = true)]
    async fn a_running_service_forgets_by_its_settings() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let config = ServiceConfig::new(ROLE, "delivery-1", directory.path());
        let context =
            ServiceContext::new(config, clock.clone(), Telemetry::disabled(), Tasks::new());
        let store = context.open_store(MIGRATIONS, StoreSettings::default()).unwrap();
        let config = DeliveryConfig { deliveries_kept_days: 3, ..DeliveryConfig::default() };
        run(context, config).await.unwrap();
        let written = store.write(|transaction| {
            transaction.execute(
                "INSERT INTO deliveries (id, state, stage, owner_id, created_at, changed_at)
                 VALUES ('d1', '{}', 5, 'owner', 0, 0)",
                &[],
            )?;
            crate::store::bury(transaction, "d2")
        });
        let written: Result<(), WriteError<SqlError>> = written.await;
        written.unwrap();
        let count = |table: &'static str| {
            let store = store.clone();
            async move {
                let sql = format!("SELECT COUNT(*) FROM {table}");
                store.read(move |it| it.query_one(&sql, &[], |row| row.get::<u64>(0))).await
            }
        };
        // Time passes by itself here while nothing runs, so that sweeps come at once.
        for (table, days) in [("deliveries", 2), ("delivery_tombstones", 33)] {
            clock.advance(DAY * days);
            sleep(Duration::from_secs(300)).await;
            assert_eq!(count(table).await, Ok(1), "{table} after {days} days");
            clock.advance(DAY * 2);
            let mut looks = 0;
            while count(table).await != Ok(0) {
                looks += 1;
                assert!(looks < 200_000, "{table} are never forgotten");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
