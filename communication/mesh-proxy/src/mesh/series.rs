//! The measures of the mesh, each looked up once and then only counted.

use base::Code;
use http::StatusCode;
use mesh_policy::retry::StopReason;
use telemetry::{Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Metrics};

/// Classes of outcomes: statuses, and no answer at all.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// All families.
#[derive(Debug, Clone)]
pub(crate) struct Families {
    requests: CounterFamily,
    duration: HistogramFamily,
    sizes: HistogramFamily,
    refusals: CounterFamily,
    unauthenticated: CounterFamily,
    attempts: CounterFamily,
    attempt_duration: HistogramFamily,
    retries: CounterFamily,
    not_retried: CounterFamily,
    breaker_open: GaugeFamily,
    breaker_changes: CounterFamily,
    endpoints: GaugeFamily,
    tcp: TcpFamilies,
}

/// Families of tunnels.
#[derive(Debug, Clone)]
struct TcpFamilies {
    connections: CounterFamily,
    bytes: CounterFamily,
}

impl TcpFamilies {
    fn new(metrics: &Metrics) -> Self {
        Self {
            connections: metrics.counter(
                "mesh_tcp_connections_total",
                "Connections to endpoints for bytes that are passed on, by outcome.",
                &["destination", "outcome"],
            ),
            bytes: metrics.counter(
                "mesh_tcp_bytes_total",
                "Bytes that were passed on, from the client (up) and to it (down).",
                &["destination", "direction"],
            ),
        }
    }
}

impl Families {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let edge = ["source", "route", "destination"];
        let seconds = &telemetry::metrics::MESH_SECONDS_BUCKETS;
        let bytes = &telemetry::metrics::MESH_BYTES_BUCKETS;
        Self {
            requests: metrics.counter(
                "mesh_requests_total",
                "Requests, by edge and class of the status; none where no answer came.",
                &["source", "route", "destination", "class"],
            ),
            duration: metrics.histogram_with(
                "mesh_request_duration_seconds",
                "Time to the first byte of the answer, all tries included.",
                &edge,
                seconds,
            ),
            sizes: metrics.histogram_with(
                "mesh_response_size_bytes",
                "Bytes of the bodies of answers.",
                &edge,
                bytes,
            ),
            refusals: metrics.counter(
                "mesh_refusals_total",
                "Requests that the mesh answered by itself, by reason.",
                &["source", "destination", "code"],
            ),
            unauthenticated: metrics.counter(
                "mesh_unauthenticated_requests_total",
                "Requests at an edge by whom nobody is known, by reason.",
                &["edge", "reason"],
            ),
            attempts: metrics.counter(
                "mesh_attempts_total",
                "Tries, by endpoint, whether by mutual TLS, and class of the status; none where no answer came.",
                &["destination", "endpoint", "tls", "class"],
            ),
            attempt_duration: metrics.histogram_with(
                "mesh_attempt_duration_seconds",
                "Time to the first byte of one try.",
                &["destination", "endpoint"],
                seconds,
            ),
            retries: metrics.counter(
                "mesh_retries_total",
                "Tries beyond the first.",
                &["destination"],
            ),
            not_retried: metrics.counter(
                "mesh_retries_withheld_total",
                "Failures that were not tried again, by reason.",
                &["destination", "reason"],
            ),
            breaker_open: metrics.gauge(
                "mesh_breaker_open_state",
                "Whether the breaker of an endpoint is open or half open.",
                &["destination", "endpoint"],
            ),
            breaker_changes: metrics.counter(
                "mesh_breaker_changes_total",
                "Changes of breakers, by state that was entered.",
                &["destination", "endpoint", "state"],
            ),
            endpoints: metrics.gauge(
                "mesh_endpoints_count",
                "Endpoints that are known.",
                &["destination"],
            ),
            tcp: TcpFamilies::new(metrics),
        }
    }

    pub(crate) fn edge(&self, source: &str, route: &str, destination: &str) -> EdgeSeries {
        let labels = [source, route, destination];
        EdgeSeries {
            classes: CLASSES.map(|it| self.requests.with(&[source, route, destination, it])),
            duration: self.duration.with(&labels),
            sizes: self.sizes.with(&labels),
        }
    }

    pub(crate) fn endpoint(
        &self,
        destination: &str,
        endpoint: &str,
        is_secured: bool,
    ) -> EndpointSeries {
        let tls = if is_secured { "true" } else { "false" };
        EndpointSeries {
            classes: CLASSES.map(|it| self.attempts.with(&[destination, endpoint, tls, it])),
            duration: self.attempt_duration.with(&[destination, endpoint]),
            breaker_open: self.breaker_open.with(&[destination, endpoint]),
            opened: self.breaker_changes.with(&[destination, endpoint, "open"]),
            closed: self.breaker_changes.with(&[destination, endpoint, "closed"]),
        }
    }

    pub(crate) fn destination(&self, destination: &str) -> DestinationSeries {
        DestinationSeries {
            name: destination.to_owned(),
            retries: self.retries.with(&[destination]),
            not_retried: self.not_retried.clone(),
            endpoints: self.endpoints.with(&[destination]),
            tcp: self.tcp.clone(),
        }
    }

    pub(crate) fn unauthenticated(&self, edge: &str, reason: &str) {
        self.unauthenticated.with(&[edge, reason]).inc();
    }

    pub(crate) fn refused(&self, source: &str, destination: &str, code: Code) {
        self.refusals.with(&[source, destination, code.as_str()]).inc();
    }
}

