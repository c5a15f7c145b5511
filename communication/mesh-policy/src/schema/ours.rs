//! Our own kinds, where the Gateway API has none.

use std::time::Duration;

use super::{
    Meta,
    cursor::{Item, Map},
    gateway,
};
use crate::{
    balance::{self, Algorithm},
    breaker, concurrency,
    destination::{Attachments, Endpoint, EndpointSet, Protocol, Timeouts},
    fault::{Abort, Fault},
    filter::{Filter, HeaderChange},
    proxy::{Edge, Inbound, Outbound, Proxy},
    rate::{RateKey, RateLimit},
    retry,
    route::{Backend, Match, Route, RouteKind, Rule},
    version::{VersionMatch, VersionSource},
};

const PROTOCOLS: [(&str, Protocol); 3] =
    [("http", Protocol::Http1), ("h2c", Protocol::Http2), ("tcp", Protocol::Tcp)];

pub(super) fn endpoints(spec: &Map<'_>) -> EndpointSet {
    let one = |it: &Map<'_>| {
        Some(Endpoint {
            instance: it.text("instance"),
            version: it.text("version"),
            weight: it.number("weight").unwrap_or(1),
            address: it.need("address")?.address()?,
        })
    };
    EndpointSet {
        protocol: spec.get("protocol").and_then(|it| it.word(&PROTOCOLS)).unwrap_or_default(),
        endpoints: spec
            .list("endpoints")
            .iter()
            .filter_map(|it| one(&it.map("an endpoint")?))
            .collect(),
    }
}

/// The target, what is set for it, and the routes that may be repeated whatever their method.
pub(super) fn traffic(spec: &Map<'_>) -> Option<(String, Attachments, Vec<String>)> {
    let target = spec.need("targetRef").and_then(|it| it.map("a target")).and_then(|it| {
        it.skip("group");
        if let Some(kind) = it.get("kind") {
            kind.word(&[("Service", ())])?;
        }
        it.need("name")?.text()
    });
    let attachments = Attachments {
        balance: spec.map("balancer", "balancer").map(|it| balancer(&it)),
        breaker: spec.map("breaker", "breaker").map(|it| breaker(&it)),
        concurrency: spec.map("concurrency", "concurrency").map(|it| concurrency(&it)),
        retry: spec.map("retry", "retry").map(|it| retry(&it)),
        timeouts: spec.map("timeouts", "timeouts").map(|it| timeouts(&it)),
    };
    let idempotent = spec.list("idempotentRoutes").iter().filter_map(Item::text).collect();
    Some((target?, attachments, idempotent))
}

fn balancer(map: &Map<'_>) -> balance::Settings {
    let default = balance::Settings::default();
    let algorithm = map.get("algorithm").and_then(|it| {
        it.word(&[
            ("peakEwma", Algorithm::PeakEwma),
            ("leastRequest", Algorithm::LeastRequest),
            ("roundRobin", Algorithm::RoundRobin),
            ("random", Algorithm::Random),
        ])
    });
    let time = |name, default: Duration| map.duration(name).unwrap_or(default);
    balance::Settings {
        algorithm: algorithm.unwrap_or_default(),
        decay: time("decay", default.decay),
        initial_latency: time("initialLatency", default.initial_latency),
        failure_penalty: time("failurePenalty", default.failure_penalty),
        slow_start: time("slowStart", default.slow_start),
    }
}

fn breaker(map: &Map<'_>) -> breaker::Settings {
    let default = breaker::Settings::default();
    let time = |name, default: Duration| map.duration(name).unwrap_or(default);
    let settings = breaker::Settings {
        consecutive_failures: map
            .number("consecutiveFailures")
            .unwrap_or(default.consecutive_failures),
        success_rate_min: map
            .get("successRateMin")
            .and_then(|it| it.share())
            .unwrap_or(default.success_rate_min),
        requests_min: map.number("requestsMin").unwrap_or(default.requests_min),
        window: time("window", default.window),
        open_initial: time("openInitial", default.open_initial),
        open_max: time("openMax", default.open_max),
    };
    if settings.open_initial > settings.open_max {
        map.notes.error(map.place, "SK1007", "`openInitial` is longer than `openMax`");
    }
    settings
}

fn concurrency(map: &Map<'_>) -> concurrency::Settings {
    let default = concurrency::Settings::default();
    concurrency::Settings {
        requests_max: map.number("requestsMax").unwrap_or(default.requests_max),
        queue_max: map.number("queueMax").unwrap_or(default.queue_max),
        queue_wait: map.duration("queueWait").unwrap_or(default.queue_wait),
    }
}

