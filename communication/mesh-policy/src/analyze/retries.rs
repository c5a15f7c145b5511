//! Retries that cannot help, and retries that harm; calls that nothing bounds.

use std::time::Duration;

use super::{Report, subject_of};
use crate::{
    Policy,
    destination::Destination,
    retry::RouteRetry,
    route::{Route, Rule},
    schema::{Code, Level},
};

pub(super) fn analyze(policy: &Policy, report: &mut Report<'_>) {
    for (service, attachments) in &policy.attachments {
        if attachments.retry.is_none() && attachments.timeouts.is_none() {
            continue;
        }
        let it = policy.destination(service);
        let bounds = Bounds {
            attempts: it.retry.attempts,
            request: it.timeouts.request,
            one_try: it.timeouts.backend_request,
        };
        let path = if attachments.timeouts.is_some() { "timeouts" } else { "retry" };
        let at = (&*format!("service {service}"), path);
        judge_time(bounds, at, report);
        if attachments.timeouts.is_some() {
            judge_end(bounds, at, report);
        }
        if attachments.retry.is_some() && attachments.timeouts.is_some() {
            judge_try(bounds, at, report);
        }
    }
    for route in &policy.routes {
        for (index, rule) in route.rules.iter().enumerate() {
            judge_rule(policy, route, (index, rule), report);
        }
    }
}

/// What holds for a request in the end.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    attempts: u32,
    request: Duration,
    one_try: Duration,
}

impl Bounds {
    fn of(rule: &Rule, destination: &Destination) -> Self {
        let retry = rule.retry.as_ref().and_then(|it| it.attempts);
        let (timeouts, own) = (&rule.timeouts, &destination.timeouts);
        Self {
            attempts: retry.unwrap_or(destination.retry.attempts),
            request: timeouts.request.unwrap_or(own.request),
            one_try: timeouts.backend_request.unwrap_or(own.backend_request),
        }
    }
}

fn judge_rule(
    policy: &Policy,
    route: &Route,
    (index, rule): (usize, &Rule),
    report: &mut Report<'_>,
) {
    let subject = subject_of(route);
    let retry_path = format!("rules[{index}].retry");
    let asks = rule.retry.as_ref().is_some_and(asks_for_retries);
    if asks && !rule.retry.as_ref().is_some_and(|it| it.is_idempotent) {
        judge_methods(rule, (&subject, &retry_path), report);
    }
    let has_timeouts = rule.timeouts.request.is_some() || rule.timeouts.backend_request.is_some();
    // Of several backends one is enough to say it.
    let Some(backend) = rule.backends.first().filter(|_| asks || has_timeouts) else { return };
    let bounds = Bounds::of(rule, &policy.destination(&backend.service));
    let path = if asks { retry_path } else { format!("rules[{index}].timeouts") };
    judge_time(bounds, (&subject, &path), report);
    if has_timeouts {
        judge_end(bounds, (&subject, &path), report);
    }
    if asks {
        judge_try(bounds, (&subject, &path), report);
    }
}

/// A rule that was only called idempotent leaves the rest to its destination.
fn asks_for_retries(retry: &RouteRetry) -> bool {
    let says_something = !retry.codes.is_empty() || retry.attempts.is_some();
    retry.attempts != Some(0) && says_something
}

fn judge_methods(rule: &Rule, at: (&str, &str), report: &mut Report<'_>) {
    let methods = rule.matches.iter().filter_map(|it| it.method.as_deref());
    let unsafe_method = methods.into_iter().find(|it| matches!(*it, "POST" | "PATCH"));
    let Some(method) = unsafe_method else { return };
    let message = format!("{method} is tried again only with a key or where nothing was processed");
    let hint = "name the route in `idempotentRoutes` if once more does the same as once";
    report.tell_with(at, Level::Warning, Code::UnsafeRetry, message, Some(hint.to_owned()));
}

fn judge_time(bounds: Bounds, at: (&str, &str), report: &mut Report<'_>) {
    let Bounds { attempts, request, one_try } = bounds;
    let whole = one_try.saturating_mul(attempts.saturating_add(1));
    if attempts > 0 && !request.is_zero() && !one_try.is_zero() && whole > request {
        let tries = attempts.saturating_add(1);
        let message =
            format!("{tries} tries of {one_try:?} do not fit in a request of {request:?}");
        report.tell(at, Level::Warning, Code::RetriesBeyondTimeout, message);
    }
}

fn judge_try(bounds: Bounds, at: (&str, &str), report: &mut Report<'_>) {
    if bounds.attempts > 0 && bounds.one_try.is_zero() {
        let message = "a try that hangs is never tried again: nothing bounds one try".to_owned();
        let hint = Some("set `backendRequest`".to_owned());
        report.tell_with(at, Level::Info, Code::RetriesWithoutTryTimeout, message, hint);
    }
}

fn judge_end(bounds: Bounds, at: (&str, &str), report: &mut Report<'_>) {
    if bounds.request.is_zero() && bounds.one_try.is_zero() {
        let message = "nothing bounds a call: both time-outs are off".to_owned();
        let hint = Some("set `request`".to_owned());
        report.tell_with(at, Level::Warning, Code::NoTimeout, message, hint);
    }
}