/// One edge: who calls, by which route, whom.
#[derive(Debug, Clone)]
pub(crate) struct EdgeSeries {
    classes: [Counter; 6],
    pub(crate) duration: Histogram,
    pub(crate) sizes: Histogram,
}

impl EdgeSeries {
    pub(crate) fn count(&self, status: Option<StatusCode>) {
        self.classes[class(status)].inc();
    }
}

/// One endpoint.
#[derive(Debug, Clone)]
pub(crate) struct EndpointSeries {
    classes: [Counter; 6],
    pub(crate) duration: Histogram,
    pub(crate) breaker_open: Gauge,
    pub(crate) opened: Counter,
    pub(crate) closed: Counter,
}

impl EndpointSeries {
    pub(crate) fn count(&self, status: Option<StatusCode>) {
        self.classes[class(status)].inc();
    }
}

/// One destination.
#[derive(Debug, Clone)]
pub(crate) struct DestinationSeries {
    name: String,
    pub(crate) retries: Counter,
    not_retried: CounterFamily,
    pub(crate) endpoints: Gauge,
    tcp: TcpFamilies,
}

/// Tunnels to one destination.
#[derive(Debug, Clone)]
pub(crate) struct TcpSeries {
    pub(crate) opened: Counter,
    pub(crate) failed: Counter,
    pub(crate) up: Counter,
    pub(crate) down: Counter,
}

impl DestinationSeries {
    /// Looked up when there is a tunnel: most destinations have none.
    pub(crate) fn tcp(&self) -> TcpSeries {
        let connections = |outcome| self.tcp.connections.with(&[&self.name, outcome]);
        let bytes = |direction| self.tcp.bytes.with(&[&self.name, direction]);
        TcpSeries {
            opened: connections("opened"),
            failed: connections("failed"),
            up: bytes("up"),
            down: bytes("down"),
        }
    }

    pub(crate) fn not_retried(&self, reason: StopReason) {
        self.not_retried.with(&[&self.name, reason.as_str()]).inc();
    }
}

fn class(status: Option<StatusCode>) -> usize {
    match status.map(|it| it.as_u16()) {
        Some(100..=199) => 0,
        Some(200..=299) => 1,
        Some(300..=399) => 2,
        Some(400..=499) => 3,
        Some(_) => 4,
        None => 5,
    }
}
