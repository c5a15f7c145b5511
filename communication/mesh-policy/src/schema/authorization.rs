//! Authorization: who may call what at the door of a service.

use super::{
    Code,
    context::Context,
    document::Document,
    section::Section,
    values::{self, word},
    yaml::Node,
};
use crate::authorization::{Authorization, Caller, Mode, Rule, Template};

/// Rules of one policy, and callers, methods and paths of one rule; more is refused.
const ITEMS_MAX: usize = 256;

/// What a log is asked for, in the place of methods.
const OF_LOG: [&str; 5] = ["PRODUCE", "CONSUME", "GROUP", "DESCRIBE", "ADMINISTER"];

/// Every word that a rule may have for a method.
const METHODS: [(&str, &str); values::METHODS.len() + OF_LOG.len()] = {
    let mut all = [("", ""); values::METHODS.len() + OF_LOG.len()];
    let mut index = 0;
    while index < all.len() {
        all[index] = match index.checked_sub(values::METHODS.len()) {
            None => values::METHODS[index],
            Some(of_log) => (OF_LOG[of_log], OF_LOG[of_log]),
        };
        index += 1;
    }
    all
};

const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("audit", Mode::Audit)];

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<Authorization> {
    let spec = document.section("an Authorization", &["service", "mode", "rules"])?;
    let mode = spec.read("mode", word(&MODES)).unwrap_or_default();
    // Who may do something is said; a policy that allows nothing says so with an empty list.
    spec.need("rules");
    spec.context.record(subject, "rules", spec.spot_of("rules"));
    let mut rules = Vec::new();
    for (index, node) in spec.list("rules", ITEMS_MAX).iter().enumerate() {
        spec.context.record(subject, &format!("rules[{index}]"), node.spot);
        rules.extend(rule(spec.context, node));
    }
    let service = spec.read_needed("service", values::name)?;
    Some(Authorization { name: document.name.clone(), service, mode, rules })
}

fn rule(context: &Context<'_>, node: &Node) -> Option<Rule> {
    let section = Section::of(context, node, "a rule", &["callers", "methods", "paths"])?;
    section.need("callers");
    Some(Rule {
        callers: section.some_of("callers", ITEMS_MAX, caller),
        methods: section.some_of("methods", ITEMS_MAX, method),
        paths: section.some_of("paths", ITEMS_MAX, template),
    })
}

/// A method of HTTP, or what a log is asked for.
fn method(context: &Context<'_>, node: &Node) -> Option<String> {
    word(&METHODS)(context, node).map(str::to_owned)
}

fn caller(context: &Context<'_>, node: &Node) -> Option<Caller> {
    if values::text(context, node)? == "*" {
        return Some(Caller::AnyIdentity);
    }
    values::identity(context, node).map(Caller::Identity)
}

fn template(context: &Context<'_>, node: &Node) -> Option<Template> {
    let text = values::text(context, node)?;
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            context.error(node.spot, Code::Malformed, error.to_string());
            None
        }
    }
}
