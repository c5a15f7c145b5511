//! `key create|list|revoke`: who may come in at an edge by a key. Nothing has to run; an edge that does
//! knows within a second. What was done is noted in the audit log, where there is one.

use std::time::Duration;

use base::Timestamp;
use callers::{Grant, KeyEntry, KeyFile, Name, RevokeError, Revoked, Role};
use clap::Subcommand;
use rustix::process::getuid;
use serde_json::{Value, json};

use super::durations::duration;
use crate::{
    Exit, Failure, Output, Table,
    audit::AuditLog,
    failure::chain,
    keys::{KeyStore, KeyStoreError},
};

/// Keys of an edge.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Draws a key and shows it, once.
    Create {
        /// Whose it is: what things that are his name as their owner.
        principal: Name,
        /// A role that policy speaks of; may be given again.
        #[arg(long = "role", default_value = "customer", value_name = "ROLE")]
        roles: Vec<Role>,
        /// How long it is good; for ever where nothing is said.
        #[arg(long, value_parser = duration, value_name = "TIME")]
        expires_in: Option<Duration>,
    },
    /// Lists the keys: whose each is, and whether it is good. No key is shown.
    List,
    /// Takes a key back.
    Revoke {
        /// What its id begins with, as `key list` shows it.
        id: String,
    },
}

/// Runs one of the commands on the keys of a file.
///
/// # Errors
/// The file cannot be read or written, or no one key is meant.
pub fn run(
    store: &KeyStore,
    audit: Option<&AuditLog>,
    command: KeyCommand,
    now: Timestamp,
    output: Output,
) -> Result<Exit, Failure> {
    let deed = deed(&command);
    noted(carry_out(store, command, now, output), deed, audit, output)
}

/// Notes what was done, where there is somewhere to note it.
pub(super) fn noted(
    done: Result<Done, Failure>,
    deed: Option<String>,
    audit: Option<&AuditLog>,
    output: Output,
) -> Result<Exit, Failure> {
    if let (Some(audit), Some(what)) = (audit, deed) {
        let who = format!("uid {}, process {}", getuid().as_raw(), std::process::id());
        let decision = match &done {
            Ok((_, decision)) => decision.clone(),
            Err(failure) => format!("refused: {}", failure.code),
        };
        // What is not noted is done all the same, as by an order to what runs.
        if let Err(error) = audit.note(&who, &what, &decision) {
            output.remark(&format!("it could not be noted in the audit log: {error}"));
        }
    }
    done.map(|it| it.0)
}

/// What a command changes, in words; nothing where it only looks.
fn deed(command: &KeyCommand) -> Option<String> {
    match command {
        KeyCommand::Create { principal, roles, .. } => {
            let roles: Vec<&str> = roles.iter().map(Role::as_str).collect();
            Some(format!("key create {principal} as {}", roles.join(", ")))
        }
        KeyCommand::List => None,
        KeyCommand::Revoke { id } => Some(format!("key revoke {id}")),
    }
}

/// How it ended, and that in words for the audit.
pub(super) type Done = (Exit, String);

fn carry_out(
    store: &KeyStore,
    command: KeyCommand,
    now: Timestamp,
    output: Output,
) -> Result<Done, Failure> {
    match command {
        KeyCommand::Create { principal, roles, expires_in } => {
            let grant = Grant { principal, roles, expires_at: expires_in.map(|it| now + it) };
            create(store, grant, now, output)
        }
        KeyCommand::List => list(store, now, output),
        KeyCommand::Revoke { id } => revoke(store, &id, now, output),
    }
}

fn create(store: &KeyStore, grant: Grant, now: Timestamp, output: Output) -> Result<Done, Failure> {
    let is_first = !store.path().exists();
    let drawn = store.change(|it| it.create(grant, now)).map_err(|it| unusable(&it))?;
    let drawn = drawn.map_err(|it| Failure::new("no_key", it.to_string()))?;
    let mut row = row(&drawn.entry, now);
    row["key"] = Value::from(drawn.key.reveal());
    let mut table = Table::new(&["KEY", "ID", "PRINCIPAL", "ROLES"]);
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    table.row([text(&row["key"]), text(&row["id"]), text(&row["principal"]), roles(&drawn.entry)]);
    output.result(&row, &table);
    output.remark("it is shown this once, and opens within a second: what is kept cannot be turned back into it");
    if is_first {
        let path = store.path().display();
        output.remark(&format!("there was no file of keys: {path} is new, and has this one alone"));
    }
    Ok((Exit::Done, format!("done: key {}", text(&row["id"]))))
}

fn list(store: &KeyStore, now: Timestamp, output: Output) -> Result<Done, Failure> {
    let file = store.read().map_err(|it| unusable(&it))?;
    let mut table = Table::new(&["ID", "PRINCIPAL", "ROLES", "CREATED", "STATE"]);
    for entry in file.keys() {
        table.row([
            entry.sha256.id(),
            entry.principal.to_string(),
            roles(entry),
            entry.created_at.to_string(),
            state(entry, now),
        ]);
    }
    let rows: Vec<Value> = file.keys().iter().map(|it| row(it, now)).collect();
    output.result(&rows, &table);
    Ok((Exit::Done, String::new()))
}

