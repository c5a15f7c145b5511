//! Rate limits at work: who is counted, and what one who asked too much is told.

use base::{Code, headers};
use mesh_policy::rate::{RateKey, limit_field, policy_field};
use mesh_policy::route::RequestView as _;

use crate::{
    head::{Peer, RequestHead},
    mesh::{Door, Mesh, Snapshot},
    refusal::Refusal,
};

/// Refuses a request that is over a limit of its route.
pub(super) fn check(
    mesh: &Mesh,
    snapshot: &Snapshot,
    door: &Door,
    route: &str,
    head: &RequestHead,
    peer: Option<&Peer>,
) -> Result<(), Refusal> {
    for limited in snapshot.limits(mesh.source(), door, route) {
        if !limited.limit.is_for(head.header(headers::SKEIN_ROLES)) {
            continue;
        }
        let client;
        let key = match &limited.limit.key {
            RateKey::All => None,
            RateKey::Client => {
                client = peer.map(|it| it.address.ip().to_string());
                client.as_deref()
            }
            RateKey::Header(name) => head.header(name),
        };
        let verdict = limited.check(key, mesh.now());
        if verdict.allowed {
            continue;
        }
        let detail = format!("more requests than {} allows", limited.limit.name);
        let mut refusal = Refusal::new(Code::RateLimited, detail);
        refusal.retry_after = Some(verdict.retry_after);
        refusal.fields.push(("ratelimit-policy", policy_field(&limited.limit)));
        refusal.fields.push(("ratelimit", limit_field(&limited.limit, &verdict)));
        return Err(refusal);
    }
    Ok(())
}
