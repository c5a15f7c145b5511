//! The path of one request, top to bottom, each layer with its *why*.

mod catch;

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    response::{IntoResponse as _, Response},
};
use base::{Code, headers};
use bytes::Bytes;
use http::{Extensions, HeaderValue, Method, Request, StatusCode, Uri, header, request::Parts};
use mesh_proxy::{
    Gate,
    body::{RequestBody, Upload},
};
use telemetry::{CounterFamily, HistogramFamily, Span, SpanKind, Telemetry, TraceContext};
use tokio::time::{Instant, sleep_until, timeout_at};
use tower_service::Service as _;
use tracing::Instrument as _;

use crate::{
    body::{self, Memory},
    caller::Caller,
    client::status_class,
    config::Limits,
    faults::{FaultEffect, Faults},
    json::DepthMax,
    operators::{Changes, Operators, PageDoor},
    problem::Problem,
    request::{RequestContext, trace_parent},
    routes::{Found, Table},
    system::Audience,
};

/// The connection is closed without a reply: a planted fault.
#[derive(Debug, thiserror::Error)]
#[error("the reply was dropped by a planted fault")]
pub(crate) struct Dropped;

/// What a request passes through. One for each listener.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) router: Router,
    pub(crate) table: Table,
    pub(crate) limits: Limits,
    pub(crate) gate: Gate,
    /// To whom a refusal is told.
    pub(crate) audience: Audience,
    /// The service whose identity the edge shows, where callers have to show one.
    pub(crate) edge: Option<String>,
    /// Who may change something, where it stands before operators.
    pub(crate) operators: Operators,
    /// The door of a page for them.
    pub(crate) door: Option<PageDoor>,
    /// Where what is changed is told, where it stands before operators.
    pub(crate) changes: Option<Changes>,
    pub(crate) memory: Memory,
    pub(crate) faults: Faults,
    pub(crate) telemetry: Telemetry,
    pub(crate) durations: HistogramFamily,
    pub(crate) problems: CounterFamily,
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) caller: Caller,
    /// The client's end of the connection.
    pub(crate) from: SocketAddr,
}

/// Label of requests that match no route: a path would have as many values as callers can think of.
const UNMATCHED: &str = "unmatched";

impl Stack {
    pub(crate) fn new(
        router: Router,
        table: Table,
        limits: &Limits,
        telemetry: &Telemetry,
    ) -> Self {
        let metrics = telemetry.metrics();
        Self {
            // The stack has read and bounded the body; axum's own bound would undercut a higher one.
            router: router.layer(DefaultBodyLimit::disable()),
            table,
            gate: Gate::new(limits.concurrency_max, limits.queue_max),
            audience: Audience::Operators,
            edge: None,
            operators: Operators::Anybody,
            door: None,
            changes: None,
            memory: Memory::new(limits.buffered_bytes_max),
            limits: limits.clone(),
            faults: Faults::default(),
            telemetry: telemetry.clone(),
            durations: metrics.histogram(
                "http_server_request_duration_seconds",
                "Requests served, by route template and status class.",
                &["route", "method", "status"],
            ),
            problems: metrics.counter(
                "http_server_problems_total",
                "Requests answered with a problem, by short code.",
                &["route", "code"],
            ),
        }
    }

    /// Clients outside are told that they ask for too much; a service inside learns that this one is
    /// busy, and may ask another.
    fn overloaded(&self) -> Problem {
        let problem = Problem::of(Code::Overloaded, "all places and the queue are taken");
        match self.audience {
            Audience::Operators => problem,
            Audience::Public => Problem { status: StatusCode::TOO_MANY_REQUESTS, ..problem },
        }
    }

