//! Access at an edge: who asks, and whether he may; said to those behind, who believe it.
//!
//! Whatever a client says of itself was taken off before. One text answers every credential that is not
//! good: which of them nearly was is nobody's business. The credential goes no further.

use std::time::Duration;

use base::{Code, headers};
use bytes::Bytes;
use callers::Principal;
use http::Method;
use mesh_policy::edge_access::{Asking, EdgeAccess, Reach, asking, reach};
use tokio::time::sleep;

use crate::{
    h1::Known,
    head::RequestHead,
    mesh::{Door, Mesh, Snapshot},
    refusal::Refusal,
};

/// How often somebody who listens is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// On what grounds somebody was let in at an edge.
pub(super) struct Admitted {
    edge: String,
    /// What he showed, for as long as his request lasts.
    credential: Bytes,
    reached: Reach,
}

/// Refuses who is not known, or may not ask for this; says to those behind who it is. Gives the grounds
/// where somebody was asked.
pub(super) fn check(
    mesh: &Mesh,
    snapshot: &Snapshot,
    door: &Door,
    route: &str,
    head: &mut RequestHead,
) -> Result<Option<Admitted>, Refusal> {
    // Calls inside say who they are by their connections.
    let Door::Edge(edge) = door else { return Ok(None) };
    let policies = &snapshot.policy.edge_access;
    let (reached, admitted) = match asking(policies, edge, route) {
        // Those behind may ask for the word of an edge: one that asks nobody says so.
        Asking::NoPolicy => {
            say(head, headers::SKEIN_REACH, Reach::All.as_str());
            return Ok(None);
        }
        Asking::Nobody => (Reach::Nothing, None),
        Asking::Everybody => {
            let shown = head.fields.iter().filter(|it| it.0 == Known::Authorization);
            let principal = mesh.identify(edge, shown.map(|it| it.2));
            let principal = principal.map_err(|_| unauthenticated(edge))?;
            let reached = judge(policies, edge, (route, &head.method), &principal);
            let reached = reached.ok_or_else(forbidden)?;
            let shown = head.fields.get(Known::Authorization).unwrap_or_default();
            let credential = Bytes::copy_from_slice(shown);
            say(head, headers::SKEIN_PRINCIPAL, principal.name.as_str());
            say(head, headers::SKEIN_ROLES, &roles(&principal).join(","));
            (reached, Some(Admitted { edge: edge.clone(), credential, reached }))
        }
    };
    head.fields.remove(Known::Authorization);
    say(head, headers::SKEIN_REACH, reached.as_str());
    Ok(admitted)
}

impl Admitted {
    /// Waits until he would not be let in any more, or not as far: his key was taken back, his token's time
    /// is over, a rule has gone. Cancel-safe.
    pub(super) async fn ends(self, mesh: Mesh, (route, method): (String, Method)) {
        loop {
            sleep(LOOK_EVERY).await;
            let snapshot = mesh.snapshot();
            let (edge, policies) = (&self.edge, &snapshot.policy.edge_access);
            let shown = std::iter::once(&*self.credential);
            let reached = match asking(policies, edge, &route) {
                Asking::NoPolicy => Some(Reach::All),
                Asking::Nobody => Some(Reach::Nothing),
                Asking::Everybody => mesh
                    .identify(edge, shown)
                    .ok()
                    .and_then(|it| judge(policies, edge, (&route, &method), &it)),
            };
            if reached.is_none_or(|it| it < self.reached) {
                return;
            }
        }
    }
}

fn judge(
    policies: &[EdgeAccess],
    edge: &str,
    (route, method): (&str, &Method),
    principal: &Principal,
) -> Option<Reach> {
    reach(policies, edge, (route, method.as_str()), &roles(principal))
}

fn roles(principal: &Principal) -> Vec<&str> {
    principal.roles.iter().map(callers::Role::as_str).collect()
}

fn say(head: &mut RequestHead, name: &str, value: &str) {
    head.fields.push_known(Known::SkeinOther, name.as_bytes(), value.as_bytes());
}

fn unauthenticated(edge: &str) -> Refusal {
    let detail = "a key or a token that is good here is needed: Authorization: Bearer …";
    let mut refusal = Refusal::new(Code::Unauthenticated, detail);
    // RFC 6750 3: without an error code, which would tell what was nearly good.
    refusal.fields.push(("www-authenticate", format!("Bearer realm=\"{edge}\"")));
    refusal
}

fn forbidden() -> Refusal {
    Refusal::new(Code::Forbidden, "none of the roles of this caller may do that")
}
