//! The handle that components hold: begins spans, keeps finished ones, owns the metrics.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base::{Random, SharedClock};
use tokio::{sync::Notify, time::Instant};

use crate::{
    context::TraceContext,
    metrics::{Counter, Metrics},
    sampler::Sampler,
    span::{Recording, Span, SpanKind, SpanRecord, SpanStatus},
};

/// Settings of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// New traces that are recorded in a second; 0 records none.
    pub traces_per_second: u32,
    /// Finished spans that wait for the exporter; more are dropped and counted. 0 where nobody takes
    /// them: spans then carry ids to those downstream and record nothing.
    pub span_queue_max: usize,
    /// Label sets of all metrics together; more fold into `other`. A histogram counts once.
    pub metric_series_max: usize,
    /// Where span ids are drawn from; `None` takes the seed from the operating system.
    pub seed: Option<u64>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { traces_per_second: 50, span_queue_max: 8_192, metric_series_max: 2_000, seed: None }
    }
}

/// A cheap handle on one process's spans and metrics.
#[derive(Debug, Clone)]
pub struct Telemetry(Arc<Hub>);

#[derive(Debug)]
struct Hub {
    clock: SharedClock,
    metrics: Metrics,
    dice: Mutex<Dice>,
    finished: Mutex<VecDeque<SpanRecord>>,
    arrived: Notify,
    queue_max: usize,
    dropped: Counter,
    recorded: Counter,
}

/// What beginning a span changes.
#[derive(Debug)]
struct Dice {
    random: Random,
    sampler: Sampler,
    anchor: (u64, Instant),
}

/// How far span time may drift from wall time before it is set anew.
const DRIFT_NS_MAX: u64 = 2_000_000;

impl Telemetry {
    /// A hub with its own registry.
    #[must_use]
    pub fn new(config: TelemetryConfig, clock: SharedClock) -> Self {
        let metrics = Metrics::new(config.metric_series_max);
        let counter = |name, help| metrics.counter(name, help, &[]).with(&[]);
        let dropped =
            counter("telemetry_spans_dropped_total", "Spans dropped because the queue was full.");
        let recorded = counter("telemetry_spans_recorded_total", "Spans that were recorded.");
        let seed = config.seed.unwrap_or_else(|| fastrand::u64(..));
        let dice = Dice {
            random: Random::with_seed(seed),
            sampler: Sampler::new(config.traces_per_second, clock.monotonic()),
            anchor: (nanos(&clock), Instant::now()),
        };
        Self(Arc::new(Hub {
            clock,
            metrics,
            dice: Mutex::new(dice),
            finished: Mutex::new(VecDeque::new()),
            arrived: Notify::new(),
            queue_max: config.span_queue_max,
            dropped,
            recorded,
        }))
    }

    /// A hub that records no spans; metrics work. For tests and tools.
    #[must_use]
    pub fn disabled() -> Self {
        let clock = base::ManualClock::new(base::Timestamp::from_millis(0));
        let config = TelemetryConfig { traces_per_second: 0, ..TelemetryConfig::default() };
        Self::new(config, Arc::new(clock))
    }

    /// The metric registry.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Begins a span below `parent`, or a new trace.
    #[must_use]
    pub fn span(
        &self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: Option<&TraceContext>,
    ) -> Span {
        self.span_with(|| name.into(), kind, parent)
    }

    /// The same with a name that is made only where the span is recorded.
    #[must_use]
    pub fn span_with(
        &self,
        name: impl FnOnce() -> Cow<'static, str>,
        kind: SpanKind,
        parent: Option<&TraceContext>,
    ) -> Span {
        let mut dice = self.dice();
        let context = match parent {
            Some(parent) => parent.child(&mut dice.random),
            None => {
                let sampled = dice.sampler.admit(self.0.clock.monotonic());
                TraceContext::root(&mut dice.random, sampled)
            }
        };
        if !context.sampled || self.0.queue_max == 0 {
            return Span::new(context, None);
        }
        let (start_ns, started) = dice.instant(&self.0.clock);
        drop(dice);
        let record = SpanRecord {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent: parent.map(|it| it.span_id),
            state: context.tracestate().map(str::to_owned),
            name: name(),
            kind,
            start_ns,
            end_ns: start_ns,
            attributes: Vec::new(),
            links: Vec::new(),
            status: SpanStatus::Unset,
        };
        let recording = Recording { record, started, telemetry: self.clone() };
        Span::new(context, Some(Box::new(recording)))
    }

    /// Waits until a span has finished, then takes up to `max` of them, oldest first.
    ///
    /// Cancel-safe: a span leaves the queue only in the poll that returns it.
    pub async fn take_batch(&self, max: usize) -> Vec<SpanRecord> {
        loop {
            let batch = self.take_ready(max);
            if !batch.is_empty() || max == 0 {
                return batch;
            }
            self.0.arrived.notified().await;
        }
    }

