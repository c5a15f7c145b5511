//! What the door of a service says to a caller.

use mesh_policy::{
    authorization::{Asked, Authorization, Caller, Mode, Rule, Template, Verdict, judge},
    edge_access::{self, Asking, EdgeAccess, Reach},
    route::RequestView as _,
};
use serde_json::{Value, json};

use crate::{
    head::RequestHead,
    mesh::{Door, Mesh},
};

/// What the policy of this mesh says to a request at the door of a service, and the rule that decides.
/// Nothing is counted.
#[must_use]
pub fn authorization(
    mesh: &Mesh,
    service: &str,
    caller: Option<&str>,
    head: &RequestHead,
) -> Value {
    let snapshot = mesh.snapshot();
    let asked = Asked { caller, method: head.method(), path: head.path() };
    let judged = match judge(&snapshot.policy.authorizations, service, &asked) {
        Verdict::Unjudged => json!({"verdict": "unjudged"}),
        Verdict::Allowed { policy, rule } => {
            json!({"verdict": "allowed", "policy": policy, "rule": rule})
        }
        Verdict::Denied { reason, mode } => {
            let verdict = if mode == Mode::Enforce { "denied" } else { "audited" };
            json!({"verdict": verdict, "reason": reason.as_str()})
        }
    };
    let mut page = json!({
        "service": service, "caller": caller, "method": head.method(), "path": head.path(),
    });
    if let (Some(page), Value::Object(judged)) = (page.as_object_mut(), judged) {
        page.extend(judged);
    }
    page
}

/// What an edge says to somebody with these roles who asks by this route; nothing at another door.
pub(super) fn access(
    policies: &[EdgeAccess],
    door: &Door,
    (route, method): (&str, &str),
    roles: &[&str],
) -> Value {
    let Door::Edge(edge) = door else { return Value::Null };
    let asked = match edge_access::asking(policies, edge, route) {
        Asking::NoPolicy => json!({"asks": "nobody", "reach": Reach::All.as_str()}),
        Asking::Nobody => json!({"asks": "nobody", "reach": Reach::Nothing.as_str()}),
        Asking::Everybody => {
            let found = edge_access::deciding(policies, edge, (route, method), roles);
            json!({
                "asks": "everybody", "policy": found.map(|it| it.policy),
                "rule": found.map(|it| it.rule), "reach": found.map(|it| it.reach.as_str()),
            })
        }
    };
    let mut access = asked;
    access["roles"] = json!(roles);
    access
}

/// The rules that stand at the doors of services, and those of edges for callers from outside, as the files
/// say them. An empty list of methods, paths or routes means every one.
#[must_use]
pub fn authorizations(mesh: &Mesh) -> Value {
    let snapshot = mesh.snapshot();
    let all = snapshot.policy.authorizations.iter().map(of_door);
    let edges = snapshot.policy.edge_access.iter().map(of_edge);
    json!({"authorizations": all.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>()})
}

fn of_edge(access: &EdgeAccess) -> Value {
    let rule = |it: &edge_access::Rule| {
        json!({
            "roles": it.roles, "methods": it.methods, "routes": it.routes, "reach": it.reach.as_str(),
        })
    };
    json!({
        "edge": access.gateway, "policy": access.name, "anonymous": access.anonymous,
        "rules": access.rules.iter().map(rule).collect::<Vec<_>>(),
    })
}

fn of_door(authorization: &Authorization) -> Value {
    let mode = match authorization.mode {
        Mode::Enforce => "enforce",
        Mode::Audit => "audit",
    };
    json!({
        "service": authorization.service, "policy": authorization.name, "mode": mode,
        "rules": authorization.rules.iter().map(of_rule).collect::<Vec<_>>(),
    })
}

fn of_rule(rule: &Rule) -> Value {
    let caller = |it: &Caller| match it {
        Caller::Identity(identity) => identity.clone(),
        Caller::AnyIdentity => "*".to_owned(),
    };
    json!({
        "callers": rule.callers.iter().map(caller).collect::<Vec<_>>(),
        "methods": rule.methods,
        "paths": rule.paths.iter().map(Template::as_str).collect::<Vec<_>>(),
    })
}
