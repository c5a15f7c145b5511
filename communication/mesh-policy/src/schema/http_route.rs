//! HTTPRoute of `gateway.networking.k8s.io/v1`.

use super::{
    Code,
    context::Context,
    document::Document,
    filters, gateway,
    section::Section,
    values::{self, integer, word},
    yaml::Node,
};
use crate::{
    filter::{Filter, PathChange},
    retry::RouteRetry,
    route::{Match, PathMatch, Route, RouteKind, Rule, Timeouts},
};

#[derive(Debug, Clone, Copy)]
enum PathType {
    Exact,
    Prefix,
    Regex,
}

const PATH_TYPES: [(&str, PathType); 3] = [
    ("Exact", PathType::Exact),
    ("PathPrefix", PathType::Prefix),
    ("RegularExpression", PathType::Regex),
];

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<Route> {
    gateway::route(document, subject, ("an HTTPRoute", RouteKind::Http), rule)
}

fn rule(document: &Document<'_>, node: &Node, (subject, path): (&str, &str)) -> Option<Rule> {
    let context = document.context;
    let known =
        ["name", "matches", "filters", "timeouts", "retry", "backendRefs", "sessionPersistence"];
    let section = Section::of(context, node, "a rule", &known)?;
    let matches = gateway::matches(&section, (subject, path), condition);
    for member in ["retry", "timeouts"] {
        context.record(subject, &format!("{path}.{member}"), section.spot_of(member));
    }
    let rule = Rule {
        name: gateway::rule_name(&section),
        matches,
        filters: filters::read(&section, filters::Place::HttpRule),
        timeouts: timeouts(&section).unwrap_or_default(),
        retry: retry(&section),
        backends: gateway::backends(&section, document, (subject, path)),
    };
    check_filters(&section, &rule);
    Some(rule)
}

/// What the Gateway API's rules between members forbid.
fn check_filters(section: &Section<'_>, rule: &Rule) {
    let spot = section.spot_of("filters");
    let redirects = rule.filters.iter().any(|it| matches!(it, Filter::Redirect(_)));
    if redirects && !rule.backends.is_empty() {
        let message = "a rule that redirects has no backends".to_owned();
        section.context.error(spot, Code::Contradiction, message);
    }
    let change = rule.filters.iter().find_map(|it| match it {
        Filter::Redirect(redirect) => redirect.path.as_ref(),
        Filter::Rewrite(rewrite) => rewrite.path.as_ref(),
        Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) => None,
    });
    let is_one_prefix = match &*rule.matches {
        [] => true,
        [only] => matches!(only.path, None | Some(PathMatch::Prefix(_))),
        _ => false,
    };
    if matches!(change, Some(PathChange::Prefix(_))) && !is_one_prefix {
        let message = "a prefix is replaced in a rule with one match, of a PathPrefix".to_owned();
        section.context.error(spot, Code::Contradiction, message);
    }
}

fn condition(context: &Context<'_>, node: &Node) -> Option<Match> {
    let known = ["path", "method", "headers", "queryParams"];
    let section = Section::of(context, node, "a match", &known)?;
    Some(Match {
        path: path(&section),
        method: section.read("method", values::method),
        headers: gateway::headers(&section),
        query: gateway::query(&section),
        version: None,
    })
}

fn path(section: &Section<'_>) -> Option<PathMatch> {
    let section = section.section("path", "a condition on the path", &["type", "value"])?;
    let kind = match section.get("type") {
        Some(node) => word(&PATH_TYPES)(section.context, node)?,
        None => PathType::Prefix,
    };
    let default = "/".to_owned();
    Some(match kind {
        PathType::Exact => PathMatch::Exact(section.read("value", values::path).unwrap_or(default)),
        PathType::Prefix => {
            PathMatch::Prefix(section.read("value", values::path).unwrap_or(default))
        }
        PathType::Regex => {
            let read = |context: &Context<'_>, node: &Node| values::pattern(context, node, 1024);
            PathMatch::Regex(section.read("value", read).unwrap_or(default))
        }
    })
}

fn timeouts(section: &Section<'_>) -> Option<Timeouts> {
    let section = section.section("timeouts", "timeouts", &["request", "backendRequest"])?;
    let timeouts = Timeouts {
        request: section.read("request", values::duration),
        backend_request: section.read("backendRequest", values::duration),
    };
    if let (Some(whole), Some(one)) = (timeouts.request, timeouts.backend_request)
        && !whole.is_zero()
        && one > whole
    {
        let message = "`backendRequest` is longer than `request`".to_owned();
        section.context.error(section.spot_of("backendRequest"), Code::Contradiction, message);
    }
    Some(timeouts)
}

fn retry(section: &Section<'_>) -> Option<RouteRetry> {
    let section = section.section("retry", "a retry", &["codes", "attempts", "backoff"])?;
    Some(RouteRetry {
        codes: gateway::codes(&section),
        attempts: section.read("attempts", integer(0, gateway::ATTEMPTS_MAX)),
        backoff: section.read("backoff", values::duration),
        is_idempotent: false,
    })
}
