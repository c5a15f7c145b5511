//! What ends with an answer's last byte: its size, its place, its span, the status of a gRPC call.

use bytes::Bytes;
use http_body::Frame;
use mesh_policy::breaker::{self, Pass, Verdict};
use std::sync::Arc;
use telemetry::Span;

use super::Outbound;
use crate::{
    body::BodyError,
    gate::Place,
    mesh::{endpoint::Endpoint, series::EdgeSeries},
    tap::Pending,
};

/// Watches an answer to its end; dropped before, the client went away.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(super) outbound: Outbound,
    pub(super) series: EdgeSeries,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) breaker: breaker::Settings,
    pub(super) bytes: u64,
    pub(super) span: Option<Span>,
    pub(super) place: Option<Place>,
    pub(super) tap: Option<Box<Pending>>,
}

impl Watch {
    /// A piece went by.
    pub(crate) fn saw(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes += data.len() as u64;
        }
        let status = frame.trailers_ref().and_then(|it| it.get("grpc-status"));
        let status = status.and_then(|it| it.to_str().ok()).and_then(|it| it.parse().ok());
        if let Some(status) = status {
            self.learn(breaker::verdict_of_grpc(status));
        }
    }

    /// The body broke before its end: the endpoint did not do what it promised.
    pub(crate) fn broke(&mut self, error: &BodyError) {
        if let Some(span) = &mut self.span {
            span.fail(error.to_string());
        }
        if matches!(error, BodyError::Cut | BodyError::Io(_) | BodyError::Malformed(_)) {
            self.learn(Verdict::Failure);
        }
    }

    /// All of it went by.
    pub(crate) fn ended(&mut self) {
        self.place = None;
        self.span = None;
    }

    /// For an answer that has no body.
    pub(super) fn finish(mut self) {
        self.ended();
    }

    /// The head was a success; this corrects it.
    fn learn(&self, verdict: Verdict) {
        if !matches!(verdict, Verdict::Failure | Verdict::Throttled) {
            return;
        }
        let now = self.outbound.mesh().now();
        self.outbound.draw(|random| {
            self.endpoint.record(&self.breaker, Pass::Normal, Some(verdict), now, random)
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        #[expect(clippy::cast_precision_loss, reason = "a body of 2^53 bytes is none")]
        self.series.sizes.observe(self.bytes as f64);
        if let Some(tap) = &mut self.tap {
            tap.counted(self.bytes);
        }
    }
}
