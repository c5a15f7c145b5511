//! What is called how in a mesh: its services with their versions, its edges, as the processes know
//! them together.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    admin::{Admins, Gathered, Said},
    cells::{list, text},
};
use crate::{Exit, Failure};

/// The names that the processes of a mesh know.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Names {
    services: BTreeSet<String>,
    edges: BTreeSet<String>,
    /// Where the routes on a service lead.
    led_to: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    /// Asks every process.
    ///
    /// # Errors
    /// No process answers.
    pub async fn ask(admins: &Admins) -> Result<Self, Failure> {
        let (routes, endpoints) = (admins.get("/routes").await?, admins.get("/endpoints").await?);
        Ok(Self::of(&pages(&routes), &pages(&endpoints)))
    }

    /// The names in these pages of `/routes` and of `/endpoints`.
    #[must_use]
    pub fn of(routes: &[Value], endpoints: &[Value]) -> Self {
        let mut names = Self::default();
        for row in routes.iter().flat_map(|it| list(&it["routes"])) {
            match row["door"].as_str().and_then(|it| it.split_once('/')) {
                Some(("edge", edge)) => drop(names.edges.insert(edge.to_owned())),
                Some((_, service)) => {
                    names.services.insert(service.to_owned());
                    let led_to = names.led_to.entry(service.to_owned()).or_default();
                    led_to.extend(list(&row["backends"]).iter().map(|it| text(&it["service"])));
                }
                None => {}
            }
        }
        let destinations = endpoints.iter().flat_map(|it| list(&it["destinations"]));
        names.services.extend(destinations.map(|it| text(&it["service"])));
        names
    }

    /// A service with everything that its routes lead to: where it runs in versions, these.
    ///
    /// # Errors
    /// Nobody knows the service; the names that are known are told.
    pub fn service(&self, name: &str) -> Result<Vec<String>, Failure> {
        if !self.services.contains(name) {
            let what = format!("no process of the mesh knows a service `{name}`");
            return Err(unknown("no_such_service", what, &self.services));
        }
        let others = self.led_to.get(name).into_iter().flatten().filter(|it| *it != name);
        Ok(std::iter::once(name.to_owned()).chain(others.cloned()).collect())
    }

    /// Looks for an edge.
    ///
    /// # Errors
    /// Nobody has routes of this edge; the edges that are known are told.
    pub fn edge(&self, name: &str) -> Result<(), Failure> {
        if self.edges.contains(name) {
            return Ok(());
        }
        let what = format!("no process of the mesh has routes of an edge `{name}`");
        Err(unknown("no_such_edge", what, &self.edges))
    }
}

/// The service and its versions where one is named; none where none is.
///
/// # Errors
/// No process answers, or none knows the service.
pub async fn wanted(admins: &Admins, service: Option<&str>) -> Result<Vec<String>, Failure> {
    match service {
        Some(service) => Names::ask(admins).await?.service(service),
        None => Ok(Vec::new()),
    }
}

/// A failure about a name that nobody has.
pub(super) fn unknown(code: &'static str, what: String, known: &BTreeSet<String>) -> Failure {
    let failure = Failure::new(code, what).exit(Exit::NotFound);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match known.is_empty() {
        true => failure.because("none is known"),
        false => failure.because(format!("known are {}", known.join(", "))),
    }
}

/// What the processes said, as documents.
pub(super) fn pages(gathered: &Gathered) -> Vec<Value> {
    gathered.said.iter().map(Said::json).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        let routes = json!({"routes": [
            {"door": "service/account", "backends": [{"service": "account-v1"}, {"service": "account-v2"}]},
            {"door": "service/account", "backends": [{"service": "account-v2"}]},
            {"door": "edge/front", "backends": [{"service": "shop"}]},
        ]});
        let endpoints = json!({"destinations": [
            {"service": "account-v1"}, {"service": "account-v2"}, {"service": "shop"},
        ]});
        Names::of(&[routes], &[endpoints])
    }

    #[test]
    fn a_service_is_all_of_its_versions_and_a_version_itself_alone() {
        let found = |name| names().service(name).unwrap();
        assert_eq!(found("account"), ["account", "account-v1", "account-v2"]);
        assert_eq!(found("account-v2"), ["account-v2"]);
        assert_eq!(found("shop"), ["shop"]);
    }

    #[test]
    fn a_name_that_nobody_has_is_answered_with_those_that_are_known() {
        let service = names().service("shelf").unwrap_err();
        let known = "known are account, account-v1, account-v2, shop";
        assert_eq!((service.exit, service.why.as_deref()), (Exit::NotFound, Some(known)));
        let edge = names().edge("back").unwrap_err();
        assert_eq!(
            (edge.code.as_ref(), edge.why.as_deref()),
            ("no_such_edge", Some("known are front"))
        );
        assert!(names().edge("front").is_ok());
    }
}
