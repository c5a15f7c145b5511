//! Tries: one after the other, each at another endpoint, where that is safe.

use std::{sync::Arc, time::Duration};

use base::Code;
use http::StatusCode;
use mesh_policy::{
    breaker::{Pass, Verdict},
    retry::{self, Decision, Failure, Repeatable, Situation, StopReason},
};
use telemetry::Span;
use tokio::time::{Instant, sleep};

use super::{
    Outbound, Request,
    attempt::{Answer, Try, TryError, grpc_status, retry_after, verdict_of},
    deadline,
};
use crate::{
    body::{BodyError, RequestBody, Upload},
    event_stream,
    h1::Known,
    mesh::destination::{Destination, Nobody},
    refusal::Refusal,
    reply::{Reply, Source},
    upstream,
    watch::Watch,
};

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
    request: &mut Request<'_>,
    upload: &mut Upload<B>,
) -> Result<Reply, Refusal> {
    let destination = &request.lane.destination;
    let settings = &destination.settings;
    let repeatable = repeatable(request);
    if may_repeat(request) {
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
        let mut span = outbound.try_span(request, tries);
        prepare(request, &span, tries, began);
        if let Some(tap) = request.tap {
            tap.tried(&span.context());
        }
        let mut attempt = Try::new(outbound, destination, chosen, began);
        let outcome = attempt.make(request, upload, repeatable).await;
        let at = Instant::now();
        attempt.settle(&outcome, request.longest(), at);
        tell(&mut span, &attempt, &outcome);
        tries += 1;
        is_unprocessed &= outcome.as_ref().is_err_and(|it| code_of(it).1);
        let decision = decide(outbound, request, &outcome, repeatable, tries, upload, at);
        let ended = Ended { attempt, outcome, span, at };
        match decision {
            Decision::Again { after } => {
                tried.push(ended.attempt.chosen.index);
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
    request: &mut Request<'_>,
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
            let judged = if may_repeat(request) { judged } else { 0 };
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
        fields.set_number(Known::SkeinAttempt, b"skein-attempt", depth.into());
    }
    if let Some(left) = request.deadline.left(now) {
        if fields.get(Known::GrpcTimeout).is_some() {
            let left = deadline::write_grpc_timeout(left);
            fields.set_known(Known::GrpcTimeout, b"grpc-timeout", left.as_bytes());
        }
        // Rounded down: a callee must not think that it has longer than its caller.
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        fields.set_number(Known::SkeinDeadlineMs, b"skein-deadline-ms", left);
    }
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
    request: &mut Request<'_>,
    attempt: &Try<'_>,
    answer: Answer,
    span: Span,
    judged: u32,
    took: Duration,
) -> Reply {
    let is_failure = verdict_of(&answer) != Verdict::Success;
    let (mut head, mut body) = answer;
    if (is_failure || head.status.is_server_error()) && may_repeat(request) {
        // The hops above see that this one has decided.
        head.fields.set_number(Known::SkeinAttempt, b"skein-attempt", judged.into());
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
        place: request.place.take().filter(|_| !event_stream::is_one(&head)),
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
        TryError::Connect(error) if upstream::refusal_of(error).is_some() => {
            (Code::IdentityRefused, true)
        }
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
        TryError::Connect(error) if code == Code::IdentityRefused => {
            format!("{endpoint} and we do not trust each other: {error}")
        }
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
