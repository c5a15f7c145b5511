//! Connections of clients: accepted within a bound, recognised, served until they end.
//!
//! At the bound the connection that has waited longest for a request gives way, so that clients who
//! hold connections and say nothing cannot keep out those who have something to say.

mod accept;
mod detect;
mod doors;
pub(crate) mod h1;
mod h2;
mod tcp;

use std::{future::Future, time::Duration};

use identity::{Handshakes, PublicHandshakes};
use mesh_policy::path::Slashes;
use runtime::connections_within_descriptors;
use telemetry::{CounterFamily, Gauge, Telemetry};

pub use accept::{Sharing, listen, serve};
pub use doors::Doors;

use crate::{
    body::{RequestBody, Upload},
    guard::Guard,
    head::{Peer, RequestHead},
    reply::Reply,
    tunnel::Tunnel,
};

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped when its client is gone.
    fn handle<B: RequestBody>(
        &self,
        head: RequestHead,
        peer: Peer,
        upload: &mut Upload<B>,
    ) -> impl Future<Output = Reply> + Send;

    /// Where connections lead that speak no HTTP; nowhere, unless an implementation says so.
    fn tunnel(&self) -> Option<Tunnel> {
        None
    }
}

/// Bounds of one listener. Defaults: `names-and-numbers`, limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head; more is 431.
    pub head_bytes_max: usize,
    /// Header fields; more is 431.
    pub fields_max: usize,
    /// Bytes of a target; more is 414.
    pub target_bytes_max: usize,
    /// Bytes of a body; more is 413.
    pub body_bytes_max: u64,
    /// Time for a whole head, the wait for its first byte included; then the connection ends.
    pub head_timeout: Duration,
    /// Time between two pieces of a request's body; then 408.
    pub body_idle_timeout: Duration,
    /// Time in which a client that has ended its own direction still gets an answer; one that closed
    /// looks the same, and what it asked for must not be worked on for nobody.
    pub half_close_wait: Duration,
    /// Connections at a time; fewer where the system gives few descriptors.
    pub connections_max: usize,
    /// Time in which a client must say what it speaks.
    pub detect_timeout: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub streams_max: u32,
    /// Time that requests in flight have to end once the listener closes.
    pub drain: Duration,
    /// What becomes of slashes that a path hides.
    pub slashes: Slashes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 << 10,
            fields_max: 100,
            target_bytes_max: 8 << 10,
            body_bytes_max: 1 << 20,
            head_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(10),
            half_close_wait: Duration::from_secs(1),
            connections_max: 1_024,
            detect_timeout: Duration::from_millis(500),
            streams_max: 256,
            drain: Duration::from_secs(10),
            slashes: Slashes::Refused,
        }
    }
}

/// What a connection begins with.
#[derive(Debug, Clone)]
enum Entrance {
    /// Nothing: everybody is let in.
    Plain,
    /// Both sides show who they are.
    Known(Handshakes),
    /// We show who we are.
    Public(PublicHandshakes),
}

/// One listener with what answers behind it.
#[derive(Debug)]
pub struct Site<H> {
    /// Its name in logs and metrics.
    pub name: &'static str,
    /// What answers.
    pub handler: H,
    /// Its bounds.
    pub limits: Limits,
    /// Its connections.
    pub doors: Doors,
    pub(crate) counts: Counts,
    entrance: Entrance,
    /// Who may do what; everybody everything where there is none.
    pub(crate) guard: Option<Guard>,
}

impl<H: Handler> Site<H> {
    /// A listener's site.
    #[must_use]
    pub fn new(name: &'static str, handler: H, limits: Limits, telemetry: &Telemetry) -> Self {
        Self {
            name,
            handler,
            limits,
            doors: Doors::new(connections_within_descriptors(limits.connections_max)),
            counts: Counts::new(name, telemetry),
            entrance: Entrance::Plain,
            guard: None,
        }
    }

    /// The same for those alone who show an identity that is accepted: TLS and nothing else.
    #[must_use]
    pub fn knowing(self, handshakes: Handshakes) -> Self {
        Self { entrance: Entrance::Known(handshakes), ..self }
    }

    /// The same for anybody, over TLS and nothing else.
    #[must_use]
    pub fn presenting(self, handshakes: PublicHandshakes) -> Self {
        Self { entrance: Entrance::Public(handshakes), ..self }
    }

    /// The same with a guard before everything that is served.
    #[must_use]
    pub fn guarded(self, guard: Guard) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Answers a request; one that may not be made gets no further than here.
    pub(crate) async fn answer<B: RequestBody>(
        &self,
        head: RequestHead,
        peer: Peer,
        upload: &mut Upload<B>,
    ) -> Reply {
        match self.guard.as_ref().and_then(|it| it.refuse(&head, &peer)) {
            Some(refusal) => refusal,
            None => self.handler.handle(head, peer, upload).await,
        }
    }
}

/// What happens to connections, as metrics.
#[derive(Debug)]
pub(crate) struct Counts {
    name: &'static str,
    pub(crate) open: Gauge,
    refused: CounterFamily,
    ended: CounterFamily,
}

impl Counts {
    fn new(name: &'static str, telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        Self {
            name,
            open: metrics
                .gauge("http_server_connections", "Open connections.", &["listener"])
                .with(&[name]),
            refused: metrics.counter(
                "mesh_bad_requests_total",
                "Requests that were refused before they reached a route, by reason.",
                &["listener", "reason"],
            ),
            ended: metrics.counter(
                "mesh_connections_ended_total",
                "Connections that were ended by us, by reason.",
                &["listener", "reason"],
            ),
        }
    }

    pub(crate) fn refused(&self, reason: &str) {
        self.refused.with(&[self.name, reason]).inc();
    }

    pub(crate) fn ended(&self, reason: &str) {
        self.ended.with(&[self.name, reason]).inc();
    }
}
