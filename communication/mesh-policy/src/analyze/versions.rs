//! What answers say of the end of a version: RFC 9745, 4: a sunset is never before the deprecation.

use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

use super::{Report, subject_of};
use crate::{
    Policy,
    filter::Filter,
    route::Rule,
    schema::{Code, Level},
};

pub(super) fn analyze(policy: &Policy, report: &mut Report<'_>) {
    for route in &policy.routes {
        for (index, rule) in route.rules.iter().enumerate() {
            let value = |name: &str| field(rule, name);
            let deprecation = value("deprecation").and_then(structured_date);
            let sunset = value("sunset").and_then(http_date);
            let (Some(deprecation), Some(sunset)) = (deprecation, sunset) else { continue };
            if sunset < deprecation {
                let message =
                    format!("the sunset {sunset} is before the deprecation {deprecation}");
                let at = (&*subject_of(route), &*format!("rules[{index}]"));
                report.tell(at, Level::Error, Code::SunsetBeforeDeprecation, message);
            }
        }
    }
}

/// The value that the rule sets for a response field.
fn field<'a>(rule: &'a Rule, name: &str) -> Option<&'a str> {
    let changes = rule.filters.iter().filter_map(|it| match it {
        Filter::ResponseHeaders(change) => Some(change),
        Filter::RequestHeaders(_) | Filter::Redirect(_) | Filter::Rewrite(_) => None,
    });
    let mut fields = changes.flat_map(|it| it.set.iter().chain(&it.add));
    fields.find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// `@` and seconds since 1970: RFC 9651, 3.3.7.
fn structured_date(value: &str) -> Option<Timestamp> {
    Timestamp::from_second(value.strip_prefix('@')?.parse().ok()?).ok()
}

fn http_date(value: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(value).ok()
}
