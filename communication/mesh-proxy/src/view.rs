//! What the mesh knows, for people and programs who ask: routes, endpoints, and why a request goes
//! where it goes.

mod bound;
mod door;
mod shown;

use http::{HeaderName, HeaderValue, Method};
use identity::Handshakes;
use mesh_policy::{
    balance::Algorithm,
    breaker::State,
    route::{
        Mismatch, PathMatch, RequestView as _, Rule, ValueMatch, ValuePattern,
        Verdict as RouteVerdict,
    },
};
use serde_json::{Value, json};

use crate::{
    head::RequestHead,
    mesh::{Door, Mesh, destination::Destination},
};

pub use bound::faults;
pub use door::{authorization, authorizations};
pub use shown::identity;

/// Every door with its rules in the order of the files.
#[must_use]
pub fn routes(mesh: &Mesh) -> Value {
    let snapshot = mesh.snapshot();
    let mut rows = Vec::new();
    for (door, lanes) in snapshot.doors() {
        for route in lanes.table.routes() {
            for (index, rule) in route.rules.iter().enumerate() {
                rows.push(json!({
                    "door": door_name(door),
                    "route": route.name,
                    "rule": rule.name.clone().unwrap_or_else(|| index.to_string()),
                    "hosts": route.hostnames,
                    "matches": matches(rule),
                    "backends": rule.backends.iter().map(|it| json!({
                        "service": it.service, "weight": it.weight,
                    })).collect::<Vec<_>>(),
                    "request_timeout_ms": rule.timeouts.request.map(millis),
                    "backend_request_timeout_ms": rule.timeouts.backend_request.map(millis),
                    "retry_attempts": rule.retry.as_ref().and_then(|it| it.attempts),
                }));
            }
        }
    }
    let key = |row: &Value| (row["door"].to_string(), row["route"].to_string());
    rows.sort_by_key(key);
    json!({
        "source": mesh.source(), "direction": mesh.direction().as_str(), "routes": rows,
        "troubles": troubles(mesh),
        "identity": mesh.handshakes().and_then(Handshakes::identity).map(|it| it.to_string()),
    })
}

/// What is wrong, by what it is about.
fn troubles(mesh: &Mesh) -> Value {
    mesh.troubles()
        .into_iter()
        .map(|(subject, why)| (subject.as_str().to_owned(), Value::from(why)))
        .collect()
}

/// Every endpoint of every destination with what is known of it now.
#[must_use]
pub fn endpoints(mesh: &Mesh) -> Value {
    let snapshot = mesh.snapshot();
    let rows: Vec<Value> = snapshot.destinations().values().map(|it| of(mesh, it)).collect();
    json!({
        "source": mesh.source(), "direction": mesh.direction().as_str(), "destinations": rows,
        "troubles": troubles(mesh),
    })
}

/// Which rule a request is under, what was considered before it, how each endpoint stands, and which
/// faults and limits may answer instead. It takes no place, no probe and nothing of a budget. At an edge
/// `access` says whether somebody with these roles would be let in, and by which rule.
#[must_use]
pub fn explain(mesh: &Mesh, door: &Door, head: &RequestHead, roles: &[&str]) -> Value {
    let snapshot = mesh.snapshot();
    let lanes = snapshot.lanes(door);
    let verdict_of = |it: &RouteVerdict<'_>| match it {
        RouteVerdict::Taken => json!("taken"),
        RouteVerdict::Outranked => json!("outranked"),
        RouteVerdict::Refused(mismatch) => match mismatch {
            Mismatch::Host => json!("other host"),
            Mismatch::Path => json!("other path"),
            Mismatch::Method => json!("other method"),
            Mismatch::Header(name) => json!(format!("header {name}")),
            Mismatch::Query(name) => json!(format!("query {name}")),
            Mismatch::Version => json!("other version"),
        },
    };
    let considered: Vec<Value> = lanes
        .map(|it| it.table.explain(head))
        .unwrap_or_default()
        .iter()
        .map(|it| {
            let (route, rule) = (&it.found.route.name, it.found.rule_index);
            json!({ "route": route, "rule": rule, "verdict": verdict_of(&it.verdict) })
        })
        .collect();
    let found = lanes.and_then(|it| it.table.find(head));
    let names: Vec<String> = match (&found, door) {
        (Some(found), _) => found.rule.backends.iter().map(|it| it.service.clone()).collect(),
        (None, Door::Service(name)) if lanes.is_none() => vec![name.clone()],
        (None, _) => Vec::new(),
    };
    // An edge without a route leads nowhere; a service without one is called directly.
    let is_routed = found.is_some() || (lanes.is_none() && door.service().is_some());
    let route = found.as_ref().map_or("", |it| it.route.name.as_str());
    let destinations: Vec<Value> =
        names.iter().filter_map(|it| snapshot.destination(it)).map(|it| of(mesh, it)).collect();
    json!({
        "method": head.method.as_str(),
        "host": head.host(),
        "path": head.path(),
        "door": door_name(door),
        "route": found.as_ref().map(|it| it.route.name.clone()),
        "rule": found.as_ref().map(|it| it.rule_index),
        "considered": considered,
        "destinations": destinations,
        "faults": bound::faults_on(mesh, door, route, &names, head),
        "limits": if is_routed { bound::limits_on(mesh, door, route) } else { Vec::new() },
        "verdict": verdict(&destinations, is_routed),
        "access": door::access(&snapshot.policy.edge_access, door, (route, head.method.as_str()), roles),
    })
}

