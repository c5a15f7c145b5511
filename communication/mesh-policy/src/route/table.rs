//! The table of one door: which rule a request is under. Precedence is the Gateway API's, exactly.
//!
//! All matches of all routes stand in one list, the most specific first: host (exact, then the
//! longer wildcard), path (exact, then regular expression, then the longer prefix), method, number
//! of headers, number of query parameters; among equals the older route, its name, the earlier rule.
//! The first one that holds decides. Where the API leaves a choice: a regular expression stands
//! between exact and prefix, and a request for which no rule of its most specific host holds goes on
//! to the next host, as "precedence" says.

use std::cmp::Reverse;

use regex_lite::Regex;

use super::{Match, PathMatch, RequestView, Route, RouteKind, Rule, ValueMatch, ValuePattern};
use crate::version;

/// A regular expression that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {route}: `{pattern}` is no regular expression: {reason}")]
pub struct CompileError {
    /// The route.
    pub route: String,
    /// What was written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The rules of one door in order.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Route>,
    entries: Vec<Entry>,
}

/// The rule that a request is under.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Its route.
    pub route: &'a Route,
    /// The rule.
    pub rule: &'a Rule,
    /// The condition that decided; `None` for a rule without conditions.
    pub matched: Option<&'a Match>,
    /// Which route, as they were given.
    pub route_index: usize,
    /// Which rule of it.
    pub rule_index: usize,
}

/// What became of one condition, for people who ask why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Considered<'a> {
    /// The route.
    pub route: &'a str,
    /// Which rule of it.
    pub rule_index: usize,
    /// The first thing that does not hold; `None` where all of it does.
    pub missing: Option<&'static str>,
}

/// One condition at work.
#[derive(Debug)]
struct Entry {
    host: Host,
    path: Path,
    method: Option<String>,
    headers: Vec<(String, Value)>,
    query: Vec<(String, Value)>,
    route_index: usize,
    rule_index: usize,
    /// `None` for a rule without conditions.
    match_index: Option<usize>,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// With its dot: `.example.com`.
    Below(String),
    Exact(String),
}

#[derive(Debug)]
enum Path {
    Exact(String),
    /// Without a slash at its end; empty for `/`.
    Prefix(String),
    Regex(Regex, usize),
    Grpc {
        service: Option<String>,
        method: Option<String>,
    },
}

#[derive(Debug)]
enum Value {
    Exact(String),
    Regex(Regex),
}

impl Table {
    /// The table of these routes.
    ///
    /// # Errors
    /// [`CompileError`] for a regular expression that is none.
    pub fn compile(routes: &[Route]) -> Result<Self, CompileError> {
        let mut entries = Vec::new();
        for (route_index, route) in routes.iter().enumerate() {
            for (rule_index, rule) in route.rules.iter().enumerate() {
                let at = (route_index, rule_index);
                compile_rule(route, rule, at, &mut entries)?;
            }
        }
        let mut table = Self { routes: routes.to_vec(), entries };
        table.sort();
        Ok(table)
    }

    /// The rule that the request is under.
    #[must_use]
    pub fn find(&self, request: &impl RequestView) -> Option<Found<'_>> {
        let entry = self.entries.iter().find(|it| self.missing(it, request).is_none())?;
        Some(self.found(entry))
    }

    /// Every condition in the order in which they are looked at, and what each lacks.
    pub fn explain(&self, request: &impl RequestView) -> Vec<Considered<'_>> {
        let considered = |entry: &'_ Entry| Considered {
            route: &self.routes[entry.route_index].name,
            rule_index: entry.rule_index,
            missing: self.missing(entry, request),
        };
        self.entries.iter().map(considered).collect()
    }

    /// Whether a request that is under no rule was to be a gRPC call.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.routes.iter().any(|it| it.kind == RouteKind::Grpc)
    }

    /// The routes, as they were given.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    fn found(&self, entry: &Entry) -> Found<'_> {
        let route = &self.routes[entry.route_index];
        let rule = &route.rules[entry.rule_index];
        Found {
            route,
            rule,
            matched: entry.match_index.map(|it| &rule.matches[it]),
            route_index: entry.route_index,
            rule_index: entry.rule_index,
        }
    }

    fn missing(&self, entry: &Entry, request: &impl RequestView) -> Option<&'static str> {
        if !entry.host.holds(request.host()) {
            return Some("host");
        }
        if !entry.path.holds(request.path()) {
            return Some("path");
        }
        if entry.method.as_deref().is_some_and(|it| it != request.method()) {
            return Some("method");
        }
        let has = |(name, value): &(String, Value)| {
            request.header(name).is_some_and(|it| value.holds(it))
        };
        if !entry.headers.iter().all(has) {
            return Some("header");
        }
        let asks = |(name, value): &(String, Value)| {
            parameter(request.query(), name).is_some_and(|it| value.holds(it))
        };
        if !entry.query.iter().all(asks) {
            return Some("query");
        }
        let wanted = self.found(entry).matched.and_then(|it| it.version.as_ref());
        if wanted.is_some_and(|it| !self.is_of_version(entry, it, request)) {
            return Some("version");
        }
        None
    }

    fn is_of_version(
        &self,
        entry: &Entry,
        wanted: &version::VersionMatch,
        request: &impl RequestView,
    ) -> bool {
        let asked = version::asked(&wanted.sources, request);
        match (asked, &wanted.version) {
            (None, _) => wanted.is_default,
            (Some(asked), Some(version)) => asked == version.as_str(),
            // What no other rule of the route serves.
            (Some(asked), None) => {
                let matches =
                    self.routes[entry.route_index].rules.iter().flat_map(|it| &it.matches);
                let mut others = matches.filter_map(|it| it.version.as_ref());
                !others.any(|it| it.version.as_deref() == Some(asked))
            }
        }
    }

    fn sort(&mut self) {
        let routes = &self.routes;
        self.entries.sort_by_cached_key(|it| {
            let route = &routes[it.route_index];
            let version = it
                .match_index
                .and_then(|index| route.rules[it.rule_index].matches[index].version.as_ref());
            let headers = it.headers.len() + usize::from(version.is_some());
            (
                Reverse((it.host.rank(), it.path.rank(), it.method.is_some())),
                Reverse((headers, it.query.len())),
                (route.created.unwrap_or(i64::MAX), route.name.clone()),
                (it.rule_index, it.match_index),
            )
        });
    }
}

