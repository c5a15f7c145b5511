//! Watches over deliveries under way: one that has stopped moving is brought before a person, once for
//! each thing that it waits for.

use std::time::Duration;

use base::{SharedClock, Timestamp};
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use store::{ReadError, SqlError, Store, WriteError};
use tokio::time::sleep;

use crate::{
    domain::{Patience, overdue},
    events::{self, Audience, Voice},
    store as table,
};

/// Deliveries of one read.
const PAGE: u32 = 200;

/// When a delivery counts as stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Seconds between two looks.
    pub look_every_s: u32,
    /// Seconds after what was promised.
    pub grace_s: u32,
    /// Seconds after the last change, where nothing was promised.
    pub unpromised_s: u32,
    /// Seconds that a package waits at the door for its confirmation before a person is asked.
    pub confirmation_s: u32,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { look_every_s: 15, grace_s: 900, unpromised_s: 3_600, confirmation_s: 900 }
    }
}

impl WatchConfig {
    fn patience(self) -> Patience {
        let seconds = |it| Duration::from_secs(u64::from(it));
        Patience {
            grace: seconds(self.grace_s),
            unpromised: seconds(self.unpromised_s),
            recipient: seconds(self.confirmation_s),
        }
    }
}

/// Looks again and again until the service stops.
pub(crate) async fn watch(
    store: Store,
    clock: SharedClock,
    config: WatchConfig,
    audience: Audience,
    shutdown: Shutdown,
) {
    let every = Duration::from_secs(u64::from(config.look_every_s.max(1)));
    while shutdown.or_cancel(sleep(every)).await.is_some() {
        let look = look(&store, clock.now(), config.patience(), audience);
        if let Some(Err(error)) = shutdown.or_cancel(look).await {
            tracing::debug!(error, "nothing was looked at this time");
        }
    }
}

/// Looks at every delivery under way once. Cancel-safe: what is written is written.
async fn look(
    store: &Store,
    now: Timestamp,
    patience: Patience,
    audience: Audience,
) -> Result<(), String> {
    let mut after = String::new();
    loop {
        let from = after.clone();
        let page = store.read(move |it| table::under_way(it, &from, PAGE)).await;
        let page = page.map_err(|it: ReadError| it.to_string())?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.id.clone();
        let stopped = page.into_iter().filter(|(it, at)| overdue(it, *at, now, patience).is_some());
        let ids: Vec<String> = stopped.map(|(delivery, _)| delivery.id).collect();
        if !ids.is_empty() {
            tell(store, ids, patience, audience).await.map_err(|it| it.to_string())?;
        }
    }
}

/// Says of each that has stopped that it has, unless that was said before.
async fn tell(
    store: &Store,
    ids: Vec<String>,
    patience: Patience,
    audience: Audience,
) -> Result<(), WriteError<SqlError>> {
    let written = store.write(move |transaction| {
        let now = transaction.now();
        for id in ids {
            let Some(delivery) = table::find(transaction, &id)? else { continue };
            let changed = table::changed_at(transaction, &id)?;
            let Some(what) = overdue(&delivery, changed, now, patience) else { continue };
            if table::note_overdue(transaction, &id, what.as_str())? {
                tracing::warn!(delivery = id, what = what.as_str(), "a delivery has stopped");
                events::stopped(transaction, &delivery, what, Voice { audience, trace: None })?;
            }
        }
        Ok(())
    });
    written.await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::ManualClock;
    use contracts::{Body, topics};
    use store::StoreSettings;
    use telemetry::Telemetry;

    use super::*;
    use crate::{
        domain::{Delivery, DeliveryBody},
        store::NotifyRequest,
    };

    #[tokio::test]
    async fn a_delivery_that_has_stopped_is_said_once_to_operators_and_to_its_customer() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let (settings, quiet) = (StoreSettings::default(), Telemetry::disabled());
        let path = directory.path().join("delivery.db");
        let store = Store::open(path, table::MIGRATIONS, settings, clock.clone(), &quiet).unwrap();
        let body = serde_json::json!({"owner": {"userId": "u", "accountId": "a"},
            "pickup": {"latitude": 60.17, "longitude": 24.94},
            "dropoff": {"latitude": 60.18, "longitude": 24.95}});
        let order = DeliveryBody::read(&Body::new(&body)).unwrap().order;
        let made = store.write(move |it| {
            for number in 0..450 {
                let id = format!("d{number:03}");
                table::insert(it, &Delivery::create(id, order.clone()))?;
            }
            let email_address = Some("a@example.org".to_owned());
            let (sms, language, asker) = (None, String::new(), None);
            let wish = NotifyRequest { email_address, sms, language, asker };
            table::keep_notify_request(it, "d444", &wish)
        });
        let made: Result<(), WriteError<SqlError>> = made.await;
        made.unwrap();
        let patience = WatchConfig::default().patience();
        for (after_s, expected) in [(3_600, 0), (1, 451), (3_600, 451)] {
            clock.advance(Duration::from_secs(after_s));
            let now = base::Clock::now(&*clock);
            look(&store, now, patience, Audience::Askers).await.unwrap();
            let said = store.read(|it| it.outbox(0, 1_000)).await.unwrap();
            assert_eq!(said.len(), expected);
        }
        let said = store.read(|it| it.outbox(0, 1_000)).await.unwrap();
        let told: Vec<_> = said.iter().filter(|it| it.1.topic == topics::NOTIFICATIONS).collect();
        assert_eq!((told.len(), told[0].1.id.as_str()), (1, "d444/delayed"));
    }
}
