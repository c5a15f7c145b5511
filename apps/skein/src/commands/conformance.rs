//! `conformance`: which promises of our client hold over a log that speaks Kafka's protocol.

use conformance::{Backend, Outcome, Report, Row, Scenario, Suite};
use serde_json::{Value, json};

use super::arguments::ConformanceArguments;
use crate::{Exit, Failure, Format, Output, table::Table};

/// Runs the scenarios, or lists them.
///
/// # Errors
/// No scenario is meant, or the log cannot be tried.
pub async fn run(arguments: &ConformanceArguments, output: Output) -> Result<Exit, Failure> {
    let suite = Suite::new(arguments.only.as_deref());
    if suite.is_empty() {
        let what = format!("no scenario contains `{}`", arguments.only.as_deref().unwrap_or(""));
        let failure = Failure::new("not_found", what).exit(Exit::NotFound);
        return Err(failure.next("conformance --list names all of them"));
    }
    if arguments.list {
        list(&suite, output);
        return Ok(Exit::Done);
    }
    let address = arguments.bootstrap.join(",");
    let backend = Backend::at(address.clone(), arguments.bootstrap.clone());
    let told = |row: &Row| {
        if output.format != Format::Json {
            output.remark(&format!("{:<14}{}", word(&row.outcome), row.scenario.id()));
        }
    };
    let report = suite.run(&backend, told).await.map_err(|error| {
        let failure = Failure::new("unreachable", "the log cannot be tried").because(error.why);
        failure.exit(Exit::Unreachable).at(address)
    })?;
    output.result(&document(&report), &table(&report, output.format));
    let (holds, broken, lacking) = report.counts();
    output.remark(&format!("{holds} hold, {broken} do not, {lacking} are not offered"));
    Ok(if broken == 0 { Exit::Done } else { Exit::Failed })
}

fn list(suite: &Suite, output: Output) {
    let mut table = Table::new(&["SCENARIO"]);
    for scenario in suite.scenarios() {
        table.row([scenario.id()]);
        table.note(scenario.promise);
    }
    output.result(&suite.scenarios().iter().map(told).collect::<Value>(), &table);
}

/// What is said of a scenario whatever came of it.
fn told(scenario: &Scenario) -> Value {
    let needs: Vec<String> = scenario.needs.iter().map(|it| it.name()).collect();
    json!({
        "scenario": scenario.id(), "promise": scenario.promise, "judgedBy": scenario.judged,
        "needs": needs,
    })
}

fn document(report: &Report) -> Value {
    let rows = report.rows.iter().map(|row| {
        let mut told = told(&row.scenario);
        told["outcome"] = word(&row.outcome).into();
        told["reason"] = reason(&row.outcome).into();
        told["seconds"] = row.took.as_secs_f64().into();
        told
    });
    let (holds, broken, lacking) = report.counts();
    json!({
        "log": report.backend, "hold": holds, "doNotHold": broken, "notOffered": lacking,
        "scenarios": rows.collect::<Value>(),
    })
}

fn table(report: &Report, format: Format) -> Table {
    let mut table = Table::new(&["OUTCOME", "SECONDS", "SCENARIO"]);
    for row in &report.rows {
        let seconds = format!("{:.1}", row.took.as_secs_f64());
        table.row([word(&row.outcome).to_owned(), seconds, row.scenario.id()]);
        if format == Format::Wide {
            table.note(row.scenario.promise);
        }
        if let Some(reason) = reason(&row.outcome) {
            table.note(reason);
        }
    }
    table
}

const fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Holds => "holds",
        Outcome::DoesNotHold { .. } => "does not hold",
        Outcome::NotOffered { .. } => "not offered",
    }
}

fn reason(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Holds => None,
        Outcome::DoesNotHold { reason } | Outcome::NotOffered { reason, .. } => Some(reason),
    }
}
