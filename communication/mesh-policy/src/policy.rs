//! Everything that files say, in one value.

use std::collections::BTreeMap;

use crate::{
    authorization::Authorization,
    destination::{Attachments, Destination, EndpointSet},
    edge_access::EdgeAccess,
    fault::{At, Fault},
    proxy::Proxy,
    rate::RateLimit,
    route::Route,
};

/// The target that stands for every destination.
pub const EVERY: &str = "*";

/// Everything that files say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// Routes.
    pub routes: Vec<Route>,
    /// What is set for destinations, by name; [`EVERY`] stands for all.
    pub attachments: BTreeMap<String, Attachments>,
    /// Where services are found.
    pub endpoints: BTreeMap<String, EndpointSet>,
    /// Rate limits.
    pub rate_limits: Vec<RateLimit>,
    /// Faults.
    pub faults: Vec<Fault>,
    /// Who may call what.
    pub authorizations: Vec<Authorization>,
    /// Who may come in at edges.
    pub edge_access: Vec<EdgeAccess>,
    /// Proxies.
    pub proxies: Vec<Proxy>,
}

impl Policy {
    /// What is set for calls to a service.
    #[must_use]
    pub fn destination(&self, service: &str) -> Destination {
        let (own, every) = (self.attachments.get(service), self.attachments.get(EVERY));
        let defaults = Destination::default();
        Destination {
            balance: pick(own, every, |it| it.balance).unwrap_or(defaults.balance),
            breaker: pick(own, every, |it| it.breaker).unwrap_or(defaults.breaker),
            concurrency: pick(own, every, |it| it.concurrency).unwrap_or(defaults.concurrency),
            retry: pick(own, every, |it| it.retry.clone()).unwrap_or(defaults.retry),
            timeouts: pick(own, every, |it| it.timeouts).unwrap_or(defaults.timeouts),
        }
    }

    /// What is set at the door of a service, for what comes in to it: its rate limits and faults, as if
    /// they bound every request. `door` is what calls to it are calls to, there.
    #[must_use]
    pub fn at_door_of(&self, service: &str, door: &str) -> (Vec<RateLimit>, Vec<Fault>) {
        let limits = self.rate_limits.iter().filter(|it| it.service.as_deref() == Some(service));
        let faults = self.faults.iter().filter(|it| it.at == At::Service && it.service == service);
        let here = |it: &Fault| Fault {
            name: format!("{}@{door}", it.name),
            service: door.to_owned(),
            at: At::Caller,
            ..it.clone()
        };
        let limits = limits.map(|it| RateLimit { service: None, ..it.clone() });
        (limits.collect(), faults.map(here).collect())
    }
}

fn pick<T>(
    own: Option<&Attachments>,
    every: Option<&Attachments>,
    member: impl Fn(&Attachments) -> Option<T>,
) -> Option<T> {
    own.and_then(&member).or_else(|| every.and_then(&member))
}
