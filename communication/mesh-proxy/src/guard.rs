//! Who may ask at the door of a service, by the policy in force.
//!
//! Judged is what goes on: the path in its one form, and the identity that the connection has shown. A
//! change of policy holds from the next request on; a connection that has changed its protocol, or
//! carries bytes, was judged when it did.

use std::sync::Arc;

use base::Code;
use identity::SpiffeId;
use mesh_policy::{
    authorization::{Asked, Denial, Mode, Verdict, judge},
    route::RequestView as _,
};
use telemetry::{CounterFamily, Telemetry};

use crate::{
    h1::Known,
    head::{Peer, RequestHead},
    mesh::Mesh,
    outbound::parent_of,
    refusal::{Grpc, Refusal},
    reply::Reply,
};

/// Stands at the door of one service.
#[derive(Debug, Clone)]
pub struct Guard {
    mesh: Mesh,
    service: Arc<str>,
    denied: CounterFamily,
}

impl Guard {
    /// Before a service, by whatever policy the mesh has when somebody asks.
    #[must_use]
    pub fn new(mesh: Mesh, service: impl Into<Arc<str>>, telemetry: &Telemetry) -> Self {
        let denied = telemetry.metrics().counter(
            "mesh_denied_requests_total",
            "Requests that no rule of the service allows, by reason, and whether they were refused.",
            &["service", "reason", "mode"],
        );
        Self { mesh, service: service.into(), denied }
    }

    /// The answer to a request that may not be made; counted.
    pub(crate) fn refuse(&self, head: &RequestHead, peer: &Peer) -> Option<Reply> {
        let reason = self.enforced(peer.identity.as_deref(), head.method(), head.path())?;
        let trace_id = parent_of(head).map(|it| it.trace_id.to_string());
        let grpc = Grpc::of(head.fields.get(Known::ContentType));
        let refusal = Refusal::new(Code::Forbidden, words(reason));
        Some(refusal.reply_as(grpc, trace_id.as_deref()))
    }

    /// Whether a caller may not send bytes that nobody here reads; counted. They have no method and no
    /// path: a rule allows them that allows everything.
    pub(crate) fn refuses_bytes(&self, peer: &Peer) -> bool {
        self.enforced(peer.identity.as_deref(), "", "").is_some()
    }

    /// The same of a caller who has not begun yet, and may turn out to speak HTTP; not counted.
    pub(crate) fn would_refuse_bytes(&self, peer: &Peer) -> bool {
        matches!(self.denial(peer.identity.as_deref(), "", ""), Some((_, Mode::Enforce)))
    }

    /// Whether who has shown this identity may do something at a service that speaks no HTTP, which is
    /// told as a method and a path of its own; a denial is counted.
    #[must_use]
    pub fn permits(&self, caller: &SpiffeId, method: &str, path: &str) -> bool {
        self.enforced(Some(caller), method, path).is_none()
    }

    /// The same where nothing is refused by it; not counted.
    #[must_use]
    pub fn would_permit(&self, caller: &SpiffeId, method: &str, path: &str) -> bool {
        !matches!(self.denial(Some(caller), method, path), Some((_, Mode::Enforce)))
    }

    /// Counts a denial; gives the reason of one that is enforced.
    fn enforced(&self, caller: Option<&SpiffeId>, method: &str, path: &str) -> Option<Denial> {
        let (reason, mode) = self.denial(caller, method, path)?;
        let word = match mode {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
        };
        self.denied.with(&[&*self.service, reason.as_str(), word]).inc();
        let caller = caller.map(ToString::to_string).unwrap_or_default();
        tracing::debug!(caller, method, path, reason = reason.as_str(), mode = word, "denied");
        (mode == Mode::Enforce).then_some(reason)
    }

    fn denial(
        &self,
        caller: Option<&SpiffeId>,
        method: &str,
        path: &str,
    ) -> Option<(Denial, Mode)> {
        let snapshot = self.mesh.snapshot();
        let caller = caller.map(ToString::to_string);
        let asked = Asked { caller: caller.as_deref(), method, path };
        match judge(&snapshot.policy.authorizations, &self.service, &asked) {
            Verdict::Unjudged | Verdict::Allowed { .. } => None,
            Verdict::Denied { reason, mode } => Some((reason, mode)),
        }
    }
}

/// What the caller is told: how near it came, not who comes nearer.
const fn words(denial: Denial) -> &'static str {
    match denial {
        Denial::NoPolicy => "nobody says who may call this service: no_policy",
        Denial::NoIdentity => "who calls must show an identity: no_identity",
        Denial::Caller => "no rule names this caller: caller_not_allowed",
        Denial::Path => "no rule allows this caller that path: path_not_allowed",
        Denial::Method => "no rule allows this caller that method: method_not_allowed_for_caller",
    }
}
