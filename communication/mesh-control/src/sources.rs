//! Where a state comes from besides the registry: texts of policy and lists that somebody keeps elsewhere.
//!
//! Each source is looked at by itself. What cannot be used changes nothing, and is shown until it is
//! mended; the others are heard all the same.

pub mod dns;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    slice::from_ref,
    time::Duration,
};

use mesh_policy::{
    destination::Endpoint,
    route::Table,
    schema::{self, SourceFile},
};

use crate::state::{Sets, State};

/// Bytes of all texts together: half of what a line of the wire may have.
const POLICY_BYTES_MAX: usize = 16 << 20;

/// What one source says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contribution {
    /// Texts of policy.
    pub documents: Vec<SourceFile>,
    /// Where services are found.
    pub sets: Sets,
}

/// Something that is looked at again and again.
pub trait Source: Send + 'static {
    /// What it is called, in figures and messages.
    fn name(&self) -> &str;
    /// The time between two looks.
    fn every(&self) -> Duration;
    /// What it says now. Cancel-safe.
    fn look(&mut self) -> impl Future<Output = Result<Contribution, String>> + Send;
}

/// What all sources said when they could last be used.
#[derive(Debug, Default)]
pub(crate) struct Contributions {
    good: BTreeMap<String, Contribution>,
    /// Services that a text lists: there it alone is believed.
    listed: BTreeSet<String>,
    troubles: BTreeMap<String, String>,
}

impl Contributions {
    /// Takes in what a source said; answers whether that changed anything.
    pub(crate) fn take(
        &mut self,
        name: &str,
        said: Result<Contribution, String>,
    ) -> Result<bool, String> {
        let taken = said.and_then(|it| self.put(name, it));
        match &taken {
            Ok(_) => self.troubles.remove(name),
            Err(why) => self.troubles.insert(name.to_owned(), why.clone()),
        };
        taken
    }

    fn put(&mut self, name: &str, said: Contribution) -> Result<bool, String> {
        if self.good.get(name) == Some(&said) {
            return Ok(false);
        }
        let others = self.good.iter().filter(|(other, _)| *other != name);
        let others = others.flat_map(|(_, it)| &it.documents);
        let documents: Vec<_> = others.chain(&said.documents).cloned().collect();
        if documents.iter().map(|it| it.text.len()).sum::<usize>() > POLICY_BYTES_MAX {
            return Err(format!("the texts are longer than {POLICY_BYTES_MAX} bytes together"));
        }
        let lines = |it: Vec<schema::Finding>| {
            it.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        let policy = schema::read(&documents).map_err(lines)?;
        for route in &policy.routes {
            for parent in &route.parents {
                Table::compile(from_ref(route), parent).map_err(|it| it.to_string())?;
            }
        }
        self.listed = policy.endpoints.into_keys().collect();
        self.good.insert(name.to_owned(), said);
        Ok(true)
    }

    /// Why a source is not believed, by its name.
    pub(crate) fn troubles(&self) -> &BTreeMap<String, String> {
        &self.troubles
    }

    /// The whole: what a text lists stands as it is; elsewhere lists are put together, the registry's
    /// first.
    pub(crate) fn state(&self, registered: Sets, is_settled: bool) -> State {
        let (mut documents, mut sets) = (Vec::new(), registered);
        for contribution in self.good.values() {
            documents.extend(contribution.documents.iter().cloned());
            for (name, further) in &contribution.sets {
                let Some(set) = sets.get_mut(name) else {
                    sets.insert(name.clone(), further.clone());
                    continue;
                };
                if set.endpoints.is_empty() {
                    set.protocol = further.protocol;
                }
                let is_new =
                    |it: &&Endpoint| !set.endpoints.iter().any(|known| known.address == it.address);
                let new: Vec<_> = further.endpoints.iter().filter(is_new).cloned().collect();
                set.endpoints.extend(new);
            }
        }
        sets.retain(|name, _| !self.listed.contains(name));
        State { documents, sets, is_settled, trust: None }
    }
}

#[cfg(test)]
mod tests {
    use mesh_policy::destination::EndpointSet;

    use super::*;

    fn text(name: &str, text: &str) -> Contribution {
        let file = SourceFile { name: name.to_owned(), text: text.to_owned() };
        Contribution { documents: vec![file], sets: Sets::new() }
    }

    fn list(name: &str, ports: &[u16]) -> Sets {
        let endpoint = |it: &u16| Endpoint {
            address: ([127, 0, 0, 1], *it).into(),
            instance: None,
            version: None,
            weight: 1,
            identity: None,
        };
        let endpoints = ports.iter().map(endpoint).collect();
        Sets::from([(name.to_owned(), EndpointSet { endpoints, ..EndpointSet::default() })])
    }

    const CART: &str = "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {name: cart}\n\
                        spec: {endpoints: [{address: \"127.0.0.1:1\"}]}\n";

    // mesh 12b: 60
    #[test]
    fn a_text_that_is_no_policy_changes_nothing_and_is_shown_until_it_is_mended() {
        let mut all = Contributions::default();
        assert_eq!(all.take("files", Ok(text("cart.yaml", CART))), Ok(true));
        let before = all.state(Sets::new(), true);
        let broken = CART.replace("endpoints:", "endpoint:");
        let refused = all.take("files", Ok(text("cart.yaml", &broken))).unwrap_err();
        assert!(refused.starts_with("cart.yaml:4:7"), "{refused}");
        assert_eq!(all.state(Sets::new(), true), before);
        assert_eq!(all.troubles()["files"], refused);
        assert!(all.take("files", Err("no such file".to_owned())).is_err());
        assert_eq!(all.state(Sets::new(), true), before);
        assert_eq!(all.take("files", Ok(text("cart.yaml", CART))), Ok(false));
        assert!(all.troubles().is_empty());
    }

    #[test]
    fn what_a_text_lists_is_believed_alone_and_other_lists_are_put_together() {
        let mut all = Contributions::default();
        let named = Contribution { sets: list("bank", &[2, 3]), documents: Vec::new() };
        all.take("dns", Ok(named)).unwrap();
        all.take("files", Ok(text("cart.yaml", CART))).unwrap();
        let registered = list("bank", &[3, 4]).into_iter().chain(list("cart", &[9])).collect();
        let state = all.state(registered, true);
        assert_eq!(state.sets.keys().collect::<Vec<_>>(), ["bank"]);
        let ports: Vec<_> =
            state.sets["bank"].endpoints.iter().map(|it| it.address.port()).collect();
        assert_eq!(ports, [3, 4, 2]);
    }
}
