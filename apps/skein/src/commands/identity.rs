//! `identity`: who the processes show themselves to be, what the authority stands on, and what a person
//! has it do.

mod branch;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use clap::Subcommand;
use identity::{Order, Serial};
use serde_json::{Value, json};

use self::branch::BranchFile;
use super::{admin::Admins, durations::duration, names::unknown};
use crate::{Exit, Failure, Output, Table};

/// What of the identities.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Who each process, or the proxy beside it, shows itself to be, and whom it believes.
    Show,
    /// The anchors that processes believe, which of them signs, and what is denied.
    #[command(after_help = "Examples:\n  identity anchors\n  identity anchors --pem > anchors.pem")]
    Anchors {
        /// Their certificates, for programs of others that are to believe the log.
        #[arg(long)]
        pem: bool,
    },
    /// Replaces what identities are signed with while everything runs: the issuer at once, the anchor
    /// step by step, each when nobody can be without it.
    Rotate {
        /// Only the issuer.
        #[arg(long)]
        issuer: bool,
    },
    /// Drops an anchor. One that signs or is in use stays; replaced ones go by themselves.
    Drop {
        /// Its name, as `identity anchors` shows it.
        anchor: String,
    },
    /// Denies an identity: nobody talks to whoever shows it, within 10 seconds. A process whose identity
    /// was denied gets another one when it is started again.
    Deny {
        /// The instance whose present identity is meant, or a certificate's number.
        #[arg(value_name = "INSTANCE|NUMBER")]
        instance: String,
    },
    /// Makes a branch: the file with which `skein authority --branch` runs on another machine, under the same
    /// anchors. Whoever has it can be every service; denied is a branch by its number.
    #[command(
        after_help = "Examples:\n  identity branch second.json\n  identity branch second.json --life 720h"
    )]
    Branch {
        /// The file; one that is there is not replaced.
        file: PathBuf,
        /// How long it may issue identities; a new file renews it. An anchor that is replaced waits for it.
        #[arg(long, default_value = "168h", value_name = "TIME", value_parser = duration)]
        life: Duration,
    },
}

/// Runs one of the commands; `authority` has orders carried out, and gives what the authority stands on then.
///
/// # Errors
/// The authority or all processes are away, or it refuses.
pub async fn run(
    authority: impl AsyncFn(Order) -> Result<Value, Failure>,
    admins: &Admins,
    command: IdentityCommand,
    output: Output,
) -> Result<Exit, Failure> {
    let order = match command {
        IdentityCommand::Show => return show(admins, output).await,
        IdentityCommand::Anchors { pem: true } => {
            let standing = authority(Order::Show).await?;
            return Ok(certificates(&standing, output));
        }
        IdentityCommand::Anchors { pem: false } => Order::Show,
        IdentityCommand::Rotate { issuer: true } => Order::RotateIssuer,
        IdentityCommand::Rotate { issuer: false } => Order::RotateAnchor,
        IdentityCommand::Drop { anchor } => Order::Drop { anchor },
        IdentityCommand::Deny { instance } => {
            Order::Deny { serial: serial(admins, &instance).await? }
        }
        IdentityCommand::Branch { file, life } => {
            let file = BranchFile::open(file)?;
            let made = authority(Order::Branch { life_s: Some(life.as_secs()) }).await?;
            return file.fill(&made, output);
        }
    };
    let asked = order.clone();
    let standing = match (authority(order).await, &asked) {
        (Err(refused), Order::Drop { anchor }) => {
            return Err(not_dropped(&authority, anchor, refused).await);
        }
        (done, _) => done?,
    };
    if let Order::Deny { serial } = &asked {
        output.remark(&denied(serial, asked.denied(&standing)));
    }
    output.result(&standing, &anchors(&standing));
    output.remark(&told(&standing));
    for remark in branch::remarks(&standing) {
        output.remark(&remark);
    }
    Ok(Exit::Done)
}

/// The certificates of the anchors, as a file of authorities has them.
fn certificates(standing: &Value, output: Output) -> Exit {
    let anchors = standing["anchors"].as_array().into_iter().flatten();
    let certificates = anchors.filter_map(|it| it["certificate"].as_str());
    output.text(&certificates.map(|it| format!("{}\n", it.trim_end())).collect::<String>());
    Exit::Done
}

