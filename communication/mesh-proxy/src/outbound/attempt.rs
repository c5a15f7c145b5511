//! One try: an endpoint, a connection, a request, an answer; and what balancer and breaker learn of it.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use base::{Code, headers};
use futures_util::FutureExt as _;
use http::StatusCode;
use mesh_policy::{
    Moment,
    balance::Sample,
    breaker::{self, Transition, Verdict},
    destination::Protocol,
    retry::Repeatable,
};
use tokio::time::{Instant, timeout_at};

use super::{Outbound, Request};
use crate::{
    body::{BodyError, RequestBody, Upload},
    h1::{self, Known},
    head::ResponseHead,
    mesh::destination::{Chosen, Destination},
    refusal::Grpc,
    reply::ReplyBody,
    upstream::{
        self, Rested,
        h1::{Exchange, ExchangeError},
        h2::{Received, SendError},
    },
};

/// Bounds on the head of an answer.
const ANSWER: h1::Limits =
    h1::Limits { head_bytes_max: 64 << 10, fields_max: 200, target_bytes_max: 8 << 10 };

/// Longest look ahead for the status of a gRPC answer; a head that comes later than it could is worse
/// than a try that is not made.
const PEEK_LONGEST: Duration = Duration::from_millis(100);

/// A caller's own deadline that gives an endpoint less than this (or than policy does, if that is less)
/// says nothing of it: one caller in a hurry must not shut a service for all others.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where nobody set a bound.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// An answer's head with the body behind it.
pub(super) type Answer = (ResponseHead, ReplyBody);

/// Why a try gave no answer.
#[derive(Debug)]
pub(super) enum TryError {
    /// No connection: the endpoint has seen nothing.
    Connect(io::Error),
    /// The endpoint said, or we know, that it did nothing with the request.
    Unprocessed(&'static str),
    /// The connection ended after something was sent.
    Lost,
    /// What came back is not HTTP.
    Malformed(&'static str),
    /// No answer in the time of one try, or of all.
    TimedOut { has_begun: bool },
    /// The client's own body broke: nobody else is to blame.
    Upload(BodyError),
}

/// One try that was begun. Dropped before it is settled, it was cancelled.
pub(super) struct Try<'a> {
    outbound: &'a Outbound,
    pub(super) destination: &'a Destination,
    pub(super) chosen: Chosen,
    began: Instant,
    is_settled: bool,
    /// What the breaker learns stands in trailers that are still to come.
    pub(super) is_pending: bool,
}

impl<'a> Try<'a> {
    pub(super) const fn new(
        outbound: &'a Outbound,
        destination: &'a Destination,
        chosen: Chosen,
        began: Instant,
    ) -> Self {
        Self { outbound, destination, chosen, began, is_settled: false, is_pending: false }
    }

    pub(super) async fn make<B: RequestBody>(
        &self,
        request: &Request<'_>,
        upload: &mut Upload<B>,
        repeatable: Repeatable,
    ) -> Result<Answer, TryError> {
        let own = request.try_longest().map(|it| self.began + it);
        let end = [own, request.deadline.instant()].into_iter().flatten().min();
        let answered = if self.is_over_h2(request) {
            Box::pin(self.make_h2(request, upload, end)).await
        } else {
            self.make_h1(request, upload, repeatable, end).await
        };
        let (head, mut body) = answered.map_err(|it| match it {
            // A client that sends too slowly is not what its endpoint answers for. Of a gRPC call, which
            // may have both sides speak in turn, nobody can tell.
            TryError::TimedOut { has_begun: true } if upload.is_awaited() && !is_grpc(request) => {
                TryError::Upload(BodyError::TimedOut)
            }
            other => other,
        })?;
        // The status of a gRPC call may stand in trailers right behind the head: a look ahead, where
        // another try could follow. A server that may wait for more of the request is not waited for.
        let is_open = repeatable == Repeatable::Yes
            && head.fields.get(Known::GrpcStatus).is_none()
            && Grpc::of(head.fields.get(Known::ContentType)) == Grpc::Yes;
        if is_open {
            let wait = if upload.is_done() { PEEK_LONGEST } else { Duration::ZERO };
            let longest = Instant::now() + wait;
            let end = end.map_or(longest, |it| it.min(longest));
            // In vain: a stream whose first message takes its time begins as it is.
            let _seen = timeout_at(end, body.peek(upload)).await;
            if body.is_broken_at_once() {
                return Err(TryError::Lost);
            }
        }
        Ok((head, body))
    }

