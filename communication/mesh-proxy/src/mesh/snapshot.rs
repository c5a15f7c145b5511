//! One policy, compiled: a table for each door, a lane for each way through a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use mesh_policy::{
    Moment, Policy,
    policy::EVERY,
    rate::{self, Limiter, RateLimit},
    route::{CompileError, Parent, Table},
};

use super::{
    destination::{Destination, Shared},
    endpoint::{Endpoint, Target, name_of},
    series::{EdgeSeries, Families},
};
use crate::gate::Gate;

/// Where a request comes in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// From outside, through the edge of this name.
    Edge(String),
    /// From a client inside, to this service.
    Service(String),
}

impl Door {
    /// The service that is called; `None` at an edge.
    pub(crate) fn service(&self) -> Option<&str> {
        match self {
            Self::Edge(_) => None,
            Self::Service(name) => Some(name),
        }
    }

    /// As what routes are attached to; an edge is all of its listeners.
    fn parent(&self) -> Parent {
        match self {
            Self::Edge(name) => Parent::Gateway { name: name.clone(), section: None },
            Self::Service(name) => Parent::Service { name: name.clone() },
        }
    }

    fn of(parent: &Parent) -> Self {
        match parent {
            Parent::Gateway { name, .. } => Self::Edge(name.clone()),
            Parent::Service { name } => Self::Service(name.clone()),
        }
    }
}

/// One policy, compiled.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) policy: Policy,
    doors: BTreeMap<Door, Lanes>,
    destinations: BTreeMap<String, Arc<Destination>>,
    /// Calls to a service that no route speaks of.
    direct: BTreeMap<String, Arc<Lane>>,
    limiters: Vec<Arc<Limited>>,
}

/// A rate limit at work.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) limit: RateLimit,
    limiter: Mutex<Limiter>,
}

/// Keys that one rate limit tells apart; what comes beyond shares one.
const KEYS_MAX: usize = 10_000;

impl Limited {
    fn new(limit: &RateLimit) -> Self {
        Self { limit: limit.clone(), limiter: Mutex::new(Limiter::new(limit.clone(), KEYS_MAX)) }
    }

    pub(crate) fn check(&self, key: Option<&str>, now: Moment) -> rate::Verdict {
        // A panic in a decision leaves a value that is still one.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner).check(key, now)
    }
}

/// The ways through one table.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) table: Table,
    /// By route and rule, as the table counts them.
    pub(crate) lanes: Vec<Vec<Arc<Lane>>>,
}

/// One rule at work.
#[derive(Debug)]
pub(crate) struct Lane {
    /// `namespace/name` of the route; empty where none speaks.
    pub(crate) route: String,
    pub(crate) backends: Vec<BackendLane>,
}

/// One backend of a rule at work.
#[derive(Debug)]
pub(crate) struct BackendLane {
    pub(crate) destination: Arc<Destination>,
    pub(crate) series: Arc<EdgeSeries>,
}

impl Snapshot {
    pub(super) fn build(
        source: &str,
        policy: Policy,
        before: Option<&Self>,
        families: &Families,
        now: Moment,
    ) -> Result<Self, CompileError> {
        // All that can fail comes first: what destinations share with the policy in force changes below.
        let mut tables = Vec::new();
        let parents: BTreeSet<Door> =
            policy.routes.iter().flat_map(|it| &it.parents).map(Door::of).collect();
        for door in parents {
            let table = Table::compile(&policy.routes, &door.parent())?;
            tables.push((door, table));
        }
        let mut names: BTreeSet<&str> = policy.endpoints.keys().map(String::as_str).collect();
        names.extend(policy.attachments.keys().map(String::as_str).filter(|it| *it != EVERY));
        let backends = policy.routes.iter().flat_map(|it| &it.rules).flat_map(|it| &it.backends);
        names.extend(backends.map(|it| it.service.as_str()));
        let mut destinations = BTreeMap::new();
        for name in names {
            let destination = Destination::build(name, &policy, before, families, now);
            destinations.insert(name.to_owned(), Arc::new(destination));
        }
        let lane = |route: &str, backends: Vec<&str>| {
            let backend = |name: &str| BackendLane {
                destination: Arc::clone(&destinations[name]),
                series: Arc::new(families.edge(source, route, name)),
            };
            Arc::new(Lane {
                route: route.to_owned(),
                backends: backends.into_iter().map(backend).collect(),
            })
        };
        let mut doors = BTreeMap::new();
        for (door, table) in tables {
            let lanes = table.routes().iter().map(|route| {
                let of_rule = |rule: &mesh_policy::route::Rule| {
                    lane(&route.name, rule.backends.iter().map(|it| it.service.as_str()).collect())
                };
                route.rules.iter().map(of_rule).collect()
            });
            let lanes = lanes.collect();
            doors.insert(door, Lanes { table, lanes });
        }
        let direct = destinations.keys().map(|it| (it.clone(), lane("", vec![it]))).collect();
        let known = |limit: &RateLimit| {
            before.and_then(|it| it.limiters.iter().find(|it| it.limit == *limit)).map(Arc::clone)
        };
        let limiter =
            |limit: &RateLimit| known(limit).unwrap_or_else(|| Arc::new(Limited::new(limit)));
        // Those at the door of a service are that door's.
        let limits = policy.rate_limits.iter().filter(|it| it.service.is_none());
        let limiters = limits.map(limiter).collect();
        Ok(Self { policy, doors, destinations, direct, limiters })
    }

