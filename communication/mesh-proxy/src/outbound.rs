//! The path of one request through the mesh, top to bottom.
//!
//! The same in all three placements: in front of a client inside a service, beside a program in any
//! language, at the edge. What differs is who hands the request over and who takes the answer.

mod access;
mod attempt;
mod deadline;
mod filters;
mod limits;
mod tries;

use std::{borrow::Cow, sync::Arc, time::Duration};

use base::{Code, Random};
use http::{Method, StatusCode};
use mesh_policy::{
    fault::{Abort, Call},
    route::{Found, RequestView as _, Rule, choose_backend},
};
use runtime::Tasks;
use telemetry::{Span, SpanKind, TraceContext, TraceId};
use tokio::time::{Instant, interval, sleep_until, timeout, timeout_at};

pub use deadline::Deadline;

use crate::{
    body::{RequestBody, Upload},
    event_stream,
    gate::Place,
    h1::Known,
    head::{Peer, RequestHead},
    mesh::{BackendLane, Door, Lane, Mesh, Snapshot, series::EdgeSeries},
    pending::Pending,
    refusal::{Grpc, Refusal},
    reply::{Reply, Source},
    worker::Worker,
};

/// How often a worker looks for connections that rested too long.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// Sends requests into the mesh: one for each worker thread, a cheap handle.
#[derive(Debug, Clone)]
pub struct Outbound(Arc<Worker>);

/// What is known of a request beside its bytes.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Template of its path, which names its spans: a path would have as many values as ids.
    pub route: Option<&'static str>,
    /// The span that it is part of; else what `traceparent` says.
    pub parent: Option<TraceContext>,
    /// When its caller stops waiting; else what `skein-deadline-ms` or `grpc-timeout` says.
    pub deadline: Option<Instant>,
    /// Who sent it.
    pub peer: Option<Peer>,
}

/// A request on its way, with everything that was found out about it.
pub(crate) struct Request<'a> {
    pub(crate) head: &'a mut RequestHead,
    /// Template of its path, where somebody knows it.
    pub(crate) template: Option<&'static str>,
    pub(crate) parent: Option<TraceContext>,
    pub(crate) rule: Option<&'a Rule>,
    pub(crate) lane: &'a BackendLane,
    pub(crate) deadline: Deadline,
    /// How many tries lie above this one.
    pub(crate) depth: u32,
    pub(crate) started: Instant,
    pub(crate) place: Option<Place>,
    /// Where somebody listens; taken by what sees the answer's end.
    pub(crate) tap: &'a mut Option<Box<Pending>>,
}

impl Request<'_> {
    /// How long one try may take; `None` where policy sets no bound.
    fn try_longest(&self) -> Option<Duration> {
        let by_rule = self.rule.and_then(|it| it.timeouts.backend_request);
        bound(by_rule.unwrap_or(self.lane.destination.settings.timeouts.backend_request))
    }

    /// The least of that and of what all tries together may take.
    fn longest(&self) -> Option<Duration> {
        let all = deadline::longest(self.rule, self.lane.destination.settings.timeouts);
        [self.try_longest(), all].into_iter().flatten().min()
    }
}

impl Outbound {
    /// A worker of a mesh, with connections of its own.
    #[must_use]
    pub fn new(mesh: Mesh) -> Self {
        Self(Arc::new(Worker::new(mesh)))
    }

