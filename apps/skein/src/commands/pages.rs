//! `routes`, `endpoints` and `why`: what each process knows of the mesh, as tables.

use std::collections::BTreeSet;

use http::Method;
use serde_json::Value;

use super::{
    admin::{Admins, Gathered, Said, query},
    arguments::{EndpointArguments, WhyArguments},
    stat::millis,
};
use crate::{Exit, Failure, Output, Table};

/// Lists the routes. Processes that know the same ones are shown once.
///
/// # Errors
/// No process answers.
pub async fn routes(admins: &Admins, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/routes").await?;
    let pages: Vec<Value> = gathered.said.iter().map(Said::json).collect();
    for (said, page) in gathered.said.iter().zip(&pages) {
        trouble(output, said, page);
    }
    let rows = rules(&pages);
    output.result(&rows, &routes_table(&rows));
    Ok(gathered.exit(output))
}

/// The rules of all pages, each once.
#[must_use]
pub fn rules(pages: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let all = pages.iter().flat_map(|it| list(&it["routes"]));
    all.filter(|it| seen.insert(it.to_string())).cloned().collect()
}

/// The table of `routes`.
#[must_use]
pub fn routes_table(rows: &[Value]) -> Table {
    let mut table = Table::new(&[
        "DOOR", "ROUTE", "RULE", "HOSTS", "MATCHES", "BACKENDS", "TIMEOUT", "RETRIES",
    ]);
    for row in rows {
        let backends = list(&row["backends"]);
        let is_split = backends.len() > 1;
        let backend = |it: &Value| match is_split {
            true => format!("{}={}", text(&it["service"]), text(&it["weight"])),
            false => text(&it["service"]),
        };
        let timeout = row["request_timeout_ms"].as_f64().map_or_else(none, millis);
        table.row([
            text(&row["door"]),
            text(&row["route"]),
            text(&row["rule"]),
            joined(&row["hosts"], "*"),
            joined(&row["matches"], "*"),
            backends.iter().map(backend).collect::<Vec<_>>().join(","),
            timeout,
            text(&row["retry_attempts"]),
        ]);
    }
    table
}

/// Lists the endpoints, as each process sees them.
///
/// # Errors
/// No process answers, or none knows the service.
pub async fn endpoints(
    admins: &Admins,
    arguments: &EndpointArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let gathered = admins.get("/endpoints").await?;
    let service = arguments.service.as_deref();
    if let Some(service) = service {
        known(&gathered, service)?;
    }
    let mut rows = Vec::new();
    for said in &gathered.said {
        let page = said.json();
        trouble(output, said, &page);
        rows.extend(seen_by(&said.process.name, &page, service));
    }
    output.result(&rows, &endpoints_table(&rows));
    Ok(gathered.exit(output))
}

/// The endpoints of a page, a row each.
#[must_use]
pub fn seen_by(process: &str, page: &Value, service: Option<&str>) -> Vec<Value> {
    let wanted = |it: &&Value| service.is_none_or(|service| it["service"] == service);
    let mut rows = Vec::new();
    for destination in list(&page["destinations"]).iter().filter(wanted) {
        for endpoint in list(&destination["endpoints"]) {
            let mut row = endpoint.clone();
            row["service"] = destination["service"].clone();
            row["seen_by"] = process.into();
            rows.push(row);
        }
    }
    rows
}

/// The table of `endpoints`.
#[must_use]
pub fn endpoints_table(rows: &[Value]) -> Table {
    let mut table = Table::new(&[
        "SERVICE",
        "ENDPOINT",
        "ADDRESS",
        "VERSION",
        "SEEN_BY",
        "BREAKER",
        "LATENCY",
        "OUTSTANDING",
        "NEXT_TRY",
    ]);
    for row in rows {
        let time = |it: &Value| it.as_f64().map_or_else(none, millis);
        table.row([
            text(&row["service"]),
            text(&row["endpoint"]),
            text(&row["address"]),
            text(&row["version"]),
            text(&row["seen_by"]),
            text(&row["breaker"]),
            time(&row["latency_ms"]),
            text(&row["outstanding"]),
            time(&row["next_try_ms"]),
        ]);
    }
    table
}

