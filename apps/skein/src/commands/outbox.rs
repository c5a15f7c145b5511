//! `outbox`: messages of services that the log refused, and what becomes of them.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    admin::{Admins, Gathered, Process, query},
    arguments::OutboxCommand,
    cells::{list as items, text},
};
use crate::{Exit, Failure, Output, Table};

/// Lists parked messages, releases or discards one.
///
/// # Errors
/// No process answers, or there is no such service or message.
pub async fn run(admins: &Admins, command: OutboxCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        OutboxCommand::List => list(admins, output).await,
        OutboxCommand::Release { service, sequence } => {
            settle(admins, "release", &service, sequence, output).await
        }
        OutboxCommand::Discard { service, sequence } => {
            settle(admins, "discard", &service, sequence, output).await
        }
    }
}

/// The outboxes by service: replicas share one, so that one of them speaks for all.
fn outboxes(gathered: &Gathered) -> BTreeMap<String, (Process, Value)> {
    let of = |said: &super::admin::Said| {
        let page = said.json();
        let service = page["service"].as_str()?.to_owned();
        Some((service, (said.process.clone(), page)))
    };
    gathered.said.iter().filter(|it| it.status.is_success()).filter_map(of).collect()
}

async fn list(admins: &Admins, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/admin/outbox").await?;
    let outboxes = outboxes(&gathered);
    let pages: Vec<&Value> = outboxes.values().map(|(_, page)| page).collect();
    output.result(&pages, &table(&pages));
    if pages.iter().all(|it| items(&it["parked"]).is_empty()) {
        let waiting: u64 = pages.iter().filter_map(|it| it["waiting"].as_u64()).sum();
        output.remark(&format!("no message is parked; {waiting} wait for the log"));
    }
    Ok(gathered.exit(output))
}

/// The table of `outbox list`.
fn table(pages: &[&Value]) -> Table {
    let columns = ["SERVICE", "NUMBER", "TOPIC", "KEY", "ID", "TYPE", "BYTES", "PARKED", "REASON"];
    let mut table = Table::new(&columns);
    for page in pages {
        for row in items(&page["parked"]) {
            let members = ["sequence", "topic", "key", "id", "type", "bytes", "parkedAt", "reason"];
            let cells = members.map(|it| text(&row[it]));
            table.row(std::iter::once(text(&page["service"])).chain(cells));
        }
    }
    table
}

async fn settle(
    admins: &Admins,
    how: &str,
    service: &str,
    sequence: i64,
    output: Output,
) -> Result<Exit, Failure> {
    let gathered = admins.get("/admin/outbox").await?;
    let outboxes = outboxes(&gathered);
    let Some((process, _)) = outboxes.get(service) else {
        let what = format!("no service `{service}` with an outbox answers");
        let known = outboxes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let failure = Failure::new("no_such_service", what).exit(Exit::NotFound);
        let failure = failure.because(format!("known are {known}"));
        return Err(failure.next("`outbox list` shows what waits for a person, and where"));
    };
    let number = sequence.to_string();
    let path = query(&format!("/admin/outbox/{how}"), &[("sequence", Some(&number))]);
    let asked = [process.clone()];
    let gathered = admins.ask(&asked, Method::POST, &path, "").await?;
    let refused = gathered.said.iter().find(|it| it.status != StatusCode::NO_CONTENT);
    if let Some(said) = refused {
        let failure = Failure::new("no_such_message", format!("{service} did not {how} it"));
        let failure = failure.because(text(&said.json()["detail"])).exit(Exit::NotFound);
        return Err(failure.next("`outbox list` shows the numbers of those that wait"));
    }
    let mut table = Table::new(&["SERVICE", "NUMBER", "DONE"]);
    table.row([service.to_owned(), number, how.to_owned()]);
    output.result(&json!({"service": service, "sequence": sequence, "done": how}), &table);
    Ok(gathered.exit(output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parked_message_is_shown_with_its_service_and_its_reason() {
        let page = json!({"service": "orders", "waiting": 3, "parked": [{"sequence": 7,
            "topic": "orders", "key": null, "id": "a", "type": "t", "bytes": 9,
            "parkedAt": "2026-01-01T00:00:00Z", "reason": "too long"}]});
        let expected = "\
SERVICE  NUMBER  TOPIC   KEY  ID  TYPE  BYTES  PARKED                REASON
orders   7       orders  –    a   t     9      2026-01-01T00:00:00Z  too long
";
        assert_eq!(table(&[&page]).render(""), expected);
    }
}
