//! Tries: an endpoint, a connection, a request, an answer; and again where that is safe.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use base::{Code, headers};
use futures_util::FutureExt as _;
use http::StatusCode;
use mesh_policy::{
    Moment,
    balance::Sample,
    breaker::{self, Pass, Transition, Verdict},
    destination::Protocol,
    retry::{self, Decision, Failure, Repeatable, Situation, StopReason},
};
use telemetry::Span;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Outbound, Request, bound, deadline};
use crate::{
    body::{BodyError, RequestBody, Upload},
    h1::{self, Known},
    head::ResponseHead,
    mesh::destination::{Chosen, Destination, Nobody},
    refusal::{Grpc, Refusal},
    reply::{Reply, ReplyBody, Source},
    upstream::{
        self, Rested,
        h1::{Exchange, ExchangeError},
        h2::{Received, SendError},
    },
    watch::Watch,
};

/// Bounds on the head of an answer.
const ANSWER: h1::Limits =
    h1::Limits { head_bytes_max: 64 << 10, fields_max: 200, target_bytes_max: 8 << 10 };

/// Longest look ahead for the status of a gRPC answer; a head that comes later than it could is worse
/// than a try that is not made.
const PEEK_LONGEST: Duration = Duration::from_millis(100);

/// Where nobody set a bound.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// An answer's head with the body behind it.
type Answer = (ResponseHead, ReplyBody);

/// Why a try gave no answer.
#[derive(Debug)]
enum TryError {
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
struct Try<'a> {
    outbound: &'a Outbound,
    destination: &'a Destination,
    chosen: Chosen,
    began: Instant,
    is_settled: bool,
    /// What the breaker learns stands in trailers that are still to come.
    is_pending: bool,
}

/// One try that has ended; its answer may still be the request's.
struct Ended<'a> {
    attempt: Try<'a>,
    outcome: Result<Answer, TryError>,
    span: Span,
    at: Instant,
}

impl Ended<'_> {
    fn is_failure(&self) -> bool {
        self.outcome.as_ref().map_or(true, |it| it.0.status.is_server_error())
    }
}

/// Makes tries until one is to be kept.
pub(super) async fn run<B: RequestBody>(
    outbound: &Outbound,
    mut request: Request<'_>,
    upload: &mut Upload<B>,
) -> Result<Reply, Refusal> {
    let destination = &request.lane.destination;
    let settings = &destination.settings;
    let repeatable = repeatable(&request);
    if may_repeat(&request) {
        upload.keep(settings.retry.body_bytes_max);
    }
    destination.shared.budget().arrive(request.depth, outbound.mesh().moment(request.started));
    let mut tried: Vec<usize> = Vec::new();
    let mut tries = 0;
    let mut last: Option<Ended<'_>> = None;
    // What one try may have done stays done, however the next one ends.
    let mut is_unprocessed = true;
    loop {
        let began = Instant::now();
        let now = outbound.mesh().moment(began);
        let chosen = outbound.worker().draw(|random| destination.choose(&tried, now, random));
        let chosen = match (chosen, last.take()) {
            (Ok(chosen), None) => chosen,
            (Ok(chosen), Some(ended)) => {
                // What it came to is given up, and only then its body is sent anew.
                drop(ended);
                upload.rewind();
                chosen
            }
            // Nobody is left to ask: what the last one said is the answer, with its Retry-After.
            (Err(_), Some(ended)) => {
                return conclude(outbound, request, ended, tries, is_unprocessed);
            }
            (Err(nobody), None) => return Err(refusal_of(destination, nobody)),
        };
        tried.push(chosen.index);
        let mut span = outbound.try_span(&request, tries);
        prepare(&mut request, &span, tries, began);
        if let Some(tap) = request.tap {
            tap.tried(&span.context());
        }
        let mut attempt = Try::new(outbound, destination, chosen, began);
        let outcome = attempt.make(&request, upload, repeatable).await;
        let at = Instant::now();
        attempt.settle(&outcome, at);
        tell(&mut span, &attempt, &outcome);
        tries += 1;
        is_unprocessed &= outcome.as_ref().is_err_and(|it| code_of(it).1);
        let decision = decide(outbound, &request, &outcome, repeatable, tries, upload, at);
        let ended = Ended { attempt, outcome, span, at };
        match decision {
            Decision::Again { after } => {
                last = Some(ended);
                destination.shared.series.retries.inc();
                if !after.is_zero() {
                    sleep(after).await;
                }
            }
            Decision::Stop(reason) => {
                if ended.is_failure() {
                    destination.shared.series.not_retried(reason);
                }
                return conclude(outbound, request, ended, tries, is_unprocessed);
            }
        }
    }
}

