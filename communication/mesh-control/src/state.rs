//! What proxies are told: texts of policy, and where each service is found; numbered as a whole.
//!
//! A state goes over the wire as what differs from the one before, service by service, so that one
//! instance that comes costs its service's list and no other.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use identity::SignedBundle;
use mesh_policy::{
    destination::{Endpoint, EndpointSet},
    schema::SourceFile,
};
use serde::{Deserialize, Serialize};

use crate::instance::Spoken;

/// Sets of endpoints by name.
pub type Sets = BTreeMap<String, EndpointSet>;

/// What holds for all proxies at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Texts of policy, as files would hold them.
    pub documents: Vec<SourceFile>,
    /// Where services are found.
    pub sets: Sets,
    /// Whether who is not listed is gone. Before that, nobody is taken for gone.
    pub is_settled: bool,
    /// Whom to trust, as the anchors signed it. Who carries it need not be believed.
    pub trust: Option<Arc<SignedBundle>>,
}

/// A state with its number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Numbered {
    pub(crate) version: u64,
    pub(crate) state: State,
}

/// The way from one state to the next, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    /// Whether it stands alone; else it is counted from the one before on this connection.
    pub(crate) whole: bool,
    pub(crate) settled: bool,
    /// All texts, where one of them has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<Vec<Document>>,
    /// Services whose list has changed, each with its whole list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<String, List>,
    /// Services that are not known any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gone: Vec<String>,
    /// Whom to trust, where that has changed. The wire before knows nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trust: Option<SignedBundle>,
}

/// A text of policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    name: String,
    text: String,
}

/// Where a service is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    protocol: Spoken,
    endpoints: Vec<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    address: SocketAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
}

const fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(weight: &u32) -> bool {
    *weight == 1
}

impl Snapshot {
    /// What leads from `before` to `next`; everything where nothing was told before.
    pub(crate) fn between(before: Option<&Numbered>, next: &Numbered) -> Self {
        let state = &next.state;
        let empty = State::default();
        let known = before.map_or(&empty, |it| &it.state);
        let has_changed = before.is_none() || known.documents != state.documents;
        let changed = state.sets.iter().filter(|(name, set)| known.sets.get(*name) != Some(*set));
        Self {
            version: next.version,
            whole: before.is_none(),
            settled: state.is_settled,
            policy: has_changed.then(|| state.documents.iter().map(Document::from).collect()),
            services: changed.map(|(name, set)| (name.clone(), List::from(set))).collect(),
            gone: known.sets.keys().filter(|it| !state.sets.contains_key(*it)).cloned().collect(),
            trust: state.trust.as_deref().filter(|_| known.trust != state.trust).cloned(),
        }
    }

    /// What `told` is after this.
    pub(crate) fn apply(self, told: &mut State) {
        if self.whole {
            *told = State::default();
        }
        told.is_settled = self.settled;
        if let Some(policy) = self.policy {
            told.documents = policy.into_iter().map(SourceFile::from).collect();
        }
        for name in self.gone {
            told.sets.remove(&name);
        }
        if let Some(trust) = self.trust {
            told.trust = Some(Arc::new(trust));
        }
        told.sets.extend(self.services.into_iter().map(|(name, it)| (name, it.into())));
    }
}

impl State {
    /// What is to be in force by one who held `before`: while nobody is taken for gone, what was held
    /// and what is told together. Of an address that both know, what is told counts.
    #[must_use]
    pub fn over(&self, before: &Self) -> Self {
        let mut held = self.clone();
        if self.is_settled {
            return held;
        }
        if held.documents.is_empty() {
            held.documents.clone_from(&before.documents);
        }
        for (name, known) in &before.sets {
            let Some(set) = held.sets.get_mut(name) else {
                held.sets.insert(name.clone(), known.clone());
                continue;
            };
            if set.endpoints.is_empty() {
                set.protocol = known.protocol;
            }
            let here = |it: &Endpoint| {
                set.endpoints.iter().any(|told| {
                    // An instance that moved is at its new address alone.
                    told.address == it.address
                        || (told.instance.is_some() && told.instance == it.instance)
                })
            };
            let kept: Vec<_> = known.endpoints.iter().filter(|it| !here(it)).cloned().collect();
            set.endpoints.extend(kept);
        }
        held
    }
}

impl From<&SourceFile> for Document {
    fn from(file: &SourceFile) -> Self {
        Self { name: file.name.clone(), text: file.text.clone() }
    }
}

impl From<Document> for SourceFile {
    fn from(document: Document) -> Self {
        Self { name: document.name, text: document.text }
    }
}

