//! What a client says about itself.

use telemetry::{CounterFamily, GaugeFamily, HistogramFamily, Telemetry};

pub(crate) const PUBLISHED: &str = "messaging_published_messages_total";
pub(crate) const PUBLISH_DURATION: &str = "messaging_publish_duration_seconds";
pub(crate) const PROCESSED: &str = "messaging_processed_messages_total";
pub(crate) const PROCESS_DURATION: &str = "messaging_process_duration_seconds";
pub(crate) const DEAD_LETTERS: &str = "messaging_dead_letters_total";
pub(crate) const LOST: &str = "messaging_lost_records_total";
pub(crate) const MOVED_BACK: &str = "messaging_moved_back_total";
pub(crate) const FOREIGN_PARTITION: &str = "messaging_foreign_partition_total";
pub(crate) const LAG_SECONDS: &str = "messaging_lag_seconds";
pub(crate) const LAG_RECORDS: &str = "messaging_lag_records";
pub(crate) const REBALANCES: &str = "messaging_group_rebalances_total";

/// Handles on the metrics.
#[derive(Debug, Clone)]
pub(crate) struct MessagingMetrics {
    pub(crate) published: CounterFamily,
    pub(crate) publish_duration: HistogramFamily,
    pub(crate) processed: CounterFamily,
    pub(crate) process_duration: HistogramFamily,
    pub(crate) dead_letters: CounterFamily,
    pub(crate) lost: CounterFamily,
    pub(crate) moved_back: CounterFamily,
    pub(crate) foreign_partition: CounterFamily,
    pub(crate) lag_seconds: GaugeFamily,
    pub(crate) lag_records: GaugeFamily,
    pub(crate) rebalances: CounterFamily,
}

impl MessagingMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        Self {
            published: metrics.counter(
                PUBLISHED,
                "Messages that were published, or not, by outcome.",
                &["topic", "outcome"],
            ),
            publish_duration: metrics.histogram(
                PUBLISH_DURATION,
                "Time until a publish was acknowledged.",
                &["topic"],
            ),
            processed: metrics.counter(
                PROCESSED,
                "Messages that a handler was given, by outcome.",
                &["topic", "group", "outcome"],
            ),
            process_duration: metrics.histogram(
                PROCESS_DURATION,
                "Time that a handler took.",
                &["topic", "group"],
            ),
            dead_letters: metrics.counter(
                DEAD_LETTERS,
                "Messages that were given up.",
                &["topic", "group"],
            ),
            lost: metrics.counter(
                LOST,
                "Offsets that a subscription passed because the log has no record there any more.",
                &["topic", "group"],
            ),
            moved_back: metrics.counter(
                MOVED_BACK,
                "Times that the log ended before what a group had processed.",
                &["topic", "group"],
            ),
            foreign_partition: metrics.counter(
                FOREIGN_PARTITION,
                "Messages that stood in another partition than their key asks for.",
                &["topic"],
            ),
            lag_seconds: metrics.gauge(
                LAG_SECONDS,
                "Age of the oldest message that this process has fetched and not finished.",
                &["group"],
            ),
            lag_records: metrics.gauge(
                LAG_RECORDS,
                "Records that this process's partitions are behind.",
                &["group"],
            ),
            rebalances: metrics.counter(REBALANCES, "Generations that were joined.", &["group"]),
        }
    }
}
