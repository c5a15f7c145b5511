//! Access at an edge: who asks, and whether he may; said to those behind, who believe it.
//!
//! Whatever a client says of itself was taken off before. One text answers every credential that is not
//! good: which of them nearly was is nobody's business. The credential goes no further.

use base::{Code, headers};
use mesh_policy::edge_access::{Asking, Reach, asking, reach};

use crate::{
    h1::Known,
    head::RequestHead,
    mesh::{Door, Mesh, Snapshot},
    refusal::Refusal,
};

/// Refuses who is not known, or may not ask for this; says to those behind who it is.
pub(super) fn check(
    mesh: &Mesh,
    snapshot: &Snapshot,
    door: &Door,
    route: &str,
    head: &mut RequestHead,
) -> Result<(), Refusal> {
    // Calls inside say who they are by their connections.
    let Door::Edge(edge) = door else { return Ok(()) };
    let policies = &snapshot.policy.edge_access;
    let reached = match asking(policies, edge, route) {
        // Those behind may ask for the word of an edge: one that asks nobody says so.
        Asking::NoPolicy => {
            say(head, headers::SKEIN_REACH, Reach::All.as_str());
            return Ok(());
        }
        Asking::Nobody => Reach::Nothing,
        Asking::Everybody => {
            let shown = head.fields.iter().filter(|it| it.0 == Known::Authorization);
            let principal = mesh.identify(edge, shown.map(|it| it.2));
            let principal = principal.map_err(|_| unauthenticated(edge))?;
            let roles: Vec<&str> = principal.roles.iter().map(callers::Role::as_str).collect();
            let asked = (route, head.method.as_str());
            let reached = reach(policies, edge, asked, &roles).ok_or_else(forbidden)?;
            say(head, headers::SKEIN_PRINCIPAL, principal.name.as_str());
            say(head, headers::SKEIN_ROLES, &roles.join(","));
            reached
        }
    };
    head.fields.remove(Known::Authorization);
    say(head, headers::SKEIN_REACH, reached.as_str());
    Ok(())
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
