//! Filters of rules and backends.

use super::{
    Code,
    context::Context,
    section::Section,
    values::{self, integer, word},
    yaml::Node,
};
use crate::filter::{Filter, HeaderChange, PathChange, Redirect, Rewrite};

/// Bounds of the Gateway API's schema.
const FILTERS_MAX: usize = 16;
const CHANGES_MAX: usize = 16;

/// Where a filter stands; not every one may stand everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    HttpRule,
    GrpcRule,
    Backend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    RequestHeaders,
    ResponseHeaders,
    Redirect,
    Rewrite,
    Other,
}

const TYPES: [(&str, Type); 8] = [
    ("RequestHeaderModifier", Type::RequestHeaders),
    ("ResponseHeaderModifier", Type::ResponseHeaders),
    ("RequestRedirect", Type::Redirect),
    ("URLRewrite", Type::Rewrite),
    ("RequestMirror", Type::Other),
    ("CORS", Type::Other),
    ("ExternalAuth", Type::Other),
    ("ExtensionRef", Type::Other),
];

/// The members that hold what the types say.
const MEMBERS: [&str; 9] = [
    "type",
    "requestHeaderModifier",
    "responseHeaderModifier",
    "requestRedirect",
    "urlRewrite",
    "requestMirror",
    "cors",
    "externalAuth",
    "extensionRef",
];

/// The filters of a rule or backend.
pub(super) fn read(section: &Section<'_>, place: Place) -> Vec<Filter> {
    let context = section.context;
    let mut seen = Vec::new();
    let mut filters = Vec::new();
    for node in section.list("filters", FILTERS_MAX) {
        let Some(section) = Section::of(context, node, "a filter", &MEMBERS) else { continue };
        let kind = section.read_needed("type", word(&TYPES));
        let Some(kind) = kind.filter(|it| is_supported(&section, *it, place)) else { continue };
        if seen.contains(&kind) {
            let message = "a filter of this type is here already".to_owned();
            context.error(section.spot_of("type"), Code::DuplicateName, message);
        }
        seen.push(kind);
        filters.extend(filter(&section, kind));
    }
    let excluded = [Type::Redirect, Type::Rewrite].iter().all(|it| seen.contains(it));
    if excluded {
        let message = "a rule redirects or rewrites, not both".to_owned();
        context.error(section.spot_of("filters"), Code::Contradiction, message);
    }
    filters
}

fn is_supported(section: &Section<'_>, kind: Type, place: Place) -> bool {
    let is_supported = match kind {
        Type::RequestHeaders | Type::ResponseHeaders => true,
        Type::Redirect | Type::Rewrite => place == Place::HttpRule,
        Type::Other => false,
    };
    if !is_supported {
        let spot = section.get("type").map_or(section.spot(), |it| it.spot);
        let message = match kind {
            Type::Other => "a filter of this type is not supported",
            _ => "a filter of this type is not supported here",
        };
        section.context.error(spot, Code::NotSupported, message.to_owned());
    }
    is_supported
}

fn filter(section: &Section<'_>, kind: Type) -> Option<Filter> {
    let member = match kind {
        Type::RequestHeaders => "requestHeaderModifier",
        Type::ResponseHeaders => "responseHeaderModifier",
        Type::Redirect => "requestRedirect",
        Type::Rewrite => "urlRewrite",
        Type::Other => return None,
    };
    for other in MEMBERS.iter().filter(|it| **it != "type" && **it != member) {
        if section.get(other).is_some() {
            let message = format!("`{other}` stands in a filter of another type");
            section.context.error(section.spot_of(other), Code::Contradiction, message);
        }
    }
    section.need(member)?;
    match kind {
        Type::RequestHeaders => header_change(section, member).map(Filter::RequestHeaders),
        Type::ResponseHeaders => header_change(section, member).map(Filter::ResponseHeaders),
        Type::Redirect => redirect(section, member).map(Filter::Redirect),
        Type::Rewrite => rewrite(section, member).map(Filter::Rewrite),
        Type::Other => None,
    }
}

fn header_change(section: &Section<'_>, member: &str) -> Option<HeaderChange> {
    let section = section.section(member, "a header modifier", &["set", "add", "remove"])?;
    let context = section.context;
    let fields = |member| {
        let nodes = section.list(member, CHANGES_MAX).iter();
        nodes.filter_map(|it| field(context, it)).collect()
    };
    let remove = section.list("remove", CHANGES_MAX).iter();
    Some(HeaderChange {
        set: fields("set"),
        add: fields("add"),
        remove: remove.filter_map(|it| values::header_name(context, it)).collect(),
    })
}

/// A field with its value.
pub(super) fn field(context: &Context<'_>, node: &Node) -> Option<(String, String)> {
    let section = Section::of(context, node, "a header field", &["name", "value"])?;
    let name = section.read_needed("name", values::header_name);
    let value = section.read_needed("value", values::header_value);
    Some((name?, value?))
}

fn redirect(section: &Section<'_>, member: &str) -> Option<Redirect> {
    let known = ["scheme", "hostname", "path", "port", "statusCode"];
    let section = section.section(member, "a redirect", &known)?;
    let schemes = [("http", "http"), ("https", "https")];
    let status = section.read("statusCode", |context, node| {
        let status = integer(300, 399)(context, node)?;
        if [301, 302, 303, 307, 308].contains(&status) {
            return Some(status);
        }
        let message = format!("{status} is none of 301, 302, 303, 307, 308");
        context.error(node.spot, Code::OutOfRange, message);
        None
    });
    Some(Redirect {
        scheme: section.read("scheme", word(&schemes)).map(str::to_owned),
        hostname: section.read("hostname", values::precise_hostname),
        path: path_change(&section),
        port: section.read("port", integer(1, u16::MAX)),
        status: status.unwrap_or(302),
    })
}

fn rewrite(section: &Section<'_>, member: &str) -> Option<Rewrite> {
    let section = section.section(member, "a rewrite", &["hostname", "path"])?;
    Some(Rewrite {
        hostname: section.read("hostname", values::precise_hostname),
        path: path_change(&section),
    })
}

fn path_change(section: &Section<'_>) -> Option<PathChange> {
    let known = ["type", "replaceFullPath", "replacePrefixMatch"];
    let section = section.section("path", "a change of the path", &known)?;
    let types = [
        ("ReplaceFullPath", ("replaceFullPath", "replacePrefixMatch")),
        ("ReplacePrefixMatch", ("replacePrefixMatch", "replaceFullPath")),
    ];
    let (member, other) = section.read_needed("type", word(&types))?;
    if section.get(other).is_some() {
        let message = format!("`{other}` stands in a change of another type");
        section.context.error(section.spot_of(other), Code::Contradiction, message);
    }
    let path = section.read_needed(member, values::new_path)?;
    Some(if member == "replaceFullPath" {
        PathChange::Full(path)
    } else {
        PathChange::Prefix(path)
    })
}
