//! What the door of the called service says to each caller, and which rule decides.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use crate::{
    Failure,
    commands::{
        admin::{Admins, Gathered, query},
        arguments::WhyArguments,
        cells::text,
    },
    table::printable,
};

/// Asks a process that guards the door, for each of these pages; what it says becomes a member of the
/// page. A call from outside is not judged: it changes at the edge.
pub(super) async fn ask(
    admins: &Admins,
    sources: &Gathered,
    services: &[String],
    arguments: &WhyArguments,
    pages: &mut [Value],
) -> Result<(), Failure> {
    let all: Vec<_> = sources.said.iter().map(|it| (&it.process, it.json())).collect();
    let guards = |page: &Value| {
        let door = page["guards"].as_str();
        door.is_some_and(|door| services.iter().any(|it| it == door))
    };
    let Some((door, _)) = all.iter().find(|(_, page)| guards(page)) else { return Ok(()) };
    if arguments.edge.is_some() {
        return Ok(());
    }
    for page in pages {
        let caller = all.iter().find(|(process, _)| page["from"] == process.name);
        let identity = caller.and_then(|(_, page)| page["identity"].as_str());
        let pairs = [
            ("caller", identity),
            ("method", Some(&*arguments.method)),
            ("path", Some(&*arguments.path)),
        ];
        let path = query("/authorization", &pairs);
        let gathered = admins.ask(&[(*door).clone()], Method::GET, &path, "").await?;
        if let Some(said) = gathered.said.iter().find(|it| it.status.is_success()) {
            page["authorization"] = said.json();
        }
    }
    Ok(())
}

/// Whether the door lets this caller in, or was not asked.
pub(super) fn lets_in(page: &Value) -> bool {
    page["authorization"]["verdict"] != "denied"
}

/// A line for each answer of the door, with the callers that got it.
pub(super) fn told(pages: &[Value]) -> String {
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in pages {
        let judged = &page["authorization"];
        let (service, reason) = (text(&judged["service"]), text(&judged["reason"]));
        let line = match judged["verdict"].as_str() {
            Some("allowed") => {
                let (policy, rule) = (text(&judged["policy"]), text(&judged["rule"]));
                format!("allowed at {service} by rule {rule} of {policy}")
            }
            Some("denied") => format!("denied at {service}: {reason}"),
            Some("audited") => format!("denied at {service}, and let through: {reason}"),
            _ => continue,
        };
        alike.entry(line).or_default().push(text(&page["from"]));
    }
    let line = |(line, callers): (String, Vec<String>)| {
        printable(&format!("{line}; to {}", callers.join(", "))) + "\n"
    };
    alike.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_door_says_is_told_once_for_all_to_whom_it_says_so() {
        let page = |from: &str, judged: Value| json!({"from": from, "authorization": judged});
        let allowed = json!({"service": "stock", "verdict": "allowed", "policy": "s", "rule": 2});
        let denied = json!({"service": "stock", "verdict": "denied", "reason": "path_not_allowed"});
        let pages = [
            page("till-1", allowed.clone()),
            page("till-2", allowed),
            page("cart-1", denied),
            page("shop-1", json!({"service": "stock", "verdict": "unjudged"})),
            json!({"from": "none-1"}),
        ];
        let expected = "\
allowed at stock by rule 2 of s; to till-1, till-2
denied at stock: path_not_allowed; to cart-1
";
        assert_eq!(told(&pages), expected);
        assert_eq!(pages.iter().filter(|it| !lets_in(it)).count(), 1);
    }
}
