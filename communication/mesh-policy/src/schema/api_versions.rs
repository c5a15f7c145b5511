//! ApiVersions: which version of an API a request wants, and what an old one says of its end.
//!
//! It becomes a route: a rule for each version, with the response fields `Deprecation` (RFC 9745),
//! `Sunset` (RFC 8594) and `Link`. A version that nobody has is answered by the default one or by
//! no rule at all, which is 404.

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};

use super::{
    Code,
    context::Context,
    document::Document,
    gateway,
    section::Section,
    values::{self, word},
    yaml::{Node, Value},
};
use crate::{
    filter::{Filter, HeaderChange},
    route::{Backend, Match, Route, RouteKind, Rule},
    version::{self, VersionMatch, VersionSource},
};

/// Versions of one API; more is refused.
const VERSIONS_MAX: usize = 16;
const SOURCES_MAX: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Default,
    NotFound,
}

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<Route> {
    let known = ["parentRefs", "hostnames", "sources", "versions", "default", "unknown"];
    let spec = document.section("ApiVersions", &known)?;
    spec.need("versions");
    spec.need("sources");
    let context = spec.context;
    let sources = spec.one_or_more("sources", SOURCES_MAX).iter();
    let sources: Vec<_> = sources.filter_map(|it| source(context, it)).collect();
    let mut rules: Vec<Rule> = Vec::new();
    for node in spec.list("versions", VERSIONS_MAX) {
        let Some(rule) = version(context, node) else { continue };
        let is_same = |it: &str| rule.name.as_deref().is_some_and(|own| version::is_same(it, own));
        if let Some(name) = rules.iter().filter_map(|it| it.name.as_deref()).find(|it| is_same(it))
        {
            let message = format!("a version of this name is here already: `{name}`");
            context.error(node.spot, Code::DuplicateName, message);
        }
        context.record(subject, &format!("rules[{}]", rules.len()), node.spot);
        rules.push(rule);
    }
    let default = default_of(&spec, &rules);
    let unknown = spec
        .read("unknown", word(&[("default", Unknown::Default), ("notFound", Unknown::NotFound)]));
    if unknown == Some(Unknown::Default) && spec.get("default").is_none() {
        let message = "`unknown: default` needs `default`".to_owned();
        context.error(spec.spot_of("unknown"), Code::MissingMember, message);
    }
    for rule in &mut rules {
        let is_default = default.is_some() && rule.name == default;
        rule.matches = vec![condition(&sources, rule.name.clone(), is_default)];
    }
    let served = rules.iter().find(|it| default.is_some() && it.name == default);
    if let Some(served) = served.filter(|_| unknown == Some(Unknown::Default)) {
        let matches = vec![condition(&sources, None, false)];
        let rule = Rule { name: Some("unknown".to_owned()), matches, ..served.clone() };
        context.record(subject, &format!("rules[{}]", rules.len()), spec.spot_of("unknown"));
        rules.push(rule);
    }
    Some(Route {
        name: document.full_name(),
        kind: RouteKind::Http,
        created: document.created,
        parents: gateway::parents(&spec),
        hostnames: gateway::hostnames(&spec, subject),
        rules,
    })
}

fn condition(sources: &[VersionSource], version: Option<String>, is_default: bool) -> Match {
    let version = VersionMatch { sources: sources.to_vec(), version, is_default };
    Match { version: Some(version), ..Match::default() }
}

fn default_of(spec: &Section<'_>, rules: &[Rule]) -> Option<String> {
    let name = spec.read("default", version_name)?;
    let names: Vec<&str> = rules.iter().filter_map(|it| it.name.as_deref()).collect();
    if !names.contains(&name.as_str()) {
        let spot = spec.get("default").map_or(spec.spot(), |it| it.spot);
        let message = format!("there is no version `{name}` here");
        spec.context.error_near(spot, Code::UnknownName, message, (&name, &names));
    }
    Some(name)
}

/// `path`, or a mapping with one of `header`, `mediaType`, `query`.
fn source(context: &Context<'_>, node: &Node) -> Option<VersionSource> {
    if !matches!(node.value, Value::Map(_)) {
        return word(&[("path", ())])(context, node).map(|()| VersionSource::Path);
    }
    let section = Section::of(context, node, "a source", &["header", "mediaType", "query"])?;
    let sources = [
        section.read("header", values::header_name).map(VersionSource::Header),
        section.read("mediaType", values::parameter_name).map(VersionSource::MediaType),
        section.read("query", values::parameter_name).map(VersionSource::Query),
    ];
    let members = ["header", "mediaType", "query"];
    let count = members.iter().filter(|it| section.get(it).is_some()).count();
    if count != 1 {
        let message = "a source is `path` or one of `header`, `mediaType`, `query`".to_owned();
        context.error(section.spot(), Code::Contradiction, message);
        return None;
    }
    sources.into_iter().flatten().next()
}

/// As it stands in a path: letters, digits, `-`, `_`, `.`.
fn version_name(context: &Context<'_>, node: &Node) -> Option<String> {
    let name = values::text_up_to(64)(context, node)?;
    if name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it)) {
        return Some(name);
    }
    let message = format!("`{name}` is no name of a version");
    context.error(node.spot, Code::Malformed, message);
    None
}

fn version(context: &Context<'_>, node: &Node) -> Option<Rule> {
    let known = ["name", "backend", "deprecation", "sunset", "link"];
    let section = Section::of(context, node, "a version", &known)?;
    let deprecation = section.read("deprecation", values::timestamp);
    let sunset = section.read("sunset", values::timestamp);
    let link = section.read("link", values::url);
    let name = section.read_needed("name", version_name);
    let service = section.read_needed("backend", values::name)?;
    let change = farewell(deprecation, sunset, link.as_deref());
    let filters = (change != HeaderChange::default()).then_some(Filter::ResponseHeaders(change));
    Some(Rule {
        name: Some(name?),
        filters: filters.into_iter().collect(),
        backends: vec![Backend { service, port: None, weight: 1, filters: Vec::new() }],
        ..Rule::default()
    })
}

/// What an answer of an old version says.
fn farewell(
    deprecation: Option<Timestamp>,
    sunset: Option<Timestamp>,
    link: Option<&str>,
) -> HeaderChange {
    let mut change = HeaderChange::default();
    if let Some(at) = deprecation {
        change.set.push(("deprecation".to_owned(), format!("@{}", at.as_second())));
    }
    let sunset = sunset.and_then(|it| DateTimePrinter::new().timestamp_to_rfc9110_string(&it).ok());
    change.set.extend(sunset.map(|it| ("sunset".to_owned(), it)));
    let link = link.map(|it| ("link".to_owned(), format!("<{it}>; rel=\"deprecation\"")));
    change.add.extend(link);
    change
}
