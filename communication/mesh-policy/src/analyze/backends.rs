//! Rules that lead nowhere.

use super::{Report, subject_of};
use crate::{
    Policy,
    destination::Attachments,
    filter::Filter,
    policy::EVERY,
    route::{Parent, Rule},
    schema::{Code, Level, nearest},
};

pub(super) fn analyze(policy: &Policy, report: &mut Report<'_>) {
    for route in &policy.routes {
        let subject = subject_of(route);
        for (index, rule) in route.rules.iter().enumerate() {
            let path = format!("rules[{index}]");
            judge_rule(rule, (&subject, &path), report);
            for (number, backend) in rule.backends.iter().enumerate() {
                let path = format!("{path}.backends[{number}]");
                judge_service(policy, &backend.service, (&subject, &path), report);
            }
        }
    }
    for proxy in &policy.proxies {
        for (index, door) in proxy.outbound.iter().enumerate() {
            let Some(service) = door.service.as_ref().filter(|it| !is_routed(policy, it)) else {
                continue;
            };
            let at = (&*format!("proxy {}", proxy.name), &*format!("outbound[{index}]"));
            judge_service(policy, service, at, report);
        }
    }
    for fault in policy.faults.iter().filter(|it| !is_routed(policy, &it.service)) {
        judge_service(policy, &fault.service, (&format!("fault {}", fault.name), ""), report);
    }
    for (service, set) in &policy.attachments {
        // That of the service behind a proxy's own door needs no Endpoints.
        let is_own = policy.proxies.iter().any(|it| it.name == *service);
        if *service != EVERY && !is_own && !is_routed(policy, service) {
            judge_service(
                policy,
                service,
                (&format!("service {service}"), section_of(set)),
                report,
            );
        }
    }
}

/// The member that shows where something is set for a service.
fn section_of(set: &Attachments) -> &'static str {
    let sections = [
        ("balancer", set.balance.is_some()),
        ("breaker", set.breaker.is_some()),
        ("concurrency", set.concurrency.is_some()),
        ("retry", set.retry.is_some()),
        ("timeouts", set.timeouts.is_some()),
    ];
    sections.into_iter().find(|it| it.1).map_or("", |it| it.0)
}

fn judge_rule(rule: &Rule, at: (&str, &str), report: &mut Report<'_>) {
    if rule.backends.is_empty() {
        if !rule.filters.iter().any(|it| matches!(it, Filter::Redirect(_))) {
            let message = "this rule answers 500: it has no backends and redirects nowhere";
            report.tell(at, Level::Warning, Code::NoBackend, message.to_owned());
        }
    } else if rule.backends.iter().all(|it| it.weight == 0) {
        let at = (at.0, &*format!("{}.backends", at.1));
        let message = "this rule answers 500: the weights of its backends sum to zero";
        report.tell(at, Level::Warning, Code::ZeroWeights, message.to_owned());
    }
}

/// Where no Endpoints are given at all they come from elsewhere, and nothing can be said.
fn judge_service(policy: &Policy, service: &str, at: (&str, &str), report: &mut Report<'_>) {
    if policy.endpoints.is_empty() || policy.endpoints.contains_key(service) {
        return;
    }
    let known: Vec<&str> = policy.endpoints.keys().map(String::as_str).collect();
    let near = nearest::nearest(service, &known).map(|it| format!("did you mean `{it}`?"));
    let message = format!("no Endpoints say where `{service}` is");
    report.tell_with(at, Level::Error, Code::UnknownBackend, message, near);
}

/// Whether calls to the service go by a route, which names backends of its own.
fn is_routed(policy: &Policy, service: &str) -> bool {
    let is_parent = |it: &Parent| matches!(it, Parent::Service { name } if name == service);
    policy.routes.iter().any(|it| it.parents.iter().any(is_parent))
}