fn compile_rule(
    route: &Route,
    rule: &Rule,
    (route_index, rule_index): (usize, usize),
    entries: &mut Vec<Entry>,
) -> Result<(), CompileError> {
    let everything = Match::default();
    let matches: Vec<(Option<usize>, &Match)> = if rule.matches.is_empty() {
        vec![(None, &everything)]
    } else {
        rule.matches.iter().enumerate().map(|(index, it)| (Some(index), it)).collect()
    };
    let hosts: Vec<&str> = if route.hostnames.is_empty() {
        vec!["*"]
    } else {
        route.hostnames.iter().map(String::as_str).collect()
    };
    for (match_index, condition) in matches {
        for host in &hosts {
            entries.push(Entry {
                host: Host::read(host),
                path: Path::compile(route, condition.path.as_ref())?,
                method: condition.method.clone(),
                headers: values(route, &condition.headers)?,
                query: values(route, &condition.query)?,
                route_index,
                rule_index,
                match_index,
            });
        }
    }
    Ok(())
}

fn values(route: &Route, conditions: &[ValueMatch]) -> Result<Vec<(String, Value)>, CompileError> {
    let mut compiled: Vec<(String, Value)> = Vec::new();
    for condition in conditions {
        // A name that stands twice counts once, the first one.
        if compiled.iter().any(|(name, _)| *name == condition.name) {
            continue;
        }
        let value = match &condition.value {
            ValuePattern::Exact(value) => Value::Exact(value.clone()),
            ValuePattern::Regex(pattern) => Value::Regex(whole(route, pattern)?),
        };
        compiled.push((condition.name.clone(), value));
    }
    Ok(compiled)
}

/// An expression over the whole text.
fn whole(route: &Route, pattern: &str) -> Result<Regex, CompileError> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| CompileError {
        route: route.name.clone(),
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })
}

impl Host {
    fn read(pattern: &str) -> Self {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('*') {
            Some("") => Self::Any,
            Some(suffix) => Self::Below(suffix.to_owned()),
            None => Self::Exact(pattern),
        }
    }

    fn holds(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == host,
            // One label or more before the dot.
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }

    const fn rank(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Below(suffix) => (1, suffix.len()),
            Self::Exact(exact) => (2, exact.len()),
        }
    }
}

impl Path {
    fn compile(route: &Route, path: Option<&PathMatch>) -> Result<Self, CompileError> {
        Ok(match path {
            None => Self::Prefix(String::new()),
            Some(PathMatch::Exact(path)) => Self::Exact(path.clone()),
            Some(PathMatch::Prefix(prefix)) => {
                Self::Prefix(prefix.trim_end_matches('/').to_owned())
            }
            Some(PathMatch::Regex(pattern)) => Self::Regex(whole(route, pattern)?, pattern.len()),
            Some(PathMatch::Grpc { service, method }) => {
                Self::Grpc { service: service.clone(), method: method.clone() }
            }
        })
    }

    fn holds(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(expression, _) => expression.is_match(path),
            Self::Grpc { service, method } => {
                let Some((of, name)) = path.strip_prefix('/').and_then(|it| it.split_once('/'))
                else {
                    return false;
                };
                service.as_deref().is_none_or(|it| it == of)
                    && method.as_deref().is_none_or(|it| it == name)
            }
        }
    }

    fn rank(&self) -> (u8, usize, usize) {
        match self {
            Self::Exact(exact) => (3, exact.len(), 0),
            Self::Grpc { service, method } => {
                let length = |it: &Option<String>| it.as_ref().map_or(0, String::len);
                (2, length(service), length(method))
            }
            Self::Regex(_, length) => (1, *length, 0),
            Self::Prefix(prefix) => (0, prefix.len(), 0),
        }
    }
}

impl Value {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Regex(expression) => expression.is_match(text),
        }
    }
}

/// The first value of a parameter, as it was written.
pub(crate) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then_some(value)
    })
}
