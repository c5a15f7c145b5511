//! A request under way that a tap is told of when it ends.

use std::time::Duration;

use base::Code;
use http::StatusCode;
use mesh_policy::{proxy::AccessLog, route::RequestView as _};
use telemetry::{TraceContext, TraceId};
use tokio::time::Instant;

use crate::{
    head::{Peer, RequestHead},
    mesh::Mesh,
    tap::{Event, access},
};

/// Characters of a path that are told; the rest is cut.
const PATH_CHARS_MAX: usize = 1_024;

/// What is known of a request under way that somebody will want to know of. Dropped, it is told.
#[derive(Debug)]
pub(crate) struct Pending {
    mesh: Mesh,
    started: Instant,
    event: Event,
    is_answered: bool,
    /// The answer says that it is a failure, or broke.
    has_failed: bool,
    log: Option<AccessLog>,
}

impl Pending {
    /// `None` while nobody listens and nothing is written down.
    pub(crate) fn of(mesh: &Mesh, head: &RequestHead, peer: Option<&Peer>) -> Option<Box<Self>> {
        let log = mesh.access_log();
        (log.is_some() || mesh.taps().is_open()).then(|| {
            let mut path: String = head.path().chars().take(PATH_CHARS_MAX).collect();
            if head.target().contains(&b'?') {
                path.push_str("?…");
            }
            // The door does not call itself: who does has shown its name, or is known by its address.
            let caller = peer.filter(|_| mesh.behind().is_some()).map(name_of);
            let event = Event {
                direction: mesh.direction(),
                source: caller.unwrap_or_else(|| mesh.source().to_owned()),
                destination: mesh.behind().unwrap_or_default().to_owned(),
                route: String::new(),
                method: head.method.clone(),
                path,
                status: None,
                code: None,
                latency: Duration::ZERO,
                bytes: 0,
                trace_id: None,
                attempts: 0,
            };
            Box::new(Self {
                mesh: mesh.clone(),
                started: Instant::now(),
                event,
                is_answered: false,
                has_failed: false,
                log,
            })
        })
    }

    /// Where it goes.
    pub(crate) fn routed(&mut self, route: &str, destination: &str) {
        self.event.route.replace_range(.., route);
        if self.mesh.behind().is_none() {
            self.event.destination.replace_range(.., destination);
        }
    }

    /// A further try of it, under this span.
    pub(crate) fn tried(&mut self, span: &TraceContext) {
        self.event.attempts += 1;
        self.event.trace_id = Some(span.trace_id.to_string());
    }

    /// The trace that it came with, unless tries have told already.
    pub(crate) fn traced_by(&mut self, trace_id: Option<TraceId>) {
        let known = self.event.trace_id.take();
        self.event.trace_id = known.or_else(|| trace_id.map(|it| it.to_string()));
    }

    /// The head of its answer is there.
    pub(crate) fn answered(&mut self, status: Option<StatusCode>, code: Option<Code>) {
        self.event.latency = self.started.elapsed();
        self.event.status = status;
        self.event.code = code;
        self.is_answered = true;
    }

    /// Its answer is a failure although its status is none, or broke.
    pub(crate) const fn failed(&mut self) {
        self.has_failed = true;
    }

    /// Bytes of the body that went by.
    pub(crate) fn counted(&mut self, bytes: u64) {
        self.event.bytes = bytes;
    }
}

fn name_of(caller: &Peer) -> String {
    let identity = caller.identity.as_ref().map(ToString::to_string);
    identity.unwrap_or_else(|| caller.address.to_string())
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_answered {
            // Its client went away before there was an answer.
            self.event.latency = self.started.elapsed();
        }
        if let Some(log) = self.log
            && access::is_kept(log, &self.event, self.has_failed, fastrand::u16(..1_000))
        {
            access::write(&self.event);
        }
        self.mesh.taps().tell(&self.event, self.mesh.now());
    }
}