/// What the last of the tries came to, for the client.
fn conclude(
    outbound: &Outbound,
    request: Request<'_>,
    ended: Ended<'_>,
    tries: u32,
    is_unprocessed: bool,
) -> Result<Reply, Refusal> {
    let Ended { attempt, outcome, span, at } = ended;
    let judged = request.depth.saturating_add(tries);
    match outcome {
        Ok(answer) => {
            let took = at - request.started;
            Ok(finish(outbound, request, &attempt, answer, span, judged, took))
        }
        Err(error) => {
            let endpoint = attempt.chosen.endpoint.name();
            let refusal = refusal(&error, &endpoint, request.started.elapsed()).traced(&span);
            let judged = if may_repeat(&request) { judged } else { 0 };
            Err(refusal.after(judged, is_unprocessed))
        }
    }
}

/// Whether this hop is one that repeats. One that never does, such as the door in front of a program,
/// has not decided for the hops above.
fn may_repeat(request: &Request<'_>) -> bool {
    request.lane.destination.settings.retry.attempts > 0
        || request.rule.is_some_and(|it| it.retry.is_some())
}

fn repeatable(request: &Request<'_>) -> Repeatable {
    let fields = &request.head.fields;
    // An empty one tells nothing apart.
    let key = fields.text(Known::IdempotencyKey).map(|it| it.trim_matches(['"', ' ', '\t']));
    let key = key.filter(|it| !it.is_empty());
    let has_epoch = fields.get(Known::SkeinEpoch).is_some();
    let is_operation = retry::is_saga_operation(key, has_epoch);
    let route_says =
        request.rule.and_then(|it| it.retry.as_ref()).is_some_and(|it| it.is_idempotent);
    retry::repeatable(request.head.method.as_str(), key.is_some(), is_operation, route_says)
}

/// What this try says of itself to the endpoint.
fn prepare(request: &mut Request<'_>, span: &Span, tries: u32, now: Instant) {
    let fields = &mut request.head.fields;
    let trace = span.context();
    fields.set_known(Known::Traceparent, b"traceparent", &trace.traceparent_bytes());
    match trace.tracestate() {
        Some(state) => fields.set_known(Known::Tracestate, b"tracestate", state.as_bytes()),
        None => fields.remove(Known::Tracestate),
    }
    let depth = request.depth.saturating_add(tries);
    if depth > 0 {
        let depth = depth.to_string();
        fields.set_known(Known::SkeinAttempt, b"skein-attempt", depth.as_bytes());
    }
    if let Some(left) = request.deadline.left(now) {
        if fields.get(Known::GrpcTimeout).is_some() {
            let left = deadline::write_grpc_timeout(left);
            fields.set_known(Known::GrpcTimeout, b"grpc-timeout", left.as_bytes());
        }
        // Rounded down: a callee must not think that it has longer than its caller.
        let left = left.as_millis().max(1).to_string();
        fields.set_known(Known::SkeinDeadlineMs, b"skein-deadline-ms", left.as_bytes());
    }
}

impl<'a> Try<'a> {
    const fn new(
        outbound: &'a Outbound,
        destination: &'a Destination,
        chosen: Chosen,
        began: Instant,
    ) -> Self {
        Self { outbound, destination, chosen, began, is_settled: false, is_pending: false }
    }

    async fn make<B: RequestBody>(
        &self,
        request: &Request<'_>,
        upload: &mut Upload<B>,
        repeatable: Repeatable,
    ) -> Result<Answer, TryError> {
        let timeouts = &self.destination.settings.timeouts;
        let by_rule = request.rule.and_then(|it| it.timeouts.backend_request);
        let longest = bound(by_rule.unwrap_or(timeouts.backend_request));
        let own = longest.map(|it| self.began + it);
        let end = [own, request.deadline.instant()].into_iter().flatten().min();
        let (head, mut body) = match self.destination.protocol {
            Protocol::Http2 => Box::pin(self.make_h2(request, upload, end)).await,
            Protocol::Http1 | Protocol::Tcp => self.make_h1(request, upload, repeatable, end).await,
        }?;
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
        let (stream, buffers) = match pool.take(endpoint.address(), rested) {
            Some(resting) => resting,
            None => {
                let longest = self.destination.settings.timeouts.connect;
                let connecting = Box::pin(upstream::connect(endpoint, longest));
                let stream = within(end, connecting).await;
                let stream = stream.ok_or(TryError::TimedOut { has_begun: false })?;
                (stream.map_err(TryError::Connect)?, Default::default())
            }
        };
        let mut exchange = Exchange::new(stream, buffers, &request.head, upload, ANSWER);
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
        Ok((head, ReplyBody::http1(exchange, pool.clone(), endpoint.address())))
    }

