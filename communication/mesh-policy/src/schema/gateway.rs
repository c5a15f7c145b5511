//! The Gateway API's kinds: HTTPRoute, GRPCRoute, and the retry budget of XBackendTrafficPolicy.

use std::time::Duration;

use super::{
    Meta,
    cursor::{Item, Map},
};
use crate::{
    filter::{Filter, HeaderChange, PathChange, Redirect, Rewrite},
    policy::Policy,
    retry::RouteRetry,
    route::{
        Backend, Match, Parent, PathMatch, Route, RouteKind, Rule, Timeouts, ValueMatch,
        ValuePattern,
    },
};

/// The most that the Gateway API allows a weight to be.
const WEIGHT_MAX: u64 = 1_000_000;

pub(super) fn route(meta: &Meta, spec: &Map<'_>, kind: RouteKind) -> Route {
    let hostnames = spec.list("hostnames");
    let hostnames = hostnames.iter().filter_map(Item::text);
    Route {
        name: format!("{}/{}", meta.namespace, meta.name),
        kind,
        created: meta.created,
        parents: parents(spec),
        hostnames: hostnames.map(|it| it.to_ascii_lowercase()).collect(),
        rules: spec
            .list("rules")
            .iter()
            .filter_map(|it| it.map("a rule"))
            .map(|it| rule(&it, kind))
            .collect(),
    }
}

pub(super) fn parents(spec: &Map<'_>) -> Vec<Parent> {
    let parents = spec.list("parentRefs");
    parents.iter().filter_map(|it| parent(&it.map("a parent")?)).collect()
}

fn parent(map: &Map<'_>) -> Option<Parent> {
    for known in ["group", "namespace", "port"] {
        map.skip(known);
    }
    let is_service = match map.get("kind") {
        Some(kind) => kind.word(&[("Gateway", false), ("Service", true)])?,
        None => false,
    };
    let section = map.text("sectionName");
    let name = map.need("name")?.text()?;
    Some(if is_service { Parent::Service { name } } else { Parent::Gateway { name, section } })
}

fn rule(map: &Map<'_>, kind: RouteKind) -> Rule {
    map.unsupported(&["sessionPersistence"]);
    let timeouts = map.map("timeouts", "timeouts").map(|it| timeouts(&it)).unwrap_or_default();
    Rule {
        name: map.text("name"),
        matches: map
            .list("matches")
            .iter()
            .filter_map(|it| it.map("a match"))
            .map(|it| match kind {
                RouteKind::Http => http_match(&it),
                RouteKind::Grpc => grpc_match(&it),
            })
            .collect(),
        filters: filters(map),
        timeouts,
        retry: map.map("retry", "retry").map(|it| retry(&it)),
        backends: map
            .list("backendRefs")
            .iter()
            .filter_map(|it| backend(&it.map("a backend")?))
            .collect(),
    }
}

fn timeouts(map: &Map<'_>) -> Timeouts {
    let timeouts = Timeouts {
        request: map.duration("request"),
        backend_request: map.duration("backendRequest"),
    };
    if let (Some(whole), Some(one)) = (timeouts.request, timeouts.backend_request)
        && one > whole
        && !whole.is_zero()
    {
        let message = "`backendRequest` is longer than `request`, in which it is contained";
        map.notes.error(map.place, "SK1007", message);
    }
    timeouts
}

fn retry(map: &Map<'_>) -> RouteRetry {
    let codes = map.list("codes");
    let codes = codes.iter().filter_map(|it| it.within(400, 599));
    RouteRetry {
        codes: codes.filter_map(|it| u16::try_from(it).ok()).collect(),
        attempts: map.number("attempts"),
        backoff: map.duration("backoff"),
        is_idempotent: false,
    }
}

fn http_match(map: &Map<'_>) -> Match {
    Match {
        path: map.map("path", "a path").and_then(|it| path(&it)),
        method: map.text("method"),
        headers: values(map, "headers").into_iter().map(lower).collect(),
        query: values(map, "queryParams"),
        version: None,
    }
}

