//! What a process tells about itself: W3C trace context, spans, metrics, logs.
//!
//! Everything here is bounded and never blocks the work that it describes: a full span queue
//! drops spans and counts them, a metric with too many label values folds them into `other` and
//! counts that, a root span above the rate limit is not sampled. It refuses to send anything:
//! finished spans are handed out by [`Telemetry::take_batch`], and whoever owns a client posts
//! them. The OpenTelemetry SDK is not used: its pieces for traces are not yet stable, and the
//! parts that we need are small.
//!
//! ```
//! use base::{ManualClock, Timestamp};
//! use std::sync::Arc;
//! use telemetry::{SpanKind, Telemetry, TelemetryConfig};
//!
//! let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
//! let telemetry = Telemetry::new(TelemetryConfig::default(), clock);
//! let requests = telemetry.metrics().counter("app_requests_total", "Requests.", &["route"]);
//! requests.with(&["/orders/{id}"]).inc();
//! let mut span = telemetry.span("GET /orders/{id}", SpanKind::Server, None);
//! span.attribute("http.route", "/orders/{id}");
//! span.end();
//! assert!(telemetry.metrics().encode().contains(r#"app_requests_total{route="/orders/{id}"} 1"#));
//! ```

pub mod baggage;
mod context;
mod hub;
pub mod logs;
pub mod metrics;
pub mod otlp;
mod sampler;
mod span;

pub use context::{SpanId, TraceContext, TraceId};
pub use hub::{Telemetry, TelemetryConfig};
pub use metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, HistogramFamily, Metrics,
};
pub use span::{AttributeValue, Span, SpanKind, SpanRecord, SpanStatus};