fn retry(map: &Map<'_>) -> retry::Settings {
    let default = retry::Settings::default();
    let time = |name, default: Duration| map.duration(name).unwrap_or(default);
    let codes: Vec<u16> = map
        .list("codes")
        .iter()
        .filter_map(|it| it.within(400, 599))
        .filter_map(|it| u16::try_from(it).ok())
        .collect();
    retry::Settings {
        attempts: map.number("attempts").unwrap_or(default.attempts),
        codes: if codes.is_empty() { default.codes } else { codes },
        backoff_initial: time("backoffInitial", default.backoff_initial),
        backoff_max: time("backoffMax", default.backoff_max),
        body_bytes_max: map.number("bodyBytesMax").unwrap_or(default.body_bytes_max),
        budget_ratio: map
            .get("budgetRatio")
            .and_then(|it| it.share())
            .unwrap_or(default.budget_ratio),
        budget_window: time("budgetWindow", default.budget_window),
        budget_min_per_second: map
            .number("budgetMinPerSecond")
            .unwrap_or(default.budget_min_per_second),
    }
}

fn timeouts(map: &Map<'_>) -> Timeouts {
    let default = Timeouts::default();
    let time = |name, default: Duration| map.duration(name).unwrap_or(default);
    Timeouts {
        request: time("request", default.request),
        backend_request: time("backendRequest", default.backend_request),
        connect: time("connect", default.connect),
        idle: time("idle", default.idle),
    }
}

pub(super) fn rate_limit(meta: &Meta, spec: &Map<'_>) -> Option<RateLimit> {
    let key = spec.map("key", "a key").map(|it| {
        let by_client = it.get("client").and_then(|it| it.boolean()).unwrap_or(false);
        match it.text("header") {
            Some(name) => RateKey::Header(name.to_ascii_lowercase()),
            None if by_client => RateKey::Client,
            None => RateKey::All,
        }
    });
    let requests = spec.need("requests")?.within(1, u64::from(u32::MAX))?;
    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
    let period = spec.duration("period").unwrap_or(Duration::from_secs(1));
    if period.is_zero() {
        spec.notes.error(spec.place, "SK1006", "`period` is longer than nothing");
    }
    Some(RateLimit {
        name: meta.name.clone(),
        route: spec.text("route").map(|it| full_name(&it)),
        requests,
        period,
        burst: spec.number("burst").unwrap_or(requests),
        key: key.unwrap_or_default(),
    })
}

/// A route's name with its namespace.
pub(super) fn full_name(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("default/{name}") }
}

pub(super) fn fault(meta: &Meta, spec: &Map<'_>) -> Option<Fault> {
    let header = spec.map("header", "a header").and_then(|it| {
        let name = it.need("name")?.text()?.to_ascii_lowercase();
        Some((name, it.need("value")?.text()?))
    });
    let abort = spec.map("abort", "an abort").and_then(|it| {
        let status = it.get("status").and_then(|it| it.within(200, 599));
        let reset = it.number("resetAfterBytes");
        match (status, reset) {
            (Some(status), None) => Some(Abort::Status(u16::try_from(status).unwrap_or(500))),
            (None, Some(bytes)) => Some(Abort::ResetAfter(bytes)),
            _ => {
                let message = "an abort has either `status` or `resetAfterBytes`";
                it.notes.error(it.place, "SK1005", message);
                None
            }
        }
    });
    Some(Fault {
        name: meta.name.clone(),
        route: spec.text("route").map(|it| full_name(&it)),
        header,
        share: spec.get("share").map_or(Some(1.0), |it| it.share())?,
        delay: spec.duration("delay"),
        abort,
        expires_after: spec.duration("expiresAfter"),
        service: spec.need("service")?.text()?,
    })
}

#[derive(Clone, Copy)]
enum SourceType {
    Path,
    Header,
    MediaType,
    Query,
}

/// Versions of an API as a route: a rule for each, and its news in the answers.
pub(super) fn versions(meta: &Meta, spec: &Map<'_>) -> Route {
    let sources: Vec<VersionSource> =
        spec.list("sources").iter().filter_map(|it| source(&it.map("a source")?)).collect();
    let default = spec.text("default");
    let to_default = spec
        .get("unknown")
        .and_then(|it| it.word(&[("default", true), ("notFound", false)]))
        .unwrap_or(false);
    let mut rules = Vec::new();
    for item in spec.list("versions") {
        let Some(map) = item.map("a version") else { continue };
        let Some((name, rule)) = version(&map, &sources, default.as_deref()) else { continue };
        if to_default && default.as_deref() == Some(name.as_str()) {
            let mut other = rule.clone();
            let matched =
                VersionMatch { sources: sources.clone(), version: None, is_default: false };
            other.matches = vec![Match { version: Some(matched), ..Match::default() }];
            rules.push(other);
        }
        rules.push(rule);
    }
    let names = spec.list("hostnames");
    Route {
        name: format!("{}/{}", meta.namespace, meta.name),
        kind: RouteKind::Http,
        created: meta.created,
        parents: gateway::parents(spec),
        hostnames: names.iter().filter_map(Item::text).collect(),
        rules,
    }
}

