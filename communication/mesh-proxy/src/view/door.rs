//! What the door of a service says to a caller.

use mesh_policy::{
    authorization::{Asked, Mode, Verdict, judge},
    route::RequestView as _,
};
use serde_json::{Value, json};

use crate::{head::RequestHead, mesh::Mesh};

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
