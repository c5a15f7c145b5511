//! Limits, faults and breakers that do nothing, or never stop.

use super::Report;
use crate::{
    Policy,
    schema::{Code, Level, nearest},
};

pub(super) fn analyze(policy: &Policy, report: &mut Report<'_>) {
    for limit in &policy.rate_limits {
        let subject = format!("rate-limit {}", limit.name);
        judge_route(policy, limit.route.as_deref(), (&subject, "route"), report);
    }
    for fault in &policy.faults {
        let subject = format!("fault {}", fault.name);
        judge_route(policy, fault.route.as_deref(), (&subject, "route"), report);
        if fault.expires_after.is_none() {
            let message = "this fault stands until somebody takes it away".to_owned();
            let hint = Some("set `expiresAfter`".to_owned());
            let at = (&*subject, "");
            report.tell_with(at, Level::Warning, Code::FaultWithoutExpiry, message, hint);
        }
    }
    for (service, attachments) in &policy.attachments {
        let Some(breaker) = attachments.breaker else { continue };
        if breaker.consecutive_failures == 0 && breaker.success_rate_min <= 0.0 {
            let message = "nothing opens this breaker: both of its reasons are off".to_owned();
            let at = (&*format!("service {service}"), "breaker");
            report.tell(at, Level::Warning, Code::BreakerNeverOpens, message);
        }
    }
}

/// A route that no file has, at the place that names it.
pub(super) fn judge_route(
    policy: &Policy,
    route: Option<&str>,
    at: (&str, &str),
    report: &mut Report<'_>,
) {
    let Some(route) = route else { return };
    let known: Vec<&str> = policy.routes.iter().map(|it| it.name.as_str()).collect();
    if known.contains(&route) {
        return;
    }
    let near = nearest::nearest(route, &known).map(|it| format!("did you mean `{it}`?"));
    let message = format!("no file has a route `{route}`");
    report.tell_with(at, Level::Error, Code::UnknownRoute, message, near);
}
