//! `conformance`: which promises of our client hold over a log that speaks Kafka's protocol.

use std::path::Path;

use conformance::{Backend, Outcome, Report, Row, Scenario, Suite};
use identity::PublicTrust;
use messaging::{ForeignLog, LogLogin};
use serde_json::{Value, json};

use super::arguments::ConformanceArguments;
use crate::{Exit, Failure, Format, Output, failure::chain, table::Table};

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
    let backend =
        Backend::at(address.clone(), arguments.bootstrap.clone()).entered(entrance(arguments)?);
    let told = |row: &Row| {
        if output.format != Format::Json {
            output.remark(&format!("{:<14}{}", word(&row.outcome), row.scenario.id()));
        }
    };
    let report = suite.run(&backend, told).await.map_err(|error| {
        let failure = Failure::new("unreachable", "the log cannot be tried").because(error.why);
        let next = "a log that speaks TLS wants --tls, one that wants a login --user as well";
        failure.exit(Exit::Unreachable).at(address).next(next)
    })?;
    output.result(&document(&report), &table(&report, output.format));
    let (holds, broken, lacking) = report.counts();
    output.remark(&format!("{holds} hold, {broken} do not, {lacking} are not offered"));
    Ok(if broken == 0 { Exit::Done } else { Exit::Failed })
}

/// How the log is entered.
fn entrance(arguments: &ConformanceArguments) -> Result<ForeignLog, Failure> {
    let trust = match (arguments.tls, &arguments.authorities) {
        (false, _) => None,
        (true, authorities) => Some(PublicTrust::load(authorities.as_deref()).map_err(|it| {
            Failure::new("bad_argument", "the authorities cannot be used")
                .because(chain(&it))
                .exit(Exit::Usage)
        })?),
    };
    let login = match (&arguments.user, &arguments.secret_file) {
        (Some(user), Some(path)) => Some(login(user, path)?),
        _ => None,
    };
    if login.is_some() && trust.is_none() {
        let failure = Failure::new("bad_argument", "a secret is said inside TLS alone");
        return Err(failure.next("add `--tls`").exit(Exit::Usage));
    }
    Ok(ForeignLog { trust, login })
}

fn login(user: &str, path: &Path) -> Result<LogLogin, Failure> {
    let unusable = |why: String| {
        let failure = Failure::new("no_file", "the secret cannot be used").because(why);
        failure.at(path.display()).exit(Exit::NotFound)
    };
    let secret = std::fs::read_to_string(path).map_err(|it| unusable(it.to_string()))?;
    let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty() || secret.contains('\0') || user.contains('\0') {
        return Err(unusable(
            "a name and a secret have no NUL, and a secret is not empty".to_owned(),
        ));
    }
    Ok(LogLogin { user: user.to_owned(), secret })
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