fn source(map: &Map<'_>) -> Option<VersionSource> {
    let kind = map.need("type")?.word(&[
        ("Path", SourceType::Path),
        ("Header", SourceType::Header),
        ("MediaType", SourceType::MediaType),
        ("Query", SourceType::Query),
    ])?;
    if matches!(kind, SourceType::Path) {
        return Some(VersionSource::Path);
    }
    let name = map.need("name")?.text()?;
    Some(match kind {
        SourceType::Header => VersionSource::Header(name.to_ascii_lowercase()),
        SourceType::MediaType => VersionSource::MediaType(name),
        SourceType::Path | SourceType::Query => VersionSource::Query(name),
    })
}

fn version(
    map: &Map<'_>,
    sources: &[VersionSource],
    default: Option<&str>,
) -> Option<(String, Rule)> {
    let mut news = HeaderChange::default();
    let deprecation = map.get("deprecation").and_then(|it| it.time());
    let sunset = map.get("sunset").and_then(|it| it.time());
    if let Some(time) = deprecation {
        // RFC 9745: a structured-field date.
        news.set.push(("deprecation".to_owned(), format!("@{time}")));
    }
    if let Some(time) = sunset {
        news.set.push(("sunset".to_owned(), http_date(time)));
    }
    if let (Some(deprecation), Some(sunset)) = (deprecation, sunset)
        && sunset < deprecation
    {
        map.notes.error(map.place, "SK1007", "`sunset` lies before `deprecation`");
    }
    if let Some(link) = map.text("link") {
        news.set.push(("link".to_owned(), format!("<{link}>; rel=\"deprecation\"")));
    }
    let backend = map.need("backend").and_then(|it| it.text());
    let name = map.need("name")?.text()?;
    let matched = VersionMatch {
        sources: sources.to_vec(),
        version: Some(name.clone()),
        is_default: default == Some(name.as_str()),
    };
    let backend = Backend { service: backend?, port: None, weight: 1, filters: Vec::new() };
    let has_news = !news.set.is_empty();
    let rule = Rule {
        name: Some(name.clone()),
        matches: vec![Match { version: Some(matched), ..Match::default() }],
        filters: if has_news { vec![Filter::ResponseHeaders(news)] } else { Vec::new() },
        backends: vec![backend],
        ..Rule::default()
    };
    Some((name, rule))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7).
fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = base::Timestamp::from_millis(seconds.saturating_mul(1_000)).to_rfc3339();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or(1).clamp(1, 12);
    // 1970-01-01 was a Thursday.
    let day = usize::try_from(seconds.div_euclid(86_400).rem_euclid(7)).unwrap_or(0);
    let (day, month) = (DAYS[day], MONTHS[month - 1]);
    format!("{day}, {} {month} {} {} GMT", part(8..10), part(0..4), part(11..19))
}

pub(super) fn proxy(meta: &Meta, spec: &Map<'_>) -> Proxy {
    let protocol = |map: &Map<'_>| map.get("protocol").and_then(|it| it.word(&PROTOCOLS));
    let edge = |map: &Map<'_>| {
        let hosts = map.list("hosts");
        Some(Edge {
            name: map.text("name").unwrap_or_else(|| "http".to_owned()),
            hosts: hosts.iter().filter_map(Item::text).collect(),
            listen: map.need("listen")?.address()?,
        })
    };
    let outbound = |map: &Map<'_>| {
        Some(Outbound {
            service: map.text("service"),
            protocol: protocol(map),
            listen: map.need("listen")?.address()?,
        })
    };
    let inbound = |map: &Map<'_>| {
        let protocol = protocol(map);
        let readiness_path = map.text("readinessPath");
        let application = map.need("application").and_then(|it| it.address());
        let listen = map.need("listen")?.address()?;
        Some(Inbound { listen, application: application?, protocol, readiness_path })
    };
    let doors = |name| spec.one_or_more(name);
    let workers = spec.get("workers").and_then(|it| it.within(0, 256)).unwrap_or(0);
    let files = spec.list("files");
    let logged = spec.get("accessLog").and_then(|it| it.share()).unwrap_or(0.0);
    Proxy {
        name: meta.name.clone(),
        edges: doors("edge").iter().filter_map(|it| edge(&it.map("an edge")?)).collect(),
        outbound: doors("outbound").iter().filter_map(|it| outbound(&it.map("a door")?)).collect(),
        inbound: doors("inbound").iter().filter_map(|it| inbound(&it.map("a door")?)).collect(),
        admin: spec.get("admin").and_then(|it| it.address()),
        files: files.iter().filter_map(Item::text).map(Into::into).collect(),
        workers: usize::try_from(workers).unwrap_or(0),
        trace_endpoint: spec.text("traces"),
        access_log_per_mille: per_mille(logged),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share lies between 0 and 1"
)]
fn per_mille(share: f64) -> u16 {
    (share * 1_000.0).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_writes_it() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
