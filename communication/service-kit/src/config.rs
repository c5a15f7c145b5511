//! What one process of one role is told: addresses, limits, where its data lies.
//!
//! The program in `apps` fills these from arguments, environment and files; nothing here reads them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    time::Duration,
};

use mesh_policy::destination::{Endpoint, EndpointSet, Protocol};

use serde::{Deserialize, Serialize};

use crate::operators::Operators;

/// How forgiving the services are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Everything works out of the box: unknown names are made up on first use.
    #[default]
    Demo,
    /// What is unknown is refused.
    Strict,
}

/// Whether several processes may listen on the same port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortSharing {
    /// The port is ours alone; a second listener fails to start.
    #[default]
    Exclusive,
    /// `SO_REUSEPORT`: the kernel spreads connections over the replicas of a role.
    Replicas,
}

/// Whether operators may plant faults over the admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FaultHook {
    /// `/admin/faults` is 404, and says what lets it be more.
    #[default]
    Off,
    /// `/admin/faults` works.
    On,
}

/// Where services are found: name to base URL, such as `http://127.0.0.1:7104`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceAddresses(BTreeMap<String, String>);

impl ServiceAddresses {
    /// No service is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one service.
    #[must_use]
    pub fn with(mut self, service: impl Into<String>, base_url: impl Into<String>) -> Self {
        self.0.insert(service.into(), base_url.into().trim_end_matches('/').to_owned());
        self
    }

    /// The base URL, without a slash at its end.
    #[must_use]
    pub fn get(&self, service: &str) -> Option<&str> {
        self.0.get(service).map(String::as_str)
    }

    /// Host and port of a service, as its URL says them.
    pub(crate) fn authority(&self, service: &str) -> Option<&str> {
        self.get(service).map(authority_of)
    }

    /// Each service with where it is found.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&str, Option<Place>)> {
        self.0.iter().map(|(name, url)| (name.as_str(), Place::of(url)))
    }

    /// As endpoints of a mesh. A name is looked up once, now; one that is not known has none.
    pub(crate) fn endpoints(&self) -> BTreeMap<String, EndpointSet> {
        let listed = |place: Option<Place>| {
            let known = place.as_ref().and_then(|it| it.host_and_port().to_socket_addrs().ok());
            let address = known.and_then(|mut it| it.next());
            place.zip(address).map(|(it, address)| it.at(address)).unwrap_or_default()
        };
        self.places().map(|(name, place)| (name.to_owned(), listed(place))).collect()
    }
}

fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Where a service is found, as its URL says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// A name or an address, without brackets.
    host: String,
    port: u16,
    /// Whether it has to prove that name.
    pub(crate) is_proved: bool,
}

