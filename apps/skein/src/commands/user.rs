//! `log user add|list|revoke`: programs of others that may log in at a log by a name and a secret. Nothing has
//! to run; a log that does knows within a second. What they may do is policy.

use std::time::Duration;

use base::Timestamp;
use callers::{Grant, KeyEntry, Name};
use clap::Subcommand;
use identity::SpiffeId;
use serde_json::{Value, json};

use super::{
    durations::duration,
    key::{self, Done, state, unusable},
};
use crate::{Exit, Failure, Output, Table, audit::AuditLog, keys::KeyStore};

/// Users of a log.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Draws a secret for a user and shows it, once. A user may have several, so that one can be replaced.
    Add {
        /// Letters of a-z, digits and `-`.
        #[arg(value_parser = name)]
        name: Name,
        /// How long it is good; for ever where nothing is said.
        #[arg(long, value_parser = duration, value_name = "TIME")]
        expires_in: Option<Duration>,
    },
    /// Lists the secrets: whose each is, and whether it is good. No secret is shown.
    List,
    /// Takes every secret of a user back. What they have opened ends within two seconds.
    Revoke {
        /// Who.
        name: Name,
    },
}

/// A name that a rule of policy can speak of.
fn name(text: &str) -> Result<Name, String> {
    SpiffeId::new("a", "a", text).map_err(|_| "a user has 1 to 63 letters of a-z, 0-9 and `-`")?;
    text.parse().map_err(|it: callers::NameError| it.to_string())
}

/// Runs one of the commands on the users of a file.
///
/// # Errors
/// The file cannot be read or written, or nobody is meant.
pub fn run(
    store: &KeyStore,
    audit: Option<&AuditLog>,
    command: &UserCommand,
    now: Timestamp,
    output: Output,
) -> Result<Exit, Failure> {
    let deed = match command {
        UserCommand::Add { name, .. } => Some(format!("log user add {}", name.as_str())),
        UserCommand::List => None,
        UserCommand::Revoke { name } => Some(format!("log user revoke {}", name.as_str())),
    };
    let done = match command {
        UserCommand::Add { name, expires_in } => {
            let expires_at = expires_in.map(|it| now + it);
            let grant = Grant { principal: name.clone(), roles: Vec::new(), expires_at };
            add(store, grant, now, output)
        }
        UserCommand::List => list(store, now, output),
        UserCommand::Revoke { name } => revoke(store, name, now, output),
    };
    key::noted(done, deed, audit, output)
}

fn add(store: &KeyStore, grant: Grant, now: Timestamp, output: Output) -> Result<Done, Failure> {
    let drawn = store.change(|it| it.create(grant, now)).map_err(|it| unusable(&it))?;
    let drawn = drawn.map_err(|it| Failure::new("no_secret", it.to_string()))?;
    let (mut row, id) = (row(&drawn.entry, now), drawn.entry.sha256.id());
    row["secret"] = Value::from(drawn.key.reveal());
    let mut table = Table::new(&["USER", "SECRET", "ID"]);
    let secret = drawn.key.reveal().to_owned();
    table.row([drawn.entry.principal.to_string(), secret, id.clone()]);
    output.result(&row, &table);
    output.remark("it is shown this once, and opens within a second: what is kept cannot be turned back into it");
    Ok((Exit::Done, format!("done: secret {id}")))
}

fn list(store: &KeyStore, now: Timestamp, output: Output) -> Result<Done, Failure> {
    let file = store.read().map_err(|it| unusable(&it))?;
    let mut table = Table::new(&["USER", "ID", "CREATED", "STATE"]);
    for entry in file.keys() {
        let (user, id) = (entry.principal.to_string(), entry.sha256.id());
        table.row([user, id, entry.created_at.to_string(), state(entry, now)]);
    }
    let rows: Vec<Value> = file.keys().iter().map(|it| row(it, now)).collect();
    output.result(&rows, &table);
    Ok((Exit::Done, String::new()))
}

fn revoke(store: &KeyStore, name: &Name, now: Timestamp, output: Output) -> Result<Done, Failure> {
    let none = || {
        let what = format!("no user is called `{}`", name.as_str());
        let failure = Failure::new("no_such_user", what).exit(Exit::NotFound);
        failure.next("`log user list` shows all of them")
    };
    let revoked = store.change(|it| it.revoke_all(name, now).ok_or_else(none));
    let count = revoked.map_err(|it| unusable(&it))??;
    let mut table = Table::new(&["USER", "REVOKED"]);
    table.row([name.as_str().to_owned(), count.to_string()]);
    output.result(&json!({"user": name, "revoked": count}), &table);
    Ok((Exit::Done, format!("done: {count} secrets")))
}

fn row(entry: &KeyEntry, now: Timestamp) -> Value {
    json!({
        "user": entry.principal,
        "id": entry.sha256.id(),
        "createdAt": entry.created_at,
        "expiresAt": entry.expires_at,
        "revokedAt": entry.revoked_at,
        "good": entry.is_good(now),
    })
}

#[cfg(test)]
mod tests {
    use runtime::SystemClock;

    use super::*;
    use crate::audit;

    #[test]
    fn a_user_is_called_what_a_rule_can_speak_of() {
        assert!(name("stock-7").is_ok());
        for other in ["", "Stock", "a/b", "a.b", "-a", "a b", "ann@example"] {
            assert!(name(other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_done_to_users_is_noted_and_no_secret_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::at(folder.path().join("users.json"));
        let path = folder.path().join("audit.log");
        let log = AuditLog::at(path.clone(), SystemClock::shared());
        let now = Timestamp::from_millis(0);
        let run = |command| run(&store, Some(&log), &command, now, Output::default());
        let ann = || "ann".parse::<Name>().unwrap();
        run(UserCommand::Add { name: ann(), expires_in: None }).unwrap();
        run(UserCommand::List).unwrap();
        let id = store.read().unwrap().keys()[0].sha256.id();
        run(UserCommand::Revoke { name: ann() }).unwrap();
        let unknown = run(UserCommand::Revoke { name: "bob".parse().unwrap() }).unwrap_err();
        assert_eq!((unknown.code.as_ref(), unknown.exit), ("no_such_user", Exit::NotFound));
        assert!(unknown.next.is_some_and(|it| it.contains("log user list")));
        assert!(!store.read().unwrap().keys()[0].is_good(now));
        let entries = audit::verify(&std::fs::read_to_string(path).unwrap()).unwrap();
        let told: Vec<_> =
            entries.iter().map(|it| (it.what.as_str(), it.decision.as_str())).collect();
        assert_eq!(
            told,
            [
                ("log user add ann", &*format!("done: secret {id}")),
                ("log user revoke ann", "done: 1 secrets"),
                ("log user revoke bob", "refused: no_such_user"),
            ]
        );
    }
}
