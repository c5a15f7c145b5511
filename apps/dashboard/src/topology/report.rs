//! The picture as the page asks for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::{
    Edge, Topology,
    counts::Counts,
    layout::layout,
    process::{Part, Process},
};

/// Samples that the numbers are of: half a minute. Fewer would jump, more would show what is over.
const SHOWN: usize = 15;

/// Everything. Rates are a second, times in seconds, shares from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) services: Vec<ServiceReport>,
    pub(crate) edges: Vec<EdgeReport>,
    /// Edges beyond what is kept.
    pub(crate) edges_dropped: usize,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceReport {
    pub(crate) name: String,
    /// Column from the left; none when it neither calls nor is called.
    pub(crate) layer: Option<usize>,
    /// Place in its column, or among those without one.
    pub(crate) row: usize,
    pub(crate) ready: usize,
    pub(crate) total: usize,
    pub(crate) state: ServiceState,
    pub(crate) processes: Vec<ProcessReport>,
}

/// How a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ServiceState {
    /// All instances are ready, and all processes that are asked answer.
    Well,
    /// Some are not.
    Partly,
    /// No instance is ready.
    Down,
    /// It is called, and no process of that name is listed.
    Unknown,
}

/// One process of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessReport {
    pub(crate) instance: String,
    pub(crate) part: Part,
    pub(crate) state: String,
    /// Whether it gave its metrics in the newest round; none when it serves none.
    pub(crate) answers: Option<bool>,
}

/// One edge.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EdgeReport {
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) requests_per_second: f64,
    /// Of the requests: answered with 5xx, or not at all. None without requests.
    pub(crate) error_share: Option<f64>,
    /// Answered by the mesh itself, such as beyond a limit.
    pub(crate) refusals_per_second: f64,
    pub(crate) retries_per_second: f64,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    /// Endpoints that some caller's breaker holds back.
    pub(crate) breakers_open: usize,
    pub(crate) endpoints: Vec<EndpointReport>,
    /// Requests a second of each sample that is kept, the oldest first.
    pub(crate) history: Vec<f64>,
}

/// One endpoint of an edge's destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EndpointReport {
    pub(crate) name: String,
    /// Callers that know it, and those of them whose breaker is open or half open.
    pub(crate) callers: usize,
    pub(crate) open: usize,
}

impl Topology {
    /// The picture of now.
    pub(crate) fn report(&self) -> Report {
        let edge = |((source, destination), edge): (&(String, String), &Edge)| {
            self.edge(source, destination, edge)
        };
        Report {
            services: self.services(),
            edges: self.edges.iter().map(edge).collect(),
            edges_dropped: self.edges_dropped,
        }
    }

    fn services(&self) -> Vec<ServiceReport> {
        let pairs = self.edges.keys().map(|(source, to)| (source.as_str(), to.as_str()));
        let places = layout(pairs);
        let listed = self.processes.iter().map(|(it, _)| it.service.as_str());
        let names: BTreeSet<_> = listed.chain(places.keys().copied()).collect();
        let mut apart = 0..;
        let service = |name: &str| {
            let place = places.get(name);
            let row = place.map(|it| it.row).or_else(|| apart.next()).unwrap_or(0);
            self.service(name, place.map(|it| it.layer), row)
        };
        names.into_iter().map(service).collect()
    }

    fn service(&self, name: &str, layer: Option<usize>, row: usize) -> ServiceReport {
        let processes = || self.processes.iter().filter(|(it, _)| it.service == name);
        let instances = || processes().filter(|(it, _)| it.part == Part::Instance);
        let total = instances().count();
        let ready = instances().filter(|(it, _)| it.is_ready()).count();
        let is_well =
            |(it, answered): &(Process, bool)| it.is_ready() && (*answered || it.admin.is_none());
        let state = match (ready, total) {
            (_, 0) => ServiceState::Unknown,
            (0, _) => ServiceState::Down,
            _ if processes().all(is_well) => ServiceState::Well,
            _ => ServiceState::Partly,
        };
        let report = |(it, answered): &(Process, bool)| ProcessReport {
            instance: it.instance.clone(),
            part: it.part,
            state: it.state.clone(),
            answers: it.admin.map(|_| *answered),
        };
        let processes = processes().map(report).collect();
        ServiceReport { name: name.to_owned(), layer, row, ready, total, state, processes }
    }

    fn edge(&self, source: &str, destination: &str, edge: &Edge) -> EdgeReport {
        let skipped = edge.samples.len().saturating_sub(SHOWN);
        let (mut sum, mut elapsed) = (Counts::default(), Duration::ZERO);
        for sample in edge.samples.iter().skip(skipped) {
            sum.add(&sample.counts);
            elapsed += sample.elapsed;
        }
        let per_second = |count: f64, elapsed: Duration| {
            if elapsed.is_zero() { 0.0 } else { count / elapsed.as_secs_f64() }
        };
        let endpoints = self.endpoints(source, destination);
        EdgeReport {
            source: source.to_owned(),
            destination: destination.to_owned(),
            requests_per_second: per_second(sum.requests, elapsed),
            error_share: (sum.requests > 0.0).then(|| sum.errors / sum.requests),
            refusals_per_second: per_second(sum.refusals, elapsed),
            retries_per_second: per_second(sum.retries, elapsed),
            p50_seconds: sum.quantile(0.5),
            p99_seconds: sum.quantile(0.99),
            breakers_open: endpoints.iter().filter(|it| it.open > 0).count(),
            endpoints,
            history: edge
                .samples
                .iter()
                .map(|it| per_second(it.counts.requests, it.elapsed))
                .collect(),
        }
    }

    /// What the callers' breakers say. The page of one that does not answer any more says nothing.
    fn endpoints(&self, source: &str, destination: &str) -> Vec<EndpointReport> {
        let callers =
            self.processes.iter().filter(|(it, answered)| it.service == source && *answered);
        let mut endpoints = BTreeMap::<&str, (usize, usize)>::new();
        for (caller, _) in callers {
            let Some((_, page)) = self.pages.get(&caller.instance) else { continue };
            // Beside a proxy stands a program whose own calls all go to the proxy.
            if !page.calls.contains_key(destination) {
                continue;
            }
            for (name, is_open) in page.breakers.get(destination).into_iter().flatten() {
                let (callers, open) = endpoints.entry(name).or_default();
                *callers += 1;
                *open += usize::from(*is_open);
            }
        }
        let report = |(name, (callers, open)): (&str, (usize, usize))| EndpointReport {
            name: name.to_owned(),
            callers,
            open,
        };
        endpoints.into_iter().map(report).collect()
    }
}