impl From<&EndpointSet> for List {
    fn from(set: &EndpointSet) -> Self {
        let place = |it: &Endpoint| Place {
            address: it.address,
            instance: it.instance.clone(),
            version: it.version.clone(),
            weight: it.weight,
            identity: it.identity.clone(),
        };
        Self { protocol: set.protocol.into(), endpoints: set.endpoints.iter().map(place).collect() }
    }
}

impl From<List> for EndpointSet {
    fn from(list: List) -> Self {
        let endpoint = |it: Place| Endpoint {
            address: it.address,
            instance: it.instance,
            version: it.version,
            weight: it.weight,
            identity: it.identity,
        };
        Self {
            protocol: list.protocol.into(),
            endpoints: list.endpoints.into_iter().map(endpoint).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Random;

    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            address: ([127, 0, 0, 1], port).into(),
            instance: Some(format!("i-{port}")),
            version: None,
            weight: u32::from(port % 3),
            identity: port.is_multiple_of(2).then(|| "spiffe://m/ns/a/svc/b".to_owned()),
        }
    }

    fn sets(told: &[(&str, &[u16])]) -> Sets {
        let set = |ports: &[u16]| EndpointSet {
            endpoints: ports.iter().map(|it| endpoint(*it)).collect(),
            ..EndpointSet::default()
        };
        told.iter().map(|(name, ports)| ((*name).to_owned(), set(ports))).collect()
    }

    fn state(told: &[(&str, &[u16])], is_settled: bool) -> State {
        State { sets: sets(told), is_settled, ..State::default() }
    }

    #[test]
    fn what_is_told_step_by_step_is_the_state_at_every_step() {
        for seed in 0..300 {
            let mut random = Random::with_seed(seed);
            let (mut told, mut before) = (State::default(), None);
            for version in 1..12 {
                let mut next = Numbered { version, state: State::default() };
                next.state.is_settled = random.below(2) == 0;
                for name in ["a", "b", "c"] {
                    if random.below(3) > 0 {
                        let ports: Vec<u16> = (1..6).filter(|_| random.below(2) == 0).collect();
                        next.state.sets.extend(sets(&[(name, &ports)]));
                    }
                }
                let text = format!("# {}", random.below(2));
                next.state.documents.push(SourceFile { name: "rules".to_owned(), text });
                // It comes once, changes, and never goes.
                let text = format!("{{\"bundle\":\"{}\",\"signatures\":{{}}}}", random.below(2));
                let trust = (random.below(2) == 0).then(|| serde_json::from_str(&text).unwrap());
                let known = before.as_ref().and_then(|it: &Numbered| it.state.trust.clone());
                next.state.trust = trust.map(Arc::new).or(known);
                // A connection that broke begins anew.
                let from = before.as_ref().filter(|_| random.below(4) > 0);
                let sent = serde_json::to_string(&Snapshot::between(from, &next)).unwrap();
                serde_json::from_str::<Snapshot>(&sent).unwrap().apply(&mut told);
                assert_eq!(told, next.state, "seed {seed}");
                before = Some(next);
            }
        }
    }

    #[test]
    fn one_change_costs_one_list() {
        let before = Numbered { version: 1, state: state(&[("a", &[1, 2]), ("b", &[3])], true) };
        let next = Numbered { version: 2, state: state(&[("a", &[1, 2]), ("b", &[3, 4])], true) };
        let sent = Snapshot::between(Some(&before), &next);
        assert_eq!(sent.services.keys().collect::<Vec<_>>(), ["b"]);
        assert!(sent.policy.is_none() && sent.trust.is_none());
    }

    #[test]
    fn nobody_is_taken_for_gone_before_the_state_is_settled() {
        let held = state(&[("a", &[1, 2]), ("b", &[3])], true);
        let nothing = State::default().over(&held);
        assert_eq!(nothing.sets, held.sets, "a registry that knows nothing says nothing");
        let some = state(&[("a", &[2, 4])], false).over(&held);
        assert_eq!(some.sets, sets(&[("a", &[2, 4, 1]), ("b", &[3])]));
        let settled = state(&[("a", &[4])], true).over(&held);
        assert_eq!(settled.sets, sets(&[("a", &[4])]));
    }

    #[test]
    fn an_instance_that_moved_is_found_at_its_new_address_alone() {
        let held = state(&[("a", &[1])], true);
        let mut told = state(&[("a", &[1])], false);
        told.sets.get_mut("a").unwrap().endpoints[0].address = ([127, 0, 0, 1], 9).into();
        assert_eq!(told.over(&held).sets["a"].endpoints.len(), 1);
    }
}
