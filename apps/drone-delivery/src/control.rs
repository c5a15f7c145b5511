//! The control plane of a system, where it has one: its process, and what the others say to it.
//!
//! On one machine a file says where instances are, and is enough (decision 8). With `mesh_control` each
//! instance registers itself, and no process of the mesh reads that file: of a service that a file lists
//! the file alone is believed. What holds as policy stays in the files that every process follows.

use std::{net::Ipv4Addr, time::Duration};

use base::Timestamp;
use identity::Handshakes;
use mesh_control::{Registration, Spoken, Upstream};
use service_kit::{Bound, ServiceConfig, ServiceContext, StartError};
use skein::control::{self, ControlArguments};

use crate::{identities, roles::Role, settings::Settings};

/// Who it proves to be.
pub(crate) fn identity() -> String {
    identities::id(Role::Control.name()).to_string()
}

/// Where it is, and who it must be; nothing in a system without one.
pub(crate) fn upstream(settings: &Settings, known: Option<&Handshakes>) -> Option<Upstream> {
    settings.mesh_control.enabled.then(|| Upstream {
        address: Role::Control.address(settings),
        identity: known.map(|it| (it.clone(), identities::id(Role::Control.name()))),
    })
}

/// What an instance says of itself once it takes calls.
pub(crate) fn registration(
    config: &ServiceConfig,
    bound: &Bound,
    started: Timestamp,
) -> Registration {
    Registration {
        service: config.role.clone(),
        instance: config.instance.clone(),
        version: Some(config.version.clone()),
        zone: None,
        capacity: 1,
        address: bound.http,
        incarnation: u64::try_from(started.as_millis()).unwrap_or(0),
        protocol: Spoken::Http,
        ready: true,
    }
}

/// What the process is told.
pub(crate) fn arguments(settings: &Settings) -> ControlArguments {
    let time = Duration::from_millis;
    ControlArguments {
        listen: Role::Control.address(settings),
        admin_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        // Every process follows them by itself.
        files: Vec::new(),
        dns: Vec::new(),
        dns_every: time(5_000),
        kubernetes: None,
        kubernetes_api: None,
        lease: time(settings.mesh_control.lease_ms),
        grace: time(settings.mesh_control.grace_ms),
    }
}

/// Starts it. With handshakes it lets in those alone who show who they are.
pub(crate) async fn start(
    context: ServiceContext,
    arguments: ControlArguments,
    known: Option<Handshakes>,
) -> Result<Bound, StartError> {
    let started = control::start(&arguments, &context, known).await;
    let failed = |it: skein::Failure| StartError::Part { what: "the registry", source: it.into() };
    let running = started.map_err(failed)?;
    Ok(Bound { http: running.address, admin: running.admin, https: None })
}
