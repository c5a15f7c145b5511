//! Sagas and failures: what stands where, and what a person does about it.

mod history;

use std::path::Path;

use http::{Method, header};
use runtime::SystemClock;
use serde_json::{Value, json};
use service_kit::{Call, segment};
use skein::{Exit, Failure, Format, Output, Table};

use crate::{
    cli::{ActionArguments, FailureCommand, SagaCommand},
    introduction::{Invocation, quoted},
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
            output.result(&saga, &history::table(&saga, reading()));
        }
    }
    Ok(Exit::Done)
}

/// Failures, from the Supervisor.
pub(crate) async fn failures(
    data: &Path,
    system: System,
    command: FailureCommand,
    output: Output,
) -> Result<Exit, Failure> {
    match command {
        FailureCommand::List { state, limit } => {
            let path = listed("/api/failures", "state", state.as_deref(), limit);
            let failures = system.ask(Call::get("supervisor", path)).await?;
            output.result(&failures, &troubles(&failures));
        }
        FailureCommand::Show { id } => {
            let path = format!("/api/failures/{}", segment(&id));
            let failure = system.ask(Call::get("supervisor", path)).await?;
            output.result(&failure, &history::table(&failure, reading()));
        }
        FailureCommand::Retry(it) => act(data, &system, "retry", it, output).await?,
        FailureCommand::Compensate(it) => act(data, &system, "compensate", it, output).await?,
        FailureCommand::Resolve(it) => act(data, &system, "resolve", it, output).await?,
    }
    Ok(Exit::Done)
}

/// What is answered stood so before anything was done about it: people are told where to look later.
async fn act(
    data: &Path,
    system: &System,
    action: &str,
    arguments: ActionArguments,
    output: Output,
) -> Result<(), Failure> {
    let ActionArguments { id, reason } = arguments;
    let call =
        Call::new("supervisor", Method::PUT, format!("/api/failures/{}/action", segment(&id)))
            .header(header::CONTENT_TYPE, "application/json")
            .json(&json!({"action": action, "note": reason, "actor": actor()}));
    let failure = system.ask(call).await?;
    match output.format {
        Format::Json => output.document(&failure),
        Format::Table | Format::Wide => {
            let id = failure["transactionId"].as_str().unwrap_or(&id);
            let show = Invocation::of(data).command(&format!("failures show {}", quoted(id)));
            output.text(&format!("asked; `{show}` tells what became of it\n"));
        }
    }
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

/// Failed transactions: each with what it waits for, or what failed it.
fn troubles(failures: &Value) -> Table {
    let columns = ["DELIVERY", "OPERATION", "STATE", "STEP", "REASON", "UPDATED"];
    let mut table = Table::new(&columns);
    for failure in failures.as_array().into_iter().flatten() {
        let [delivery, operation, state, updated] =
            ["deliveryId", "operation", "state", "updatedAt"].map(|it| cell(&failure[it]));
        let (step, reason) = history::trouble(failure);
        table.row([delivery, operation, state, step, reason, updated]);
    }
    table
}

/// This machine's clocks: those of the services that counted.
fn reading() -> history::Reading {
    let clock = SystemClock::shared();
    history::Reading { now: clock.now(), monotonic: clock.monotonic() }
}
