//! One match of one rule, ready to be asked, and its place among the others.

use std::cmp::Reverse;

use regex_lite::{Regex, RegexBuilder};

use super::{Flaw, Match, PathMatch, RequestView, Route, ValueMatch, ValuePattern};
use crate::{path, query, version::VersionMatch};

/// Why a rule did not take a request. The first reason is given, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// The route serves other hosts.
    Host,
    /// Another path.
    Path,
    /// Another method.
    Method,
    /// A header field that is absent or has another value.
    Header(&'a str),
    /// A parameter of the query that is absent or has another value.
    Query(&'a str),
    /// Another version is asked for, or none where the rule is not the default.
    Version,
}

#[derive(Debug)]
pub(super) struct Condition {
    /// Place of the route in the table.
    pub(super) route: usize,
    /// Place of the rule in the route.
    pub(super) rule: usize,
    /// Place of the match in the rule; `None` in a rule without, which takes every request.
    pub(super) item: Option<usize>,
    pub(super) path: PathCondition,
    method: Option<String>,
    headers: Vec<(String, ValueCondition)>,
    query: Vec<(String, ValueCondition)>,
    version: Option<VersionMatch>,
}

#[derive(Debug)]
pub(super) enum PathCondition {
    Exact(String),
    /// Without a slash at its end; empty for `/`.
    Prefix(String),
    /// A method of any service.
    GrpcMethod(String),
    Regex(Regex),
}

#[derive(Debug)]
enum ValueCondition {
    Exact(String),
    Regex(Regex),
}

/// What comes before what, the host left aside; the least comes first.
///
/// The order of the Gateway API (HTTPRouteRule and GRPCRouteRule, `matches`), with two choices of
/// our own. It leaves the place of regular expressions open: ours come behind every prefix that
/// names an element, which says more, and before `/`, which says nothing; the longer text first. A
/// method of any gRPC service stands just before them. Versions are not in it: they come after all
/// that the Gateway API compares, and before age and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    path: PathRank,
    method: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    version: VersionRank,
    /// A route without a date counts as the youngest.
    created: i64,
    name: String,
    /// Of two routes with one name, the one that was given first.
    route: usize,
    rule: usize,
    item: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Prefix(Reverse<usize>),
    GrpcMethod,
    Regex(Reverse<usize>),
    Every,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum VersionRank {
    Named,
    Fallback,
    Absent,
}

impl Condition {
    /// The places are told by the caller.
    pub(super) fn compile(
        (route, rule, item): (usize, usize, Option<usize>),
        written: &Match,
    ) -> Result<Self, Flaw> {
        Ok(Self {
            route,
            rule,
            item,
            path: PathCondition::compile(written.path.as_ref())?,
            method: written.method.clone(),
            headers: values(&written.headers, str::to_ascii_lowercase)?,
            query: values(&written.query, str::to_owned)?,
            version: written.version.clone(),
        })
    }

    pub(super) fn rank(&self, route: &Route) -> Rank {
        Rank {
            path: self.path.rank(),
            method: Reverse(self.method.is_some()),
            headers: Reverse(self.headers.len()),
            query: Reverse(self.query.len()),
            version: match &self.version {
                Some(VersionMatch { version: Some(_), .. }) => VersionRank::Named,
                Some(VersionMatch { version: None, .. }) => VersionRank::Fallback,
                None => VersionRank::Absent,
            },
            created: route.created.unwrap_or(i64::MAX),
            name: route.name.clone(),
            route: self.route,
            rule: self.rule,
            item: self.item,
        }
    }

    /// What of a request on a path that [`super::paths::Paths::candidates`] led here speaks
    /// against it. Of the path, only a regular expression is left to try.
    pub(super) fn mismatch(&self, request: &impl RequestView) -> Option<Mismatch<'_>> {
        if let PathCondition::Regex(regex) = &self.path
            && !regex.is_match(request.path())
        {
            return Some(Mismatch::Path);
        }
        if self.method.as_ref().is_some_and(|it| it != request.method()) {
            return Some(Mismatch::Method);
        }
        for (name, value) in &self.headers {
            if !request.header(name).is_some_and(|it| value.admits(it)) {
                return Some(Mismatch::Header(name));
            }
        }
        for (name, value) in &self.query {
            let raw = request.query().and_then(|it| query::first(it, name));
            if !raw.is_some_and(|it| value.admits_raw(it)) {
                return Some(Mismatch::Query(name));
            }
        }
        let is_served = self.version.as_ref().is_none_or(|it| it.admits(request));
        (!is_served).then_some(Mismatch::Version)
    }
}

