//! TrafficPolicy: what is set for calls to one service, or to every one.
//!
//! A member that a section does not set comes from the same section for `*`, then from the defaults.

use std::collections::BTreeMap;

use super::{
    Code,
    document::Document,
    gateway::{self, ATTEMPTS_MAX},
    names::Names,
    origin::Spot,
    section::Section,
    values::{self, integer, number, word},
    yaml::{Node, Value},
};
use crate::{
    balance::{self, Algorithm},
    breaker, concurrency,
    destination::{Attachments, Timeouts},
    policy::EVERY,
    retry,
};

/// Requests of one destination at a time, and those that wait.
const REQUESTS_MAX: usize = 1_000_000;
/// Bytes of one body that are kept for another try.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Routes that one policy may call idempotent.
const ROUTES_MAX: usize = 1000;

const ALGORITHMS: [(&str, Algorithm); 4] = [
    ("peakEwma", Algorithm::PeakEwma),
    ("leastRequest", Algorithm::LeastRequest),
    ("roundRobin", Algorithm::RoundRobin),
    ("random", Algorithm::Random),
];

const SECTIONS: [&str; 5] = ["balancer", "breaker", "concurrency", "retry", "timeouts"];

/// Whether the policy is for every service; asked before it is read.
pub(super) fn is_for_every(spec: &Node) -> bool {
    let member = |node: &Node, name: &str| match &node.value {
        Value::Map(members) => members.iter().find(|it| it.name == name).map(|it| it.node.clone()),
        Value::Scalar { .. } | Value::List(_) => None,
    };
    let name = member(spec, "targetRef").and_then(|it| member(&it, "name"));
    matches!(name.map(|it| it.value), Some(Value::Scalar { text, .. }) if text == EVERY)
}

/// Fills attachments; routes that are called idempotent come out, with the place that says so.
pub(super) fn read(
    document: &Document<'_>,
    attachments: &mut BTreeMap<String, Attachments>,
    names: &mut Names,
) -> Vec<(String, Spot)> {
    let context = document.context;
    let subject = format!("traffic policy {}", document.full_name());
    names.claim(context, &subject, document.spot);
    let mut known = vec!["targetRef", "idempotentRoutes"];
    known.extend(SECTIONS);
    let Some(spec) = document.section("a TrafficPolicy", &known) else { return Vec::new() };
    let routes = spec.one_or_more("idempotentRoutes", ROUTES_MAX).iter();
    let routes =
        routes.filter_map(|it| Some((values::qualified_name(context, it)?, it.spot))).collect();
    let Some(target) = target(&spec) else { return routes };
    for name in SECTIONS {
        if spec.get(name).is_some() {
            names.claim(context, &format!("{name} of {target}"), spec.spot_of(name));
            context.record(&format!("service {target}"), name, spec.spot_of(name));
        }
    }
    let every = attachments.get(EVERY).cloned().unwrap_or_default();
    fill(attachments.entry(target).or_default(), &every, &spec);
    routes
}

fn target(spec: &Section<'_>) -> Option<String> {
    spec.need("targetRef")?;
    let target = spec.section("targetRef", "a target", &["group", "kind", "name"])?;
    target.read("group", word(&[("", ()), ("core", ())]));
    target.read("kind", word(&[("Service", ())]));
    target.read_needed("name", |context, node| match values::text(context, node)? {
        EVERY => Some(EVERY.to_owned()),
        _ => values::name(context, node),
    })
}

fn fill(own: &mut Attachments, every: &Attachments, spec: &Section<'_>) {
    if let Some(balance) = balancer(spec, every.balance.unwrap_or_default()) {
        own.balance = Some(balance);
    }
    if let Some(breaker) = breaker(spec, every.breaker.unwrap_or_default()) {
        own.breaker = Some(breaker);
    }
    if let Some(concurrency) = concurrency(spec, every.concurrency.unwrap_or_default()) {
        own.concurrency = Some(concurrency);
    }
    if let Some(retry) = retry(spec, every.retry.clone().unwrap_or_default()) {
        own.retry = Some(retry);
    }
    if let Some(timeouts) = timeouts(spec, every.timeouts.unwrap_or_default()) {
        own.timeouts = Some(timeouts);
    }
}

fn balancer(spec: &Section<'_>, base: balance::Settings) -> Option<balance::Settings> {
    let known = ["algorithm", "decay", "initialLatency", "failurePenalty", "slowStart"];
    let section = spec.section("balancer", "a balancer", &known)?;
    Some(balance::Settings {
        algorithm: section.read("algorithm", word(&ALGORITHMS)).unwrap_or(base.algorithm),
        decay: section.read("decay", values::duration_above_zero).unwrap_or(base.decay),
        initial_latency: section
            .read("initialLatency", values::duration)
            .unwrap_or(base.initial_latency),
        failure_penalty: section
            .read("failurePenalty", values::duration)
            .unwrap_or(base.failure_penalty),
        slow_start: section.read("slowStart", values::duration).unwrap_or(base.slow_start),
    })
}

