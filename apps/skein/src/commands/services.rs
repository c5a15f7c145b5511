//! `services`: who is registered at the control plane, and who has heard of it.

use serde_json::{Value, json};

use super::{
    admin::Admins,
    arguments::ServicesCommand,
    cells::{list, none, text},
    stat::millis,
};
use crate::{Exit, Failure, Format, Output, Table};

/// Asks the control planes among the processes.
///
/// # Errors
/// No process answers, none is a control plane, or nobody is registered as that service.
pub async fn run(
    admins: &Admins,
    command: &ServicesCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let gathered = admins.get("/services").await?;
    let pages = gathered.said.iter().filter(|it| it.status.is_success()).map(|it| it.json());
    let pages: Vec<Value> = pages.filter(|it| it["instances"].is_array()).collect();
    if pages.is_empty() {
        gathered.tell_silent(output);
        let what = match gathered.silent.is_empty() {
            true => "none of the processes is a control plane",
            false => "none of the processes that answer is a control plane",
        };
        let failure = Failure::new("no_control_plane", what);
        let next = "`endpoints` shows what the proxies know; docs/control-plane.md how one is run";
        return Err(failure.exit(Exit::NotFound).next(next));
    }
    troubles(&pages, output);
    match command {
        ServicesCommand::List => {
            let rows: Vec<&Value> = pages.iter().flat_map(|it| list(&it["instances"])).collect();
            output.result(&rows, &instances_table(&rows));
            if rows.is_empty() {
                output.remark("no instance is registered");
            }
        }
        ServicesCommand::Show { service } => show(&pages, service, output)?,
    }
    Ok(gathered.exit(output))
}

/// Says what the control plane could not use, and that it does not know everybody yet.
fn troubles(pages: &[Value], output: Output) {
    for page in pages {
        for (source, why) in page["troubles"].as_object().into_iter().flatten() {
            output.remark(&format!(
                "{source} cannot be used, its last good state holds: {}",
                text(why)
            ));
        }
        if page["settled"] == false {
            output.remark("the control plane has just started and takes nobody for gone yet");
        }
    }
}

fn show(pages: &[Value], service: &str, output: Output) -> Result<(), Failure> {
    let is_known = |it: &&Value| list(&it["listed"]).iter().any(|name| name == service);
    let pages: Vec<&Value> = pages.iter().filter(is_known).collect();
    if pages.is_empty() {
        let failure =
            Failure::new("not_found", format!("no service `{service}` was ever registered"));
        return Err(failure.exit(Exit::NotFound).next("services list"));
    }
    let instances = pages.iter().flat_map(|it| list(&it["instances"]));
    let instances: Vec<&Value> = instances.filter(|it| it["service"] == service).collect();
    let proxies = pages.iter().flat_map(|it| list(&it["subscribers"]));
    let proxies: Vec<&Value> = proxies.collect();
    let version = &pages[0]["version"];
    match output.format {
        Format::Json => output.document(&json!({
            "service": service, "version": version, "instances": instances, "proxies": proxies,
        })),
        Format::Table | Format::Wide => {
            let state = format!("state {}\n", text(version));
            let (first, second) = (instances_table(&instances), proxies_table(&proxies));
            output.text(&format!("{}\n{state}{}", first.render(""), second.render("")));
        }
    }
    Ok(())
}

/// A row for each instance.
#[must_use]
pub fn instances_table(rows: &[&Value]) -> Table {
    let mut table = Table::new(&[
        "SERVICE", "INSTANCE", "VERSION", "ZONE", "CAPACITY", "ADDRESS", "READY", "LEASE",
    ]);
    for row in rows {
        let left = row["lease_left_ms"].as_f64().map_or_else(none, millis);
        let cells = ["service", "instance", "version", "zone", "capacity", "address", "ready"];
        table.row(cells.map(|it| text(&row[it])).into_iter().chain([left]));
    }
    table
}

/// A row for each proxy, with why it did not take a state below it.
#[must_use]
pub fn proxies_table(rows: &[&Value]) -> Table {
    let mut table = Table::new(&["PROXY", "FROM", "SENT", "TAKEN", "REFUSED"]);
    for row in rows {
        let refused = &row["refused"];
        let cells = [&row["name"], &row["from"], &row["sent"], &row["acknowledged"]];
        table.row(cells.map(text).into_iter().chain([text(&refused["version"])]));
        for line in refused["reason"].as_str().into_iter().flat_map(str::lines) {
            table.note(line);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_did_not_take_a_state_says_why_in_its_row() {
        let row = json!({
            "name": "shop", "from": "127.0.0.1:9", "sent": 4, "acknowledged": 3,
            "refused": {"version": 4, "reason": "rules.yaml:4:8  no"},
        });
        let text = proxies_table(&[&row]).render("");
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["shop   127.0.0.1:9  4     3      4", "  rules.yaml:4:8  no"]);
    }
}
