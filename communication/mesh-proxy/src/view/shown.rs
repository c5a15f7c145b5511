//! Who this process shows itself to be, and whom it believes.

use identity::Handshakes;
use serde_json::{Value, json};

use crate::mesh::Mesh;

/// The identity that is shown at this moment, with the number that no other one has, and whom it
/// believes. `shows` is false in a process that shows none at all; `id` is null in one that has none
/// now, and so is closed; `denied` tells that nobody talks to whoever shows this one. No key stands in it.
#[must_use]
pub fn identity(mesh: &Mesh) -> Value {
    let shows = mesh.handshakes().is_some();
    let Some(shown) = mesh.handshakes().and_then(Handshakes::shown) else {
        return json!({"shows": shows, "id": null});
    };
    let (identity, trusted) = (shown.identity(), shown.trust().bundle());
    let (not_before, not_after) = identity.validity();
    let is_denied = trusted.revoked.contains_key(identity.serial());
    json!({
        "shows": shows, "id": identity.id(), "serial": identity.serial(), "issuer": identity.issuer(),
        "not_before": not_before, "not_after": not_after, "denied": is_denied,
        "trusts": {
            "version": trusted.version, "anchors": trusted.anchor_ids(),
            "denied": trusted.revoked.len(),
        },
    })
}