/// A request to be explained.
///
/// # Errors
/// In words, what of it is no request.
pub fn asked(
    method: &str,
    host: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<RequestHead, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|it| it.to_string())?;
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let path = mesh_policy::path::normalise_inside(path.as_bytes()).map_err(|it| it.to_string())?;
    let target = query.map_or_else(|| path.to_string(), |it| format!("{path}?{it}"));
    let version = crate::head::Version::Http11;
    let mut head = RequestHead::new(method, version, host.to_owned().into(), target.into());
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is no name of a header"))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of the header {name} is none"))?;
        head.fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    Ok(head)
}

fn verdict(destinations: &[Value], is_routed: bool) -> &'static str {
    let has = |state: &str| {
        destinations.iter().any(|it| {
            it["endpoints"]
                .as_array()
                .is_some_and(|all| all.iter().any(|it| it["breaker"] == state))
        })
    };
    if !is_routed {
        return "no_route";
    }
    if has("closed") || has("half_open") {
        return "would_send";
    }
    if has("open") { "breaker_open" } else { "no_endpoint" }
}

fn of(mesh: &Mesh, destination: &Destination) -> Value {
    let now = mesh.now();
    let settings = &destination.settings;
    let endpoints: Vec<Value> = destination
        .endpoints
        .iter()
        .map(|endpoint| {
            let view = endpoint.view(&settings.balance, now);
            json!({
                "endpoint": endpoint.name(),
                "address": endpoint.address().to_string(),
                "version": endpoint.listed.version,
                "weight": endpoint.listed.weight,
                "breaker": state(view.state),
                "next_try_ms": view.next_try.map(millis),
                "latency_ms": view.latency.map(|it| it.as_secs_f64() * 1_000.0),
                "outstanding": view.outstanding,
                "score": view.score,
            })
        })
        .collect();
    json!({
        "service": destination.name,
        "algorithm": algorithm(settings.balance.algorithm),
        "endpoints": endpoints,
        "in_flight": destination.gate.taken(),
        "in_flight_max": settings.concurrency.requests_max,
        "retry_budget": destination.shared.budget().balance(now),
    })
}

fn matches(rule: &Rule) -> Vec<String> {
    let value = |it: &ValueMatch| match &it.value {
        ValuePattern::Exact(value) => format!("{}={value}", it.name),
        ValuePattern::Regex(pattern) => format!("{}~{pattern}", it.name),
    };
    let one = |it: &mesh_policy::route::Match| {
        let path = match &it.path {
            None => "/*".to_owned(),
            Some(PathMatch::Exact(path)) => path.clone(),
            Some(PathMatch::Prefix(prefix)) => format!("{}/*", prefix.trim_end_matches('/')),
            Some(PathMatch::Regex(pattern)) => format!("~{pattern}"),
            Some(PathMatch::Grpc { service, method }) => format!(
                "/{}/{}",
                service.as_deref().unwrap_or("*"),
                method.as_deref().unwrap_or("*")
            ),
        };
        let mut words = vec![it.method.clone().unwrap_or_else(|| "*".to_owned()), path];
        words.extend(it.headers.iter().map(value));
        words.extend(it.query.iter().map(|it| format!("?{}", value(it))));
        if let Some(version) = &it.version {
            words.push(format!("version={}", version.version.as_deref().unwrap_or("*")));
        }
        words.join(" ")
    };
    rule.matches.iter().map(one).collect()
}

fn door_name(door: &Door) -> String {
    match door {
        Door::Edge(name) => format!("edge/{name}"),
        Door::Service(name) => format!("service/{name}"),
    }
}

const fn state(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half_open",
    }
}

const fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::PeakEwma => "peakEwma",
        Algorithm::LeastRequest => "leastRequest",
        Algorithm::RoundRobin => "roundRobin",
        Algorithm::Random => "random",
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