impl PathCondition {
    fn compile(written: Option<&PathMatch>) -> Result<Self, Flaw> {
        Ok(match written {
            None => Self::Prefix(String::new()),
            Some(PathMatch::Exact(path)) => Self::Exact(normal(path)?.to_owned()),
            // A slash at the end of a prefix is ignored, as the Gateway API has it.
            Some(PathMatch::Prefix(path)) => {
                Self::Prefix(normal(path)?.trim_end_matches('/').to_owned())
            }
            Some(PathMatch::Regex(pattern)) => Self::Regex(whole(pattern)?),
            Some(PathMatch::Grpc { service, method }) => {
                for name in service.iter().chain(method) {
                    if name.is_empty() || name.contains('/') {
                        return Err(Flaw::Grpc);
                    }
                }
                match (service, method) {
                    (Some(service), Some(method)) => {
                        Self::Exact(normal(&format!("/{service}/{method}"))?.to_owned())
                    }
                    (Some(service), None) => {
                        Self::Prefix(normal(&format!("/{service}"))?.to_owned())
                    }
                    (None, Some(method)) => Self::GrpcMethod(method.clone()),
                    (None, None) => return Err(Flaw::Grpc),
                }
            }
        })
    }

    fn rank(&self) -> PathRank {
        match self {
            Self::Exact(_) => PathRank::Exact,
            Self::Prefix(path) if path.is_empty() => PathRank::Every,
            Self::Prefix(path) => PathRank::Prefix(Reverse(path.len())),
            Self::GrpcMethod(_) => PathRank::GrpcMethod,
            Self::Regex(regex) => PathRank::Regex(Reverse(regex.as_str().len())),
        }
    }

    /// Whether a path meets it, asked without the tree: for explanations, and to test the tree.
    pub(super) fn admits(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => {
                let behind = path.strip_prefix(prefix.as_str());
                behind.is_some_and(|it| it.is_empty() || it.starts_with('/'))
            }
            Self::GrpcMethod(method) => grpc_method(path) == Some(method),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

impl ValueCondition {
    fn compile(written: &ValuePattern) -> Result<Self, Flaw> {
        Ok(match written {
            ValuePattern::Exact(value) => Self::Exact(value.clone()),
            ValuePattern::Regex(pattern) => Self::Regex(whole(pattern)?),
        })
    }

    fn admits(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => value == exact,
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    /// The same for a value as it stands in a query.
    fn admits_raw(&self, raw: &str) -> bool {
        match self {
            Self::Exact(exact) => query::is(raw, exact),
            Self::Regex(regex) => regex.is_match(&query::decoded(raw)),
        }
    }
}

/// Of a name that is written twice, the first counts, as the Gateway API has it.
fn values(
    written: &[ValueMatch],
    name: impl Fn(&str) -> String,
) -> Result<Vec<(String, ValueCondition)>, Flaw> {
    let mut values: Vec<(String, ValueCondition)> = Vec::with_capacity(written.len());
    for one in written {
        let name = name(&one.name);
        if !values.iter().any(|(known, _)| *known == name) {
            values.push((name, ValueCondition::compile(&one.value)?));
        }
    }
    Ok(values)
}

/// A path of a rule, which must be written in the form in which it meets those of requests.
pub(crate) fn normal(path: &str) -> Result<&str, Flaw> {
    match path::normalise(path.as_bytes()) {
        Ok(normal) if normal == path => Ok(path),
        Ok(normal) => {
            Err(Flaw::PathNotNormal { path: path.to_owned(), normal: normal.into_owned() })
        }
        Err(reason) => Err(Flaw::Path { path: path.to_owned(), reason }),
    }
}

/// A regular expression over the whole of a text. Its time is linear in the text (`regex-lite`).
fn whole(pattern: &str) -> Result<Regex, Flaw> {
    let compile = |text: &str| RegexBuilder::new(text).size_limit(256 << 10).build();
    // First alone: `a)|(b` is none, but would become one between our parentheses.
    let regex = compile(pattern).and_then(|_| compile(&format!("^(?:{pattern})$")));
    let flaw = |error: regex_lite::Error| Flaw::Regex {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    };
    regex.map_err(flaw)
}

/// The method of `/service/method`.
pub(super) fn grpc_method(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some(method)
}
