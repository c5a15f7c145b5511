//! What a broker says about itself.

use durable_log::LogStats;
use telemetry::{CounterFamily, Gauge, GaugeFamily, HistogramFamily, Telemetry};

pub(crate) const REQUEST_DURATION: &str = "broker_request_duration_seconds";
pub(crate) const ERRORS: &str = "broker_request_errors_total";
pub(crate) const CONNECTIONS: &str = "broker_open_connections_count";
pub(crate) const MEMBERS: &str = "broker_group_members_count";
pub(crate) const APPENDS: &str = "durable_log_appends_count";
pub(crate) const BYTES: &str = "durable_log_appended_bytes";
pub(crate) const SYNCS: &str = "durable_log_syncs_count";
pub(crate) const FAILED_SYNCS: &str = "durable_log_failed_syncs_count";
pub(crate) const SYNC_TIME: &str = "durable_log_sync_time_seconds";
pub(crate) const SEGMENTS: &str = "durable_log_segments_count";

/// Handles on the metrics.
#[derive(Debug, Clone)]
pub(crate) struct BrokerMetrics {
    pub(crate) requests: HistogramFamily,
    pub(crate) errors: CounterFamily,
    pub(crate) connections: Gauge,
    pub(crate) members: Gauge,
    appends: GaugeFamily,
    bytes: GaugeFamily,
    syncs: GaugeFamily,
    failed_syncs: GaugeFamily,
    sync_time: GaugeFamily,
    segments: GaugeFamily,
}

impl BrokerMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let of_topic = |name, help| metrics.gauge(name, help, &["topic"]);
        Self {
            requests: metrics.histogram(
                REQUEST_DURATION,
                "Requests, by kind; long polls are as long as they waited.",
                &["api"],
            ),
            errors: metrics.counter(ERRORS, "Connections ended for a bad frame.", &["reason"]),
            connections: metrics.gauge(CONNECTIONS, "Open connections.", &[]).with(&[]),
            members: metrics.gauge(MEMBERS, "Members of all groups.", &[]).with(&[]),
            appends: of_topic(APPENDS, "Appends since the start."),
            bytes: of_topic(BYTES, "Bytes appended since the start."),
            syncs: of_topic(SYNCS, "Syncs since the start."),
            failed_syncs: of_topic(FAILED_SYNCS, "Syncs that failed since the start."),
            sync_time: of_topic(SYNC_TIME, "Time in syncs since the start."),
            segments: of_topic(SEGMENTS, "Segments that are kept."),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; no count is as large")]
    pub(crate) fn show(&self, topic: &str, stats: &LogStats) {
        let set = |family: &GaugeFamily, value: f64| family.with(&[topic]).set(value);
        set(&self.appends, stats.appends as f64);
        set(&self.bytes, stats.bytes as f64);
        set(&self.syncs, stats.syncs as f64);
        set(&self.failed_syncs, stats.failed_syncs as f64);
        set(&self.sync_time, stats.sync_time.as_secs_f64());
        set(&self.segments, stats.segments as f64);
    }
}
