//! Wiring of one History process.

use contracts::topics;
use messaging::Subscription;
use serde::{Deserialize, Serialize};
use service_kit::{Bound, Service, ServiceContext, StartError, start_forgetting, start_sweeper};
use store::StoreSettings;
use utoipa::OpenApi as _;

use crate::{
    api::{Document, Shared, routes},
    events::{Archive, ROLE},
    store::{MIGRATIONS, forget_old},
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

/// Starts the service on the context's tasks.
///
/// # Errors
/// There is no log, the database cannot be opened, or an address cannot be listened on.
pub async fn run(context: ServiceContext, config: HistoryConfig) -> Result<Bound, StartError> {
    let messaging = context.require_messaging()?;
    let store = context.open_store(MIGRATIONS, config.store)?;
    start_sweeper(&context, &store);
    let stages = Subscription::new([topics::DELIVERY_EVENTS], ROLE);
    messaging.subscribe(&stages, Archive::new(store.clone()), &context.tasks)?;
    start_forgetting(&context, &store, "events", config.history_kept_days, forget_old);
    Service::new(routes(Shared { store: store.clone() }))
        .store(&store)
        .health(context.health(Some(&store)))
        .openapi(&Document::openapi())
        .serve(&context)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::{ManualClock, Timestamp};
    use service_kit::forget;

    use super::*;
    use crate::{
        domain::tests::event,
        store::{
            SLICE,
            tests::{ids, kept, open},
        },
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
        forget(&store, 4, forget_old).await.unwrap();
        assert_eq!(ids(&store, "old").await.len(), 1_000);
        forget(&store, 2, forget_old).await.unwrap();
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
