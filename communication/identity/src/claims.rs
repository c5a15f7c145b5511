//! Claims: how a process that nobody started for us shows which service it is, by the user that it runs as.
//!
//! Who the caller is, the kernel says; which names a user may have, whoever runs the authority. Nobody may
//! have any, unless it was said.

use std::collections::{BTreeMap, BTreeSet};

use crate::{name::SpiffeId, token::Caller};

/// Which users may have which names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// Users that may have every name of a namespace.
    namespaces: BTreeMap<u32, BTreeSet<String>>,
    names: BTreeMap<u32, BTreeSet<SpiffeId>>,
}

impl Claims {
    /// A user may be every service of a namespace. Meant for who runs the authority: it can read the
    /// authority's keys, and is trusted with every name anyway.
    #[must_use]
    pub fn with_namespace(mut self, uid: u32, namespace: &str) -> Self {
        self.namespaces.entry(uid).or_default().insert(namespace.to_owned());
        self
    }

    /// A user may be a service.
    #[must_use]
    pub fn with(mut self, uid: u32, id: SpiffeId) -> Self {
        self.names.entry(uid).or_default().insert(id);
        self
    }

    /// Whether a user may have any name.
    pub(crate) fn are_of(&self, uid: u32) -> bool {
        self.namespaces.contains_key(&uid) || self.names.contains_key(&uid)
    }

    /// Whether a caller may have a name.
    pub(crate) fn allow(&self, caller: Caller, id: &SpiffeId) -> bool {
        let has = |names: &BTreeSet<String>| names.contains(id.namespace());
        self.namespaces.get(&caller.uid).is_some_and(has)
            || self.names.get(&caller.uid).is_some_and(|it| it.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_had_by_whom_it_was_said_of_and_by_nobody_else() {
        let (cart, till) = (id("spiffe://m/ns/shop/svc/cart"), id("spiffe://m/ns/shop/svc/till"));
        let other = id("spiffe://m/ns/log-users/svc/cart");
        let claims = Claims::default().with_namespace(0, "shop").with(1_001, cart.clone());
        let may = |uid, id: &SpiffeId| claims.allow(Caller { uid, pid: 7 }, id);
        assert!(may(0, &cart) && may(0, &till) && !may(0, &other));
        assert!(may(1_001, &cart) && !may(1_001, &till) && !may(1_001, &other));
        assert!(!may(1_002, &cart));
        assert!(!Claims::default().allow(Caller { uid: 0, pid: 1 }, &cart));
    }
}
