//! What identity says about itself.

use telemetry::{CounterFamily, Gauge, HistogramFamily, Telemetry};

use crate::{bundle::CarriedError, refusal::Refusal};

pub(crate) const REFUSED: &str = "identity_refused_handshakes_total";
pub(crate) const HANDSHAKE: &str = "identity_handshake_duration_seconds";
pub(crate) const EXPIRY: &str = "identity_certificate_expiry_seconds";
pub(crate) const SKEW: &str = "identity_clock_skew_seconds";
pub(crate) const RENEWALS: &str = "identity_renewals_total";
pub(crate) const BUNDLES_REFUSED: &str = "identity_bundles_refused_total";
pub(crate) const REQUESTS: &str = "identity_authority_requests_total";

/// Which side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Accept,
    Connect,
    /// People outside come in, who show nothing.
    Public,
}

/// Handles on the metrics of handshakes.
#[derive(Debug, Clone)]
pub(crate) struct HandshakeMetrics {
    refused: CounterFamily,
    pub(crate) duration: HistogramFamily,
}

impl Side {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Connect => "connect",
            Self::Public => "public",
        }
    }
}

impl HandshakeMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        Self {
            refused: metrics.counter(
                REFUSED,
                "Connections refused in their handshake, by side and reason.",
                &["side", "reason"],
            ),
            duration: metrics.histogram(
                HANDSHAKE,
                "Handshakes that came to a good end, by side.",
                &["side"],
            ),
        }
    }

    pub(crate) fn refused(&self, side: Side, refusal: Refusal) {
        self.refused.with(&[side.as_str(), refusal.as_str()]).inc();
    }
}

/// Handles on the metrics of whoever holds an identity.
#[derive(Debug, Clone)]
pub(crate) struct KeeperMetrics {
    /// Wall time at which the identity ends, in seconds since 1970; 0 without one.
    pub(crate) expiry: Gauge,
    /// By how much the authority's clock is ahead of ours.
    pub(crate) skew: Gauge,
    renewals: CounterFamily,
    bundles_refused: CounterFamily,
}

impl KeeperMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let gauge = |name, help| metrics.gauge(name, help, &[]).with(&[]);
        Self {
            expiry: gauge(EXPIRY, "When the identity ends, in seconds since 1970; 0 without one."),
            skew: gauge(SKEW, "By how much the clock of the authority is ahead of ours."),
            renewals: metrics.counter(
                RENEWALS,
                "Times that an identity was asked for, by how it ended.",
                &["outcome"],
            ),
            bundles_refused: metrics.counter(
                BUNDLES_REFUSED,
                "Bundles that were carried here and not taken, by reason.",
                &["reason"],
            ),
        }
    }

    pub(crate) fn bundle_refused(&self, error: CarriedError) {
        self.bundles_refused.with(&[error.as_str()]).inc();
    }

    pub(crate) fn renewal(&self, outcome: &str) {
        self.renewals.with(&[outcome]).inc();
    }
}

/// What the authority counts of those who ask it.
pub(crate) fn requests(telemetry: &Telemetry) -> CounterFamily {
    telemetry.metrics().counter(
        REQUESTS,
        "What the authority was asked, by request and outcome.",
        &["request", "outcome"],
    )
}