fn lower(it: ValueMatch) -> ValueMatch {
    ValueMatch { name: it.name.to_ascii_lowercase(), ..it }
}

#[derive(Clone, Copy)]
enum PathType {
    Exact,
    Prefix,
    Regex,
}

fn path(map: &Map<'_>) -> Option<PathMatch> {
    let kinds = [
        ("Exact", PathType::Exact),
        ("PathPrefix", PathType::Prefix),
        ("RegularExpression", PathType::Regex),
    ];
    let kind = map.get("type").map_or(Some(PathType::Prefix), |it| it.word(&kinds));
    let value = map.get("value")?;
    let text = value.text()?;
    let kind = kind?;
    if !matches!(kind, PathType::Regex) && !text.starts_with('/') {
        value.error("SK1006", "a path begins with a slash");
    }
    Some(match kind {
        PathType::Exact => PathMatch::Exact(text),
        PathType::Prefix => PathMatch::Prefix(text),
        PathType::Regex => {
            check_regex(&value, &text);
            PathMatch::Regex(text)
        }
    })
}

fn check_regex(item: &Item<'_>, pattern: &str) {
    if let Err(error) = regex_lite::Regex::new(pattern) {
        item.error("SK1006", format!("`{pattern}` is no regular expression: {error}"));
    }
}

fn values(map: &Map<'_>, name: &'static str) -> Vec<ValueMatch> {
    let kinds = [("Exact", false), ("RegularExpression", true)];
    let one = |it: &Map<'_>| {
        let is_regex = it.get("type").map_or(Some(false), |it| it.word(&kinds))?;
        let name = it.need("name")?.text()?;
        let value = it.need("value")?;
        let text = value.text()?;
        let value = if is_regex {
            check_regex(&value, &text);
            ValuePattern::Regex(text)
        } else {
            ValuePattern::Exact(text)
        };
        Some(ValueMatch { name, value })
    };
    map.list(name).iter().filter_map(|it| one(&it.map("a condition")?)).collect()
}

fn grpc_match(map: &Map<'_>) -> Match {
    let path = map.map("method", "a method").and_then(|it| {
        let exact = it.get("type").is_none_or(|kind| kind.word(&[("Exact", ())]).is_some());
        let (service, method) = (it.text("service"), it.text("method"));
        if service.is_none() && method.is_none() {
            it.notes.error(it.place, "SK1005", "a gRPC method has neither `service` nor `method`");
        }
        exact.then_some(PathMatch::Grpc { service, method })
    });
    let headers = values(map, "headers").into_iter().map(lower).collect();
    Match { path, headers, ..Match::default() }
}

fn backend(map: &Map<'_>) -> Option<Backend> {
    for known in ["group", "namespace"] {
        map.skip(known);
    }
    if let Some(kind) = map.get("kind") {
        kind.word(&[("Service", ())])?;
    }
    let weight = map.get("weight").map_or(Some(1), |it| it.within(0, WEIGHT_MAX));
    Some(Backend {
        filters: filters(map),
        port: map.number("port"),
        service: map.need("name")?.text()?,
        weight: u32::try_from(weight?).unwrap_or(1),
    })
}

#[derive(Clone, Copy)]
enum FilterType {
    RequestHeaders,
    ResponseHeaders,
    Redirect,
    Rewrite,
}

fn filters(map: &Map<'_>) -> Vec<Filter> {
    map.list("filters").iter().filter_map(|it| filter(&it.map("a filter")?)).collect()
}

fn filter(map: &Map<'_>) -> Option<Filter> {
    map.unsupported(&["requestMirror", "extensionRef", "cors"]);
    let kind = map.need("type")?.word(&[
        ("RequestHeaderModifier", FilterType::RequestHeaders),
        ("ResponseHeaderModifier", FilterType::ResponseHeaders),
        ("RequestRedirect", FilterType::Redirect),
        ("URLRewrite", FilterType::Rewrite),
    ])?;
    Some(match kind {
        FilterType::RequestHeaders => {
            Filter::RequestHeaders(headers(&map.map("requestHeaderModifier", "a filter")?))
        }
        FilterType::ResponseHeaders => {
            Filter::ResponseHeaders(headers(&map.map("responseHeaderModifier", "a filter")?))
        }
        FilterType::Redirect => {
            Filter::Redirect(redirect(&map.map("requestRedirect", "a filter")?))
        }
        FilterType::Rewrite => {
            let map = map.map("urlRewrite", "a filter")?;
            Filter::Rewrite(Rewrite { hostname: map.text("hostname"), path: path_change(&map) })
        }
    })
}

