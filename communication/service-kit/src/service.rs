//! A service as a whole: its routes, its health, its document, on two listeners.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::{
    admin,
    config::PortSharing,
    context::ServiceContext,
    export,
    faults::Faults,
    health::Health,
    openapi,
    routes::Routes,
    server::{Listening, Site, listen},
    stack::Stack,
    system::{Audience, Document, System},
};

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error("the database cannot be opened")]
    Store(#[source] store::OpenError),
    /// There is no log, which the service cannot be without.
    #[error("no address of the log was given")]
    NoLog,
    /// Another part of the service cannot start.
    #[error("{what} cannot start")]
    Part {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address cannot be listened on; most often another process has the port.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Where a service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Where requests come in.
    pub http: SocketAddr,
    /// Where operators come in.
    pub admin: SocketAddr,
}

impl Bound {
    /// Base URL for other services.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Base URL for operators.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }
}

/// What is served.
#[derive(Debug)]
pub struct Service {
    routes: Routes<()>,
    health: Health,
    openapi: Option<Value>,
    openapi_path: Option<&'static str>,
    store: Option<store::Store>,
    audience: Audience,
}

impl Service {
    /// These routes, without checks and document.
    #[must_use]
    pub fn new(routes: Routes<()>) -> Self {
        Self {
            routes,
            health: Health::new(),
            openapi: None,
            openapi_path: None,
            store: None,
            audience: Audience::Operators,
        }
    }

    /// With checks of readiness.
    #[must_use]
    pub fn health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// With an OpenAPI document, served at `/openapi.json`, completed by what every service answers.
    #[must_use]
    pub fn openapi<D: Serialize>(self, document: &D) -> Self {
        // A document that cannot be written is a defect that the service's own test finds.
        Self { openapi: serde_json::to_value(document).ok(), ..self }
    }

    /// With the document at one more path, where clients of another framework look for it.
    #[must_use]
    pub fn openapi_at(self, path: &'static str) -> Self {
        Self { openapi_path: Some(path), ..self }
    }

    /// Reachable by anybody: of the pages that every service has, the port of requests serves health
    /// alone; the operators' port keeps them all.
    #[must_use]
    pub fn public(self) -> Self {
        Self { audience: Audience::Public, ..self }
    }

    /// With a store whose ledger of effects the operators may read.
    #[must_use]
    pub fn store(self, store: &store::Store) -> Self {
        Self { store: Some(store.clone()), ..self }
    }

    /// Listens on both addresses and answers from now on, until the context's tasks are drained.
    ///
    /// # Errors
    /// [`StartError`] when an address cannot be listened on.
    pub fn serve(self, context: &ServiceContext) -> Result<Bound, StartError> {
        let config = &context.config;
        let openapi = self.openapi.map(|mut document| {
            openapi::complete(&mut document, self.routes.mutating(), self.audience);
            Document { text: Bytes::from(document.to_string()), path: self.openapi_path }
        });
        let system = System {
            health: self.health,
            telemetry: context.telemetry.clone(),
            openapi,
            audience: Audience::Operators,
        };
        let faults = Faults::default();
        let admin = admin::routes(config.faults, faults.clone(), self.store);
        let open = |name, routes: Routes<()>, audience, address, sharing, faults| {
            let (router, table) = routes.into_parts();
            let mut stack = Stack::new(router, table, &config.limits, &context.telemetry);
            stack.faults = faults;
            stack.audience = audience;
            let connections = context.telemetry.metrics().gauge(
                "http_server_connections",
                "Open connections.",
                &["listener"],
            );
            let site = Site { stack, system: System { audience, ..system.clone() } };
            let at = Listening {
                address,
                sharing,
                limits: &config.limits,
                drain_delay: config.drain_delay,
                telemetry: &context.telemetry,
            };
            listen(name, site, at, &context.tasks)
                .map_err(|source| StartError::Bind { address, source })
        };
        // The admin listener first: if its port is taken, no request has been accepted yet.
        let (alone, none) = (PortSharing::Exclusive, Faults::default());
        let admin = open("admin", admin, Audience::Operators, config.admin, alone, none)?;
        let http = open("http", self.routes, self.audience, config.http, config.sharing, faults)?;
        if let Some(endpoint) = &config.trace_endpoint {
            export::start(endpoint, context);
        }
        tracing::info!(%http, %admin, "listening");
        Ok(Bound { http, admin })
    }
}