    /// Answers one request. Cancel-safe: the front drops it when the caller is gone.
    pub(crate) async fn answer<B: RequestBody>(
        &self,
        parts: Parts,
        asker: Asker,
        upload: &mut Upload<B>,
    ) -> Result<Response, Dropped> {
        let started = Instant::now();
        let method = known_method(&parts.method);
        let found = self.table.find(&parts.method, parts.uri.path());
        let template = match &found {
            Found::Route { template, .. } => template,
            Found::OtherMethods(_) | Found::Nothing => UNMATCHED,
        };
        // Trace: first, so that every refusal below stands in the trace of the caller too.
        let mut span = self.span(&parts, template);
        let trace = span.context();
        let served = self.serve(parts, asker, upload, (found, trace));
        let outcome = served.instrument(span.log_span()).await;
        let dropped = matches!(outcome, Err(Refused::Dropped));
        let mut response = match outcome {
            Ok(response) => response,
            Err(Refused::With(problem)) => problem.into_response(),
            Err(Refused::Dropped) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        self.finish(&mut response, &mut span, template);
        let labels = [template, method, status_class(response.status())];
        self.durations.with(&labels).observe_duration(started.elapsed());
        if dropped { Err(Dropped) } else { Ok(response) }
    }

    async fn serve<B: RequestBody>(
        &self,
        parts: Parts,
        Asker { caller, from }: Asker,
        upload: &mut Upload<B>,
        (found, trace): (Found, TraceContext),
    ) -> Result<Response, Refused> {
        let (template, path, prefix) = match found {
            Found::Route { template, path, prefix } => (template, path, prefix),
            Found::OtherMethods(allowed) => return Ok(other_methods(&allowed)),
            Found::Nothing => return Err(nothing_at(parts.uri.path()).into()),
        };
        // Operators: whoever may not is refused before anything of his is read.
        self.operators.check(&parts.method, &parts.headers)?;
        if let Some(answer) = self.door.as_ref().and_then(|it| it.stop(&parts)) {
            return Ok(answer);
        }
        // Deadline: work that nobody waits for any more is not begun, nor continued.
        let longest = Duration::from_millis(self.limits.request_timeout_ms);
        let context = RequestContext {
            version_prefix: prefix,
            ..RequestContext::read(&parts.headers, trace, longest, template)?
        };
        let deadline = context.deadline.instant();
        // Body: whole before a place is taken, so that slow senders hold no places.
        let mut share = self.memory.share();
        let body = timeout_at(deadline, body::read(upload, &self.limits, &mut share));
        let body = body.await.map_err(|_| expired())??;
        // Changes: what became of one is told, however it ended.
        let change = self.changes.as_ref().and_then(|it| it.begin(from, &parts, &body));
        let mut known = Extensions::new();
        known.insert(context);
        known.insert(caller);
        known.insert(DepthMax(self.limits.json_depth_max));
        let outcome = self.work(parts, path, known, body, (template, deadline)).await;
        if let Some(change) = change {
            change.end(outcome.as_ref().map_or_else(Refused::status, Response::status)).await;
        }
        outcome
    }

    /// Does what is asked, where there is a place for it.
    async fn work(
        &self,
        parts: Parts,
        path: String,
        known: Extensions,
        body: Bytes,
        (template, deadline): (&'static str, Instant),
    ) -> Result<Response, Refused> {
        // Concurrency cap: what we cannot serve soon is better turned away now.
        let place = timeout_at(deadline, self.gate.enter()).await.map_err(|_| expired())?;
        let _place = place.map_err(|_| self.overloaded())?;
        // Faults: after the cap, so that a planted delay fills it as a real one would.
        let fault = self.faults.strike(&parts.method, template);
        match fault {
            Some(FaultEffect::Status(status)) => return Err(planted(status).into()),
            Some(effect) => self.delay(effect, deadline).await?,
            None => {}
        }
        let request = rebuild(parts, path, known, body);
        // A panic is a defect of one request, not of the process.
        let handler = catch::panics(self.router.clone().call(request));
        let response = timeout_at(deadline, handler).await.map_err(|_| given_up())?;
        let response = match response {
            // The router cannot fail: its error has no values.
            Ok(Ok(response)) => response,
            Ok(Err(impossible)) => match impossible {},
            Err(panic) => {
                tracing::error!(route = template, panic, "handler panicked");
                return Err(Problem::internal().into());
            }
        };
        match fault {
            Some(FaultEffect::DropReply(true)) => Err(Refused::Dropped),
            _ => Ok(response),
        }
    }

    async fn delay(&self, effect: FaultEffect, deadline: Instant) -> Result<(), Refused> {
        let Some(wait) = effect.delay() else { return Ok(()) };
        sleep_until((Instant::now() + wait).min(deadline)).await;
        if Instant::now() >= deadline { Err(expired().into()) } else { Ok(()) }
    }

    fn span(&self, parts: &Parts, template: &str) -> Span {
        let parent = trace_parent(&parts.headers);
        let method = known_method(&parts.method);
        let name = format!("{method} {template}");
        let mut span = self.telemetry.span(name, SpanKind::Server, parent.as_ref());
        if span.is_recording() {
            span.attribute("http.request.method", method);
            span.attribute("http.route", template);
            span.attribute("url.path", parts.uri.path());
        }
        span
    }

    /// Gives a problem its trace id, counts it, and says on the span how it went.
    fn finish(&self, response: &mut Response, span: &mut Span, template: &str) {
        if response.status().is_client_error() && is_plain_refusal(response) {
            let detail = "the request could not be read";
            *response =
                Problem { status: response.status(), ..Problem::of(Code::InvalidRequest, detail) }
                    .into_response();
        }
        let context = span.context();
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let body = problem.body(Some(&context.trace_id.to_string()));
            *response.body_mut() = Body::from(body);
            response.headers_mut().remove(header::CONTENT_LENGTH);
            self.problems.with(&[template, &problem.code]).inc();
            span.attribute("error.type", problem.code.as_ref());
        }
        if let Ok(value) = HeaderValue::from_str(&context.traceparent()) {
            response.headers_mut().insert(headers::TRACEPARENT, value);
        }
        span.attribute("http.response.status_code", response.status().as_u16());
        if response.status().is_server_error() {
            span.fail(response.status().as_str());
        }
    }
}

/// Why a request did not reach a reply of its handler.
enum Refused {
    With(Problem),
    Dropped,
}

impl Refused {
    const fn status(&self) -> StatusCode {
        match self {
            Self::With(problem) => problem.status,
            Self::Dropped => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::With(problem)
    }
}

/// Before the handler: the caller may rely on it that nothing was done.
fn expired() -> Problem {
    Problem::of(Code::DeadlineExpired, "the deadline passed before any work was done")
}

/// In the handler: its write may still be committed, so another code, which leaves the caller in
/// doubt instead of telling it that nothing happened.
fn given_up() -> Problem {
    Problem::of(Code::UpstreamTimeout, "the deadline passed while the work was being done")
}

fn nothing_at(path: &str) -> Problem {
    let shown: String = path.chars().take(200).collect();
    Problem::of(Code::NoRoute, format!("nothing is served at {shown}"))
}

fn other_methods(allowed: &[Method]) -> Response {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let names = names.join(", ");
    let mut response =
        Problem::of(Code::MethodNotAllowed, format!("allowed here: {names}")).into_response();
    if let Ok(value) = HeaderValue::from_str(&names) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

fn planted(status: u16) -> Problem {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Problem::refusal(status, "planted_fault", "an operator planted this fault")
}

/// Text that axum's own extractors answer with instead of a problem.
fn is_plain_refusal(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    response.extensions().get::<Problem>().is_none()
        && content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/plain"))
}

/// The request that the router sees: canonical path, whole body, context.
fn rebuild(parts: Parts, path: String, extensions: Extensions, body: Bytes) -> Request<Body> {
    let target = match parts.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut request = Request::new(Body::from(body));
    // The path was cut out of a valid one; should it not parse, the old one still names the route.
    *request.uri_mut() = target.parse::<Uri>().unwrap_or(parts.uri);
    *request.method_mut() = parts.method;
    *request.headers_mut() = parts.headers;
    *request.extensions_mut() = extensions;
    request
}

/// The method as a label and in span names: the known ones, and `_OTHER`.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
