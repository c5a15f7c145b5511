//! `fault`: planted at the callers of a service, at every process alike.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    admin::{Admins, Gathered, Process, Said, query},
    arguments::{FaultArguments, FaultCommand},
    cells::{list as items, text},
    names::{self, Names},
    stat::millis,
};
use crate::{Exit, Failure, Output, Table};

/// Adds, lists or clears faults.
///
/// # Errors
/// Faults are off, no process answers, or the fault makes no sense.
pub async fn run(admins: &Admins, command: FaultCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        FaultCommand::Add(arguments) => add(admins, &arguments, output).await,
        FaultCommand::List => list(admins, output).await,
        FaultCommand::Clear { name } => clear(admins, name.as_deref(), output).await,
    }
}

async fn add(admins: &Admins, arguments: &FaultArguments, output: Output) -> Result<Exit, Failure> {
    let document = document(arguments)?;
    let (routes, endpoints) = (admins.get("/routes").await?, admins.get("/endpoints").await?);
    let names = Names::of(&names::pages(&routes), &names::pages(&endpoints));
    let struck = names.service(&arguments.service)?;
    let callers: Vec<Process> = callers(&endpoints, &struck);
    let body = document.to_string();
    let gathered = admins.ask(&callers, Method::PUT, "/faults", &body).await?;
    let planted = accepted(admins, &gathered, StatusCode::NO_CONTENT, output)?;
    let mut table = Table::new(&["FAULT", "SERVICE", "EFFECT", "SHARE", "PROCESSES"]);
    table.row([
        text(&document["name"]),
        versions(&struck),
        effect(arguments.error, arguments.delay.map(ms), arguments.reset_after),
        share(arguments.share),
        planted.len().to_string(),
    ]);
    let told = json!({"fault": document, "services": struck, "processes": planted});
    output.result(&told, &table);
    Ok(ending(&gathered, planted.len(), output))
}

/// The processes whose mesh knows one of the services: no other can call it. Who hands its calls to
/// a proxy beside it would be struck twice.
fn callers(endpoints: &Gathered, services: &[String]) -> Vec<Process> {
    let calls = |page: &Value| {
        let mut known = items(&page["destinations"]).iter();
        page["direction"] != "handover" && known.any(|it| services.contains(&text(&it["service"])))
    };
    let callers = endpoints.said.iter().filter(|it| calls(&it.json()));
    callers.map(|it| it.process.clone()).collect()
}

/// A service, and in brackets the versions that it is led to.
fn versions(services: &[String]) -> String {
    match services {
        [] => String::new(),
        [service] => service.clone(),
        [service, versions @ ..] => format!("{service} ({})", versions.join(", ")),
    }
}

/// The fault as the operators' page takes it.
///
/// # Errors
/// It has no effect.
pub fn document(arguments: &FaultArguments) -> Result<Value, Failure> {
    let FaultArguments { error, delay, reset_after, .. } = arguments;
    if error.is_none() && delay.is_none() && reset_after.is_none() {
        let failure = Failure::new("bad_argument", "a fault needs an effect").exit(Exit::Usage);
        return Err(failure.next("one of --error 503, --delay 200ms, --reset-after 0"));
    }
    let made = || {
        let effect = effect(*error, delay.map(ms), *reset_after).replace([' ', '+'], "-");
        format!("{}-{effect}", arguments.service)
    };
    Ok(json!({
        "name": arguments.name.clone().unwrap_or_else(made),
        "service": arguments.service,
        "route": arguments.route,
        "share": arguments.share,
        "delay_ms": delay.map(ms),
        "status": error,
        "reset_after_bytes": reset_after,
        "for_ms": ms(arguments.stands),
    }))
}

async fn list(admins: &Admins, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/faults").await?;
    let rows = standing(&names::pages(&gathered));
    output.result(&rows, &faults_table(&rows));
    if rows.is_empty() {
        output.remark("no fault stands");
    }
    Ok(gathered.exit(output))
}

/// The faults of all pages, each once, with how many processes have it.
#[must_use]
pub fn standing(pages: &[Value]) -> Vec<Value> {
    let mut faults: BTreeMap<String, Value> = BTreeMap::new();
    for fault in pages.iter().filter_map(|it| it["faults"].as_array()).flatten() {
        let fault = fault.clone();
        let known = faults.entry(text(&fault["name"])).or_insert(fault);
        known["processes"] = (known["processes"].as_u64().unwrap_or(0) + 1).into();
    }
    faults.into_values().collect()
}

/// The table of `fault list`.
#[must_use]
pub fn faults_table(rows: &[Value]) -> Table {
    let mut table = Table::new(&[
        "FAULT",
        "SERVICE",
        "ROUTE",
        "EFFECT",
        "SHARE",
        "LEFT",
        "ORIGIN",
        "PROCESSES",
    ]);
    for row in rows {
        let left = row["left_ms"]
            .as_u64()
            .map_or_else(|| "–".to_owned(), |it| format!("{}s", it.div_ceil(1_000)));
        table.row([
            text(&row["name"]),
            text(&row["service"]),
            text(&row["route"]),
            effect_of(row),
            row["share"].as_f64().map_or_else(|| "–".to_owned(), share),
            left,
            text(&row["origin"]),
            text(&row["processes"]),
        ]);
    }
    table
}

