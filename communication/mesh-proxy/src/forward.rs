//! Listeners' requests, led into the mesh: what stands behind the doors of a sidecar and of an edge.

mod edge;
mod to_tls;

use std::sync::Arc;

use base::Code;
use http::StatusCode;
use mesh_policy::{destination::Protocol, route::RequestView as _};

pub use to_tls::ToTls;

use crate::{
    body::{RequestBody, Upload},
    downstream::Handler,
    head::{Peer, RequestHead, Transport},
    mesh::Door,
    outbound::{Context, Outbound, parent_of},
    refusal::Refusal,
    reply::{Reply, Source},
    tunnel::Tunnel,
};

/// Requests of clients, led through a door: what stands behind the listeners of a sidecar.
#[derive(Debug, Clone)]
pub struct Forward {
    outbound: Outbound,
    door: Way,
    /// Hosts that are ours; none means every one.
    hosts: Arc<[String]>,
    /// What the door says is spoken at it; `None` looks.
    spoken: Option<Protocol>,
    /// Where what comes without TLS is to go; it is served where there is none.
    to_tls: Option<ToTls>,
}

/// How a request's door is found.
#[derive(Debug, Clone)]
pub enum Way {
    /// Always the same one.
    To(Door),
    /// By the first label of the Host: `http://stock/…` and `http://stock.shop.svc/…` go to `stock`.
    ByHost,
}

impl Forward {
    /// Leads requests on.
    #[must_use]
    pub fn new(outbound: Outbound, door: Way) -> Self {
        Self { outbound, door, hosts: Arc::from([]), spoken: Some(Protocol::Http1), to_tls: None }
    }

    /// Only for these hosts: a page of a stranger whose name was made to point here is refused.
    #[must_use]
    pub fn for_hosts(self, hosts: impl IntoIterator<Item = String>) -> Self {
        Self { hosts: hosts.into_iter().map(|it| it.to_ascii_lowercase()).collect(), ..self }
    }

    /// The same for a door at which another protocol is spoken, or `None`: whichever the first bytes
    /// show, and bytes where the server speaks first. HTTP/1 and HTTP/2 are told apart in any case.
    #[must_use]
    pub fn speaking(self, spoken: Option<Protocol>) -> Self {
        Self { spoken, ..self }
    }

    /// The same where nothing is served that comes without TLS.
    #[must_use]
    pub fn over_tls(self, to_tls: ToTls) -> Self {
        Self { to_tls: Some(to_tls), ..self }
    }

    async fn at_edge<B: RequestBody>(
        &self,
        door: &Door,
        mut head: RequestHead,
        peer: Peer,
        upload: &mut Upload<B>,
    ) -> Reply {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|it| it == head.host()) {
            let detail = "the host is not served here";
            let status = Some(StatusCode::MISDIRECTED_REQUEST);
            let trace_id = parent_of(&head).map(|it| it.trace_id.to_string());
            let refusal = Refusal { status, ..Refusal::new(Code::NoRoute, detail) };
            return refusal.reply(trace_id.as_deref());
        }
        if let Some(to_tls) = self.to_tls.as_ref().filter(|_| peer.transport == Transport::Plain) {
            return to_tls.answer(&head);
        }
        edge::strip(&mut head, &peer);
        let context = Context { peer: Some(peer), ..Context::default() };
        let mut reply = self.outbound.call(door, head, context, upload).await;
        if let Source::Mesh { code: Code::Overloaded, .. } = reply.source {
            // Strangers are told that they ask for too much.
            reply.head.status = StatusCode::TOO_MANY_REQUESTS;
        }
        edge::strip_reply(&mut reply.head);
        reply
    }
}

/// A program behind a door that has asked who comes in reads it in a header: the connection ends here.
fn name_caller(head: &mut RequestHead, peer: &Peer) {
    let Some(identity) = &peer.identity else { return };
    head.fields.set(base::headers::SKEIN_CALLER, identity.to_string().as_bytes());
}

impl Handler for Forward {
    fn tunnel(&self) -> Option<Tunnel> {
        match &self.door {
            Way::To(Door::Service(name)) => Tunnel::of(self.outbound.worker(), name, self.spoken),
            // Where bytes are to go is not in them.
            Way::To(Door::Edge(_)) | Way::ByHost => None,
        }
    }

    async fn handle<B: RequestBody>(
        &self,
        mut head: RequestHead,
        peer: Peer,
        upload: &mut Upload<B>,
    ) -> Reply {
        name_caller(&mut head, &peer);
        let context = Context { peer: Some(peer.clone()), ..Context::default() };
        match &self.door {
            Way::To(door @ Door::Edge(_)) => self.at_edge(door, head, peer, upload).await,
            Way::To(door @ Door::Service(_)) => {
                self.outbound.call(door, head, context, upload).await
            }
            Way::ByHost => {
                let label = head.host().split('.').next().unwrap_or_default().to_owned();
                self.outbound.call(&Door::Service(label), head, context, upload).await
            }
        }
    }
}
