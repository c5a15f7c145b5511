//! `policy`: who may call what, what the door of a service says to a caller, and what doors have denied.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use identity::{LOG_USERS, SpiffeId};
use serde_json::{Value, json};

use super::{
    admin::{Admins, Gathered, Process, query},
    arguments::{JudgeArguments, PolicyCommand},
    cells::{joined, list, text},
    metrics::parse,
    names::unknown,
};
use crate::{Exit, Failure, Output, Table, table::printable};

const DENIED: &str = "mesh_denied_requests_total";

/// Runs one of the commands.
///
/// # Errors
/// No process answers, or none guards the service.
pub async fn run(admins: &Admins, command: PolicyCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Show { service } => show(admins, service.as_deref(), output).await,
        PolicyCommand::Why(asked) => why(admins, &asked, output).await,
        PolicyCommand::Audit => audit(admins, output).await,
    }
}

async fn show(admins: &Admins, service: Option<&str>, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/authorizations").await?;
    let pages: Vec<Value> = gathered.said.iter().map(super::admin::Said::json).collect();
    let rows = rules(&pages, service);
    if let (Some(service), true) = (service, rows.is_empty()) {
        is_known(service, &pages, &admins.get("/routes").await?)?;
    }
    let mut table = Table::new(&["SERVICE", "POLICY", "RULE", "MODE", "CALLERS", "METHODS"]);
    for row in &rows {
        let cells = ["service", "policy", "rule", "mode"].map(|it| text(&row[it]));
        let [service, policy, rule, mode] = cells;
        let (callers, methods) = (callers_of(row), joined(&row["methods"], "*"));
        table.row([service, policy, rule, mode, callers, methods]);
        for path in list(&row["paths"]).iter().chain(list(&row["routes"])) {
            table.note(&text(path));
        }
    }
    output.result(&rows, &table);
    if rows.is_empty() {
        output.remark("no rule stands at a door: where nobody shows who he is, nobody is asked");
    }
    Ok(gathered.exit(output))
}

/// That somebody has this name: a typing error is no open door.
fn is_known(service: &str, pages: &[Value], routes: &Gathered) -> Result<(), Failure> {
    let ruled =
        pages.iter().flat_map(|it| list(&it["authorizations"])).map(|it| text(&it["service"]));
    let edges = pages.iter().flat_map(|it| list(&it["edges"])).map(|it| text(&it["edge"]));
    let guarded =
        routes.said.iter().filter_map(|it| it.json()["guards"].as_str().map(str::to_owned));
    let known: BTreeSet<String> = ruled.chain(edges).chain(guarded).collect();
    if known.contains(service) {
        return Ok(());
    }
    Err(unknown("no_such_door", format!("nothing that runs has a door `{service}`"), &known))
}

/// A row for each rule of a service, or of all; processes that know the same one tell it once.
fn rules(pages: &[Value], service: Option<&str>) -> Vec<Value> {
    let mut rows = BTreeMap::new();
    for policy in pages.iter().flat_map(|it| list(&it["authorizations"])) {
        let of = (text(&policy["service"]), text(&policy["policy"]));
        if service.is_some_and(|it| it != of.0) {
            continue;
        }
        for (index, rule) in list(&policy["rules"]).iter().enumerate() {
            let mut row = json!({
                "service": of.0, "policy": of.1, "mode": policy["mode"], "rule": index,
            });
            for member in ["callers", "methods", "paths"] {
                row[member] = rule[member].clone();
            }
            rows.insert((of.clone(), index), row);
        }
    }
    for access in pages.iter().flat_map(|it| list(&it["edges"])) {
        let of = (text(&access["edge"]), text(&access["policy"]));
        if service.is_none_or(|it| it == of.0) {
            let told = of_edge(access).into_iter().enumerate();
            rows.extend(told.map(|(index, row)| ((of.clone(), index), row)));
        }
    }
    rows.into_values().collect()
}

/// The rules of an edge, for callers from outside by their roles, and what is for everybody.
fn of_edge(access: &Value) -> Vec<Value> {
    let row = |rule: &Value| {
        let mut row = rule.clone();
        for (member, value) in [("service", &access["edge"]), ("policy", &access["policy"])] {
            row[member] = value.clone();
        }
        row["mode"] = "enforce".into();
        row
    };
    let everybody =
        json!({"roles": ["*"], "methods": [], "routes": access["anonymous"], "reach": "nothing"});
    let open = (!list(&access["anonymous"]).is_empty()).then_some(&everybody);
    let all = list(&access["rules"]).iter().chain(open).map(row).enumerate();
    all.map(|(index, mut row)| {
        row["rule"] = index.into();
        row
    })
    .collect()
}

