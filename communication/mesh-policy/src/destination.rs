//! A destination: one named service with everything that is set for calls to it.

use std::{net::SocketAddr, time::Duration};

use crate::{balance, breaker, concurrency, retry};

/// What is set for calls to one service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Destination {
    /// Balance.
    pub balance: balance::Settings,
    /// Breaker of each endpoint.
    pub breaker: breaker::Settings,
    /// Cap.
    pub concurrency: concurrency::Settings,
    /// Retries.
    pub retry: retry::Settings,
    /// Time-outs.
    pub timeouts: Timeouts,
}

/// Time-outs of calls to one service; zero switches a bound off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// The whole request where neither route nor caller says.
    pub request: Duration,
    /// One try.
    pub backend_request: Duration,
    /// To connect.
    pub connect: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// Of a tunnel (upgraded, or bytes as they are) in which neither side says anything.
    pub tunnel_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(10),
            backend_request: Duration::ZERO,
            connect: Duration::from_secs(1),
            idle: Duration::from_secs(60),
            // Envoy's for TCP: longer than the two hours' half of a kernel's keep-alive, so that nobody is
            // cut who is only quiet, and a client that is gone without a word is not kept for days.
            tunnel_idle: Duration::from_hours(1),
        }
    }
}

/// Members of a [`Destination`] that a file sets; what it does not set comes from the target `*`,
/// then from the defaults.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attachments {
    /// Balance.
    pub balance: Option<balance::Settings>,
    /// Breaker.
    pub breaker: Option<breaker::Settings>,
    /// Cap.
    pub concurrency: Option<concurrency::Settings>,
    /// Retries.
    pub retry: Option<retry::Settings>,
    /// Time-outs.
    pub timeouts: Option<Timeouts>,
}

/// Where a service is found: the endpoints of one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointSet {
    /// What they speak.
    pub protocol: Protocol,
    /// Each of them.
    pub endpoints: Vec<Endpoint>,
}

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Name of the instance, such as `account-1`; else the address.
    pub instance: Option<String>,
    /// Its version, such as `v2`.
    pub version: Option<String>,
    /// Its weight among the others; 1 where nothing is said.
    pub weight: u32,
    /// The identity that it must prove, `spiffe://<trust domain>/ns/<namespace>/svc/<service>`: then it
    /// is called over mutual TLS alone. Or `https://<name>` of a server outside, which no file can say:
    /// it is called over TLS. Where nothing is said, it is called in plain text.
    pub identity: Option<String>,
}

/// What an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge (`appProtocol: kubernetes.io/h2c`).
    Http2,
    /// Bytes.
    Tcp,
}
