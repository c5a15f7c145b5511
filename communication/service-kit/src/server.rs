//! Listeners: the mesh's own front, with a service behind it in the same process.
//!
//! The front bounds connections, heads and bodies and refuses what can be read in two ways; what
//! reaches the stack is a request. Ending: `/readyz` says no first; connections are still accepted
//! for a short while, because a balancer learns late; then the listener closes, requests in flight
//! finish, idle connections end.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{Request, Uri, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use identity::{PublicHandshakes, SpiffeId};
use mesh_policy::path::Slashes;
use mesh_proxy::{
    Guard, Handler, Mesh, Peer, Reply, Source,
    body::{BodyError, RequestBody, Upload},
    downstream,
    head::{Fields, RequestHead, ResponseHead},
};
use runtime::Tasks;
use telemetry::Telemetry;

use crate::{
    caller::Caller,
    config::{Limits, PortSharing},
    stack::{Asker, Dropped, Stack},
    system::System,
};

/// What one listener serves: the pages that every process has, and behind them a handler.
#[derive(Debug)]
pub(crate) struct Site<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) system: System,
}

impl<H> Clone for Site<H> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), system: self.system.clone() }
    }
}

/// Binds the address and serves until the tasks are told to stop. Answers the address it got.
pub(crate) fn listen<H: Handler>(
    name: &'static str,
    site: Site<H>,
    at: Listening<'_>,
    tasks: &Tasks,
) -> io::Result<SocketAddr> {
    let sharing = match at.sharing {
        PortSharing::Exclusive => downstream::Sharing::Exclusive,
        PortSharing::Replicas => downstream::Sharing::Workers,
    };
    let listener = downstream::listen(at.address, sharing)?;
    let bound = listener.local_addr()?;
    let health = site.system.health.clone();
    tasks.spawn("drain notice", move |shutdown| async move {
        shutdown.cancelled().await;
        health.begin_draining();
    });
    let limits = downstream::Limits { slashes: at.slashes, ..front(at.limits) };
    let mut site = downstream::Site::new(name, site, limits, at.telemetry);
    if let Some((mesh, service)) = at.guard {
        site = site.guarded(Guard::new(mesh.clone(), service, at.telemetry));
        if let Some(handshakes) = mesh.handshakes() {
            site = site.knowing(handshakes.clone());
        }
    }
    if let Some(handshakes) = at.presenting {
        site = site.presenting(handshakes.clone());
    }
    downstream::serve(Arc::new(site), listener, at.drain_delay, tasks);
    Ok(bound)
}

/// Where and how a listener listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listening<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) sharing: PortSharing,
    pub(crate) limits: &'a Limits,
    pub(crate) slashes: Slashes,
    pub(crate) drain_delay: Duration,
    pub(crate) telemetry: &'a Telemetry,
    /// By whose policy it is judged who may call this service, and what.
    pub(crate) guard: Option<(&'a Mesh, &'a str)>,
    /// What people outside are shown, at a door over TLS.
    pub(crate) presenting: Option<&'a PublicHandshakes>,
}

fn front(limits: &Limits) -> downstream::Limits {
    downstream::Limits {
        head_bytes_max: limits.header_bytes_max,
        fields_max: limits.header_fields_max,
        target_bytes_max: limits.target_bytes_max,
        body_bytes_max: u64::try_from(limits.body_bytes_max).unwrap_or(u64::MAX),
        head_timeout: Duration::from_millis(limits.head_timeout_ms),
        body_idle_timeout: Duration::from_millis(limits.body_idle_timeout_ms),
        connections_max: limits.connections_max,
        // A stream without an end would keep the process alive: it gets a request's time.
        drain: Duration::from_millis(limits.request_timeout_ms),
        ..downstream::Limits::default()
    }
}

impl<H: Handler> Handler for Site<H> {
    async fn handle<B: RequestBody>(
        &self,
        head: RequestHead,
        peer: Peer,
        upload: &mut Upload<B>,
    ) -> Reply {
        // Health and metrics stand outside every cap: an overloaded process is alive.
        if System::may_answer(&head.method)
            && let Some(response) = self.system.answer(&parts_of(&head)).await
        {
            return reply_of(response);
        }
        self.handler.handle(head, peer, upload).await
    }
}

impl Handler for Stack {
    async fn handle<B: RequestBody>(
        &self,
        head: RequestHead,
        peer: Peer,
        upload: &mut Upload<B>,
    ) -> Reply {
        let parts = parts_of(&head);
        let shown = peer.identity.as_deref().map(SpiffeId::service);
        let caller = Caller::of(&parts.headers, shown, self.edge.as_deref());
        match self.answer(parts, Asker { caller, from: peer.address }, upload).await {
            Ok(response) => reply_of(response),
            Err(Dropped) => Reply::reset(),
        }
    }
}

fn parts_of(head: &RequestHead) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = head.method.clone();
    // The front has read the target by a stricter grammar.
    parts.uri = Uri::from_maybe_shared(head.target().clone()).unwrap_or_default();
    parts.headers = head.fields.to_map();
    if let Ok(host) = http::HeaderValue::from_maybe_shared(head.authority.clone()) {
        parts.headers.insert(http::header::HOST, host);
    }
    parts
}

fn reply_of(response: Response) -> Reply {
    let (parts, body) = response.into_parts();
    let mut head = ResponseHead::new(parts.status);
    head.fields = Fields::from_map(&parts.headers);
    head.length = body.size_hint().exact();
    let told = head.fields.named("content-length").and_then(|it| std::str::from_utf8(it).ok());
    // To HEAD, the router says the length of what it took away.
    head.length = told.and_then(|it| it.parse().ok()).or(head.length);
    head.fields.remove_named("content-length");
    let reply = Reply::streamed(head, Box::pin(Served(body)));
    Reply { source: Source::Application, ..reply }
}

/// An answer's body, with the front's errors.
struct Served(Body);

impl http_body::Body for Served {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(frame.map(|it| it.map_err(|error| BodyError::Other(Box::new(error)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