fn revoke(store: &KeyStore, id: &str, now: Timestamp, output: Output) -> Result<Done, Failure> {
    let revoked = store.change(|it| it.revoke(id, now)).map_err(|it| unusable(&it))?;
    let Revoked { entry, was_good } = revoked.map_err(|error| {
        let (code, exit) = match error {
            RevokeError::Unknown(_) => ("no_such_key", Exit::NotFound),
            RevokeError::Ambiguous(..) | RevokeError::TooShort(_) => ("ambiguous_key", Exit::Usage),
        };
        let his = store.read().map(|it| keys_of(&it, id)).unwrap_or_default();
        let next = match his.as_str() {
            "" => "`key list` shows the ids".to_owned(),
            his => format!("keys are taken back one by one, and those of {id} are {his}"),
        };
        Failure::new(code, error.to_string()).exit(exit).next(next)
    })?;
    if !was_good {
        output.remark("it was taken back before");
    }
    let (key, principal) = (entry.sha256.id(), entry.principal.to_string());
    let mut table = Table::new(&["REVOKED", "PRINCIPAL"]);
    table.row([key.clone(), principal.clone()]);
    output.result(&json!({"revoked": key, "principal": principal}), &table);
    Ok((Exit::Done, format!("done: key {key} of {principal}")))
}

/// The ids of the good keys of a principal.
fn keys_of(file: &KeyFile, principal: &str) -> String {
    let good = file.keys().iter().filter(|it| it.revoked_at.is_none());
    let his = good.filter(|it| it.principal.as_str() == principal);
    his.map(|it| it.sha256.id()).collect::<Vec<_>>().join(", ")
}

fn row(entry: &KeyEntry, now: Timestamp) -> Value {
    json!({
        "id": entry.sha256.id(),
        "principal": entry.principal,
        "roles": entry.roles,
        "createdAt": entry.created_at,
        "expiresAt": entry.expires_at,
        "revokedAt": entry.revoked_at,
        "good": entry.is_good(now),
    })
}

fn roles(entry: &KeyEntry) -> String {
    entry.roles.iter().map(Role::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn state(entry: &KeyEntry, now: Timestamp) -> String {
    match (entry.revoked_at, entry.expires_at) {
        (Some(at), _) => format!("revoked {at}"),
        (None, Some(at)) if at <= now => format!("expired {at}"),
        (None, Some(at)) => format!("good until {at}"),
        (None, None) => "good".to_owned(),
    }
}

/// The failure of a command that cannot use the file.
#[must_use]
pub fn unusable(error: &KeyStoreError) -> Failure {
    Failure::new("bad_keys", "the file of keys cannot be used").because(chain(error))
}

#[cfg(test)]
mod tests {
    use runtime::SystemClock;

    use super::*;
    use crate::audit;

    fn grant(name: &str) -> Grant {
        Grant { principal: name.parse().unwrap(), roles: Vec::new(), expires_at: None }
    }

    #[test]
    fn what_is_done_to_keys_is_noted_and_no_key_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::at(folder.path().join("keys.json"));
        let path = folder.path().join("audit.log");
        let log = AuditLog::at(path.clone(), SystemClock::shared());
        let now = Timestamp::from_millis(0);
        let run = |command| run(&store, Some(&log), command, now, Output::default());
        let (principal, roles) = ("alice".parse().unwrap(), vec!["auditor".parse().unwrap()]);
        run(KeyCommand::Create { principal, roles, expires_in: None }).unwrap();
        run(KeyCommand::List).unwrap();
        let id = store.read().unwrap().keys()[0].sha256.id();
        run(KeyCommand::Revoke { id: id.clone() }).unwrap();
        let unknown = run(KeyCommand::Revoke { id: "none".to_owned() }).unwrap_err();
        assert_eq!((unknown.code.as_ref(), unknown.exit), ("no_such_key", Exit::NotFound));
        assert!(unknown.next.is_some_and(|it| it.contains("key list")));
        let drawn = store.change(|it| it.create(grant("bob"), now)).unwrap().unwrap();
        let by_name = run(KeyCommand::Revoke { id: "bob".to_owned() }).unwrap_err();
        assert!(by_name.next.unwrap().ends_with(&drawn.entry.sha256.id()), "his keys are named");
        let entries = audit::verify(&std::fs::read_to_string(path).unwrap()).unwrap();
        let told: Vec<_> =
            entries.iter().map(|it| (it.what.as_str(), it.decision.as_str())).collect();
        assert_eq!(
            told,
            [
                ("key create alice as auditor", &*format!("done: key {id}")),
                (&*format!("key revoke {id}"), &*format!("done: key {id} of alice")),
                ("key revoke none", "refused: no_such_key"),
                ("key revoke bob", "refused: no_such_key"),
            ]
        );
        assert!(entries.iter().all(|it| it.who.starts_with("uid ")), "{entries:?}");
    }
}
