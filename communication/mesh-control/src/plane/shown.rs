//! What the control plane shows to operators.

use serde_json::{Value, json};

use super::{Plane, lock};

impl Plane {
    /// Everything that is known: `{version, settled, trusts, troubles, instances, subscribers}`; `trusts` is the
    /// version of whom to trust that it carries.
    #[must_use]
    pub fn shown(&self) -> Value {
        let now = self.now();
        let registry = lock(&self.0.registry);
        let instance = |it: &crate::registry::Registered| {
            json!({
                "service": it.told.service, "instance": it.told.instance,
                "version": it.told.version, "zone": it.told.zone, "capacity": it.told.capacity,
                "address": it.told.address, "ready": it.told.ready, "identity": it.identity,
                "lease_left_ms": it.expires.saturating_since(now).as_millis(),
            })
        };
        let instances: Vec<Value> = registry.instances(now).map(instance).collect();
        drop(registry);
        let subscribers: Vec<Value> = lock(&self.0.subscribers)
            .values()
            .map(|it| {
                let refused = it.refused.as_ref();
                json!({
                    "name": it.name, "from": it.from, "identity": it.identity,
                    "sent": it.sent, "acknowledged": it.acknowledged,
                    "refused": refused.map(|(version, reason)| json!({"version": version, "reason": reason})),
                })
            })
            .collect();
        let current = self.0.current.borrow().clone();
        let shown = self.0.known.as_ref().and_then(identity::Handshakes::shown);
        let told = current.state.trust.as_ref();
        let carried = shown.filter(|it| told.is_some() && it.trust().signed() == told);
        json!({
            "version": current.version, "settled": current.state.is_settled,
            "trusts": carried.map(|it| it.trust().bundle().version),
            "troubles": lock(&self.0.contributions).troubles(),
            "listed": current.state.sets.keys().collect::<Vec<_>>(),
            "instances": instances, "subscribers": subscribers,
        })
    }
}
