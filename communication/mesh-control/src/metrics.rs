//! What the control plane says about itself, and what its subscribers say.

use telemetry::{Counter, CounterFamily, Gauge, Telemetry};

/// Handles on the metrics of a control plane.
#[derive(Debug, Clone)]
pub(crate) struct PlaneMetrics {
    pub(crate) registrations_refused: CounterFamily,
    pub(crate) expired: Counter,
    pub(crate) sources_refused: CounterFamily,
    pub(crate) snapshots_refused: Counter,
    pub(crate) snapshot_bytes: Counter,
    pub(crate) sessions_refused: Counter,
    pub(crate) subscribers: Gauge,
    pub(crate) instances: Gauge,
    pub(crate) version: Gauge,
}

impl PlaneMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let counter = |name, help| -> Counter { metrics.counter(name, help, &[]).with(&[]) };
        let gauge = |name, help| -> Gauge { metrics.gauge(name, help, &[]).with(&[]) };
        Self {
            registrations_refused: metrics.counter(
                "control_registrations_refused_total",
                "Announcements of instances that were refused, by reason.",
                &["reason"],
            ),
            expired: counter(
                "control_leases_expired_total",
                "Leases that were not renewed in time.",
            ),
            sources_refused: metrics.counter(
                "control_sources_refused_total",
                "Looks at a source that could not be used, by source.",
                &["source"],
            ),
            snapshots_refused: counter(
                "control_snapshots_refused_total",
                "States that a proxy did not take.",
            ),
            snapshot_bytes: counter(
                "control_snapshots_bytes_total",
                "Bytes of states sent to proxies.",
            ),
            sessions_refused: counter(
                "control_sessions_refused_total",
                "Connections of an identity that had as many as it may have.",
            ),
            subscribers: gauge("control_subscribers_count", "Proxies that are connected."),
            instances: gauge("control_instances_count", "Instances that are registered."),
            version: gauge("control_state_version_count", "Number of the state in force."),
        }
    }
}

/// Handles on the metrics of a subscriber.
#[derive(Debug, Clone)]
pub(crate) struct SubscriberMetrics {
    pub(crate) connected: Gauge,
    pub(crate) version: Gauge,
    pub(crate) lost: Counter,
    pub(crate) rejected: Counter,
}

impl SubscriberMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let counter = |name, help| -> Counter { metrics.counter(name, help, &[]).with(&[]) };
        let gauge = |name, help| -> Gauge { metrics.gauge(name, help, &[]).with(&[]) };
        Self {
            connected: gauge("mesh_control_connected_count", "1 while the control plane is heard."),
            version: gauge(
                "mesh_control_version_count",
                "Number of the state that was taken last.",
            ),
            lost: counter(
                "mesh_control_connections_lost_total",
                "Connections that ended or did not come.",
            ),
            rejected: counter(
                "mesh_control_registrations_rejected_total",
                "Own announcements that the control plane refused.",
            ),
        }
    }
}

/// A number as a gauge shows it.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 are not seen")]
pub(crate) fn gauge(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or(u64::MAX) as f64
}