/// Who is allowed: services by their identities, people by their roles and how far they reach.
fn callers_of(row: &Value) -> String {
    match row["reach"].as_str() {
        Some(reach) => format!("{} (reach {reach})", joined(&row["roles"], "–")),
        None => joined(&row["callers"], "–"),
    }
}

async fn why(admins: &Admins, asked: &JudgeArguments, output: Output) -> Result<Exit, Failure> {
    let routes = admins.get("/routes").await?;
    if let Some(edge) = edge_of(&routes, &asked.service) {
        return why_at_edge(admins, edge, asked, output).await;
    }
    let (door, caller) = door_of(&routes, asked)?;
    // A user of the log shows himself to it alone.
    let is_user = caller.parse().is_ok_and(|it: SpiffeId| it.namespace() == LOG_USERS);
    if !is_user && !routes.said.iter().any(|it| it.json()["identity"] == *caller) {
        output.remark(&format!("no process that runs shows itself to be {caller}"));
    }
    let pairs = [
        ("caller", Some(&*caller)),
        ("method", Some(&*asked.method)),
        ("path", Some(&*asked.path)),
    ];
    let path = query("/authorization", &pairs);
    let gathered = admins.ask(&[door], Method::GET, &path, "").await?;
    let page = judged(&gathered)?;
    match output.format {
        crate::Format::Json => output.document(&page),
        crate::Format::Table | crate::Format::Wide => output.text(&told(&page)),
    }
    Ok(if page["verdict"] == "denied" { Exit::Failed } else { gathered.exit(output) })
}

/// A process that has routes of the edge of this name; a service of the same name goes first.
fn edge_of(routes: &Gathered, name: &str) -> Option<Process> {
    let door = format!("edge/{name}");
    let pages = || routes.said.iter().map(|it| (&it.process, it.json()));
    if pages().any(|(_, page)| page["guards"] == name) {
        return None;
    }
    let mut leading =
        pages().filter(|(_, page)| list(&page["routes"]).iter().any(|it| it["door"] == *door));
    leading.next().map(|it| it.0.clone())
}

/// What an edge says to somebody with these roles, and by which rule.
async fn why_at_edge(
    admins: &Admins,
    edge: Process,
    asked: &JudgeArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let mut pairs = vec![
        ("edge", Some(&*asked.service)),
        ("method", Some(&*asked.method)),
        ("path", Some(&*asked.path)),
    ];
    pairs.extend(asked.caller.split(',').map(|it| ("role", Some(it))));
    let edge = [edge];
    let gathered = admins.ask(&edge, Method::GET, &query("/explain", &pairs), "").await?;
    let page = judged(&gathered)?;
    let rules = admins.ask(&edge, Method::GET, "/authorizations", "").await?;
    for role in unnamed_roles(&asked.caller, &judged(&rules)?, &asked.service) {
        output.remark(&format!("no rule of {} names the role `{role}`", asked.service));
    }
    match output.format {
        crate::Format::Json => output.document(&page),
        crate::Format::Table | crate::Format::Wide => output.text(&told_at_edge(&page, asked)),
    }
    let is_let_in = !page["route"].is_null() && !page["access"]["reach"].is_null();
    Ok(if is_let_in { gathered.exit(output) } else { Exit::Failed })
}

/// Those of the roles that no rule of the edge names: a typing error is no role.
fn unnamed_roles<'a>(roles: &'a str, page: &Value, edge: &str) -> Vec<&'a str> {
    let rows = rules(std::slice::from_ref(page), Some(edge));
    let is_named =
        |it: &&str| rows.iter().any(|row| list(&row["roles"]).iter().any(|role| role == it));
    roles.split(',').filter(|it| !is_named(it)).collect()
}

fn told_at_edge(page: &Value, asked: &JudgeArguments) -> String {
    let (method, path) = (text(&page["method"]), text(&page["path"]));
    let what = format!("{method} {path} by {} at {}", asked.caller, asked.service);
    let access = &page["access"];
    let how = match (page["route"].as_str(), access["asks"].as_str(), access["reach"].as_str()) {
        (None, ..) => "no route leads on from there: 404".to_owned(),
        (Some(route), Some("everybody"), Some(reach)) => {
            let (rule, policy) = (text(&access["rule"]), text(&access["policy"]));
            format!("allowed by rule {rule} of {policy} (route {route}, reach {reach})")
        }
        (Some(route), Some("everybody"), None) => {
            format!("denied: no rule lets these roles do that (route {route})")
        }
        (Some(route), ..) => format!("allowed: nobody is asked who he is (route {route})"),
    };
    printable(&format!("{what}: {how}")) + "\n"
}

