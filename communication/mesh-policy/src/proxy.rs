//! A proxy as a program: what `skein proxy --config FILE` is told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

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
    /// Which requests are written down; none where nothing is said.
    pub access_log: Option<AccessLog>,
    /// How long the doors still take connections once `/readyz` says no; 200 ms where nothing is said.
    pub drain_delay: Option<Duration>,
    /// The control plane that it hears, besides its files.
    pub control: Option<Control>,
    /// Who it shows itself to be; nothing in plain text.
    pub identity: Option<Identity>,
}

/// Who a proxy shows itself to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, `spiffe://<trust domain>/ns/<namespace>/svc/<service>`.
    pub name: String,
    /// The socket of the authority, relative to the file of the proxy.
    pub authority: PathBuf,
}

/// The control plane of a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Where it listens.
    pub address: SocketAddr,
    /// The identity that it must prove; nothing in plain text on loopback.
    pub identity: Option<String>,
    /// What is registered there while the program behind the doors is ready.
    pub instance: Option<Instance>,
}

/// An instance of the service that a proxy stands beside, as it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name, such as `orders-1`.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// Where it runs, such as `rack-7`.
    pub zone: Option<String>,
    /// Its weight among the others.
    pub capacity: u32,
    /// Where others call it; its first door for calls to the program where nothing is said.
    pub address: Option<SocketAddr>,
}

/// Which requests stand in the access log. Those that failed (no answer, a 5xx, an answer that broke)
/// and those that were slow always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessLog {
    /// Share of all the others, in thousandths.
    pub per_mille: u16,
    /// Time to the head of the answer from which a request is slow; zero calls none slow.
    pub slow: Duration,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { per_mille: 0, slow: Duration::from_secs(1) }
    }
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
    /// What it shows over TLS; in plain text without.
    pub certificate: Option<Certificate>,
}

/// A certificate and its key, as files with PEM relative to the file of the proxy; watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The own certificate, then those between it and an authority.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
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
