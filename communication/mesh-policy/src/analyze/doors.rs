//! Doors through which nobody comes, and doors through which everybody does.

use super::{Report, limits::judge_route};
use crate::{
    Policy,
    authorization::Caller,
    schema::{Code, Level},
};

pub(super) fn analyze(policy: &Policy, report: &mut Report<'_>) {
    for access in &policy.edge_access {
        let subject = format!("edge-access {}", access.name);
        for (index, route) in access.anonymous.iter().enumerate() {
            judge_route(policy, Some(route), (&subject, &format!("anonymous[{index}]")), report);
        }
        for (index, rule) in access.rules.iter().enumerate() {
            for (number, route) in rule.routes.iter().enumerate() {
                let place = format!("rules[{index}].routes[{number}]");
                judge_route(policy, Some(route), (&subject, &place), report);
            }
        }
    }
    for authorization in &policy.authorizations {
        let (subject, service) =
            (format!("authorization {}", authorization.name), &authorization.service);
        let same = policy.authorizations.iter().filter(|it| it.service == *service);
        if same.flat_map(|it| &it.rules).next().is_none() {
            let message = format!("nobody may call {service}: its policies have no rule");
            report.tell((&subject, "rules"), Level::Warning, Code::DoorShut, message);
        }
        for (index, rule) in authorization.rules.iter().enumerate() {
            let is_open = rule.callers.contains(&Caller::AnyIdentity)
                && rule.methods.is_empty()
                && rule.paths.is_empty();
            if is_open {
                let message = format!("whoever has an identity may do everything at {service}");
                let hint = Some("name callers, `methods` or `paths`".to_owned());
                let at = (&*subject, &*format!("rules[{index}]"));
                report.tell_with(at, Level::Warning, Code::DoorOpen, message, hint);
            }
        }
    }
}