/// Says where a request would go.
///
/// # Errors
/// No process answers, none of them calls so, or the request is none.
pub async fn why(
    admins: &Admins,
    arguments: &WhyArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let door = match &arguments.edge {
        Some(edge) => ("edge", Some(edge.as_str())),
        None => ("service", Some(arguments.service.as_str())),
    };
    let pairs = [
        door,
        ("method", Some(&*arguments.method)),
        ("path", Some(&*arguments.path)),
        ("host", Some(&*arguments.host)),
    ];
    let sources = admins.get("/routes").await?;
    let asked = one_of_each_source(&sources, arguments);
    if asked.is_empty() {
        let what = "no process calls from there";
        return Err(Failure::new("no_such_source", what).exit(Exit::NotFound));
    }
    let processes: Vec<_> = asked.iter().map(|it| it.process.clone()).collect();
    let gathered = admins.ask(&processes, Method::GET, &query("/explain", &pairs), "").await?;
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
    output.result(&pages, &why_table(&pages));
    for page in &pages {
        if let Some(remark) = lacks(page) {
            output.remark(&remark);
        }
    }
    let service = Value::from(arguments.service.as_str());
    let leads = |it: &Value| {
        it["verdict"] == "sent"
            && list(&it["destinations"]).iter().any(|it| it["service"] == service)
    };
    let is_led = arguments.edge.is_none() || pages.iter().any(leads);
    let is_sent = pages.iter().any(|it| it["verdict"] == "sent");
    let exit = gathered.exit(output);
    Ok(if is_led && is_sent { exit } else { Exit::Failed })
}

/// A process of each source: replicas have the same rules. An edge is where its routes are used.
fn one_of_each_source<'a>(gathered: &'a Gathered, arguments: &WhyArguments) -> Vec<&'a Said> {
    let wanted = arguments.from.as_deref().or(arguments.edge.as_deref());
    let mut seen = BTreeSet::new();
    let mut chosen = Vec::new();
    for said in &gathered.said {
        let source = text(&said.json()["source"]);
        let is_wanted = wanted.is_none_or(|it| it == source || it == said.process.name);
        if is_wanted && seen.insert(source) {
            chosen.push(said);
        }
    }
    if chosen.is_empty() && arguments.from.is_none() {
        // The edge is called otherwise than its process.
        chosen = gathered.said.iter().take(1).collect();
    }
    chosen
}

