//! Whether the program behind a proxy is ready: it is asked as others ask it, beside every measure,
//! cap and fault of the mesh.

use std::fmt;

use http::Method;
use mesh_policy::{
    Policy,
    destination::{Attachments, Endpoint, EndpointSet, Protocol},
    proxy::Inbound,
};
use telemetry::Telemetry;

use crate::{
    body::{Upload, Whole},
    head::{RequestHead, Version},
    mesh::{Door, Mesh},
    outbound::{Context, Outbound},
    stream::Stream,
};

/// Asks one program.
#[derive(Debug, Clone)]
pub struct Readiness {
    mesh: Mesh,
    application: Inbound,
}

/// Why a program is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NotReady(String);

impl fmt::Display for NotReady {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What it is called among its own.
const NAME: &str = "application";

impl Readiness {
    /// Of the program behind a door.
    ///
    /// # Panics
    /// Never: a policy without routes can be compiled.
    #[must_use]
    pub fn of(door: &Inbound) -> Self {
        let endpoint = Endpoint {
            address: door.application,
            instance: None,
            version: None,
            weight: 1,
            identity: None,
        };
        let protocol = door.protocol.unwrap_or(Protocol::Http1);
        let mut policy = Policy::default();
        policy
            .endpoints
            .insert(NAME.to_owned(), EndpointSet { protocol, endpoints: vec![endpoint] });
        // Asked once each time, whatever came of it before.
        let mut settings = policy.destination(NAME);
        settings.retry.attempts = 0;
        settings.breaker.consecutive_failures = 0;
        settings.breaker.success_rate_min = 0.0;
        let settings = Attachments {
            retry: Some(settings.retry),
            breaker: Some(settings.breaker),
            ..Attachments::default()
        };
        policy.attachments.insert(NAME.to_owned(), settings);
        let mesh = Mesh::new("readiness", policy, &Telemetry::disabled());
        let mesh = mesh.expect("a policy without routes can be compiled");
        Self { mesh, application: door.clone() }
    }

    /// Asks: a 2xx at the readiness path, or a connection where there is none. Whoever asks bounds the
    /// time. Cancel-safe.
    ///
    /// # Errors
    /// What it answered instead.
    pub async fn ask(&self) -> Result<(), NotReady> {
        let address = self.application.application;
        let Some(path) = &self.application.readiness_path else {
            let connected = Stream::connect(address).await;
            return connected.map(drop).map_err(|it| NotReady(format!("{address}: {it}")));
        };
        let authority = address.to_string().into();
        let target = path.clone().into();
        let head = RequestHead::new(Method::GET, Version::Http11, authority, target);
        let mut upload = Upload::new(Whole::default());
        let door = Door::Service(NAME.to_owned());
        // On a connection of its own: it is asked seldom, and one that rests may be closed by then.
        let outbound = Outbound::new(self.mesh.clone());
        let calling = outbound.call(&door, head, Context::default(), &mut upload);
        let reply = Box::pin(calling).await;
        let status = reply.head.status;
        if status.is_success() {
            return Ok(());
        }
        Err(NotReady(format!("{address}{path} answered {}", status.as_u16())))
    }
}