/// What a fault on a page does.
pub(super) fn effect_of(fault: &Value) -> String {
    let status = fault["abort"]["status"].as_u64().and_then(|it| u16::try_from(it).ok());
    effect(status, fault["delay_ms"].as_u64(), fault["abort"]["reset_after_bytes"].as_u64())
}

async fn clear(admins: &Admins, name: Option<&str>, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/faults").await?;
    let pages = names::pages(&gathered);
    let stand: BTreeSet<String> = standing(&pages).iter().map(|it| text(&it["name"])).collect();
    let gone: Vec<&String> =
        stand.iter().filter(|it| name.is_none_or(|name| name == *it)).collect();
    match name {
        Some(name) if gone.is_empty() => {
            let what = format!("no fault `{name}` stands");
            let failure = names::unknown("no_such_fault", what, &stand);
            return Err(failure.next("`fault list` shows those that stand"));
        }
        None if gone.is_empty() => output.remark("no fault stood"),
        Some(_) | None => {}
    }
    let path = query("/faults", &[("name", name)]);
    let has_it = |page: &Value| {
        name.is_none_or(|name| items(&page["faults"]).iter().any(|it| it["name"] == name))
    };
    let holders = gathered.said.iter().zip(&pages).filter(|(_, page)| has_it(page));
    let processes: Vec<Process> = holders.map(|(said, _)| said.process.clone()).collect();
    let cleared = admins.ask(&processes, Method::DELETE, &path, "").await?;
    let done = accepted(admins, &cleared, StatusCode::NO_CONTENT, output)?;
    let mut table = Table::new(&["CLEARED"]);
    for fault in &gone {
        table.row([fault.as_str()]);
    }
    output.result(&json!({ "cleared": gone }), &table);
    Ok(ending(&cleared, done.len(), output))
}

/// The processes that did as they were told; tells of those where faults are off.
///
/// # Errors
/// They are off everywhere, or the fault was refused.
fn accepted(
    admins: &Admins,
    gathered: &Gathered,
    wanted: StatusCode,
    output: Output,
) -> Result<Vec<String>, Failure> {
    let is_off =
        |it: StatusCode| matches!(it, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    let refused = |it: &&Said| it.status != wanted && !is_off(it.status);
    if let Some(said) = gathered.said.iter().find(refused) {
        let what = format!("{} refused the fault", said.process.name);
        return Err(Failure::new("refused", what).because(text(&said.json()["detail"])));
    }
    let (on, off): (Vec<&Said>, Vec<&Said>) =
        gathered.said.iter().partition(|it| it.status == wanted);
    if on.is_empty() {
        let failure = Failure::new("faults_off", "the processes do not let faults be planted");
        return Err(failure.next(admins.faults_hint()));
    }
    for said in off {
        output.remark(&format!("{} does not let faults be planted", said.process.name));
    }
    Ok(on.iter().map(|it| it.process.name.clone()).collect())
}

fn ending(gathered: &Gathered, done: usize, output: Output) -> Exit {
    match gathered.exit(output) {
        Exit::Done if done < gathered.said.len() => Exit::Partial,
        exit => exit,
    }
}

fn effect(status: Option<u16>, delay_ms: Option<u64>, reset_after: Option<u64>) -> String {
    #[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
    let parts = [
        delay_ms.map(|it| format!("delay {}", millis(it as f64))),
        status.map(|it| format!("error {it}")),
        reset_after.map(|it| format!("reset after {it}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("+")
}

pub(super) fn share(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

fn ms(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fault_is_named_after_what_it_does() {
        let arguments = FaultArguments {
            service: "stock".to_owned(),
            error: Some(503),
            delay: Some(Duration::from_millis(200)),
            share: 0.3,
            stands: Duration::from_secs(60),
            ..FaultArguments::default()
        };
        let expected = json!({"name": "stock-delay-200ms-error-503", "service": "stock",
            "route": null, "share": 0.3, "delay_ms": 200, "status": 503,
            "reset_after_bytes": null, "for_ms": 60_000});
        assert_eq!(document(&arguments).unwrap(), expected);
    }

    #[test]
    fn a_fault_says_which_versions_it_strikes() {
        let named =
            |all: &[&str]| versions(&all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["stock", "stock-v1", "stock-v2"]), "stock (stock-v1, stock-v2)");
        assert_eq!(named(&["stock-v2"]), "stock-v2");
    }

    #[test]
    fn a_fault_without_an_effect_is_none() {
        let arguments = FaultArguments { service: "stock".to_owned(), ..Default::default() };
        assert_eq!(document(&arguments).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_fault_is_listed_once_with_the_number_of_its_processes() {
        let page = json!({"faults": [{"name": "f", "service": "stock", "route": null,
            "share": 0.3, "delay_ms": null, "abort": {"status": 503}, "left_ms": 59_001,
            "origin": "file"}]});
        let expected = "\
FAULT  SERVICE  ROUTE  EFFECT     SHARE  LEFT  ORIGIN  PROCESSES
f      stock    –      error 503  30%    60s   file    2
";
        assert_eq!(faults_table(&standing(&[page.clone(), page])).render(""), expected);
    }
}