    /// The rate limits that bind a route behind a door of `reader`, which is a gateway of its own name.
    pub(crate) fn limits<'a>(
        &'a self,
        reader: &'a str,
        door: &'a Door,
        route: &'a str,
    ) -> impl Iterator<Item = &'a Limited> {
        let binds = move |it: &&Arc<Limited>| {
            let is_behind =
                |name: &str| name == reader || matches!(door, Door::Edge(edge) if name == edge);
            it.limit.route.as_deref().is_none_or(|it| it == route)
                && it.limit.gateway.as_deref().is_none_or(is_behind)
        };
        self.limiters.iter().filter(binds).map(|it| &**it)
    }

    /// The ways that lead on from a door; `None` where no route is attached to it.
    pub(crate) fn lanes(&self, door: &Door) -> Option<&Lanes> {
        self.doors.get(door)
    }

    /// The way to a service that no route speaks of.
    pub(crate) fn direct(&self, service: &str) -> Option<&Arc<Lane>> {
        self.direct.get(service)
    }

    pub(crate) fn destination(&self, name: &str) -> Option<&Arc<Destination>> {
        self.destinations.get(name)
    }

    pub(crate) const fn destinations(&self) -> &BTreeMap<String, Arc<Destination>> {
        &self.destinations
    }

    pub(crate) fn doors(&self) -> impl Iterator<Item = (&Door, &Lanes)> {
        self.doors.iter()
    }

    pub(crate) fn has_target(&self, target: &Target) -> bool {
        let has = |it: &Arc<Destination>| it.endpoints.iter().any(|it| **it.target() == *target);
        self.destinations.values().any(has)
    }
}

impl Destination {
    fn build(
        name: &str,
        policy: &Policy,
        before: Option<&Snapshot>,
        families: &Families,
        now: Moment,
    ) -> Self {
        let settings = policy.destination(name);
        let before = before.and_then(|it| it.destination(name));
        let set = policy.endpoints.get(name);
        let endpoint = |listed: &mesh_policy::destination::Endpoint| {
            let mut known = before.into_iter().flat_map(|it| &it.endpoints);
            // Who must prove to be another is another process, wherever it listens.
            let is_same = |it: &&Arc<Endpoint>| {
                it.address() == listed.address && it.listed.identity == listed.identity
            };
            let known = known.find(is_same);
            if let Some(same) = known.filter(|it| it.listed == *listed) {
                return Arc::clone(same);
            }
            let series = families.endpoint(name, &name_of(listed), listed.identity.is_some());
            Arc::new(match known {
                // Another weight or name is no other process.
                Some(known) => known.listed_as(listed.clone(), series),
                None => Endpoint::new(listed.clone(), series, &settings.balance, now),
            })
        };
        let endpoints: Vec<_> =
            set.into_iter().flat_map(|it| &it.endpoints).map(endpoint).collect();
        let (places, queue) = (settings.concurrency.requests_max, settings.concurrency.queue_max);
        let gate = before.filter(|it| it.gate.is_of(places, queue)).map(|it| it.gate.clone());
        let shared = before.map(|it| Arc::clone(&it.shared));
        let shared =
            shared.unwrap_or_else(|| Arc::new(Shared::new(&settings, families.destination(name))));
        shared.budget().set(&settings.retry);
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        shared.series.endpoints.set(f64::from(count));
        Self {
            name: name.to_owned(),
            protocol: set.map(|it| it.protocol).unwrap_or_default(),
            endpoints,
            gate: gate.unwrap_or_else(|| Gate::new(places, queue)),
            settings,
            shared,
        }
    }
}
