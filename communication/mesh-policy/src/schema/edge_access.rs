//! EdgeAccess: who may come in at an edge.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    Code,
    context::Context,
    document::Document,
    section::Section,
    values::{self, word},
    yaml::Node,
};
use crate::edge_access::{EdgeAccess, PublishedKeys, Reach, Rule, SignerSource, TokenIssuer};

/// Rules, issuers and routes of one policy, roles of one rule; more is refused.
const ITEMS_MAX: usize = 256;

/// Where an issuer publishes its keys, and what is said of looking there.
const KEYS_URL: &str = "keysUrl";
const REFRESH: &str = "refresh";
const TIMEOUT: &str = "timeout";
const STALE_MAX: &str = "staleMax";
const OF_URL: [&str; 3] = [REFRESH, TIMEOUT, STALE_MAX];

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// `nothing` is what nobody is told, not what somebody is given.
const REACHES: [(&str, Reach); 2] = [("own", Reach::Own), ("all", Reach::All)];

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<EdgeAccess> {
    let known = ["gateway", "keys", "tokens", "anonymous", "rules"];
    let spec = document.section("an EdgeAccess", &known)?;
    spec.need("rules");
    let each = |member: &str| spec.list(member, ITEMS_MAX).iter();
    let mut rules = Vec::new();
    for (index, node) in each("rules").enumerate() {
        spec.context.record(subject, &format!("rules[{index}]"), node.spot);
        rules.extend(rule(spec.context, node, subject, index));
    }
    let mut anonymous = Vec::new();
    for (index, node) in each("anonymous").enumerate() {
        spec.context.record(subject, &format!("anonymous[{index}]"), node.spot);
        anonymous.extend(values::qualified_name(spec.context, node));
    }
    let keys = spec.read("keys", path);
    let tokens: Vec<_> = each("tokens").filter_map(|it| issuer(spec.context, it)).collect();
    if spec.get("keys").is_none() && spec.get("tokens").is_none() {
        let message = "an EdgeAccess needs `keys` or `tokens`: who could come in?".to_owned();
        spec.context.error(spec.spot(), Code::MissingMember, message);
    }
    let gateway = spec.read_needed("gateway", values::name)?;
    Some(EdgeAccess { name: document.name.clone(), gateway, keys, tokens, anonymous, rules })
}

fn rule(context: &Context<'_>, node: &Node, subject: &str, index: usize) -> Option<Rule> {
    let section = Section::of(context, node, "a rule", &["roles", "routes", "methods", "reach"])?;
    section.need("roles");
    for (route, node) in section.list("routes", ITEMS_MAX).iter().enumerate() {
        context.record(subject, &format!("rules[{index}].routes[{route}]"), node.spot);
    }
    let roles = section.some_of("roles", ITEMS_MAX, values::role);
    let routes = section.some_of("routes", ITEMS_MAX, values::qualified_name);
    let methods = section.some_of("methods", ITEMS_MAX, values::method);
    Some(Rule { roles, routes, methods, reach: section.read_needed("reach", word(&REACHES))? })
}

fn issuer(context: &Context<'_>, node: &Node) -> Option<TokenIssuer> {
    let known = ["issuer", "audience", "keys", "rolesClaim", "roles"];
    let known = [&known[..], &[KEYS_URL], &OF_URL].concat();
    let section = Section::of(context, node, "an issuer of tokens", &known)?;
    let text = values::text_up_to(1024);
    let issuer = section.read_needed("issuer", text);
    let audience = section.read_needed("audience", text);
    let keys = signers(&section);
    let roles_claim = section.read("rolesClaim", text).unwrap_or_else(|| "roles".to_owned());
    let roles = section.list("roles", ITEMS_MAX).iter();
    let roles = roles.filter_map(|it| values::role(context, it)).collect();
    Some(TokenIssuer { issuer: issuer?, audience: audience?, keys: keys?, roles_claim, roles })
}

/// Where the keys of an issuer are: a file, or an address.
fn signers(section: &Section<'_>) -> Option<SignerSource> {
    let contradicts = |member: &str, message: String| {
        section.context.error(section.spot_of(member), Code::Contradiction, message);
    };
    if section.get(KEYS_URL).is_none() {
        for member in OF_URL.into_iter().filter(|it| section.get(it).is_some()) {
            contradicts(member, format!("`{member}` is said of keys at a `{KEYS_URL}`"));
        }
        return section.read_needed("keys", path).map(SignerSource::File);
    }
    if section.get("keys").is_some() {
        contradicts("keys", format!("keys are in a file or at a `{KEYS_URL}`, not both"));
    }
    let time = |member, bounds: RangeInclusive<Duration>, default| {
        section.read(member, duration_within(bounds)).unwrap_or(default)
    };
    let refresh = time(REFRESH, SECOND..=DAY, 5 * MINUTE);
    let timeout = time(TIMEOUT, SECOND..=MINUTE, 5 * SECOND);
    let stale_max = time(STALE_MAX, SECOND..=30 * DAY, DAY.max(refresh));
    if stale_max < refresh {
        contradicts(STALE_MAX, "keys would be over before the next look".to_owned());
    }
    let url = section.read(KEYS_URL, keys_url)?;
    Some(SignerSource::Published(PublishedKeys { url, refresh, timeout, stale_max }))
}

fn duration_within(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&Context<'_>, &Node) -> Option<Duration> {
    move |context, node| {
        let duration = values::duration(context, node)?;
        if bounds.contains(&duration) {
            return Some(duration);
        }
        let (least, most) = (bounds.start().as_secs(), bounds.end().as_secs());
        context.error(node.spot, Code::OutOfRange, format!("it is {least} s to {most} s"));
        None
    }
}

/// `https`, or `http` where nobody is on the way.
fn keys_url(context: &Context<'_>, node: &Node) -> Option<String> {
    let url = values::url(context, node)?;
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let is_here = host.is_some_and(|it| it.parse::<IpAddr>().is_ok_and(|it| it.is_loopback()));
    let problem = if authority.contains('@') || url.contains(['#', '?']) {
        "an address of keys has no user, no query and no fragment"
    } else if scheme == "http" && !is_here {
        "keys come by https, or by http from an address of the loopback interface"
    } else {
        return Some(url);
    };
    context.error(node.spot, Code::Malformed, problem.to_owned());
    None
}

fn path(context: &Context<'_>, node: &Node) -> Option<PathBuf> {
    values::text_up_to(4096)(context, node).map(PathBuf::from)
}
