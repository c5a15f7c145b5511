//! A proxy as a program: what `skein proxy --config FILE` is told.

use std::{net::SocketAddr, path::PathBuf};

use crate::destination::Protocol;

/// One proxy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// Its name: the service that it stands beside, or the name of the edge.
    pub name: String,
    /// Public listeners.
    pub edges: Vec<Edge>,
    /// Doors for calls of the program to others.
    pub outbound: Vec<Outbound>,
    /// Doors for calls of others to the program.
    pub inbound: Vec<Inbound>,
    /// Where operators come in; a free port of the loopback interface where nothing is said.
    pub admin: Option<SocketAddr>,
    /// Files with routes, destinations and endpoints, relative to the file of the proxy; watched.
    pub files: Vec<PathBuf>,
    /// Threads that serve; 0 means one for each core.
    pub workers: usize,
    /// Base URL that takes OTLP/HTTP.
    pub trace_endpoint: Option<String>,
    /// Share of requests in the access log, 0 to 1, in thousandths; none where it is 0.
    pub access_log_per_mille: u16,
}

/// A public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Name, for routes that name a section.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Hosts that are ours (DNS rebinding); none means every one.
    pub hosts: Vec<String>,
}

/// A door for calls of the program to one other service, or to any by its Host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The service behind it; `None` takes the first label of the Host.
    pub service: Option<String>,
    /// What is spoken here; `None` looks.
    pub protocol: Option<Protocol>,
}

/// A door for calls of others to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the program listens.
    pub application: SocketAddr,
    /// What is spoken here; `None` looks.
    pub protocol: Option<Protocol>,
    /// Path that says whether the program is ready; `None` asks for a connection alone.
    pub readiness_path: Option<String>,
}
