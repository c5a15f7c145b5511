//! `identity`: who the processes show themselves to be, what the authority stands on, and what a person
//! has it do.

use std::path::Path;

use serde_json::{Value, json};
use skein::{Exit, Failure, Output, Table, supervise::IdentityOrder};

use crate::{cli::IdentityCommand, up};

/// Runs one of the commands.
pub(crate) async fn run(
    data: &Path,
    command: IdentityCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let order = match command {
        IdentityCommand::Show => return show(data, output).await,
        IdentityCommand::Anchors { pem: true } => return certificates(data, output).await,
        IdentityCommand::Anchors { pem: false } => IdentityOrder::Show,
        IdentityCommand::Rotate { issuer: true } => IdentityOrder::RotateIssuer,
        IdentityCommand::Rotate { issuer: false } => IdentityOrder::RotateAnchor,
        IdentityCommand::Drop { anchor } => IdentityOrder::Drop { anchor },
        IdentityCommand::Deny { instance } => deny(data, &instance).await?,
    };
    let standing = up::order(data, order).await?;
    output.result(&standing, &anchors(&standing));
    output.remark(&told(&standing));
    Ok(Exit::Done)
}

/// The certificates of the anchors, as a file of authorities has them.
async fn certificates(data: &Path, output: Output) -> Result<Exit, Failure> {
    let standing = up::order(data, IdentityOrder::Show).await?;
    let anchors = standing["anchors"].as_array().into_iter().flatten();
    let certificates = anchors.filter_map(|it| it["certificate"].as_str());
    output.text(&certificates.map(|it| format!("{}\n", it.trim_end())).collect::<String>());
    Ok(Exit::Done)
}

/// Who each process shows itself to be.
async fn show(data: &Path, output: Output) -> Result<Exit, Failure> {
    let gathered = up::admins(data).await?.get("/identity").await?;
    let mut table = Table::new(&["INSTANCE", "IDENTITY", "NUMBER", "UNTIL", "BELIEVES"]);
    let mut rows = Vec::new();
    for said in &gathered.said {
        let mut page = said.json();
        if page["shows"] != true {
            continue;
        }
        let text = |it: &Value| it.as_str().unwrap_or("none").to_owned();
        let believes = page["trusts"]["anchors"].as_array().into_iter().flatten();
        let believes: Vec<String> = believes.map(text).collect();
        table.row([
            said.process.name.clone(),
            text(&page["id"]),
            text(&page["serial"]),
            text(&page["not_after"]),
            believes.join(", "),
        ]);
        page["instance"] = json!(said.process.name);
        rows.push(page);
    }
    if rows.is_empty() {
        output.remark("no process shows who it is: `up --tls strict` has them do so");
    }
    output.result(&rows, &table);
    Ok(gathered.exit(output))
}

/// The order to deny what an instance shows now, or the certificate of this number.
async fn deny(data: &Path, named: &str) -> Result<IdentityOrder, Failure> {
    let gathered = up::admins(data).await?.get("/identity").await?;
    let Some(said) = gathered.said.iter().find(|it| it.process.name == named) else {
        return Ok(IdentityOrder::Deny { serial: named.to_owned() });
    };
    let serial = said.json()["serial"].as_str().map(str::to_owned);
    let none = || {
        Failure::new("no_identity", format!("{named} shows no identity"))
            .exit(Exit::NotFound)
            .next("drone-delivery identity show")
    };
    Ok(IdentityOrder::Deny { serial: serial.ok_or_else(none)? })
}

fn anchors(standing: &Value) -> Table {
    let mut table = Table::new(&["ANCHOR", "SIGNS", "BELIEVED SINCE", "IN USE UNTIL"]);
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    for row in standing["anchors"].as_array().into_iter().flatten() {
        let signs = if row["signs"] == true { "yes" } else { "no" };
        let times = [text(&row["trusted_since"]), text(&row["in_use_until"])];
        let [since, until] = times;
        table.row([text(&row["anchor"]), signs.to_owned(), since, until]);
    }
    table
}

/// What the table does not say.
fn told(standing: &Value) -> String {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let next = &standing["next"];
    let next = match next["step"].as_str() {
        Some("wait") => format!("the next step is due at {}", text(&next["until"])),
        Some("switch" | "drop") => "the next step is due now".to_owned(),
        _ => "no anchor is being replaced".to_owned(),
    };
    let denied = standing["denied"].as_array().map_or(0, Vec::len);
    let issuer = text(&standing["issuer"]["not_after"]);
    format!("{next}; the issuer signs until {issuer}; {denied} certificates are denied")
}