    /// The mesh that it sends into.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.0.mesh
    }

    /// Sends a request through a door; always answers. Dropped, it cancels the request.
    pub async fn call<B: RequestBody>(
        &self,
        door: &Door,
        mut head: RequestHead,
        mut context: Context,
        upload: &mut Upload<B>,
    ) -> Reply {
        let grpc = Grpc::of(head.fields.get(Known::ContentType));
        let mut tap = Pending::of(&self.0.mesh, &head, context.peer.as_ref());
        context.parent = context.parent.or_else(|| parent_of(&head));
        let mut trace_id = context.parent.as_ref().map(|it| it.trace_id);
        let snapshot = self.0.mesh.snapshot();
        let served = self.serve(&snapshot, door, &mut head, context, upload, &mut tap).await;
        let reply = served.unwrap_or_else(|refused| {
            let (destination, refusal) = *refused;
            self.0.mesh.refused(&destination, refusal.code);
            // The trace that it came in; else the one that its tries began; else an id by which the answer is
            // found in the access log. It has no span: strangers could use up the traces of a second.
            let named = trace_id.or(refusal.trace_id).unwrap_or_else(|| self.draw_trace_id());
            trace_id = Some(named);
            refusal.reply_as(grpc, Some(&named.to_string()))
        });
        if let Some(tap) = &mut tap {
            tap.traced_by(trace_id);
            let is_reset = reply.source == Source::Reset;
            tap.answered((!is_reset).then_some(reply.head.status), reply.source.code());
            tap.counted(reply.head.length.unwrap_or(0));
        }
        reply
    }

    async fn serve<B: RequestBody>(
        &self,
        snapshot: &Snapshot,
        door: &Door,
        head: &mut RequestHead,
        context: Context,
        upload: &mut Upload<B>,
        tap: &mut Option<Box<Pending>>,
    ) -> Result<Reply, Refused> {
        let started = Instant::now();
        // Route: everything else depends on where it goes.
        let (lane, found) = route(snapshot, door, head)?;
        let rule = found.as_ref().map(|it| it.rule);
        let at = |refusal| {
            lane.backends.first().inspect(|it| it.series.count(None));
            Box::new((lane.target().to_owned(), refusal))
        };
        if let Some(tap) = tap {
            tap.routed(&lane.route, lane.target());
        }
        // Access: at an edge, who asks and whether he may; what comes after may count and limit by it.
        let mesh = &self.0.mesh;
        let admitted = access::check(mesh, snapshot, door, &lane.route, head).map_err(at)?;
        // Rate: who asks too much costs nothing further.
        let peer = context.peer.as_ref();
        let limits = limits::check(&self.0.mesh, snapshot, door, &lane.route, head, peer);
        limits.map_err(at)?;
        // Deadline: work that nobody waits for any more is not begun.
        let deadline = Deadline::of(head, context.deadline, rule, lane.timeouts(), started);
        let deadline = deadline.map_err(at)?;
        // Filters: some answer by themselves; others change what the backend sees.
        if let Some(reply) = filters::redirect(found.as_ref(), head) {
            return Ok(reply);
        }
        // Backend: once a request, so that a retry keeps to the version that was drawn.
        let backend = self.backend(rule, lane).map_err(at)?;
        let filtered =
            found.as_ref().and_then(|it| Some((it, it.rule.backends.get(backend.index)?)));
        if let Some((found, backend)) = filtered {
            filters::on_request(found, backend, head);
        }
        let (route, lane) = (lane.route.as_str(), backend.lane);
        let mut tally = Tally { series: &lane.series, status: None };
        let at = |refusal| Box::new((lane.destination.name.clone(), refusal));
        if let Some(tap) = tap {
            tap.routed(route, &lane.destination.name);
        }
        // Faults: before the cap, where a slow network would be.
        let call = Call {
            called: door.service(),
            destination: &lane.destination.name,
            route: Some(route),
        };
        let fault = self.strike(call, head, deadline).await.map_err(at)?;
        if fault == Some(Abort::ResetAfter(0)) {
            return Ok(Reply::reset());
        }
        // Cap: what cannot be served soon is better refused now.
        let place = match lane.destination.gate.enter_now() {
            Some(place) => place,
            None => enter(lane, deadline).await.map_err(at)?,
        };
        let depth = depth_of(head);
        let (place, parent, template) = (Some(place), context.parent, context.route);
        let mut request =
            Request { head, template, parent, rule, lane, deadline, depth, started, place, tap };
        // Tries: each picks anew, behind the breaker of each endpoint.
        let mut reply = tries::run(self, &mut request, upload).await.map_err(at)?;
        tally.status = Some(reply.head.status);
        if let Some((found, backend)) = filtered {
            filters::on_response(found, backend, &mut reply.head);
        }
        if let Some(Abort::ResetAfter(bytes)) = fault {
            reply.body.cut_after = Some(bytes);
        }
        // Events: whoever would not be let in any more hears no more of them.
        if let Some(admitted) = admitted.filter(|_| event_stream::is_one(&reply.head)) {
            let asked = (route.to_owned(), request.head.method.clone());
            reply.body.ends.add(admitted.ends(mesh.clone(), asked));
        }
        Ok(reply)
    }

    fn draw_trace_id(&self) -> TraceId {
        self.0.draw(|random| TraceContext::root(random, false)).trace_id
    }

    /// What a planted fault does to the request: it waits here; an abort that needs no call ends it.
    async fn strike(
        &self,
        call: Call<'_>,
        head: &RequestHead,
        deadline: Deadline,
    ) -> Result<Option<Abort>, Refusal> {
        let strike = self.0.draw(|random| self.0.mesh.strike(call, head, random));
        let Some((delay, abort)) = strike else { return Ok(None) };
        if let Some(delay) = delay {
            let end = Instant::now() + delay;
            sleep_until(deadline.instant().map_or(end, |it| it.min(end))).await;
            if deadline.instant().is_some_and(|it| Instant::now() >= it) {
                return Err(deadline::expired());
            }
        }
        match abort {
            Some(Abort::Status(status)) => Err(Refusal {
                status: StatusCode::from_u16(status).ok(),
                ..Refusal::new(Code::PlantedFault, "an operator planted this fault")
            }),
            abort => Ok(abort),
        }
    }

    fn backend<'a>(
        &self,
        rule: Option<&Rule>,
        lane: &'a Lane,
    ) -> Result<BackendChoice<'a>, Refusal> {
        let nowhere = || Refusal::new(Code::Internal, "the rule of the route leads nowhere");
        let index = match rule {
            Some(rule) if rule.backends.len() > 1 => {
                let draw = self.0.draw(Random::unit);
                let chosen = choose_backend(rule, draw).ok_or_else(nowhere)?;
                rule.backends.iter().position(|it| std::ptr::eq(it, chosen)).unwrap_or(0)
            }
            Some(rule) if rule.backends.first().is_some_and(|it| it.weight == 0) => {
                return Err(nowhere());
            }
            Some(_) | None => 0,
        };
        let lane = lane.backends.get(index).ok_or_else(nowhere)?;
        Ok(BackendChoice { index, lane })
    }

    pub(crate) const fn worker(&self) -> &Arc<Worker> {
        &self.0
    }

    /// Closes what rested too long; whoever owns the worker calls it now and then.
    pub fn sweep(&self) {
        self.0.sweep();
    }

    /// Sweeps until the tasks are told to stop.
    pub fn keep_swept(&self, tasks: &Tasks) {
        let outbound = self.clone();
        tasks.spawn("pool sweep", move |shutdown| async move {
            let mut ticks = interval(SWEEP_EVERY);
            while shutdown.or_cancel(ticks.tick()).await.is_some() {
                outbound.sweep();
            }
        });
    }

    pub(crate) fn try_span(&self, request: &Request<'_>, number: u32) -> Span {
        let telemetry = self.0.mesh.telemetry();
        let destination = &request.lane.destination.name;
        let name = || name_of(request.head, request.template.unwrap_or(destination));
        let mut span = telemetry.span_with(name, SpanKind::Client, request.parent.as_ref());
        if span.is_recording() {
            span.attribute("http.request.method", request.head.method.as_str());
            span.attribute("peer.service", destination.as_str());
            if number > 0 {
                span.attribute("http.request.resend_count", number);
            }
        }
        span
    }
}

