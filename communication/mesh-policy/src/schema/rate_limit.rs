//! RateLimit: how many requests may come in a time.

use super::{
    Code,
    document::Document,
    section::Section,
    values::{self, integer, word},
    yaml::{ScalarKind, Value, kind_of_plain},
};
use crate::rate::{RateKey, RateLimit};

/// Roles of one limit; more is refused.
const ROLES_MAX: usize = 256;

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<RateLimit> {
    let known = ["targetRef", "roles", "requests", "period", "burst", "key"];
    let spec = document.section("a RateLimit", &known)?;
    spec.context.record(subject, "route", spec.spot_of("targetRef"));
    let target = target(&spec);
    let roles = spec.list("roles", ROLES_MAX).iter();
    let roles = roles.filter_map(|it| values::role(spec.context, it)).collect();
    if spec.get("roles").is_some() && matches!(target, Some(Target::Service(_))) {
        // Whoever calls a service inside may say what he likes of roles.
        let message = "roles are known at an edge, not at the door of a service".to_owned();
        spec.context.error(spec.spot_of("roles"), Code::Contradiction, message);
    }
    let requests = spec.read_needed("requests", integer(1, u32::MAX));
    let burst = spec.read("burst", integer(1, u32::MAX));
    let period = spec.read_needed("period", values::duration_above_zero);
    let key = if spec.get("key").is_some() { key(&spec)? } else { RateKey::All };
    let (requests, period) = (requests?, period?);
    let (gateway, route, service) = match target? {
        Target::Gateway(name) => (Some(name), None, None),
        Target::Route(name) => (None, Some(name), None),
        Target::Service(name) => (None, None, Some(name)),
    };
    Some(RateLimit {
        name: document.name.clone(),
        gateway,
        route,
        service,
        roles,
        requests,
        period,
        burst: burst.unwrap_or(requests),
        key,
    })
}

/// What a limit binds.
enum Target {
    /// Every request through the edge, or the proxy, of this name.
    Gateway(String),
    /// A route, as `namespace/name`.
    Route(String),
    /// What comes in at the door of a service.
    Service(String),
}

#[derive(Clone, Copy)]
enum Kind {
    Gateway,
    Route,
    Service,
}

fn target(spec: &Section<'_>) -> Option<Target> {
    spec.need("targetRef")?;
    let target = spec.section("targetRef", "a target", &["group", "kind", "namespace", "name"])?;
    let kinds = [
        ("HTTPRoute", Kind::Route),
        ("GRPCRoute", Kind::Route),
        ("ApiVersions", Kind::Route),
        ("Gateway", Kind::Gateway),
        ("Service", Kind::Service),
    ];
    let groups = [("gateway.networking.k8s.io", ()), ("skein", ()), ("", ()), ("core", ())];
    target.read("group", word(&groups));
    let kind = target.read_needed("kind", word(&kinds));
    let namespace = target.read("namespace", values::name);
    let name = target.read_needed("name", values::name)?;
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    Some(match kind? {
        Kind::Gateway => Target::Gateway(name),
        Kind::Route => Target::Route(format!("{namespace}/{name}")),
        Kind::Service => Target::Service(name),
    })
}

fn key(spec: &Section<'_>) -> Option<RateKey> {
    let key = spec.section("key", "a key", &["client", "header"])?;
    match (key.get("client"), key.get("header")) {
        (Some(node), None) => {
            let is_true = matches!(&node.value, Value::Scalar { text, is_quoted: false }
                if kind_of_plain(text) == ScalarKind::Bool && text.eq_ignore_ascii_case("true"));
            if is_true {
                return Some(RateKey::Client);
            }
            let message = "`client` is true or absent".to_owned();
            key.context.error(node.spot, Code::WrongType, message);
            None
        }
        (None, Some(node)) => values::header_name(key.context, node).map(RateKey::Header),
        (Some(_), Some(_)) => {
            let message = "a key is `client` or `header`, not both".to_owned();
            key.context.error(key.spot(), Code::Contradiction, message);
            None
        }
        (None, None) => {
            let message = "a key needs `client` or `header`".to_owned();
            key.context.error(key.spot(), Code::MissingMember, message);
            None
        }
    }
}