/// The page that a process answered with.
fn judged(gathered: &Gathered) -> Result<Value, Failure> {
    let said = gathered.said.first();
    if let Some(said) = said.filter(|it| it.status.is_success()) {
        return Ok(said.json());
    }
    let detail = said.map_or(Value::Null, |it| it.json()["detail"].clone());
    let failure = Failure::new("bad_argument", "the request cannot be judged");
    Err(failure.because(text(&detail)).exit(Exit::Usage))
}

/// A process that judges who comes in to the service, and the caller's identity.
fn door_of(routes: &Gathered, asked: &JudgeArguments) -> Result<(Process, String), Failure> {
    let all: Vec<(Process, Value)> =
        routes.said.iter().map(|it| (it.process.clone(), it.json())).collect();
    let Some((door, page)) = all.iter().find(|(_, page)| page["guards"] == *asked.service) else {
        let known = all.iter().filter_map(|(_, it)| it["guards"].as_str().map(str::to_owned));
        let what = format!("no process judges who comes in to `{}`", asked.service);
        return Err(unknown("no_such_door", what, &known.collect()));
    };
    let caller = identity_of(&asked.caller, page["identity"].as_str()).ok_or_else(|| {
        Failure::new("bad_argument", format!("`{}` is no identity", asked.caller))
            .because("the door shows none itself, so that a name alone says too little")
            .next("name the caller as spiffe://DOMAIN/ns/NAMESPACE/svc/SERVICE")
            .exit(Exit::Usage)
    })?;
    Ok((door.clone(), caller))
}

/// The identity of a service beside another one, or of `NAMESPACE/SERVICE` in the same trust domain; a whole
/// identity is itself.
fn identity_of(caller: &str, beside: Option<&str>) -> Option<String> {
    if caller.starts_with("spiffe://") {
        return Some(caller.to_owned());
    }
    let beside: SpiffeId = beside?.parse().ok()?;
    let (namespace, service) = caller.split_once('/').unwrap_or((beside.namespace(), caller));
    SpiffeId::new(beside.trust_domain(), namespace, service).ok().map(|it| it.to_string())
}

fn told(page: &Value) -> String {
    let (caller, service) = (text(&page["caller"]), text(&page["service"]));
    let what =
        format!("{} {} by {caller} at {service}", text(&page["method"]), text(&page["path"]));
    let how = match page["verdict"].as_str() {
        Some("allowed") => {
            format!("allowed by rule {} of {}", text(&page["rule"]), text(&page["policy"]))
        }
        Some("denied") => format!("denied: {}", text(&page["reason"])),
        Some("audited") => format!("denied, and let through: {}", text(&page["reason"])),
        _ => "not judged: no rule stands there, and nobody is asked who he is".to_owned(),
    };
    printable(&format!("{what}: {how}")) + "\n"
}

