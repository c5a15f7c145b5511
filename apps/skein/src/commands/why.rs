//! `why`: where one request would go as the processes see it, or what keeps it from going anywhere, and
//! what the door of the service says to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use http::Method;
use serde_json::Value;

use super::{
    admin::{Admins, Gathered, Said, query},
    arguments::WhyArguments,
    cells::{list, none, text},
    fault::{effect_of, share},
    names::{self, Names},
    stat::millis,
};
use crate::{Exit, Failure, Format, Output, Table, table::printable};

mod door;

/// Says where a request would go.
///
/// # Errors
/// No process answers; the service, the edge or the caller is not known; the request is none.
pub async fn why(
    admins: &Admins,
    arguments: &WhyArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let door = match &arguments.edge {
        Some(edge) => ("edge", Some(edge.as_str())),
        None => ("service", Some(arguments.service.as_str())),
    };
    let mut pairs = vec![
        door,
        ("method", Some(&*arguments.method)),
        ("path", Some(&*arguments.path)),
        ("host", Some(&*arguments.host)),
    ];
    pairs.extend(arguments.headers.iter().map(|it| ("header", Some(it.as_str()))));
    let (sources, endpoints) = (admins.get("/routes").await?, admins.get("/endpoints").await?);
    let names = Names::of(&names::pages(&sources), &names::pages(&endpoints));
    let wanted = names.service(&arguments.service)?;
    if let Some(edge) = &arguments.edge {
        names.edge(edge)?;
    }
    let asked: Vec<_> =
        asked(&sources, &endpoints, arguments)?.iter().map(|it| it.process.clone()).collect();
    let gathered = admins.ask(&asked, Method::GET, &query("/explain", &pairs), "").await?;
    if let Some(refused) = gathered.said.iter().find(|it| !it.status.is_success()) {
        let page = refused.json();
        let failure = Failure::new("bad_argument", "the request cannot be explained");
        return Err(failure.because(text(&page["detail"])).exit(Exit::Usage));
    }
    let mut pages = Vec::new();
    for said in &gathered.said {
        let mut page = said.json();
        page["from"] = said.process.name.as_str().into();
        pages.push(page);
    }
    door::ask(admins, &sources, &wanted, arguments, &mut pages).await?;
    match output.format {
        Format::Json => output.document(&pages),
        Format::Table | Format::Wide => output.text(&told(&pages)),
    }
    let leads = |it: &Value| {
        let mut destinations = list(&it["destinations"]).iter();
        destinations.any(|it| wanted.contains(&text(&it["service"])))
    };
    let is_sent =
        pages.iter().any(|it| it["verdict"] == "would_send" && door::lets_in(it) && leads(it));
    let exit = gathered.exit(output);
    Ok(if is_sent { exit } else { Exit::Failed })
}

/// A process of each source: replicas have the same rules. An edge is where its routes are used, and
/// what a program hands to the proxy beside it is decided there. Who calls nobody, as a log does, is left
/// out where somebody else calls, and nobody named it.
fn asked<'a>(
    gathered: &'a Gathered,
    endpoints: &Gathered,
    arguments: &WhyArguments,
) -> Result<Vec<&'a Said>, Failure> {
    let decides = |page: &Value| match &arguments.edge {
        Some(edge) => list(&page["routes"]).iter().any(|it| it["door"] == format!("edge/{edge}")),
        None => page["direction"] != "handover",
    };
    let mut callers: Vec<(String, &Said)> = Vec::new();
    for said in &gathered.said {
        let page = said.json();
        if decides(&page) {
            callers.push((text(&page["source"]), said));
        }
    }
    let chosen = |name: &str| {
        let is_it = |(source, said): &&(String, &Said)| source == name || said.process.name == name;
        callers.iter().filter(is_it).collect::<Vec<_>>()
    };
    let some = match (&arguments.from, &arguments.edge) {
        (Some(from), _) => chosen(from),
        // An edge may be called otherwise than its process; then it is the first that has its routes.
        (None, Some(edge)) => match chosen(edge) {
            none if none.is_empty() => callers.iter().take(1).collect(),
            some => some,
        },
        (None, None) => {
            let named = |name: &str| endpoints.said.iter().find(|it| it.process.name == name);
            let is_one = |(_, said): &&(String, &Said)| {
                let endpoints = named(&said.process.name).map(|it| it.json()).unwrap_or_default();
                calls(&said.json(), &endpoints)
            };
            let some: Vec<_> = callers.iter().filter(is_one).collect();
            if some.is_empty() { callers.iter().collect() } else { some }
        }
    };
    if let (Some(from), true) = (&arguments.from, some.is_empty()) {
        let known = callers.iter().map(|(source, _)| source.clone()).collect();
        return Err(names::unknown("no_such_source", format!("nobody calls as `{from}`"), &known));
    }
    let mut seen = BTreeSet::new();
    Ok(some.into_iter().filter(|(source, _)| seen.insert(source)).map(|(_, said)| *said).collect())
}

