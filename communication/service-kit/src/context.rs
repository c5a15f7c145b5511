//! What the parts of a service share: one value, made once, passed down.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use base::SharedClock;
use callers::Witness;
use mesh_proxy::Mesh;
use messaging::{LogTls, Messaging, MessagingConfig};
use runtime::Tasks;
use store::{Migration, Store, StoreSettings};
use telemetry::Telemetry;

use crate::{
    client::Client,
    config::{ServiceAddresses, ServiceConfig},
    health::Health,
    service::StartError,
};

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
    /// Set before it is used, or made then.
    client: Arc<OnceLock<Client>>,
    /// By whose policy requests are judged that come in; by none where another process does.
    door: Option<Mesh>,
    /// Who hears what operators change.
    witness: Option<Witness>,
    /// The log, when there are addresses of one.
    pub messaging: Option<Messaging>,
}

impl ServiceContext {
    /// Makes, when there are addresses of a log, the connection to it.
    #[must_use]
    pub fn new(
        config: ServiceConfig,
        clock: SharedClock,
        telemetry: Telemetry,
        tasks: Tasks,
    ) -> Self {
        let mut context = Self {
            config: Arc::new(config),
            clock,
            telemetry,
            tasks,
            client: Arc::default(),
            door: None,
            witness: None,
            messaging: None,
        };
        context.reach_log(None);
        context
    }

    /// The log asks who comes in: it is entered so from now on. To be said before anybody has asked for
    /// the log.
    pub fn enter_log(&mut self, tls: LogTls) {
        self.reach_log(Some(tls));
    }

    fn reach_log(&mut self, tls: Option<LogTls>) {
        let settings = MessagingConfig {
            bootstrap: self.config.bootstrap.clone(),
            client_id: self.config.instance.clone(),
            ..MessagingConfig::default()
        };
        let (clock, telemetry) = (self.clock.clone(), self.telemetry.clone());
        // Requests in flight and handlers that finish still publish: the log goes last.
        let tasks = self.tasks.later();
        self.messaging = (!settings.bootstrap.is_empty())
            .then(|| Messaging::entering(tls, settings, clock, telemetry, &tasks));
    }

    /// The same surroundings for a further service of the process, which is told otherwise.
    #[must_use]
    pub fn with_config(&self, config: ServiceConfig) -> Self {
        Self { config: Arc::new(config), ..self.clone() }
    }

    /// Calls go out by this client from now on; those who asked before keep theirs.
    pub fn call_by(&mut self, client: Client) {
        self.client = Arc::new(OnceLock::from(client));
    }

    /// Who may call this service, and what, is what this mesh's policy says. Where it can show who we
    /// are, those alone are let in who show who they are.
    pub fn guard_by(&mut self, mesh: &Mesh) {
        self.door = Some(mesh.clone());
    }

    /// What operators change from now on is told to this one; else it stands in the process's log alone.
    pub fn witnessed_by(&mut self, witness: Witness) {
        self.witness = Some(witness);
    }

    /// Who hears what operators change, where somebody does.
    #[must_use]
    pub const fn witness(&self) -> Option<&Witness> {
        self.witness.as_ref()
    }

    pub(crate) const fn door(&self) -> Option<&Mesh> {
        self.door.as_ref()
    }

    /// Calls to other services: by the client that it was given, else by a plain one. That is made when
    /// it is first asked for: every client has its series of measures, and one that nobody uses would
    /// show beside the one that is.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.client.get_or_init(|| {
            let (services, timeout) = (self.config.services.clone(), self.config.call_timeout);
            Client::new(services, timeout, self.telemetry.clone())
        })
    }

    /// Calls to servers outside, named as the service likes. See [`Client::outside`].
    ///
    /// # Errors
    /// [`StartError::Part`] when nobody can be believed, and one of them is called by `https`.
    pub fn outside(
        &self,
        servers: ServiceAddresses,
        timeout: Duration,
    ) -> Result<Client, StartError> {
        let (telemetry, authorities) = (self.telemetry.clone(), self.config.authorities.as_deref());
        Client::outside(servers, timeout, telemetry, authorities).map_err(|it| StartError::Part {
            what: "the calls to servers outside",
            source: it.into(),
        })
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