    /// Takes up to `max` finished spans without waiting.
    #[must_use]
    pub fn take_ready(&self, max: usize) -> Vec<SpanRecord> {
        let mut finished = self.finished();
        let count = finished.len().min(max);
        finished.drain(..count).collect()
    }

    pub(crate) fn finish(&self, record: SpanRecord) {
        let mut finished = self.finished();
        if finished.len() >= self.0.queue_max {
            self.0.dropped.inc();
            return;
        }
        finished.push_back(record);
        drop(finished);
        self.0.recorded.inc();
        self.0.arrived.notify_one();
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        // A panic while the lock was held leaves nothing half done.
        self.0.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self) -> MutexGuard<'_, VecDeque<SpanRecord>> {
        self.0.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dice {
    /// Wall time finer than the clock's milliseconds: an anchor plus the time since, set anew
    /// when the wall clock was moved.
    fn instant(&mut self, clock: &SharedClock) -> (u64, Instant) {
        let (wall, now) = (nanos(clock), Instant::now());
        let since = u64::try_from(now.saturating_duration_since(self.anchor.1).as_nanos());
        let fine = self.anchor.0.saturating_add(since.unwrap_or(u64::MAX));
        if fine.abs_diff(wall) > DRIFT_NS_MAX {
            self.anchor = (wall, now);
            return (wall, now);
        }
        (fine, now)
    }
}

fn nanos(clock: &SharedClock) -> u64 {
    u64::try_from(clock.now().as_millis()).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ManualClock, Timestamp};

    fn hub(config: TelemetryConfig) -> Telemetry {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
        Telemetry::new(TelemetryConfig { seed: Some(1), ..config }, clock)
    }

    #[test]
    fn where_nobody_takes_spans_none_is_recorded_and_ids_go_on() {
        let telemetry = hub(TelemetryConfig { span_queue_max: 0, ..TelemetryConfig::default() });
        let parent = TraceContext::parse(
            &telemetry.span("a", SpanKind::Server, None).context().traceparent(),
            None,
        );
        let parent = parent.unwrap();
        let span = telemetry.span("inner", SpanKind::Client, Some(&parent));
        assert!(!span.is_recording());
        assert_eq!(span.context().trace_id, parent.trace_id);
        assert!(span.context().sampled, "those downstream may record");
        drop(span);
        assert!(telemetry.take_ready(1).is_empty());
    }

    #[tokio::test]
    async fn a_child_span_is_recorded_under_its_parent_with_its_verdict() {
        let telemetry = hub(TelemetryConfig::default());
        let parent = telemetry.span("outer", SpanKind::Server, None);
        let mut child = telemetry.span("inner", SpanKind::Client, Some(&parent.context()));
        child.attribute("http.response.status_code", 503_u16);
        child.fail("overloaded");
        child.end();
        let batch = telemetry.take_batch(10).await;
        assert_eq!(batch.len(), 1);
        assert_eq!(batch[0].parent, Some(parent.context().span_id));
        assert_eq!(batch[0].status, SpanStatus::Error("overloaded".to_owned()));
        assert_eq!(batch[0].attributes[0].1, AttributeValue::Int(503));
    }

    #[test]
    fn roots_above_the_rate_are_not_recorded_and_their_children_neither() {
        let telemetry = hub(TelemetryConfig { traces_per_second: 2, ..TelemetryConfig::default() });
        for _ in 0..10 {
            let root = telemetry.span("root", SpanKind::Server, None);
            let child = telemetry.span("child", SpanKind::Internal, Some(&root.context()));
            assert_eq!(child.is_recording(), root.is_recording());
        }
        assert_eq!(telemetry.take_ready(100).len(), 4);
    }

    #[test]
    fn a_full_queue_drops_spans_and_counts_them() {
        let telemetry = hub(TelemetryConfig { span_queue_max: 3, ..TelemetryConfig::default() });
        for _ in 0..5 {
            telemetry.span("root", SpanKind::Server, None).end();
        }
        assert_eq!(telemetry.take_ready(100).len(), 3);
        assert!(telemetry.metrics().encode().contains("telemetry_spans_dropped_total 2"));
    }

    #[test]
    fn a_loop_that_adds_attributes_does_not_grow_the_span() {
        let telemetry = hub(TelemetryConfig::default());
        let mut span = telemetry.span("root", SpanKind::Internal, None);
        for _ in 0..1_000 {
            span.attribute("text", "x".repeat(5_000));
        }
        span.end();
        let record = telemetry.take_ready(1).remove(0);
        assert_eq!(record.attributes.len(), 32);
        assert_eq!(record.attributes[0].1, AttributeValue::Text("x".repeat(1_024)));
    }
    use crate::span::AttributeValue;
}
