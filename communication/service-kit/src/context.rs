//! What the parts of a service share: one value, made once, passed down.

use std::sync::Arc;

use base::SharedClock;
use messaging::{Messaging, MessagingConfig};
use runtime::Tasks;
use store::{Migration, Store, StoreSettings};
use telemetry::Telemetry;

use crate::{client::Client, config::ServiceConfig, health::Health, service::StartError};

/// The surroundings of one process of one role; a cheap clone.
#[derive(Debug, Clone)]
pub struct ServiceContext {
    /// What it was told.
    pub config: Arc<ServiceConfig>,
    /// The time.
    pub clock: SharedClock,
    /// Spans and metrics.
    pub telemetry: Telemetry,
    /// Owner of every task of the service.
    pub tasks: Tasks,
    /// Calls to other services.
    pub client: Client,
    /// The log, when there are addresses of one.
    pub messaging: Option<Messaging>,
}

impl ServiceContext {
    /// Makes the client and, when there are addresses of a log, the connection to it.
    #[must_use]
    pub fn new(
        config: ServiceConfig,
        clock: SharedClock,
        telemetry: Telemetry,
        tasks: Tasks,
    ) -> Self {
        let client = Client::new(config.services.clone(), config.call_timeout, telemetry.clone());
        let messaging = (!config.bootstrap.is_empty()).then(|| {
            let settings = MessagingConfig {
                bootstrap: config.bootstrap.clone(),
                client_id: config.instance.clone(),
                ..MessagingConfig::default()
            };
            Messaging::new(settings, clock.clone(), telemetry.clone(), &tasks)
        });
        Self { config: Arc::new(config), clock, telemetry, tasks, client, messaging }
    }

    /// Opens the service's database, named after its role. Blocks while it is brought up to date.
    ///
    /// # Errors
    /// [`StartError::Store`].
    pub fn open_store(
        &self,
        migrations: &[Migration],
        settings: StoreSettings,
    ) -> Result<Store, StartError> {
        let path = self.config.data.join(format!("{}.db", self.config.role));
        Store::open(path, migrations, settings, self.clock.clone(), &self.telemetry)
            .map_err(StartError::Store)
    }

    /// The log, of a service that cannot be without it.
    ///
    /// # Errors
    /// [`StartError::NoLog`].
    pub fn require_messaging(&self) -> Result<Messaging, StartError> {
        self.messaging.clone().ok_or(StartError::NoLog)
    }

    /// Checks of readiness: the store and, where there is one, the log.
    #[must_use]
    pub fn health(&self, store: Option<&Store>) -> Health {
        let mut health = Health::new();
        if let Some(store) = store.cloned() {
            health = health.check("store", move || {
                let store = store.clone();
                async move { store.ping().await.map_err(|it| it.to_string()) }
            });
        }
        if let Some(messaging) = self.messaging.clone() {
            health = health.check("log", move || {
                let messaging = messaging.clone();
                async move { messaging.ping().await.map_err(|it| it.to_string()) }
            });
        }
        health
    }
}
