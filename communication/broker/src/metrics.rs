//! What a broker says about itself.

use durable_log::LogStats;
use telemetry::{CounterFamily, Gauge, GaugeFamily, HistogramFamily, Telemetry};

pub(crate) const REQUEST_DURATION: &str = "broker_request_duration_seconds";
pub(crate) const ERRORS: &str = "broker_request_errors_total";
pub(crate) const LOGINS: &str = "broker_logins_total";
pub(crate) const CONNECTIONS: &str = "broker_open_connections_count";
pub(crate) const MEMBERS: &str = "broker_group_members_count";
pub(crate) const APPENDS: &str = "durable_log_appends_total";
pub(crate) const BYTES: &str = "durable_log_appended_bytes_total";
pub(crate) const SYNCS: &str = "durable_log_syncs_total";
pub(crate) const FAILED_SYNCS: &str = "durable_log_failed_syncs_total";
pub(crate) const SYNC_TIME: &str = "durable_log_sync_time_seconds";
pub(crate) const LOST: &str = "durable_log_lost_records_total";
pub(crate) const SEGMENTS: &str = "durable_log_segments_count";

/// Handles on the metrics.
#[derive(Debug, Clone)]
pub(crate) struct BrokerMetrics {
    pub(crate) requests: HistogramFamily,
    pub(crate) errors: CounterFamily,
    pub(crate) logins: CounterFamily,
    pub(crate) connections: Gauge,
    pub(crate) members: Gauge,
    appends: CounterFamily,
    bytes: CounterFamily,
    syncs: CounterFamily,
    failed_syncs: CounterFamily,
    lost: CounterFamily,
    sync_time: GaugeFamily,
    segments: GaugeFamily,
}

impl BrokerMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let of_topic = |name, help| metrics.gauge(name, help, &["topic"]);
        let grows = |name, help| metrics.counter(name, help, &["topic"]);
        Self {
            requests: metrics.histogram(
                REQUEST_DURATION,
                "Requests, by kind; long polls are as long as they waited.",
                &["api"],
            ),
            errors: metrics.counter(ERRORS, "Connections ended for a bad frame.", &["reason"]),
            logins: metrics.counter(
                LOGINS,
                "Logins by user name, by how they ended.",
                &["outcome"],
            ),
            connections: metrics.gauge(CONNECTIONS, "Open connections.", &[]).with(&[]),
            members: metrics.gauge(MEMBERS, "Members of all groups.", &[]).with(&[]),
            appends: grows(APPENDS, "Appends since the start."),
            bytes: grows(BYTES, "Bytes appended since the start."),
            syncs: grows(SYNCS, "Syncs since the start."),
            failed_syncs: grows(FAILED_SYNCS, "Syncs that failed since the start."),
            lost: grows(LOST, "Records that were asked for and are damaged or missing."),
            sync_time: of_topic(SYNC_TIME, "Time in syncs since the start."),
            segments: of_topic(SEGMENTS, "Segments that are kept."),
        }
    }

    /// Shows what a log has counted since it was opened. One task does, now and then.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; no count is as large")]
    pub(crate) fn show(&self, topic: &str, stats: &LogStats) {
        let grow = |family: &CounterFamily, to: u64| {
            let counter = family.with(&[topic]);
            counter.add(to.saturating_sub(counter.get()));
        };
        grow(&self.appends, stats.appends);
        grow(&self.bytes, stats.bytes);
        grow(&self.syncs, stats.syncs);
        grow(&self.failed_syncs, stats.failed_syncs);
        grow(&self.lost, stats.lost_records);
        let set = |family: &GaugeFamily, value: f64| family.with(&[topic]).set(value);
        set(&self.sync_time, stats.sync_time.as_secs_f64());
        set(&self.segments, stats.segments as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use telemetry::TelemetryConfig;

    use super::*;

    #[test]
    fn what_a_log_counts_is_shown_as_counters_that_follow_it() {
        let clock = runtime::SystemClock::shared();
        let telemetry = Telemetry::new(TelemetryConfig::default(), clock);
        let metrics = BrokerMetrics::new(&telemetry);
        let mut stats = LogStats { appends: 2, bytes: 30, syncs: 1, ..LogStats::default() };
        metrics.show("orders", &stats);
        stats = LogStats { appends: 5, failed_syncs: 1, lost_records: 4, syncs: 3, ..stats };
        stats.sync_time = Duration::from_millis(1_500);
        metrics.show("orders", &stats);
        let shown = telemetry.metrics().encode();
        for line in [
            "# TYPE durable_log_syncs counter",
            r#"durable_log_appends_total{topic="orders"} 5"#,
            r#"durable_log_appended_bytes_total{topic="orders"} 30"#,
            r#"durable_log_syncs_total{topic="orders"} 3"#,
            r#"durable_log_failed_syncs_total{topic="orders"} 1"#,
            r#"durable_log_lost_records_total{topic="orders"} 4"#,
            r#"durable_log_sync_time_seconds{topic="orders"} 1.5"#,
        ] {
            assert!(shown.lines().any(|it| it == line), "{line} is not in:\n{shown}");
        }
    }
}