    async fn make_h2<B: RequestBody>(
        &self,
        request: &Request<'_>,
        upload: &mut Upload<B>,
        end: Option<Instant>,
    ) -> Result<Answer, TryError> {
        let connections = &self.outbound.worker().connections;
        let longest = self.destination.settings.timeouts.connect;
        let sending = connections.send(&self.chosen.endpoint, longest, &request.head, upload);
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

    /// Tells balancer and breaker what came of it.
    fn settle(&mut self, outcome: &Result<Answer, TryError>, now: Instant) {
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

fn verdict_of(answer: &Answer) -> Verdict {
    match grpc_status(answer) {
        Some(status) => breaker::verdict_of_grpc(status),
        // A service that is alive and sheds load says so: 503 would cut it off from the rest as well.
        None if is_overloaded(&answer.0) => Verdict::Throttled,
        None => breaker::verdict_of_status(answer.0.status.as_u16()),
    }
}

fn is_overloaded(head: &ResponseHead) -> bool {
    head.status == StatusCode::SERVICE_UNAVAILABLE
        && head.fields.named(headers::SKEIN_ERROR) == Some(Code::Overloaded.as_str().as_bytes())
}

/// The status of a gRPC answer that has no body.
fn grpc_status((head, body): &Answer) -> Option<u32> {
    match head.fields.text(Known::GrpcStatus) {
        Some(status) => status.parse().ok(),
        None => body.peeked_grpc_status(),
    }
}

/// Whether a gRPC answer has begun whose status comes at its end.
fn is_status_open(answer: &Answer) -> bool {
    let head = &answer.0;
    head.status == StatusCode::OK
        && Grpc::of(head.fields.get(Known::ContentType)) == Grpc::Yes
        && grpc_status(answer).is_none()
}

fn retry_after(head: &ResponseHead) -> Option<Duration> {
    let value = head.fields.text(Known::RetryAfter)?;
    value.trim().parse().ok().map(Duration::from_secs)
}

fn decide<B: RequestBody>(
    outbound: &Outbound,
    request: &Request<'_>,
    outcome: &Result<Answer, TryError>,
    repeatable: Repeatable,
    tries: u32,
    upload: &Upload<B>,
    now: Instant,
) -> Decision {
    let failure = match outcome {
        Ok(answer @ (head, _)) => match grpc_status(answer) {
            Some(0) => return Decision::Stop(StopReason::NotRetryable),
            None if head.status.as_u16() < 400 => return Decision::Stop(StopReason::NotRetryable),
            // Somebody nearer to the failure has tried already.
            _ if head.fields.get(Known::SkeinAttempt).is_some() => Failure::Judged,
            Some(status) => Failure::Grpc(status),
            None => Failure::Status(head.status.as_u16()),
        },
        Err(
            TryError::Connect(_)
            | TryError::Unprocessed(_)
            | TryError::TimedOut { has_begun: false },
        ) => Failure::Unprocessed,
        Err(TryError::TimedOut { has_begun: true }) => Failure::TryTimeout,
        Err(TryError::Lost | TryError::Malformed(_)) => Failure::Reset,
        Err(TryError::Upload(_)) => return Decision::Stop(StopReason::NotRetryable),
    };
    let destination = &request.lane.destination;
    let situation = Situation {
        repeatable,
        depth: request.depth,
        tries,
        failure,
        body_is_replayable: upload.is_replayable(),
        answer_begun: false,
        retry_after: outcome.as_ref().ok().and_then(|it| retry_after(&it.0)),
        time_left: request.deadline.left(now),
    };
    let route = request.rule.and_then(|it| it.retry.as_ref());
    let now = outbound.mesh().moment(now);
    let mut budget = destination.shared.budget();
    let settings = &destination.settings.retry;
    outbound
        .worker()
        .draw(|random| retry::decide(settings, route, &situation, &mut budget, now, random))
}

fn tell(span: &mut Span, attempt: &Try<'_>, outcome: &Result<Answer, TryError>) {
    if !span.is_recording() {
        return;
    }
    span.attribute("server.address", attempt.chosen.endpoint.address().to_string());
    if attempt.chosen.pass == Pass::Probe {
        span.attribute("skein.probe", true);
    }
    match outcome {
        Ok((head, _)) => {
            span.attribute("http.response.status_code", head.status.as_u16());
            if head.status.as_u16() >= 400 {
                span.fail(head.status.as_str());
            }
        }
        Err(error) => {
            let (code, _) = code_of(error);
            span.attribute("error.type", code.as_str());
            span.fail(code.as_str());
        }
    }
}

/// The answer that is kept, with everything that ends with it.
fn finish(
    outbound: &Outbound,
    mut request: Request<'_>,
    attempt: &Try<'_>,
    answer: Answer,
    span: Span,
    judged: u32,
    took: Duration,
) -> Reply {
    let is_failure = verdict_of(&answer) != Verdict::Success;
    let (mut head, mut body) = answer;
    if (is_failure || head.status.is_server_error()) && may_repeat(&request) {
        // The hops above see that this one has decided.
        let judged = judged.to_string();
        head.fields.set_known(Known::SkeinAttempt, b"skein-attempt", judged.as_bytes());
    }
    let series = Arc::clone(&request.lane.series);
    series.duration.observe_duration(took);
    let timeouts = &attempt.destination.settings.timeouts;
    let is_tunnel = head.status == StatusCode::SWITCHING_PROTOCOLS;
    body.idle = if is_tunnel { timeouts.tunnel_idle } else { timeouts.idle };
    let endpoint = attempt.chosen.endpoint.clone();
    let breaker = attempt.destination.settings.breaker;
    if let Some(tap) = request.tap {
        tap.answered(Some(head.status), None);
        if is_failure {
            tap.failed();
        }
    }
    let watch = Watch {
        worker: Arc::clone(outbound.worker()),
        series,
        endpoint,
        breaker,
        bytes: 0,
        pending: attempt.is_pending.then_some(attempt.chosen.pass),
        is_judged: body.peeked_grpc_status().is_some(),
        span: Some(span),
        place: request.place.take(),
        tap: request.tap.take(),
    };
    if body.is_done() {
        watch.finish();
    } else {
        body.watch = Some(Box::new(watch));
    }
    Reply { head, body, source: Source::Application }
}

fn refusal_of(destination: &Destination, nobody: Nobody) -> Refusal {
    let name = &destination.name;
    match nobody {
        Nobody::NoEndpoint => {
            Refusal::new(Code::NoEndpoint, format!("no endpoint of {name} is known"))
        }
        Nobody::BreakerOpen { next_try } => {
            let detail = format!("every endpoint of {name} fails; its breaker lets nobody through");
            Refusal::new(Code::BreakerOpen, detail).retry_after(next_try)
        }
    }
}

fn code_of(error: &TryError) -> (Code, bool) {
    match error {
        TryError::Connect(_) | TryError::Unprocessed(_) => (Code::UpstreamUnavailable, true),
        TryError::TimedOut { has_begun } => (Code::UpstreamTimeout, !has_begun),
        TryError::Lost => (Code::UpstreamReset, false),
        TryError::Malformed(_) => (Code::UpstreamMalformed, false),
        TryError::Upload(BodyError::TooLong) => (Code::BodyTooLarge, false),
        TryError::Upload(BodyError::TimedOut) => (Code::RequestTimeout, false),
        TryError::Upload(_) => (Code::InvalidRequest, false),
    }
}

fn refusal(error: &TryError, endpoint: &str, elapsed: Duration) -> Refusal {
    let (code, _) = code_of(error);
    let detail = match error {
        TryError::Connect(error) => format!("{endpoint} could not be reached: {error}"),
        TryError::Unprocessed(reason) => format!("{endpoint}: {reason}"),
        TryError::TimedOut { .. } => {
            format!("{endpoint} gave no answer within {} ms", elapsed.as_millis())
        }
        TryError::Lost => format!("the connection to {endpoint} ended before its answer"),
        TryError::Malformed(reason) => format!("what {endpoint} answered is not HTTP: {reason}"),
        TryError::Upload(error) => error.to_string(),
    };
    Refusal::new(code, detail)
}
