//! What HTTPRoute and GRPCRoute share: parents, hosts, the frame of rules, header conditions, backends.

use super::{
    Code,
    context::Context,
    document::Document,
    filters,
    section::Section,
    values::{self, integer, word},
    yaml::{Node, Value},
};
use crate::route::{Backend, Match, Parent, Route, RouteKind, Rule, ValueMatch, ValuePattern};

/// Bounds of the Gateway API's schema.
const PARENTS_MAX: usize = 32;
const HOSTNAMES_MAX: usize = 16;
const RULES_MAX: usize = 16;
const MATCHES_MAX: usize = 64;
const MATCHES_IN_ALL_MAX: usize = 128;
const HEADERS_MAX: usize = 16;
const BACKENDS_MAX: usize = 16;
const WEIGHT_MAX: u32 = 1_000_000;
/// Extra tries that may be asked for.
pub(super) const ATTEMPTS_MAX: u32 = 100;
/// There are no more than these.
const CODES_MAX: usize = 200;

/// How a value is compared.
#[derive(Debug, Clone, Copy)]
enum Comparison {
    Exact,
    Regex,
}

const COMPARISONS: [(&str, Comparison); 2] =
    [("Exact", Comparison::Exact), ("RegularExpression", Comparison::Regex)];

/// A route: how its kind is called in a sentence, and what it is; `rule` reads each of its rules, told
/// the subject and the path of the rule in it.
pub(super) fn route(
    document: &Document<'_>,
    subject: &str,
    (what, kind): (&'static str, RouteKind),
    rule: fn(&Document<'_>, &Node, (&str, &str)) -> Option<Rule>,
) -> Option<Route> {
    let spec = document.section(what, &["parentRefs", "hostnames", "rules"])?;
    let parents = parents(&spec);
    let hostnames = hostnames(&spec, subject);
    let mut rules = Vec::new();
    for (index, node) in spec.list("rules", RULES_MAX).iter().enumerate() {
        let path = format!("rules[{index}]");
        spec.context.record(subject, &path, node.spot);
        rules.extend(rule(document, node, (subject, &path)));
    }
    check_rules(&spec, &rules);
    let name = document.full_name();
    Some(Route { name, kind, created: document.created, parents, hostnames, rules })
}

/// The conditions of a rule, each read by `condition`.
pub(super) fn matches(
    rule: &Section<'_>,
    (subject, path): (&str, &str),
    condition: fn(&Context<'_>, &Node) -> Option<Match>,
) -> Vec<Match> {
    rule.refuse("sessionPersistence");
    let mut matches = Vec::new();
    for (index, node) in rule.list("matches", MATCHES_MAX).iter().enumerate() {
        rule.context.record(subject, &format!("{path}.matches[{index}]"), node.spot);
        matches.extend(condition(rule.context, node));
    }
    matches
}

/// What the route is attached to.
pub(super) fn parents(section: &Section<'_>) -> Vec<Parent> {
    section.need("parentRefs");
    let items = section.list("parentRefs", PARENTS_MAX);
    items.iter().filter_map(|it| parent(section.context, it)).collect()
}

fn parent(context: &Context<'_>, node: &Node) -> Option<Parent> {
    let known = ["group", "kind", "namespace", "name", "sectionName", "port"];
    let section = Section::of(context, node, "a parent", &known)?;
    let kinds = [("Gateway", false), ("Service", true)];
    let is_service = section.read("kind", word(&kinds));
    let is_service = if section.get("kind").is_some() { is_service? } else { false };
    let groups: &[(&str, ())] =
        if is_service { &[("", ()), ("core", ())] } else { &[("gateway.networking.k8s.io", ())] };
    section.read("group", word(groups));
    section.read("namespace", values::name);
    section.read("port", integer(1_u16, u16::MAX));
    let section_name = section.read("sectionName", values::name);
    let name = section.read_needed("name", values::name)?;
    Some(if is_service {
        Parent::Service { name }
    } else {
        Parent::Gateway { name, section: section_name }
    })
}

/// Hosts of the route.
pub(super) fn hostnames(section: &Section<'_>, subject: &str) -> Vec<String> {
    section.context.record(subject, "hostnames", section.spot_of("hostnames"));
    let items = section.list("hostnames", HOSTNAMES_MAX);
    items.iter().filter_map(|it| values::hostname(section.context, it)).collect()
}

/// Conditions on header fields.
pub(super) fn headers(section: &Section<'_>) -> Vec<ValueMatch> {
    value_matches(section, "headers", values::header_name, 4096)
}

/// Conditions on parameters of the query; likewise.
pub(super) fn query(section: &Section<'_>) -> Vec<ValueMatch> {
    value_matches(section, "queryParams", values::parameter_name, 1024)
}

fn value_matches(
    section: &Section<'_>,
    member: &str,
    name: fn(&Context<'_>, &Node) -> Option<String>,
    value_max: usize,
) -> Vec<ValueMatch> {
    let nodes = section.list(member, HEADERS_MAX).iter();
    nodes.filter_map(|it| value_match(section.context, it, name, value_max)).collect()
}

fn value_match(
    context: &Context<'_>,
    node: &Node,
    name: fn(&Context<'_>, &Node) -> Option<String>,
    value_max: usize,
) -> Option<ValueMatch> {
    let section = Section::of(context, node, "a condition", &["type", "name", "value"])?;
    let name = section.read_needed("name", |context, node| name(context, node));
    let value = comparison(&section, "value", value_max);
    section.need("value");
    Some(ValueMatch { name: name?, value: value? })
}

/// The value of a member that is compared as `type` says.
pub(super) fn comparison(section: &Section<'_>, member: &str, max: usize) -> Option<ValuePattern> {
    let comparison = match section.get("type") {
        Some(node) => word(&COMPARISONS)(section.context, node)?,
        None => Comparison::Exact,
    };
    match comparison {
        Comparison::Exact => section.read(member, values::text_up_to(max)).map(ValuePattern::Exact),
        Comparison::Regex => {
            let pattern = section.read(member, |context, node| values::pattern(context, node, max));
            pattern.map(ValuePattern::Regex)
        }
    }
}

/// Where a rule leads.
pub(super) fn backends(
    section: &Section<'_>,
    document: &Document<'_>,
    (subject, path): (&str, &str),
) -> Vec<Backend> {
    let context = section.context;
    context.record(subject, &format!("{path}.backends"), section.spot_of("backendRefs"));
    let mut backends = Vec::new();
    for node in section.list("backendRefs", BACKENDS_MAX) {
        let Some(backend) = backend(context, node, document) else { continue };
        let path = format!("{path}.backends[{}]", backends.len());
        context.record(subject, &path, node.spot);
        backends.push(backend);
    }
    backends
}

fn backend(context: &Context<'_>, node: &Node, document: &Document<'_>) -> Option<Backend> {
    let known = ["group", "kind", "name", "namespace", "port", "weight", "filters"];
    let section = Section::of(context, node, "a backend", &known)?;
    section.read("group", word(&[("", ()), ("core", ())]));
    section.read("kind", word(&[("Service", ())]));
    let namespace = section.read("namespace", values::name);
    if namespace.is_some_and(|it| it != document.namespace) {
        let message = "a backend in another namespace is not supported".to_owned();
        context.error(section.spot_of("namespace"), Code::NotSupported, message);
    }
    let port = section.read("port", integer(1, u16::MAX));
    let weight = section.read("weight", integer(0, WEIGHT_MAX));
    let filters = filters::read(&section, filters::Place::Backend);
    let service = section.read_needed("name", values::name)?;
    Some(Backend { service, port, weight: weight.unwrap_or(1), filters })
}

/// What the Gateway API asks of the rules of a route together.
fn check_rules(spec: &Section<'_>, rules: &[Rule]) {
    let (context, spot) = (spec.context, spec.spot_of("rules"));
    if spec.need("rules").is_some_and(|it| matches!(&it.value, Value::List(it) if it.is_empty())) {
        context.error(spot, Code::MissingMember, "a route needs a rule".to_owned());
    }
    let matches: usize = rules.iter().map(|it| it.matches.len()).sum();
    if matches > MATCHES_IN_ALL_MAX {
        let message = format!("{matches} matches in all rules, {MATCHES_IN_ALL_MAX} may be");
        context.error(spot, Code::TooMany, message);
    }
    let mut names: Vec<&str> = rules.iter().filter_map(|it| it.name.as_deref()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|it| it[0] == it[1]) {
        let message = format!("two rules are called `{}`", pair[0]);
        context.error(spot, Code::DuplicateName, message);
    }
}

/// The name of a rule, for people.
pub(super) fn rule_name(section: &Section<'_>) -> Option<String> {
    section.read("name", values::name)
}

/// Statuses that are tried again.
pub(super) fn codes(section: &Section<'_>) -> Vec<u16> {
    let mut codes = Vec::new();
    for node in section.list("codes", CODES_MAX) {
        let code = integer(400, 599)(section.context, node);
        codes.extend(code.filter(|it| !codes.contains(it)));
    }
    codes
}