/// Whether a process has anybody to call, by its pages of routes and of endpoints.
fn calls(routes: &Value, endpoints: &Value) -> bool {
    !(list(&routes["routes"]).is_empty() && list(&endpoints["destinations"]).is_empty())
}

/// What people read: a table of the endpoints that are there, then why the others see nobody.
#[must_use]
pub fn told(pages: &[Value]) -> String {
    let (led, nowhere): (Vec<&Value>, Vec<&Value>) = pages.iter().partition(|it| has_endpoint(it));
    let mut told = if led.is_empty() { String::new() } else { led_to(&led).render("") };
    // Callers with the same rules see the same; it is said once.
    let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in nowhere {
        alike.entry(why_nowhere(page)).or_default().push(text(&page["from"]));
    }
    for (why, callers) in alike {
        // Writing to a string cannot fail.
        let _written = writeln!(told, "{why}  as seen by {}", callers.join(", "));
    }
    told + &door::told(pages) + &may_answer(pages)
}

/// The faults and limits that may answer instead, each once with the callers that have it.
fn may_answer(pages: &[Value]) -> String {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in pages {
        let faults = list(&page["faults"]).iter().map(|it| {
            let share = it["share"].as_f64().map_or_else(none, share);
            let (name, effect, origin) = (text(&it["name"]), effect_of(it), text(&it["origin"]));
            format!("fault {name} ({origin}): {effect} for {share} of such requests")
        });
        let limits = list(&page["limits"]).iter().map(|it| {
            let period = Duration::from_millis(it["period_ms"].as_u64().unwrap_or(0));
            let [name, requests, burst, key] =
                ["name", "requests", "burst", "key"].map(|member| text(&it[member]));
            format!("limit {name}: {requests} in {period:?}, burst {burst}, counted by {key}")
        });
        for line in faults.chain(limits) {
            all.entry(line).or_default().push(text(&page["from"]));
        }
    }
    let mut told = if all.is_empty() { String::new() } else { "may answer instead:\n".to_owned() };
    for (line, callers) in all {
        let line = printable(&format!("  {line}; at {}", callers.join(", ")));
        told += &line;
        told.push('\n');
    }
    told
}

fn has_endpoint(page: &Value) -> bool {
    list(&page["destinations"]).iter().any(|it| !list(&it["endpoints"]).is_empty())
}

/// A row for each candidate.
fn led_to(pages: &[&Value]) -> Table {
    let mut table = Table::new(&[
        "FROM", "ROUTE", "RULE", "VERDICT", "SERVICE", "ENDPOINT", "BREAKER", "LATENCY", "SCORE",
        "NEXT_TRY", "BUDGET",
    ]);
    let number = |it: &Value| it.as_f64().map_or_else(none, |it| format!("{it:.3}"));
    let time = |it: &Value| it.as_f64().map_or_else(none, millis);
    for page in pages {
        for destination in list(&page["destinations"]) {
            for endpoint in list(&destination["endpoints"]) {
                let start = ["from", "route", "rule", "verdict"].map(|it| text(&page[it]));
                table.row(start.into_iter().chain([
                    text(&destination["service"]),
                    text(&endpoint["endpoint"]),
                    text(&endpoint["breaker"]),
                    time(&endpoint["latency_ms"]),
                    number(&endpoint["score"]),
                    time(&endpoint["next_try_ms"]),
                    number(&destination["retry_budget"]),
                ]));
            }
        }
    }
    table
}

/// Why a request goes nowhere: what was asked, and each rule that was looked at with what it lacks.
fn why_nowhere(page: &Value) -> String {
    let (door, verdict) = (text(&page["door"]), text(&page["verdict"]));
    let mut said =
        format!("{} {} at {door}: {verdict}", text(&page["method"]), text(&page["path"]));
    let rules = looked_at(page);
    // Writing to a string cannot fail.
    let _written = match (verdict.as_str(), rules.is_empty()) {
        ("no_route", true) => writeln!(said, ", no route is attached to it"),
        ("no_route", false) => writeln!(said, ", none of the {} rules there takes it", rules.len()),
        _ => {
            let services = list(&page["destinations"]).iter().map(|it| text(&it["service"]));
            let services = services.collect::<Vec<_>>().join(", ");
            // One that nobody has told of has no destination; the door says who was meant.
            let services = match door.strip_prefix("service/") {
                Some(named) if services.is_empty() => named,
                Some(_) | None => &services,
            };
            writeln!(said, ", no endpoint of {services} is known")
        }
    };
    for ((route, rule), lacks) in rules.into_iter().filter(|_| verdict == "no_route") {
        let matches: usize = lacks.values().sum();
        let each = match (matches, lacks.len()) {
            (1, _) => lacks.into_keys().collect::<String>(),
            (_, 1) => format!("{matches} matches, each {}", lacks.into_keys().collect::<String>()),
            _ => {
                let parts: Vec<_> =
                    lacks.iter().map(|(it, count)| format!("{count} {it}")).collect();
                format!("{matches} matches: {}", parts.join(", "))
            }
        };
        let _written = writeln!(said, "  {route} rule {rule}: {each}");
    }
    said.lines().map(|it| printable(it) + "\n").collect()
}

