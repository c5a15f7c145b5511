//! Sends finished spans to whoever collects them, as OTLP/HTTP in JSON.
//!
//! Spans are worth less than requests: a batch that cannot be delivered is dropped and counted,
//! never kept and never tried twice. The exporter's own calls make no spans.

use std::time::Duration;

use base::Random;
use http::Method;
use runtime::Shutdown;
use telemetry::{
    SpanRecord, Telemetry, TraceContext,
    metrics::Counter,
    otlp::{Resource, encode},
};
use tokio::time::sleep;

use crate::{
    client::{Call, Client},
    config::ServiceAddresses,
    context::ServiceContext,
};

/// What the collector is called among the exporter's addresses.
const COLLECTOR: &str = "collector";
/// Spans of one request.
const BATCH_MAX: usize = 512;
/// Wait after a batch, so that spans gather instead of being sent one by one.
const GATHER: Duration = Duration::from_millis(500);
/// Longest wait for the collector.
const TIMEOUT: Duration = Duration::from_secs(2);

struct Exporter {
    resource: Resource,
    client: Client,
    /// The exporter's own calls make no spans.
    unrecorded: TraceContext,
    telemetry: Telemetry,
    lost: Counter,
}

/// Starts the task that exports until the drain, and once more then.
pub(crate) fn start(endpoint: &str, context: &ServiceContext) {
    let config = &context.config;
    let exporter = Exporter {
        resource: Resource {
            service: config.role.clone(),
            instance: config.instance.clone(),
            version: config.version.clone(),
        },
        client: Client::new(
            ServiceAddresses::new().with(COLLECTOR, endpoint),
            TIMEOUT,
            Telemetry::disabled(),
        ),
        unrecorded: TraceContext::root(&mut Random::with_seed(fastrand::u64(..)), false),
        telemetry: context.telemetry.clone(),
        lost: context
            .telemetry
            .metrics()
            .counter("telemetry_spans_lost_total", "Spans that no collector took.", &[])
            .with(&[]),
    };
    context.tasks.spawn("span exporter", |shutdown| exporter.run(shutdown));
}

impl Exporter {
    async fn run(self, shutdown: Shutdown) {
        // Cancel-safe: spans leave the queue only in the poll that returns them.
        while let Some(batch) = shutdown.or_cancel(self.telemetry.take_batch(BATCH_MAX)).await {
            self.deliver(batch).await;
            shutdown.or_cancel(sleep(GATHER)).await;
        }
        let rest = self.telemetry.take_ready(BATCH_MAX);
        if !rest.is_empty() {
            self.deliver(rest).await;
        }
    }

    async fn deliver(&self, batch: Vec<SpanRecord>) {
        let body = encode(&self.resource, &batch).to_string();
        let call = Call {
            body: body.into(),
            trace: Some(self.unrecorded.clone()),
            ..Call::new(COLLECTOR, Method::POST, "/v1/traces")
        };
        let taken = self.client.call(call).await.is_ok_and(|it| it.status.is_success());
        if !taken {
            self.lost.add(u64::try_from(batch.len()).unwrap_or(u64::MAX));
            tracing::debug!(spans = batch.len(), "spans were lost");
        }
    }
}