fn headers(map: &Map<'_>) -> HeaderChange {
    let pairs = |name| {
        let one =
            |it: &Map<'_>| Some((field_name(it.need("name")?)?, field_value(it.need("value")?)?));
        map.list(name).iter().filter_map(|it| one(&it.map("a header")?)).collect()
    };
    let remove = map.list("remove");
    HeaderChange {
        set: pairs("set"),
        add: pairs("add"),
        remove: remove.into_iter().filter_map(field_name).collect(),
    }
}

fn field_name(item: Item<'_>) -> Option<String> {
    let name = item.text()?.to_ascii_lowercase();
    let is_token =
        name.bytes().all(|it| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it));
    if !is_token {
        item.error("SK1006", format!("`{name}` is no name of a header"));
    }
    is_token.then_some(name)
}

fn field_value(item: Item<'_>) -> Option<String> {
    let value = item.text()?;
    let is_value = value.bytes().all(|it| it == b'\t' || (0x20..0x7f).contains(&it));
    if !is_value {
        item.error("SK1006", "the value of a header is visible ASCII");
    }
    is_value.then_some(value)
}

fn redirect(map: &Map<'_>) -> Redirect {
    let status = map.get("statusCode").and_then(|it| {
        it.word(&[("301", 301), ("302", 302), ("303", 303), ("307", 307), ("308", 308)])
    });
    Redirect {
        scheme: map
            .get("scheme")
            .and_then(|it| it.word(&[("http", "http"), ("https", "https")]).map(str::to_owned)),
        hostname: map.text("hostname"),
        path: path_change(map),
        port: map.number("port"),
        status: status.unwrap_or(302),
    }
}

fn path_change(map: &Map<'_>) -> Option<PathChange> {
    let map = map.map("path", "a path")?;
    let is_full =
        map.need("type")?.word(&[("ReplaceFullPath", true), ("ReplacePrefixMatch", false)])?;
    if is_full {
        return Some(PathChange::Full(map.need("replaceFullPath")?.text()?));
    }
    // An empty replacement is one.
    let text = map.get("replacePrefixMatch").map_or(Some(String::new()), |it| it.text());
    Some(PathChange::Prefix(text?))
}

/// The budget of retries: `percent` of requests within `interval`, and so many more a second.
pub(super) fn retry_budget(spec: &Map<'_>, policy: &mut Policy) {
    spec.unsupported(&["sessionPersistence"]);
    let constraint = spec.map("retryConstraint", "retryConstraint");
    for target in spec.list("targetRefs") {
        let Some(target) = target.map("a target") else { continue };
        for known in ["group", "kind"] {
            target.skip(known);
        }
        let Some(name) = target.need("name").and_then(|it| it.text()) else { continue };
        let Some(constraint) = &constraint else { continue };
        let settings = &mut policy.attachments.entry(name).or_default().retry;
        let settings = settings.get_or_insert_default();
        if let Some(budget) = constraint.map("budget", "a budget") {
            if let Some(percent) = budget.get("percent").and_then(|it| it.within(0, 100)) {
                settings.budget_ratio = f64::from(u8::try_from(percent).unwrap_or(100)) / 100.0;
            }
            if let Some(interval) = budget.duration("interval") {
                settings.budget_window = interval;
            }
        }
        if let Some(rate) = constraint.map("minRetryRate", "a rate") {
            let count = rate.number::<f64>("count").unwrap_or(10.0);
            let interval = rate.duration("interval").unwrap_or(Duration::from_secs(1));
            settings.budget_min_per_second = count / interval.as_secs_f64().max(0.001);
        }
    }
}
