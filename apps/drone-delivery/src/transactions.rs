//! Sagas and failures: what stands where, and what a person does about it.

use http::{Method, header};
use serde_json::{Value, json};
use service_kit::{Call, segment};
use skein::{Exit, Failure, Output, Table};

use crate::{
    cli::{ActionArguments, FailureCommand, SagaCommand},
    system::System,
};

/// Sagas, from the Scheduler.
pub(crate) async fn saga(
    system: System,
    command: SagaCommand,
    output: Output,
) -> Result<Exit, Failure> {
    match command {
        SagaCommand::List { state, limit } => {
            let path = listed("/api/sagas", "status", state.as_deref(), limit);
            let sagas = system.ask(Call::get("scheduler", path)).await?;
            let columns = [
                ("SAGA", "id"),
                ("STATUS", "status"),
                ("OWNER", "owner"),
                ("EPOCH", "epoch"),
                ("UPDATED", "updatedAt"),
            ];
            output.result(&sagas, &rows(&sagas, &columns));
        }
        SagaCommand::Show { id } => {
            let id = if id.contains('/') { id } else { format!("{id}/create") };
            let path = format!("/api/sagas/{}", segment(&id));
            let saga = system.ask(Call::get("scheduler", path)).await?;
            output.result(&saga, &history(&saga));
        }
    }
    Ok(Exit::Done)
}

/// Failures, from the Supervisor.
pub(crate) async fn failures(
    system: System,
    command: FailureCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let columns = [
        ("DELIVERY", "deliveryId"),
        ("OPERATION", "operation"),
        ("STATE", "state"),
        ("STEP", "failedStep"),
        ("REASON", "reason"),
        ("UPDATED", "updatedAt"),
    ];
    match command {
        FailureCommand::List { state, limit } => {
            let path = listed("/api/failures", "state", state.as_deref(), limit);
            let failures = system.ask(Call::get("supervisor", path)).await?;
            output.result(&failures, &rows(&failures, &columns));
        }
        FailureCommand::Show { id } => {
            let path = format!("/api/failures/{}", segment(&id));
            let failure = system.ask(Call::get("supervisor", path)).await?;
            output.result(&failure, &history(&failure));
        }
        FailureCommand::Retry(it) => act(&system, "retry", it, output, &columns).await?,
        FailureCommand::Compensate(it) => act(&system, "compensate", it, output, &columns).await?,
        FailureCommand::Resolve(it) => act(&system, "resolve", it, output, &columns).await?,
    }
    Ok(Exit::Done)
}

async fn act(
    system: &System,
    action: &str,
    arguments: ActionArguments,
    output: Output,
    columns: &[(&'static str, &str)],
) -> Result<(), Failure> {
    let ActionArguments { id, reason } = arguments;
    let call =
        Call::new("supervisor", Method::PUT, format!("/api/failures/{}/action", segment(&id)))
            .header(header::CONTENT_TYPE, "application/json")
            .json(&json!({"action": action, "note": reason, "actor": actor()}));
    let failure = system.ask(call).await?;
    output.result(&failure, &rows(&json!([failure]), columns));
    Ok(())
}

/// Who acts, for the audit.
fn actor() -> String {
    std::env::var("USER").unwrap_or_else(|_| "operator".to_owned())
}

fn listed(path: &str, filter: &str, wanted: Option<&str>, limit: u32) -> String {
    let wanted = wanted.map(|it| format!("&{filter}={}", segment(it))).unwrap_or_default();
    format!("{path}?limit={limit}{wanted}")
}

fn rows(list: &Value, columns: &[(&'static str, &str)]) -> Table {
    let headings: Vec<_> = columns.iter().map(|it| it.0).collect();
    let mut table = Table::new(&headings);
    for item in list.as_array().into_iter().flatten() {
        table.row(columns.iter().map(|(_, member)| cell(&item[*member])));
    }
    table
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Its records, one a line.
fn history(saga: &Value) -> Table {
    let mut table = Table::new(&["AT", "EPOCH", "RECORD", "DETAILS"]);
    for row in saga["history"].as_array().into_iter().flatten() {
        table.row([cell(&row["at"]), cell(&row["epoch"]), cell(&row["record"]), details(row)]);
    }
    table
}

/// Whatever else a record says.
fn details(row: &Value) -> String {
    let shown = ["at", "epoch", "number", "record"];
    let members = row.as_object().into_iter().flatten();
    let rest = members.filter(|(name, _)| !shown.contains(&name.as_str()));
    rest.map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
}