/// The table of `why`: a row for each candidate.
#[must_use]
pub fn why_table(pages: &[Value]) -> Table {
    let mut table = Table::new(&[
        "FROM", "ROUTE", "RULE", "VERDICT", "SERVICE", "ENDPOINT", "BREAKER", "LATENCY", "SCORE",
        "NEXT_TRY", "BUDGET",
    ]);
    for page in pages {
        let start = || ["from", "route", "rule", "verdict"].map(|it| text(&page[it])).into_iter();
        let mut is_empty = true;
        for destination in list(&page["destinations"]) {
            for endpoint in list(&destination["endpoints"]) {
                is_empty = false;
                let number = |it: &Value| it.as_f64().map_or_else(none, |it| format!("{it:.3}"));
                let time = |it: &Value| it.as_f64().map_or_else(none, millis);
                table.row(start().chain([
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
        if is_empty {
            table.row(start());
        }
    }
    table
}

/// What the rules that were looked at lack, where none fits.
fn lacks(page: &Value) -> Option<String> {
    if page["verdict"] != "no_route" {
        return None;
    }
    let considered = list(&page["considered"]).iter().map(|it| {
        let lacks = joined(&it["lacks"], "?");
        format!("\n  {} rule {}: {lacks}", text(&it["route"]), text(&it["rule"]))
    });
    let considered: String = considered.collect();
    Some(format!("no rule fits as {} sees it{considered}", text(&page["from"])))
}

/// Whether anybody knows a service.
///
/// # Errors
/// Nobody does; the names that are known are told.
pub(super) fn known(gathered: &Gathered, service: &str) -> Result<(), Failure> {
    let pages = gathered.said.iter().map(Said::json);
    let names: BTreeSet<String> = pages
        .flat_map(|page| {
            list(&page["destinations"]).iter().map(|it| text(&it["service"])).collect::<Vec<_>>()
        })
        .collect();
    if names.contains(service) {
        return Ok(());
    }
    let known: Vec<String> = names.into_iter().collect();
    let what = format!("no process of the mesh knows a service `{service}`");
    let failure = Failure::new("no_such_service", what).exit(Exit::NotFound);
    Err(failure.because(format!("known are {}", known.join(", "))))
}

fn trouble(output: Output, said: &Said, page: &Value) {
    if let Some(trouble) = page["trouble"].as_str() {
        let name = &said.process.name;
        output.remark(&format!("{name} keeps the policy before the newest one: {trouble}"));
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn joined(value: &Value, when_empty: &str) -> String {
    let words: Vec<String> = match value {
        Value::Array(all) => all.iter().map(text).collect(),
        Value::Null => Vec::new(),
        one => vec![text(one)],
    };
    if words.is_empty() { when_empty.to_owned() } else { words.join(", ") }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => none(),
        Value::String(text) if text.is_empty() => none(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn none() -> String {
    "–".to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(name: &str, rows: &Value) -> Value {
        json!({ name: rows })
    }

    #[test]
    fn a_rule_that_every_process_has_is_shown_once() {
        let rule = json!({"door": "service/stock", "route": "default/stock", "rule": "0",
            "hosts": [], "matches": ["GET /items/*"],
            "backends": [{"service": "a", "weight": 9}, {"service": "b", "weight": 1}],
            "request_timeout_ms": 2000, "retry_attempts": null});
        let pages = [page("routes", &json!([rule])), page("routes", &json!([rule]))];
        let expected = "\
DOOR           ROUTE          RULE  HOSTS  MATCHES       BACKENDS  TIMEOUT  RETRIES
service/stock  default/stock  0     *      GET /items/*  a=9,b=1   2000ms   –
";
        assert_eq!(routes_table(&rules(&pages)).render(""), expected);
    }

    #[test]
    fn an_endpoint_is_shown_as_each_process_sees_it() {
        let endpoint = json!({"endpoint": "stock-1", "address": "127.0.0.1:1", "version": "v2",
            "breaker": "open", "next_try_ms": 250, "latency_ms": 1.5, "outstanding": 3});
        let document = page(
            "destinations",
            &json!([
                {"service": "stock", "endpoints": [endpoint]}, {"service": "other", "endpoints": [endpoint]},
            ]),
        );
        let rows = seen_by("shop-1", &document, Some("stock"));
        let expected = "\
SERVICE  ENDPOINT  ADDRESS      VERSION  SEEN_BY  BREAKER  LATENCY  OUTSTANDING  NEXT_TRY
stock    stock-1   127.0.0.1:1  v2       shop-1   open     1.50ms   3            250ms
";
        assert_eq!(endpoints_table(&rows).render(""), expected);
    }

    #[test]
    fn a_request_that_goes_nowhere_has_a_row_too() {
        let nowhere = json!({"from": "shop-1", "route": null, "rule": null, "verdict": "no_route",
            "destinations": [], "considered": [{"route": "r", "rule": 0, "lacks": "method"}]});
        let table = why_table(std::slice::from_ref(&nowhere)).render("");
        assert!(
            table.lines().nth(1).unwrap().starts_with("shop-1  –      –     no_route"),
            "{table}"
        );
        assert_eq!(lacks(&nowhere).unwrap(), "no rule fits as shop-1 sees it\n  r rule 0: method");
    }
}