    /// Between two proxies of ours every request is a stream of one connection, whatever it was before;
    /// but one that asks for another protocol needs a connection of its own.
    fn is_over_h2(&self, request: &Request<'_>) -> bool {
        match self.destination.protocol {
            Protocol::Http2 => true,
            Protocol::Http1 => {
                self.chosen.endpoint.target().is_ours() && request.head.upgrade.is_none()
            }
            Protocol::Tcp => false,
        }
    }

    async fn make_h1<B: RequestBody>(
        &self,
        request: &Request<'_>,
        upload: &mut Upload<B>,
        repeatable: Repeatable,
        end: Option<Instant>,
    ) -> Result<Answer, TryError> {
        let (endpoint, pool) = (&self.chosen.endpoint, &self.outbound.worker().pool);
        let rested = match repeatable {
            Repeatable::Yes => Rested::Any,
            Repeatable::Never | Repeatable::WhenUnprocessed => Rested::Moment,
        };
        let (stream, buffers) = match pool.take(endpoint.target(), rested, self.began) {
            Some(resting) => resting,
            None => {
                let longest = self.destination.settings.timeouts.connect;
                let (mesh, protocol) = (self.outbound.mesh(), identity::Protocol::Http1);
                let connecting = Box::pin(upstream::connect(mesh, endpoint, protocol, longest));
                let connected = within(end, connecting).await;
                let connected = connected.ok_or(TryError::TimedOut { has_begun: false })?;
                (connected.map_err(TryError::Connect)?.stream, Default::default())
            }
        };
        let mut exchange = Exchange::new(stream, buffers, request.head, upload, ANSWER);
        let head = within(end, poll_fn(|context| exchange.poll_head(context, upload))).await;
        let Some(head) = head else {
            return Err(TryError::TimedOut { has_begun: exchange.has_begun() });
        };
        let head = head.map_err(|error| match error {
            ExchangeError::Lost(_) if !exchange.has_begun() => {
                TryError::Unprocessed("the connection ended before anything was sent")
            }
            ExchangeError::Lost(_) => TryError::Lost,
            ExchangeError::Malformed(reason) => TryError::Malformed(reason),
            ExchangeError::Upload(error) => TryError::Upload(error),
        })?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let (stream, received) = exchange.into_upgraded();
            return Ok((head, ReplyBody::upgraded(stream, received)));
        }
        Ok((head, ReplyBody::http1(exchange, pool.clone(), Arc::clone(endpoint.target()))))
    }

    async fn make_h2<B: RequestBody>(
        &self,
        request: &Request<'_>,
        upload: &mut Upload<B>,
        end: Option<Instant>,
    ) -> Result<Answer, TryError> {
        let connections = &self.outbound.worker().connections;
        let longest = self.destination.settings.timeouts.connect;
        let (mesh, endpoint) = (self.outbound.mesh(), &self.chosen.endpoint);
        let sending = connections.send(mesh, endpoint, longest, request.head, upload);
        let answered = within(end, sending).await;
        let received = answered.ok_or(TryError::TimedOut { has_begun: true })?;
        let received = received.map_err(|error| match error {
            SendError::Connect(error) => TryError::Connect(error),
            SendError::Unprocessed => TryError::Unprocessed("the endpoint refused the stream"),
            SendError::Lost => TryError::Lost,
            SendError::Malformed(reason) => TryError::Malformed(reason),
            SendError::Upload(error) => TryError::Upload(error),
        });
        let Received { head, stream, sending } = received?;
        Ok((head, ReplyBody::http2(stream, sending)))
    }

    /// Tells balancer and breaker what came of it. `by_policy` is how long a request may take, whatever its
    /// caller says.
    pub(super) fn settle(
        &mut self,
        outcome: &Result<Answer, TryError>,
        by_policy: Option<Duration>,
        now: Instant,
    ) {
        self.is_settled = true;
        let elapsed = now.saturating_duration_since(self.began);
        let retry_after = outcome.as_ref().ok().and_then(|it| retry_after(&it.0));
        let (sample, verdict) = match outcome {
            Ok(answer) => match verdict_of(answer) {
                verdict @ (Verdict::Failure | Verdict::Throttled) => {
                    (Sample::Failed { after: elapsed, retry_after }, Some(verdict))
                }
                verdict => (Sample::Answered(elapsed), Some(verdict)),
            },
            Err(TryError::Upload(_) | TryError::Unprocessed(_)) => {
                (Sample::Cancelled(elapsed), None)
            }
            // A caller who waits for so short a time is like one who went away.
            Err(TryError::TimedOut { .. })
                if elapsed < by_policy.map_or(PATIENCE, |it| it.min(PATIENCE)) =>
            {
                (Sample::Cancelled(elapsed), None)
            }
            Err(_) => {
                (Sample::Failed { after: elapsed, retry_after: None }, Some(Verdict::Failure))
            }
        };
        let series = &self.chosen.endpoint.series;
        series.count(outcome.as_ref().ok().map(|it| it.0.status));
        series.duration.observe_duration(elapsed);
        let now = self.outbound.mesh().moment(now);
        self.end_load(sample, now);
        match outcome {
            Ok(answer) if is_status_open(answer) => self.is_pending = true,
            _ => self.record(verdict, retry_after, now),
        }
    }

