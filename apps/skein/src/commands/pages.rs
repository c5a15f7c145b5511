//! `routes` and `endpoints`: what each process knows of the mesh, as tables.

use std::collections::{BTreeMap, BTreeSet};

use mesh_proxy::Subject;
use serde_json::Value;

use super::{
    admin::{Admins, Gathered},
    arguments::EndpointArguments,
    cells::{joined, list, none, text},
    names,
    stat::millis,
};
use crate::{Exit, Failure, Format, Output, Table};

/// Lists the routes. Processes that know the same ones are shown once.
///
/// # Errors
/// No process answers.
pub async fn routes(admins: &Admins, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/routes").await?;
    let pages = by_name(&gathered);
    troubles(output, &pages);
    let pages: Vec<Value> = pages.into_iter().map(|(_, page)| page).collect();
    let rows = rules(&pages);
    let table = match output.format {
        Format::Wide => wide_routes_table(&rows),
        Format::Table | Format::Json => routes_table(&rows),
    };
    output.result(&rows, &table);
    if rows.is_empty() {
        output.remark("there are no rules: a call to a service goes to that service");
    }
    Ok(gathered.exit(output))
}

fn by_name(gathered: &Gathered) -> Vec<(String, Value)> {
    gathered.said.iter().map(|it| (it.process.name.clone(), it.json())).collect()
}

/// The rules of all pages, each once.
#[must_use]
pub fn rules(pages: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let all = pages.iter().flat_map(|it| list(&it["routes"]));
    all.filter(|it| seen.insert(it.to_string())).cloned().collect()
}

/// The table of `routes`: a row for each rule, what it takes in the lines below.
#[must_use]
pub fn routes_table(rows: &[Value]) -> Table {
    let mut table =
        Table::new(&["DOOR", "ROUTE", "RULE", "HOSTS", "TIMEOUT", "RETRIES", "BACKENDS"]);
    for row in rows {
        let [door, route, rule, hosts, backends, timeout, retries] = cells(row);
        table.row([door, route, rule, hosts, timeout, retries, backends]);
        for line in by_path(&row["matches"]) {
            table.note(&line);
        }
    }
    table
}

/// The same with a row for each rule, however wide.
#[must_use]
pub fn wide_routes_table(rows: &[Value]) -> Table {
    let mut table = Table::new(&[
        "DOOR", "ROUTE", "RULE", "HOSTS", "MATCHES", "BACKENDS", "TIMEOUT", "RETRIES",
    ]);
    for row in rows {
        let [door, route, rule, hosts, backends, timeout, retries] = cells(row);
        let matches = joined(&row["matches"], "*");
        table.row([door, route, rule, hosts, matches, backends, timeout, retries]);
    }
    table
}

/// Door, route, rule, hosts, backends, timeout and retries.
fn cells(row: &Value) -> [String; 7] {
    let backends = list(&row["backends"]);
    let is_split = backends.len() > 1;
    let backend = |it: &Value| match is_split {
        true => format!("{}={}", text(&it["service"]), text(&it["weight"])),
        false => text(&it["service"]),
    };
    [
        text(&row["door"]),
        text(&row["route"]),
        text(&row["rule"]),
        joined(&row["hosts"], "*"),
        backends.iter().map(backend).collect::<Vec<_>>().join(","),
        row["request_timeout_ms"].as_f64().map_or_else(none, millis),
        text(&row["retry_attempts"]),
    ]
}

/// Matches that differ in the method alone as one, in the order of the first: `GET,HEAD /items/*`.
fn by_path(matches: &Value) -> Vec<String> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for one in list(matches) {
        let one = text(one);
        let (method, rest) = one.split_once(' ').unwrap_or(("*", &one));
        match lines.iter_mut().find(|(_, it)| it == rest) {
            Some((methods, _)) => *methods += &format!(",{method}"),
            None => lines.push((method.to_owned(), rest.to_owned())),
        }
    }
    lines.into_iter().map(|(methods, rest)| format!("{methods} {rest}")).collect()
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
    let wanted = names::wanted(admins, arguments.service.as_deref()).await?;
    let gathered = admins.get("/endpoints").await?;
    let pages = by_name(&gathered);
    troubles(output, &pages);
    let rows: Vec<Value> =
        pages.iter().flat_map(|(name, page)| seen_by(name, page, &wanted)).collect();
    output.result(&rows, &endpoints_table(&rows));
    Ok(gathered.exit(output))
}

/// The endpoints of these services in a page, a row each; of all where none is named.
#[must_use]
pub fn seen_by(process: &str, page: &Value, services: &[String]) -> Vec<Value> {
    let wanted = |it: &&Value| services.is_empty() || services.contains(&text(&it["service"]));
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

/// Tells who keeps an older policy, and why: those with the same trouble in one remark.
fn troubles(output: Output, pages: &[(String, Value)]) {
    for remark in grouped(pages) {
        output.remark(&remark);
    }
}

/// What is wrong with something, each with the processes that say so: many read the same files.
pub(super) fn told_alike(pages: &[(String, Value)], subject: Subject) -> BTreeMap<&str, Vec<&str>> {
    let mut alike: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, page) in pages {
        if let Some(trouble) = page["troubles"][subject.as_str()].as_str() {
            alike.entry(trouble).or_default().push(name);
        }
    }
    alike
}

fn grouped(pages: &[(String, Value)]) -> Vec<String> {
    let one = |(trouble, names): (&str, Vec<&str>)| {
        let keep = if names.len() == 1 { "keeps" } else { "keep" };
        format!("{} {keep} the policy before the newest one:\n{trouble}", names.join(", "))
    };
    told_alike(pages, Subject::Policy).into_iter().map(one).collect()
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
            "hosts": [], "matches": ["GET /items/*", "POST /items", "HEAD /items/*"],
            "backends": [{"service": "a", "weight": 9}, {"service": "b", "weight": 1}],
            "request_timeout_ms": 2000, "retry_attempts": null});
        let pages = [page("routes", &json!([rule])), page("routes", &json!([rule]))];
        let expected = "\
DOOR           ROUTE          RULE  HOSTS  TIMEOUT  RETRIES  BACKENDS
service/stock  default/stock  0     *      2000ms   –        a=9,b=1
  GET,HEAD /items/*
  POST /items
";
        assert_eq!(routes_table(&rules(&pages)).render(""), expected);
        let wide = wide_routes_table(&rules(&pages)).render("");
        assert!(wide.contains("GET /items/*, POST /items, HEAD /items/*"), "{wide}");
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
        let rows = seen_by("shop-1", &document, &["stock".to_owned()]);
        let expected = "\
SERVICE  ENDPOINT  ADDRESS      VERSION  SEEN_BY  BREAKER  LATENCY  OUTSTANDING  NEXT_TRY
stock    stock-1   127.0.0.1:1  v2       shop-1   open     1.50ms   3            250ms
";
        assert_eq!(endpoints_table(&rows).render(""), expected);
    }

    #[test]
    fn one_broken_file_is_told_once_for_all_who_read_it() {
        let page = |trouble: Option<&str>| json!({"troubles": {"policy": trouble}});
        let broken = Some("routes.yaml:3:1  no YAML  [SK1001]");
        let pages = [("a", broken), ("b", None), ("c", broken)];
        let pages = pages.map(|(name, trouble)| (name.to_owned(), page(trouble)));
        let expected = "a, c keep the policy before the newest one:\n\
                        routes.yaml:3:1  no YAML  [SK1001]";
        assert_eq!(grouped(&pages), [expected]);
    }
}
