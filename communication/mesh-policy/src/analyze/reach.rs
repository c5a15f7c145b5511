//! Rules that no request reaches, and routes that two people wrote for the same requests.
//!
//! By the precedence of the Gateway API a match with more conditions goes before one with fewer, so
//! a match is hidden only by the same one in an earlier rule, or, where it is of a prefix, by a
//! regular expression that takes every path.

use std::collections::BTreeMap;

use super::{Report, subject_of};
use crate::{
    Policy,
    route::{Match, PathMatch, Route, Rule, ValueMatch},
    schema::{Code, Level},
};

pub(super) fn analyze(policy: &Policy, report: &mut Report<'_>) {
    for route in &policy.routes {
        hidden_rules(route, report);
        for (index, rule) in route.rules.iter().enumerate() {
            for (number, it) in rule.matches.iter().enumerate() {
                let path = format!("{}.matches[{number}]", rule_path(index));
                repeated_names(&it.headers, (&subject_of(route), &path), report);
                repeated_names(&it.query, (&subject_of(route), &path), report);
            }
        }
    }
    overlaps(&policy.routes, report);
}

fn hidden_rules(route: &Route, report: &mut Report<'_>) {
    let subject = subject_of(route);
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    // These rank above every prefix, so it does not matter whether they come first.
    let takes_all: Vec<(usize, Match)> = (route.rules.iter().enumerate())
        .flat_map(|(index, rule)| rule.matches.iter().map(move |it| (index, it.clone())))
        .filter(|(_, it)| takes_every_path(it))
        .collect();
    for (index, rule) in route.rules.iter().enumerate() {
        let matches = effective_matches(rule);
        let keys: Vec<String> = matches.iter().map(key_of).collect();
        let hider = |(it, key): (&Match, &String)| {
            let same = first.get(key).copied();
            same.or_else(|| takes_all.iter().find(|(_, all)| hides(all, it)).map(|(rule, _)| *rule))
        };
        let hiders: Vec<Option<usize>> = matches.iter().zip(&keys).map(hider).collect();
        let other = |it: usize| format!("rule {}{}", it + 1, report.at(&subject, &rule_path(it)));
        let mut told = Vec::new();
        if let Some(Some(by)) = hiders.first()
            && hiders.iter().all(Option::is_some)
        {
            let message = format!("no request reaches this rule: {} takes them", other(*by));
            told.push((rule_path(index), message));
        } else {
            for (number, by) in hiders.iter().enumerate() {
                let same = keys[..number].iter().position(|it| *it == keys[number]);
                let by = by.map(other).or_else(|| same.map(|it| format!("match {}", it + 1)));
                let Some(by) = by else { continue };
                let message = format!("no request reaches this match: {by} takes them");
                told.push((format!("{}.matches[{number}]", rule_path(index)), message));
            }
        }
        for (path, message) in told {
            report.tell((&subject, &path), Level::Warning, Code::UnreachableRule, message);
        }
        for key in keys {
            first.entry(key).or_insert(index);
        }
    }
}

fn repeated_names(conditions: &[ValueMatch], at: (&str, &str), report: &mut Report<'_>) {
    for (number, it) in conditions.iter().enumerate() {
        if conditions[..number].iter().any(|earlier| earlier.name == it.name) {
            let message = format!("only the first condition on `{}` is looked at", it.name);
            report.tell(at, Level::Warning, Code::RepeatedCondition, message);
        }
    }
}

fn takes_every_path(it: &Match) -> bool {
    matches!(&it.path, Some(PathMatch::Regex(it)) if it == ".*" || it == "/.*")
}

fn rule_path(index: usize) -> String {
    format!("rules[{index}]")
}

/// A rule without matches has one that every request is under.
fn effective_matches(rule: &Rule) -> Vec<Match> {
    if rule.matches.is_empty() { vec![Match::default()] } else { rule.matches.clone() }
}

/// Two matches with the same key are the same condition.
fn key_of(it: &Match) -> String {
    let mut it = it.clone();
    let root = || PathMatch::Prefix("/".to_owned());
    it.path = Some(match it.path.unwrap_or_else(root) {
        PathMatch::Prefix(prefix) if prefix.len() > 1 => {
            PathMatch::Prefix(prefix.trim_end_matches('/').to_owned())
        }
        other => other,
    });
    in_order(&mut it.headers);
    in_order(&mut it.query);
    format!("{it:?}")
}

/// By name, and of two for one name the first, which counts.
fn in_order(conditions: &mut Vec<ValueMatch>) {
    conditions.sort_by(|one, other| one.name.cmp(&other.name));
    conditions.dedup_by(|later, first| later.name == first.name);
}

/// Whether the match of every path takes what this one is for: it asks for nothing more.
fn hides(all: &Match, it: &Match) -> bool {
    let within = |few: &[ValueMatch], many: &[ValueMatch]| few.iter().all(|it| many.contains(it));
    matches!(it.path, None | Some(PathMatch::Prefix(_)))
        && (all.method.is_none() || all.method == it.method)
        && within(&all.headers, &it.headers)
        && within(&all.query, &it.query)
        && (all.version.is_none() || all.version == it.version)
}

/// Routes of the same parent and host with the same match.
fn overlaps(routes: &[Route], report: &mut Report<'_>) {
    // Among equals the older one wins, then the name.
    let mut order: Vec<&Route> = routes.iter().collect();
    order.sort_by_key(|it| (it.created.unwrap_or(i64::MAX), &it.name));
    let mut seen: BTreeMap<String, Vec<&Route>> = BTreeMap::new();
    for route in order {
        let mut is_told = false;
        for (index, rule) in route.rules.iter().enumerate() {
            for it in effective_matches(rule) {
                let others = seen.entry(key_of(&it)).or_default();
                let other = others.iter().find(|other| meet(other, route)).copied();
                if let Some(other) = other.filter(|_| !is_told) {
                    tell_overlap(route, index, other, report);
                    is_told = true;
                }
                if others.last().is_none_or(|last| last.name != route.name) {
                    others.push(route);
                }
            }
        }
    }
}

fn tell_overlap(route: &Route, rule: usize, other: &Route, report: &mut Report<'_>) {
    let place = report.at(&subject_of(other), "");
    let message = format!("route {}{place} has the same match and goes before", other.name);
    let at = (&*subject_of(route), &*rule_path(rule));
    report.tell(at, Level::Warning, Code::OverlappingRoutes, message);
}

/// Whether a request could be under both: a parent and a host in common.
fn meet(one: &Route, other: &Route) -> bool {
    let is_shared_host = match (&*one.hostnames, &*other.hostnames) {
        ([], []) => true,
        (hosts, others) => hosts.iter().any(|it| others.contains(it)),
    };
    one.name != other.name
        && is_shared_host
        && one.parents.iter().any(|it| other.parents.contains(it))
}