fn breaker(spec: &Section<'_>, base: breaker::Settings) -> Option<breaker::Settings> {
    let known = [
        "consecutiveFailures",
        "successRateMin",
        "requestsMin",
        "window",
        "openInitial",
        "openMax",
    ];
    let section = spec.section("breaker", "a breaker", &known)?;
    let settings = breaker::Settings {
        consecutive_failures: section
            .read("consecutiveFailures", integer(0, u32::MAX))
            .unwrap_or(base.consecutive_failures),
        success_rate_min: section
            .read("successRateMin", values::share)
            .unwrap_or(base.success_rate_min),
        requests_min: section
            .read("requestsMin", integer(1, u32::MAX))
            .unwrap_or(base.requests_min),
        window: section.read("window", values::duration_above_zero).unwrap_or(base.window),
        open_initial: section
            .read("openInitial", values::duration_above_zero)
            .unwrap_or(base.open_initial),
        open_max: section.read("openMax", values::duration_above_zero).unwrap_or(base.open_max),
    };
    if settings.open_initial > settings.open_max {
        let message = "`openInitial` is longer than `openMax`".to_owned();
        section.context.error(section.spot_of("openInitial"), Code::Contradiction, message);
    }
    Some(settings)
}

fn concurrency(spec: &Section<'_>, base: concurrency::Settings) -> Option<concurrency::Settings> {
    let known = ["requestsMax", "queueMax", "queueWait"];
    let section = spec.section("concurrency", "a cap", &known)?;
    Some(concurrency::Settings {
        requests_max: section
            .read("requestsMax", integer(1, REQUESTS_MAX))
            .unwrap_or(base.requests_max),
        queue_max: section.read("queueMax", integer(0, REQUESTS_MAX)).unwrap_or(base.queue_max),
        queue_wait: section.read("queueWait", values::duration).unwrap_or(base.queue_wait),
    })
}

fn retry(spec: &Section<'_>, base: retry::Settings) -> Option<retry::Settings> {
    let known = [
        "attempts",
        "codes",
        "backoffInitial",
        "backoffMax",
        "bodyBytesMax",
        "budgetRatio",
        "budgetWindow",
        "budgetMinPerSecond",
    ];
    let section = spec.section("retry", "a retry", &known)?;
    let codes = if section.get("codes").is_some() { gateway::codes(&section) } else { base.codes };
    let settings = retry::Settings {
        attempts: section.read("attempts", integer(0, ATTEMPTS_MAX)).unwrap_or(base.attempts),
        codes,
        backoff_initial: section
            .read("backoffInitial", values::duration)
            .unwrap_or(base.backoff_initial),
        backoff_max: section.read("backoffMax", values::duration).unwrap_or(base.backoff_max),
        body_bytes_max: section
            .read("bodyBytesMax", integer(0, BODY_BYTES_MAX))
            .unwrap_or(base.body_bytes_max),
        budget_ratio: section.read("budgetRatio", values::share).unwrap_or(base.budget_ratio),
        budget_window: section
            .read("budgetWindow", values::duration_above_zero)
            .unwrap_or(base.budget_window),
        budget_min_per_second: section
            .read("budgetMinPerSecond", number(1e6))
            .unwrap_or(base.budget_min_per_second),
    };
    if settings.backoff_initial > settings.backoff_max {
        let message = "`backoffInitial` is longer than `backoffMax`".to_owned();
        section.context.error(section.spot_of("backoffInitial"), Code::Contradiction, message);
    }
    Some(settings)
}

fn timeouts(spec: &Section<'_>, base: Timeouts) -> Option<Timeouts> {
    let known = ["request", "backendRequest", "connect", "idle", "tunnelIdle"];
    let section = spec.section("timeouts", "timeouts", &known)?;
    let duration = |member| section.read(member, values::duration);
    let timeouts = Timeouts {
        request: duration("request").unwrap_or(base.request),
        backend_request: duration("backendRequest").unwrap_or(base.backend_request),
        connect: duration("connect").unwrap_or(base.connect),
        idle: duration("idle").unwrap_or(base.idle),
        tunnel_idle: duration("tunnelIdle").unwrap_or(base.tunnel_idle),
    };
    if !timeouts.request.is_zero() && timeouts.backend_request > timeouts.request {
        let message = "`backendRequest` is longer than `request`".to_owned();
        section.context.error(section.spot_of("backendRequest"), Code::Contradiction, message);
    }
    Some(timeouts)
}