    fn end_load(&self, sample: Sample, now: Moment) {
        let balance = &self.destination.settings.balance;
        self.chosen.endpoint.end_load(balance, sample, now);
    }

    fn record(&self, verdict: Option<Verdict>, retry_after: Option<Duration>, now: Moment) {
        let (endpoint, settings) = (&self.chosen.endpoint, &self.destination.settings);
        let changed = self.outbound.worker().draw(|random| {
            let pass = self.chosen.pass;
            endpoint.record(&settings.breaker, pass, verdict, retry_after, now, random)
        });
        if let Some(transition) = changed {
            self.tell_breaker(transition);
        }
    }

    fn tell_breaker(&self, transition: Transition) {
        let (endpoint, destination) = (&self.chosen.endpoint, self.destination.name.as_str());
        let name = endpoint.name();
        match transition {
            Transition::Opened { reason, wait } => {
                endpoint.series.opened.inc();
                let (reason, wait_ms) = (reason.as_str(), wait.as_millis());
                tracing::warn!(destination, endpoint = name, reason, wait_ms, "breaker opened");
            }
            Transition::Reopened { wait } => {
                endpoint.series.opened.inc();
                let wait_ms = wait.as_millis();
                tracing::info!(destination, endpoint = name, wait_ms, "breaker stays open");
            }
            Transition::Closed => {
                endpoint.series.closed.inc();
                tracing::info!(destination, endpoint = name, "breaker closed");
            }
        }
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            let now = self.outbound.mesh().now();
            self.end_load(Sample::Cancelled(self.began.elapsed()), now);
            self.record(None, None, now);
        }
    }
}

/// `None` when the end came first. Cancel-safe where the work is.
fn within<F: Future>(
    end: Option<Instant>,
    work: F,
) -> impl Future<Output = Option<F::Output>> + use<F> {
    // An async function would hold the work twice: as an argument, and where it is awaited.
    timeout_at(end.unwrap_or_else(|| Instant::now() + FOREVER), work).map(Result::ok)
}

pub(super) fn verdict_of(answer: &Answer) -> Verdict {
    match grpc_status(answer) {
        Some(status) => breaker::verdict_of_grpc(status),
        // A service that is alive and cannot take this one says so: 503 would cut it off from the rest
        // as well.
        None if is_alive(&answer.0) => Verdict::Throttled,
        None => breaker::verdict_of_status(answer.0.status.as_u16()),
    }
}

/// Whether a 503 speaks of this request alone: load is shed, or who must be asked outside is away.
fn is_alive(head: &ResponseHead) -> bool {
    let said = head.fields.named(headers::SKEIN_ERROR);
    let excused = [Code::Overloaded, Code::DependencyUnavailable].map(|it| it.as_str().as_bytes());
    head.status == StatusCode::SERVICE_UNAVAILABLE && said.is_some_and(|it| excused.contains(&it))
}

/// The status of a gRPC answer that has no body.
pub(super) fn grpc_status((head, body): &Answer) -> Option<u32> {
    match head.fields.text(Known::GrpcStatus) {
        Some(status) => status.parse().ok(),
        None => body.peeked_grpc_status(),
    }
}

fn is_grpc(request: &Request<'_>) -> bool {
    Grpc::of(request.head.fields.get(Known::ContentType)) == Grpc::Yes
}

/// Whether a gRPC answer has begun whose status comes at its end.
fn is_status_open(answer: &Answer) -> bool {
    let head = &answer.0;
    head.status == StatusCode::OK
        && Grpc::of(head.fields.get(Known::ContentType)) == Grpc::Yes
        && grpc_status(answer).is_none()
}

pub(super) fn retry_after(head: &ResponseHead) -> Option<Duration> {
    let value = head.fields.text(Known::RetryAfter)?;
    value.trim().parse().ok().map(Duration::from_secs)
}