async fn audit(admins: &Admins, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/metrics").await?;
    let mut counts: BTreeMap<[String; 3], f64> = BTreeMap::new();
    for said in &gathered.said {
        for sample in parse(&String::from_utf8_lossy(&said.body), DENIED) {
            let key = ["service", "reason", "mode"].map(|it| sample.label(it).to_owned());
            *counts.entry(key).or_default() += sample.value;
        }
    }
    counts.retain(|_, count| *count > 0.0);
    let mut table = Table::new(&["SERVICE", "REASON", "MODE", "DENIED"]);
    let mut rows = Vec::new();
    for ([service, reason, mode], count) in counts {
        rows.push(json!({"service": service, "reason": reason, "mode": mode, "denied": count}));
        table.row([service, reason, mode, format!("{count:.0}")]);
    }
    output.result(&rows, &table);
    if rows.is_empty() {
        output.remark("no door has denied anything since its process started");
    }
    Ok(gathered.exit(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_no_rule_of_the_edge_names_is_told() {
        let rules = json!([{"roles": ["customer"], "methods": [], "routes": [], "reach": "own"}]);
        let access = json!({"edge": "shop", "policy": "p", "rules": rules, "anonymous": []});
        let page = json!({"edges": [access]});
        assert_eq!(unnamed_roles("customer,custmer", &page, "shop"), ["custmer"]);
    }

    #[test]
    fn a_caller_is_named_by_its_service_or_as_a_whole() {
        let beside = Some("spiffe://d/ns/n/svc/stock");
        assert_eq!(identity_of("till", beside).as_deref(), Some("spiffe://d/ns/n/svc/till"));
        let user = identity_of("log-users/report", beside);
        assert_eq!(user.as_deref(), Some("spiffe://d/ns/log-users/svc/report"));
        assert_eq!(identity_of("no such name", beside), None);
        let whole = "spiffe://e/ns/n/svc/till";
        assert_eq!(identity_of(whole, beside).as_deref(), Some(whole));
        assert_eq!(identity_of(whole, None).as_deref(), Some(whole));
        assert_eq!(identity_of("till", None), None);
    }

    #[test]
    fn a_rule_that_several_processes_know_is_told_once_and_only_of_the_service_that_is_asked_for() {
        let policy = |service: &str| {
            json!({"service": service, "policy": "p", "mode": "enforce", "rules": [
                {"callers": ["a"], "methods": ["GET"], "paths": []},
                {"callers": ["*"], "methods": [], "paths": ["/x"]},
            ]})
        };
        let page = json!({"authorizations": [policy("stock"), policy("till")]});
        let pages = [page.clone(), page];
        assert_eq!(rules(&pages, None).len(), 4);
        let of_till = rules(&pages, Some("till"));
        let told: Vec<_> = of_till.iter().map(|it| (&it["rule"], &it["callers"][0])).collect();
        assert_eq!(told, [(&json!(0), &json!("a")), (&json!(1), &json!("*"))]);
    }

    #[test]
    fn the_rules_of_an_edge_are_told_beside_those_of_services() {
        let rule = json!({"roles": ["customer"], "methods": ["GET"], "routes": ["d/orders"], "reach": "own"});
        let edge =
            json!({"edge": "shop", "policy": "e", "anonymous": ["d/prices"], "rules": [rule]});
        let page = json!({"authorizations": [], "edges": [edge]});
        let told = rules(&[page.clone(), page.clone()], Some("shop"));
        let shown: Vec<_> = told.iter().map(|it| (callers_of(it), it["rule"].clone())).collect();
        let customer = ("customer (reach own)".to_owned(), json!(0));
        assert_eq!(shown, [customer, ("* (reach nothing)".to_owned(), json!(1))]);
        assert_eq!(told[1]["routes"], json!(["d/prices"]));
        assert!(rules(&[page], Some("till")).is_empty());
    }

    #[test]
    fn what_an_edge_says_to_a_role_is_told_with_the_rule_and_the_reach() {
        let asked = JudgeArguments {
            caller: "customer".to_owned(),
            service: "edge".to_owned(),
            method: "GET".to_owned(),
            path: "/x".to_owned(),
        };
        let told = |route: Value, access: Value| {
            let page = json!({"method": "GET", "path": "/x", "route": route, "access": access});
            told_at_edge(&page, &asked)
        };
        let allowed = json!({"asks": "everybody", "policy": "e", "rule": 0, "reach": "own"});
        let expected =
            "GET /x by customer at edge: allowed by rule 0 of e (route d/x, reach own)\n";
        assert_eq!(told(json!("d/x"), allowed), expected);
        let denied = told(json!("d/x"), json!({"asks": "everybody", "reach": null}));
        assert!(denied.contains("denied"), "{denied}");
        let open = told(json!("d/x"), json!({"asks": "nobody", "reach": "nothing"}));
        assert!(open.contains("nobody is asked"), "{open}");
        assert!(told(Value::Null, json!({"asks": "everybody"})).contains("404"));
    }

    #[test]
    fn the_verdict_is_told_in_one_line_with_the_rule_or_the_reason() {
        let page = |rest: Value| {
            let mut page = json!({"caller": "c", "service": "s", "method": "GET", "path": "/x"});
            page.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            told(&page)
        };
        let allowed = page(json!({"verdict": "allowed", "rule": 2, "policy": "p"}));
        assert_eq!(allowed, "GET /x by c at s: allowed by rule 2 of p\n");
        let denied = page(json!({"verdict": "denied", "reason": "path_not_allowed"}));
        assert_eq!(denied, "GET /x by c at s: denied: path_not_allowed\n");
    }
}
