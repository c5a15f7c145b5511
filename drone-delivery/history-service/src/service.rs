//! Wiring of one History process.

use std::time::Duration;

use contracts::topics;
use messaging::Subscription;
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use service_kit::{Bound, Service, ServiceContext, StartError, start_sweeper};
use store::{SqlError, Store, StoreSettings, Transaction, WriteError};
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    domain::kept_since,
    events::{Archive, ROLE},
    store::{MIGRATIONS, SLICE, forget_old},
};

/// Settings of the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryConfig {
    /// Its database.
    pub store: StoreSettings,
    /// Days that an event is kept after it happened.
    pub history_kept_days: u32,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { store: StoreSettings::default(), history_kept_days: 400 }
    }
}

/// Time between two looks for events that are old enough to be forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Starts the service on the context's tasks.
///
/// # Errors
/// There is no log, the database cannot be opened, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: HistoryConfig) -> Result<Bound, StartError> {
    let messaging = context.require_messaging()?;
    let store = context.open_store(MIGRATIONS, config.store)?;
    start_sweeper(&context, &store);
    let stages = Subscription::new([topics::DELIVERY_EVENTS], ROLE);
    messaging.subscribe(&stages, Archive::new(store.clone()), &context.tasks);
    let (forgetful, days) = (store.clone(), config.history_kept_days);
    context.tasks.spawn("history sweeper", move |shutdown| forget(forgetful, days, shutdown));
    Service::new(routes(Shared { store: store.clone() }))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

async fn forget(store: Store, days: u32, shutdown: Shutdown) {
    while shutdown.or_cancel(tokio::time::sleep(FORGET_EVERY)).await.is_some() {
        if let Err(error) = forget_all(&store, days).await {
            tracing::warn!(%error, "old events were not forgotten; will try again");
        }
    }
}

/// Forgets slice after slice, until one is not full.
async fn forget_all(store: &Store, days: u32) -> Result<(), WriteError<SqlError>> {
    let slice = move |transaction: &mut Transaction<'_>| {
        let before = kept_since(transaction.now(), days);
        forget_old(transaction, before)
    };
    while store.write(slice).await? == SLICE {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{ManualClock, Timestamp};

    use super::*;
    use crate::{
        domain::tests::event,
        store::tests::{ids, kept, open},
    };

    const DAY_MS: i64 = 86_400_000;

    #[tokio::test]
    async fn an_event_is_forgotten_when_the_days_that_were_set_are_over() {
        let directory = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(100 * DAY_MS);
        let store = open(&directory, Arc::new(ManualClock::new(now)));
        let old = (1..=SLICE + 1).map(|it| event("old", it, 97 * DAY_MS)).collect();
        kept(&store, old).await;
        kept(&store, vec![event("new", 1, 99 * DAY_MS)]).await;
        forget_all(&store, 4).await.unwrap();
        assert_eq!(ids(&store, "old").await.len(), 1_000);
        forget_all(&store, 2).await.unwrap();
        assert_eq!(ids(&store, "old").await, [""; 0]);
        assert_eq!(ids(&store, "new").await, ["new/1"]);
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        assert!(serde_json::from_str::<HistoryConfig>(r#"{"history_kept": 1}"#).is_err());
        let given: HistoryConfig = serde_json::from_str(r#"{"history_kept_days": 7}"#).unwrap();
        assert_eq!(given.history_kept_days, 7);
    }
}
