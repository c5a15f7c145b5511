//! GRPCRoute of `gateway.networking.k8s.io/v1`.
//!
//! A method condition of the type `RegularExpression` becomes one expression over the path
//! `/service/method`; it ranks as any regular expression does.

use super::{
    Code, context::Context, document::Document, filters, gateway, section::Section, yaml::Node,
};
use crate::route::{Match, PathMatch, Route, RouteKind, Rule, ValuePattern};

/// Bytes of the name of a service or method, by the API's schema.
const NAME_MAX: usize = 1024;

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<Route> {
    gateway::route(document, subject, ("a GRPCRoute", RouteKind::Grpc), rule)
}

fn rule(document: &Document<'_>, node: &Node, (subject, path): (&str, &str)) -> Option<Rule> {
    let known = ["name", "matches", "filters", "backendRefs", "sessionPersistence"];
    let section = Section::of(document.context, node, "a rule", &known)?;
    Some(Rule {
        name: gateway::rule_name(&section),
        matches: gateway::matches(&section, (subject, path), condition),
        filters: filters::read(&section, filters::Place::GrpcRule),
        backends: gateway::backends(&section, document, (subject, path)),
        ..Rule::default()
    })
}

fn condition(context: &Context<'_>, node: &Node) -> Option<Match> {
    let section = Section::of(context, node, "a match", &["method", "headers"])?;
    Some(Match { path: method(&section), headers: gateway::headers(&section), ..Match::default() })
}

fn method(section: &Section<'_>) -> Option<PathMatch> {
    let known = ["type", "service", "method"];
    let section = section.section("method", "a condition on the method", &known)?;
    if section.get("service").is_none() && section.get("method").is_none() {
        let message = "a condition on the method needs `service` or `method`".to_owned();
        section.context.error(section.spot(), Code::MissingMember, message);
        return None;
    }
    let service = gateway::comparison(&section, "service", NAME_MAX);
    let method = gateway::comparison(&section, "method", NAME_MAX);
    for (member, value) in [("service", &service), ("method", &method)] {
        let Some(ValuePattern::Exact(name)) = value else { continue };
        let is_dot_allowed = member == "service";
        let may_stand =
            |it: u8| it.is_ascii_alphanumeric() || it == b'_' || (it == b'.' && is_dot_allowed);
        if !name.bytes().all(may_stand) {
            let node = section.get(member).map_or(section.spot(), |it| it.spot);
            let message = format!("`{name}` is no name of a gRPC {member}");
            section.context.error(node, Code::Malformed, message);
        }
    }
    Some(lowered(service, method))
}

fn lowered(service: Option<ValuePattern>, method: Option<ValuePattern>) -> PathMatch {
    let is_regex = |it: &Option<ValuePattern>| matches!(it, Some(ValuePattern::Regex(_)));
    if is_regex(&service) || is_regex(&method) {
        let part = |it: Option<ValuePattern>| match it {
            Some(ValuePattern::Regex(pattern)) => format!("(?:{pattern})"),
            // Of what a name may hold, the dot alone means something else in a pattern.
            Some(ValuePattern::Exact(name)) => name.replace('.', "[.]"),
            None => "[^/]+".to_owned(),
        };
        return PathMatch::Regex(format!("/{}/{}", part(service), part(method)));
    }
    let exact = |it: Option<ValuePattern>| match it {
        Some(ValuePattern::Exact(name) | ValuePattern::Regex(name)) => Some(name),
        None => None,
    };
    PathMatch::Grpc { service: exact(service), method: exact(method) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(service: Option<&str>, method: Option<&str>, expected: &str) {
        let pattern = |it: &str| ValuePattern::Regex(it.to_owned());
        let expected = PathMatch::Regex(expected.to_owned());
        assert_eq!(lowered(service.map(pattern), method.map(pattern)), expected);
    }

    #[test]
    fn patterns_for_service_and_method_become_one_for_the_path() {
        check(None, Some("Get|List"), "/[^/]+/(?:Get|List)");
        check(Some("a|b"), Some("Get"), "/(?:a|b)/(?:Get)");
        check(Some("a"), None, "/(?:a)/[^/]+");
    }

    #[test]
    fn a_name_beside_a_pattern_stands_for_itself() {
        let service = ValuePattern::Exact("shop.Stock".to_owned());
        let method = ValuePattern::Regex("Get|List".to_owned());
        let expected = PathMatch::Regex("/shop[.]Stock/(?:Get|List)".to_owned());
        assert_eq!(lowered(Some(service), Some(method)), expected);
    }
}