impl Place {
    fn of(url: &str) -> Option<Self> {
        let is_proved = url.starts_with("https://");
        let authority: http::uri::Authority = authority_of(url).parse().ok()?;
        let port = authority.port_u16().unwrap_or(if is_proved { 443 } else { 80 });
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { host, port, is_proved })
    }

    pub(crate) fn host_and_port(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether it has to be looked up.
    pub(crate) fn is_named(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// The one endpoint there.
    pub(crate) fn at(&self, address: SocketAddr) -> EndpointSet {
        let identity = self.is_proved.then(|| format!("https://{}", self.host));
        let endpoint = Endpoint { address, instance: None, version: None, weight: 1, identity };
        EndpointSet { protocol: Protocol::Http1, endpoints: vec![endpoint] }
    }
}

impl<N: Into<String>, U: Into<String>> FromIterator<(N, U)> for ServiceAddresses {
    fn from_iter<I: IntoIterator<Item = (N, U)>>(pairs: I) -> Self {
        pairs.into_iter().fold(Self::new(), |all, (name, url)| all.with(name, url))
    }
}

/// Bounds on what one process takes in. Defaults: `names-and-numbers`, limits and caps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of all header names and values together; more is 431.
    pub header_bytes_max: usize,
    /// Header fields; more is 431.
    pub header_fields_max: usize,
    /// Bytes of path and query; more is 414.
    pub target_bytes_max: usize,
    /// Bytes of a body; more is 413.
    pub body_bytes_max: usize,
    /// Bytes of all bodies that are being received or served; more is 503.
    pub buffered_bytes_max: usize,
    /// Nested arrays and objects in a body; more is 400.
    pub json_depth_max: usize,
    /// Time for a whole request head, idle time between requests included; then the connection closes.
    pub head_timeout_ms: u64,
    /// Time between two pieces of a body; then 408.
    pub body_idle_timeout_ms: u64,
    /// Connections at a time; more wait in the listen queue of the kernel.
    pub connections_max: usize,
    /// Requests served at a time.
    pub concurrency_max: usize,
    /// Requests that wait for a place; more is 503.
    pub queue_max: usize,
    /// Time for a request that names no deadline of its own, and the most that one may name.
    pub request_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 32 << 10,
            header_fields_max: 100,
            target_bytes_max: 8 << 10,
            body_bytes_max: 1 << 20,
            buffered_bytes_max: 32 << 20,
            json_depth_max: 32,
            head_timeout_ms: 10_000,
            body_idle_timeout_ms: 10_000,
            connections_max: 1_024,
            concurrency_max: 100,
            queue_max: 25,
            request_timeout_ms: 10_000,
        }
    }
}

/// Everything that one process of one role is told.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// The role, which is also the service's name in calls, logs and traces.
    pub role: String,
    /// This process among the replicas of its role.
    pub instance: String,
    /// Version of the program.
    pub version: String,
    /// Where requests come in; port 0 takes a free one.
    pub http: SocketAddr,
    /// Whether replicas share that port.
    pub sharing: PortSharing,
    /// Where operators come in; port 0 takes a free one.
    pub admin: SocketAddr,
    /// Who may change something there.
    pub operators: Operators,
    /// Directory of this role's database, shared by its replicas.
    pub data: PathBuf,
    /// How forgiving the services are.
    pub profile: Profile,
    /// Where the other services are.
    pub services: ServiceAddresses,
    /// Addresses of the log (`host:port`); empty for a service without messages.
    pub bootstrap: Vec<String>,
    /// Base URL that takes OTLP/HTTP; `None` exports no spans.
    pub trace_endpoint: Option<String>,
    /// Whether faults may be planted.
    pub faults: FaultHook,
    /// Bounds on what comes in.
    pub limits: Limits,
    /// Longest wait for a call to another service, where the call does not name its own. A step of a
    /// saga names one: the service that defines it takes it from here.
    pub call_timeout: Duration,
    /// The service whose identity the edge shows, where callers have to show who they are: what it says of
    /// those outside is believed, and what it does not say is not made up.
    pub edge: Option<String>,
    /// Authorities that vouch for servers outside, as PEM, beside the machine's own list.
    pub authorities: Option<PathBuf>,
    /// How long a draining process still accepts connections after `/readyz` said no.
    pub drain_delay: Duration,
}

impl ServiceConfig {
    /// Defaults on free ports of the loopback interface.
    #[must_use]
    pub fn new(
        role: impl Into<String>,
        instance: impl Into<String>,
        data: impl Into<PathBuf>,
    ) -> Self {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            role: role.into(),
            instance: instance.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            http: loopback,
            sharing: PortSharing::Exclusive,
            admin: loopback,
            operators: Operators::default(),
            data: data.into(),
            profile: Profile::Demo,
            services: ServiceAddresses::new(),
            bootstrap: Vec::new(),
            trace_endpoint: None,
            faults: FaultHook::Off,
            limits: Limits::default(),
            call_timeout: Duration::from_secs(2),
            edge: None,
            authorities: None,
            drain_delay: Duration::from_millis(200),
        }
    }
}
