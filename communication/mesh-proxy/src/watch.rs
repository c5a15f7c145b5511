//! What ends with an answer's last byte: its size, its place, its span, the status of a gRPC call.

use bytes::Bytes;
use http_body::Frame;
use mesh_policy::breaker::{self, Pass, Transition, Verdict};
use std::sync::Arc;
use telemetry::Span;

use crate::{
    body::BodyError,
    gate::Place,
    head::grpc_status,
    mesh::{endpoint::Endpoint, series::EdgeSeries},
    pending::Pending,
    worker::Worker,
};

/// Watches an answer to its end; dropped before, the client went away.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) worker: Arc<Worker>,
    pub(crate) series: Arc<EdgeSeries>,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) breaker: breaker::Settings,
    pub(crate) bytes: u64,
    /// Balancer and breaker know the status in the trailers already.
    pub(crate) is_judged: bool,
    /// The way through the breaker of a call whose status is not known yet.
    pub(crate) pending: Option<Pass>,
    pub(crate) span: Option<Span>,
    pub(crate) place: Option<Place>,
    pub(crate) tap: Option<Box<Pending>>,
}

impl Watch {
    /// A piece went by.
    pub(crate) fn saw(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes += data.len() as u64;
            // A stream may last for hours: its first message shows that the endpoint is there.
            if self.pending == Some(Pass::Probe) {
                self.learn(Verdict::Success);
            }
        }
        let status = frame.trailers_ref().and_then(grpc_status);
        if status.map(breaker::verdict_of_grpc) == Some(Verdict::Failure)
            && let Some(tap) = &mut self.tap
        {
            tap.failed();
        }
        if let Some(status) = status
            && !self.is_judged
        {
            self.learn(breaker::verdict_of_grpc(status));
        }
    }

    /// The body broke before its end: the endpoint did not do what it promised.
    pub(crate) fn broke(&mut self, error: &BodyError) {
        if let Some(span) = &mut self.span {
            span.fail(error.to_string());
        }
        if let Some(tap) = &mut self.tap {
            tap.failed();
        }
        if matches!(error, BodyError::Cut | BodyError::Io(_) | BodyError::Malformed(_)) {
            self.learn(Verdict::Failure);
        }
    }

    /// All of it went by.
    pub(crate) fn ended(&mut self) {
        if self.pending.is_some() {
            self.learn(Verdict::Success);
        }
        self.place = None;
        self.span = None;
    }

    /// For an answer that has no body.
    pub(crate) fn finish(mut self) {
        self.ended();
    }

    /// Says how the call ended; where the head was taken for a success, a failure corrects it.
    fn learn(&mut self, verdict: Verdict) {
        match self.pending.take() {
            Some(pass) => self.record(pass, Some(verdict)),
            None if matches!(verdict, Verdict::Failure | Verdict::Throttled) => {
                self.record(Pass::Normal, Some(verdict));
            }
            None => {}
        }
    }

    fn record(&self, pass: Pass, verdict: Option<Verdict>) {
        let now = self.worker.mesh.now();
        let changed = self
            .worker
            .draw(|random| self.endpoint.record(&self.breaker, pass, verdict, None, now, random));
        let Some(transition) = changed else { return };
        let series = &self.endpoint.series;
        match transition {
            Transition::Opened { .. } | Transition::Reopened { .. } => series.opened.inc(),
            Transition::Closed => series.closed.inc(),
        }
        tracing::info!(endpoint = self.endpoint.name(), ?transition, "breaker changed");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(pass) = self.pending.take() {
            self.record(pass, None);
        }
        #[expect(clippy::cast_precision_loss, reason = "a body of 2^53 bytes is none")]
        self.series.sizes.observe(self.bytes as f64);
        if let Some(tap) = &mut self.tap {
            tap.counted(self.bytes);
        }
    }
}
