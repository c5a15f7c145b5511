//! EdgeAccess: who may come in at an edge.

use std::path::PathBuf;

use super::{
    Code,
    context::Context,
    document::Document,
    section::Section,
    values::{self, word},
    yaml::Node,
};
use crate::edge_access::{EdgeAccess, Reach, Rule, TokenIssuer};

/// Rules, issuers and routes of one policy, roles of one rule; more is refused.
const ITEMS_MAX: usize = 256;

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
    let section = Section::of(context, node, "an issuer of tokens", &known)?;
    let text = values::text_up_to(1024);
    let issuer = section.read_needed("issuer", text);
    let audience = section.read_needed("audience", text);
    let keys = section.read_needed("keys", path);
    let roles_claim = section.read("rolesClaim", text).unwrap_or_else(|| "roles".to_owned());
    let roles = section.list("roles", ITEMS_MAX).iter();
    let roles = roles.filter_map(|it| values::role(context, it)).collect();
    Some(TokenIssuer { issuer: issuer?, audience: audience?, keys: keys?, roles_claim, roles })
}

fn path(context: &Context<'_>, node: &Node) -> Option<PathBuf> {
    values::text_up_to(4096)(context, node).map(PathBuf::from)
}