/// Who each process shows itself to be.
async fn show(admins: &Admins, output: Output) -> Result<Exit, Failure> {
    let gathered = admins.get("/identity").await?;
    let mut table = Table::new(&["INSTANCE", "IDENTITY", "NUMBER", "UNTIL", "STATE", "BELIEVES"]);
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
            state(&page).to_owned(),
            believes.join(", "),
        ]);
        page["instance"] = json!(said.process.name);
        rows.push(page);
    }
    if rows.is_empty() {
        output.remark("no process shows who it is");
    }
    output.result(&rows, &table);
    Ok(gathered.exit(output))
}

/// How it stands with what a process shows.
fn state(page: &Value) -> &'static str {
    match page {
        it if it["id"].is_null() => "closed",
        it if it["denied"] == true => "denied",
        _ => "shown",
    }
}

/// Why an anchor was not dropped: where none has the name, that.
async fn not_dropped(
    authority: &impl AsyncFn(Order) -> Result<Value, Failure>,
    anchor: &str,
    refused: Failure,
) -> Failure {
    let Ok(standing) = authority(Order::Show).await else { return refused };
    let known = standing["anchors"].as_array().into_iter().flatten();
    let known: BTreeSet<String> =
        known.filter_map(|it| it["anchor"].as_str().map(str::to_owned)).collect();
    if known.is_empty() || known.contains(anchor) {
        return refused;
    }
    let failure = unknown("no_such_anchor", format!("no anchor is called `{anchor}`"), &known);
    failure.next("`identity anchors` shows all of them")
}

/// What it means that a certificate is denied; whose it is, where that is known.
fn denied(serial: &str, whose: Option<&str>) -> String {
    let whose = whose.map(|it| format!(" of {it}")).unwrap_or_default();
    format!(
        "denied is {serial}{whose}: nobody talks to whoever shows it, within 10 seconds; started again, the \
         process gets another one"
    )
}

/// The number of what an instance shows now, or the one that is named.
async fn serial(admins: &Admins, named: &str) -> Result<String, Failure> {
    let number = || {
        match Serial::parse(named) {
        Some(_) => Ok(named.to_owned()),
        None => Err(Failure::new("no_identity", format!("no process and no certificate is called `{named}`"))
            .exit(Exit::NotFound)
            .next("`identity show` lists both, of the processes that `--admin` names where it is asked for")),
    }
    };
    if admins.processes().is_empty() {
        return number();
    }
    let gathered = admins.get("/identity").await?;
    let Some(said) = gathered.said.iter().find(|it| it.process.name == named) else {
        return number();
    };
    let serial = said.json()["serial"].as_str().map(str::to_owned);
    let none = || {
        Failure::new("no_identity", format!("{named} shows no identity"))
            .exit(Exit::NotFound)
            .next("`identity show` lists those that do")
    };
    serial.ok_or_else(none)
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
    let denied = match denied {
        0 => "no certificate is denied".to_owned(),
        1 => "1 certificate is denied".to_owned(),
        count => format!("{count} certificates are denied"),
    };
    format!("{next}; the issuer signs until {issuer}; {denied}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing() -> Value {
        json!({"anchors": [{"anchor": "ab33"}]})
    }

    #[tokio::test]
    async fn an_anchor_that_is_not_there_is_told_with_those_that_are() {
        let authority = async |order| match order {
            Order::Show => Ok(standing()),
            _ => Err(Failure::new("refused", "the authority refuses")),
        };
        let drop = |anchor: &str| IdentityCommand::Drop { anchor: anchor.to_owned() };
        let admins = Admins::at(&[], "");
        let run =
            async |command| run(authority, &admins, command, Output::default()).await.unwrap_err();
        let unknown = run(drop("nobody")).await;
        assert_eq!((unknown.code.as_ref(), unknown.exit), ("no_such_anchor", Exit::NotFound));
        assert_eq!(unknown.why.as_deref(), Some("known are ab33"));
        assert!(unknown.next.is_some_and(|it| it.contains("identity anchors")));
        assert_eq!(run(drop("ab33")).await.code, "refused");
    }
}