/// A refusal with the destination that it was on its way to. Boxed: it is rare and large.
type Refused = Box<(String, Refusal)>;

/// Counts a request once, however it ends: with a status, refused, or dropped with its client.
struct Tally<'a> {
    series: &'a EdgeSeries,
    status: Option<StatusCode>,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.series.count(self.status);
    }
}

struct BackendChoice<'a> {
    index: usize,
    lane: &'a BackendLane,
}

/// Where the request goes by the routes of its door; calls to a service that no route speaks of go to
/// that service.
fn route<'a>(
    snapshot: &'a Snapshot,
    door: &Door,
    head: &RequestHead,
) -> Result<(&'a Lane, Option<Found<'a>>), Refused> {
    if let Some(lanes) = snapshot.lanes(door) {
        let found = lanes.table.find(head).ok_or_else(|| {
            let path: String = head.path().chars().take(200).collect();
            let detail = format!("no route leads on from {} {path}", head.method);
            Box::new((String::new(), Refusal::new(Code::NoRoute, detail)))
        })?;
        return Ok((&lanes.lanes[found.route_index][found.rule_index], Some(found)));
    }
    let none =
        |name: &str, code, detail: String| Box::new((name.to_owned(), Refusal::new(code, detail)));
    match door {
        Door::Edge(name) => Err(none("", Code::NoRoute, format!("no route leads on from {name}"))),
        Door::Service(name) => {
            let lane = snapshot.direct(name).ok_or_else(|| {
                // A name that any client can invent is no label.
                none("", Code::NoEndpoint, format!("no endpoint of {name} is known"))
            })?;
            Ok((lane, None))
        }
    }
}

async fn enter(lane: &BackendLane, deadline: Deadline) -> Result<Place, Refusal> {
    let destination = &lane.destination;
    let full = |_| Refusal::new(Code::Overloaded, "all places and the queue are taken");
    let longest = destination.settings.concurrency.queue_wait;
    let entering = timeout(longest, destination.gate.enter());
    let entered = match deadline.instant() {
        Some(end) => timeout_at(end, entering).await.map_err(|_| deadline::expired())?,
        None => entering.await,
    };
    let waited = |_| Refusal::new(Code::Overloaded, "no place became free in time");
    entered.map_err(waited)?.map_err(full)
}

impl Lane {
    fn target(&self) -> &str {
        self.backends.first().map_or("", |it| &it.destination.name)
    }

    fn timeouts(&self) -> mesh_policy::destination::Timeouts {
        let first = self.backends.first();
        first.map(|it| it.destination.settings.timeouts).unwrap_or_default()
    }
}

pub(crate) fn parent_of(head: &RequestHead) -> Option<TraceContext> {
    match head.fields.text(Known::Traceparent) {
        Some(parent) => TraceContext::parse(parent, head.fields.text(Known::Tracestate)),
        // Its own headers go on as they came: the program behind may read them.
        None => TraceContext::parse_b3(|name| head.header(name)),
    }
}

fn depth_of(head: &RequestHead) -> u32 {
    let depth = head.fields.text(Known::SkeinAttempt).and_then(|it| it.trim().parse().ok());
    depth.unwrap_or(0)
}

/// The method as a label and in names: the known ones, and `_OTHER`.
fn name_of(head: &RequestHead, whither: &str) -> Cow<'static, str> {
    let method = match head.method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS
        | Method::TRACE
        | Method::CONNECT => head.method.as_str(),
        _ => "_OTHER",
    };
    format!("{method} {whither}").into()
}

/// Zero switches a bound off.
pub(crate) fn bound(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