type Lacks = BTreeMap<String, usize>;

/// The rules that were looked at, in their order, with how many of their matches lack what.
fn looked_at(page: &Value) -> Vec<((String, String), Lacks)> {
    let mut rules: Vec<((String, String), Lacks)> = Vec::new();
    for one in list(&page["considered"]) {
        let key = (text(&one["route"]), text(&one["rule"]));
        let place = rules.iter().position(|(it, _)| *it == key).unwrap_or_else(|| {
            rules.push((key, Lacks::new()));
            rules.len() - 1
        });
        *rules[place].1.entry(lack(&text(&one["verdict"]))).or_default() += 1;
    }
    rules
}

fn lack(verdict: &str) -> String {
    match verdict.split_once(' ') {
        Some(("other", what)) => format!("for another {what}"),
        Some((kind, name)) => format!("for another value of {kind} {name}"),
        None => verdict.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_that_goes_nowhere_is_told_in_words_once_for_all_who_see_it_so() {
        let considered = json!([
            {"route": "default/shop", "rule": 0, "verdict": "other path"},
            {"route": "default/shop", "rule": 0, "verdict": "other path"},
            {"route": "default/shop", "rule": 0, "verdict": "other method"},
            {"route": "default/old", "rule": 1, "verdict": "header api-version"},
        ]);
        let page = |from: &str| {
            json!({"from": from, "method": "GET", "path": "/x", "door": "edge/front", "route": null,
                "verdict": "no_route", "destinations": [], "considered": considered})
        };
        let expected = "\
GET /x at edge/front: no_route, none of the 2 rules there takes it
  default/shop rule 0: 3 matches: 1 for another method, 2 for another path
  default/old rule 1: for another value of header api-version
  as seen by shop-1, shop-2
";
        assert_eq!(told(&[page("shop-1"), page("shop-2")]), expected);
    }

    #[test]
    fn a_service_without_an_endpoint_is_named() {
        let page = json!({"from": "shop-1", "method": "GET", "path": "/x", "door": "service/stock",
            "verdict": "no_endpoint", "destinations": [{"service": "stock", "endpoints": []}],
            "considered": []});
        let expected = "GET /x at service/stock: no_endpoint, no endpoint of stock is known\n  \
                        as seen by shop-1\n";
        assert_eq!(told(&[page]), expected);
    }

    #[test]
    fn a_service_that_nobody_told_of_is_named_by_its_door() {
        let page = json!({"from": "log-1", "method": "GET", "path": "/x", "door": "service/stock",
            "verdict": "no_endpoint", "destinations": [], "considered": []});
        let said = told(&[page]);
        assert!(said.contains("no endpoint of stock is known"), "{said}");
    }

    #[test]
    fn who_has_neither_routes_nor_endpoints_calls_nobody() {
        assert!(!calls(&json!({"routes": []}), &json!({"destinations": []})));
        assert!(calls(&json!({"routes": [{}]}), &json!({"destinations": []})));
        assert!(calls(&json!({"routes": []}), &json!({"destinations": [{}]})));
    }

    #[test]
    fn what_may_answer_instead_is_said_once_for_all_who_have_it() {
        let page = |from: &str| {
            json!({"from": from, "method": "GET", "path": "/x", "door": "service/stock",
                "verdict": "no_endpoint", "destinations": [{"service": "stock"}], "considered": [],
                "faults": [{"name": "f", "origin": "file", "share": 0.3, "delay_ms": null,
                    "abort": {"status": 503}}],
                "limits": [{"name": "l", "requests": 10, "period_ms": 1_000, "burst": 5,
                    "key": "client"}]})
        };
        let expected = "\
GET /x at service/stock: no_endpoint, no endpoint of stock is known
  as seen by shop-1, shop-2
may answer instead:
  fault f (file): error 503 for 30% of such requests; at shop-1, shop-2
  limit l: 10 in 1s, burst 5, counted by client; at shop-1, shop-2
";
        assert_eq!(told(&[page("shop-1"), page("shop-2")]), expected);
    }

    #[test]
    fn a_candidate_is_a_row() {
        let page = json!({"from": "shop-1", "route": "default/stock", "rule": 0,
            "verdict": "would_send", "destinations": [{"service": "stock", "retry_budget": 10.0,
                "endpoints": [{"endpoint": "stock-1", "breaker": "closed", "latency_ms": null,
                    "score": 0.0, "next_try_ms": null}]}]});
        let expected = "\
FROM    ROUTE          RULE  VERDICT     SERVICE  ENDPOINT  BREAKER  LATENCY  SCORE  NEXT_TRY  BUDGET
shop-1  default/stock  0     would_send  stock    stock-1   closed   –        0.000  –         10.000
";
        assert_eq!(told(&[page]), expected);
    }
}
