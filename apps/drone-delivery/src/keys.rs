//! Keys of the gateway: where they lie, the one that profile `demo` makes, the one that commands show.
//!
//! A key is given to a command by the environment or in a file, never as an argument: arguments can be
//! read by everybody on the machine.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use base::Timestamp;
use callers::{ApiKey, Grant, KeyFile, Role};
use identity::{read_state, write_state};
use service_kit::Profile;
use skein::{Exit, Failure, keys::KeyStore};

use crate::settings::{Asking, Settings};

/// The folder of the edge in the data directory.
pub(crate) const FOLDER: &str = "edge";
/// The key of profile `demo`, as its holder has it.
const DEMO: &str = "demo.key";
/// Whose that is. An operator: the samples of the original order for whomever they name.
const DEMO_PRINCIPAL: &str = "demo";
const DEMO_ROLE: &str = "operator";
/// A key, and a file with one.
pub(crate) const KEY: &str = "DRONE_DELIVERY_KEY";
const KEY_FILE: &str = "DRONE_DELIVERY_KEY_FILE";

/// The file of the keys.
pub(crate) fn store(data: &Path) -> KeyStore {
    KeyStore::at(data.join(FOLDER).join("keys.json"))
}

/// The file of those who log in at the log.
pub(crate) fn users(data: &Path) -> KeyStore {
    KeyStore::at(data.join("users").join("log.json"))
}

/// Where the key of profile `demo` lies.
pub(crate) fn demo(data: &Path) -> PathBuf {
    data.join(FOLDER).join(DEMO)
}

/// Where the key lies that is to be typed, where there is one.
pub(crate) fn holder(settings: &Settings, data: &Path) -> Option<PathBuf> {
    let has_one = settings.profile == Profile::Demo && settings.gateway.auth == Asking::Required;
    has_one.then(|| demo(data))
}

/// Sees to it before anything runs that profile `demo` has a key that is good, and that no other has.
pub(crate) fn prepare(settings: &Settings, data: &Path, now: Timestamp) -> io::Result<()> {
    let wanted = holder(settings, data).is_some();
    let (store, path) = (store(data), demo(data));
    let there = read_state(&path).map_err(io::Error::other)?;
    let there: Option<ApiKey> = there.and_then(|it| it.trim().parse().ok());
    if !wanted && there.is_none() {
        return Ok(());
    }
    let changed = store.change(|file| -> io::Result<()> {
        let is_good = |it: &ApiKey| file.find(it).is_some_and(|it| it.is_good(now));
        match (wanted, there) {
            (true, Some(key)) if is_good(&key) => Ok(()),
            (true, _) => draw(file, &path, now),
            (false, there) => forget(file, there.as_ref(), &path, now),
        }
    });
    changed.map_err(io::Error::other)?
}

/// Before the file of keys has it: a key that nobody knows harms less than one that nobody holds.
fn draw(file: &mut KeyFile, path: &Path, now: Timestamp) -> io::Result<()> {
    let grant = Grant {
        principal: DEMO_PRINCIPAL.parse().expect("it is a name"),
        roles: vec![DEMO_ROLE.parse().expect("it is a role")],
        expires_at: None,
    };
    let drawn = file.create(grant, now).map_err(io::Error::other)?;
    write_state(path, &format!("{}\n", drawn.key.reveal())).map_err(io::Error::other)
}

fn forget(file: &mut KeyFile, key: Option<&ApiKey>, path: &Path, now: Timestamp) -> io::Result<()> {
    if let Some(entry) = key.and_then(|it| file.find(it)) {
        let id = String::from(entry.sha256);
        file.revoke(&id, now).map_err(io::Error::other)?;
    }
    fs::remove_file(path)
}

/// The key that commands show at the gateway: the one of the environment, else that of profile `demo`.
///
/// # Errors
/// The file that the environment names cannot be read.
pub(crate) fn shown(data: &Path) -> Result<Option<String>, Failure> {
    if let Ok(key) = std::env::var(KEY) {
        return Ok(Some(key.trim().to_owned()));
    }
    let named = std::env::var_os(KEY_FILE).map(PathBuf::from);
    let is_named = named.is_some();
    let path = named.unwrap_or_else(|| demo(data));
    match fs::read_to_string(&path) {
        Ok(key) => Ok(Some(key.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Ok(None),
        Err(error) => Err(Failure::new("bad_key_file", "the key cannot be read")
            .at(path.display())
            .because(error)
            .exit(Exit::NotFound)),
    }
}

/// Refuses a role that no rule of the edge speaks of: a key with it would open nothing.
pub(crate) fn check_roles(roles: &[Role], known: &BTreeSet<String>) -> Result<(), Failure> {
    let Some(unknown) = roles.iter().find(|it| !known.contains(it.as_str())) else {
        return Ok(());
    };
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(Failure::new("bad_argument", format!("no rule of the edge knows the role `{unknown}`"))
        .exit(Exit::Usage)
        .because(format!("it knows {}", names.join(", ")))
        .next("one of these, or an EdgeAccess with a rule for it (`up --routes FILE`)"))
}

/// What to do about an answer that says that nobody is known.
pub(crate) fn advice() -> String {
    format!(
        "drone-delivery key create NAME --role operator   (then the key in {KEY}, or a file with it in \
         {KEY_FILE})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_no_rule_knows_is_refused_with_those_that_some_do() {
        let known = ["auditor", "customer", "operator"].map(str::to_owned).into();
        let check = |role: &str| check_roles(&[role.parse().unwrap()], &known);
        assert!(check("operator").is_ok() && check("customer").is_ok() && check("auditor").is_ok());
        let refused = check("operatr").unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.why.unwrap().contains("auditor, customer, operator"));
    }

    #[test]
    fn profile_demo_has_one_good_key_that_stays_and_strict_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let now = Timestamp::from_millis(0);
        let mut settings = Settings::default();
        let prepared = |settings: &Settings| {
            prepare(settings, data, now).unwrap();
            let key = fs::read_to_string(demo(data)).ok()?.trim().parse::<ApiKey>().ok()?;
            let file = store(data).read().unwrap();
            file.find(&key).filter(|it| it.is_good(now)).map(|it| it.sha256.id())
        };
        let first = prepared(&settings).unwrap();
        assert_eq!(prepared(&settings).as_ref(), Some(&first), "what was printed stays good");
        store(data).change(|it| it.revoke(&first, now)).unwrap().unwrap();
        let second = prepared(&settings).unwrap();
        assert_ne!(second, first);
        settings.profile = Profile::Strict;
        assert_eq!(prepared(&settings), None);
        let file = store(data).read().unwrap();
        assert!(file.keys().iter().all(|it| !it.is_good(now)) && !demo(data).exists());
    }
}
