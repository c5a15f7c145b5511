//! The file of keys: digests, whose they are, and until when they are good.
//!
//! A change is a new file; whoever holds it writes it whole. What cannot be read is refused with its
//! place, and so is a version that is not known.

use std::collections::BTreeSet;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    key::{ApiKey, DrawKeyError, KeyDigest},
    principal::{Name, Principal, Role},
};

/// The version that is written.
const VERSION: u32 = 1;
/// Keys of one file; another one is refused until some are forgotten.
pub const KEYS_MAX: usize = 10_000;

/// Every key of an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u32,
    keys: Vec<KeyEntry>,
}

/// One key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyEntry {
    /// What is kept of it.
    pub sha256: KeyDigest,
    /// Whose it is.
    pub principal: Name,
    /// What policy speaks of.
    pub roles: Vec<Role>,
    /// When it was drawn.
    pub created_at: Timestamp,
    /// When its time is over; never where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// What a new key is to be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is.
    pub principal: Name,
    /// What policy speaks of.
    pub roles: Vec<Role>,
    /// When its time is over.
    pub expires_at: Option<Timestamp>,
}

/// A key that was just drawn: shown once.
#[derive(Debug)]
pub struct Drawn {
    /// The key.
    pub key: ApiKey,
    /// What is kept of it.
    pub entry: KeyEntry,
}

/// The file has as many keys as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooManyKeysError {
    /// As many as [`KEYS_MAX`].
    #[error("there are {KEYS_MAX} keys that are good")]
    Full,
    /// [`DrawKeyError`].
    #[error(transparent)]
    Draw(#[from] DrawKeyError),
}

/// Why a text is no file of keys.
#[derive(Debug, thiserror::Error)]
pub enum ReadKeysError {
    /// It is no JSON of this form.
    #[error("it is no file of keys")]
    Form(#[source] serde_json::Error),
    /// Another program wrote it.
    #[error("it is of version {0}, and version {VERSION} is read")]
    Version(u32),
    /// More than may be.
    #[error("it has {0} keys, and {KEYS_MAX} may be")]
    TooMany(usize),
    /// One digest twice: which of the two is meant?
    #[error("the key {0} is there twice")]
    Twice(String),
}

/// Why a key was not taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// None is called so.
    #[error("no key is called `{0}`")]
    Unknown(String),
    /// Several begin so.
    #[error("{1} keys begin with `{0}`")]
    Ambiguous(String, usize),
    /// So little of an id is soon mistyped.
    #[error("`{0}` is too little of an id: {PREFIX_DIGITS_MIN} digits are wanted")]
    TooShort(String),
}

/// Digits of an id by which a key can be taken back.
const PREFIX_DIGITS_MIN: usize = 6;

/// A key that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// The key, with the moment at which that happened first.
    pub entry: KeyEntry,
    /// Whether it was good until now.
    pub was_good: bool,
}

impl Default for KeyFile {
    fn default() -> Self {
        Self { version: VERSION, keys: Vec::new() }
    }
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ReadKeysError`].
    pub fn read(text: &str) -> Result<Self, ReadKeysError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = serde_json::from_str(text).map_err(ReadKeysError::Form)?;
        if head.version != VERSION {
            return Err(ReadKeysError::Version(head.version));
        }
        let file: Self = serde_json::from_str(text).map_err(ReadKeysError::Form)?;
        if file.keys.len() > KEYS_MAX {
            return Err(ReadKeysError::TooMany(file.keys.len()));
        }
        let mut seen = BTreeSet::new();
        match file.keys.iter().find(|it| !seen.insert(it.sha256)) {
            Some(twice) => Err(ReadKeysError::Twice(twice.sha256.id())),
            None => Ok(file),
        }
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("names and times serialize");
        text.push('\n');
        text
    }

    /// The keys, in the order in which they were drawn.
    #[must_use]
    pub fn keys(&self) -> &[KeyEntry] {
        &self.keys
    }

    /// Draws a key. Where there is no more room, those that are not good any more are forgotten.
    ///
    /// # Errors
    /// [`TooManyKeysError`].
    pub fn create(&mut self, grant: Grant, now: Timestamp) -> Result<Drawn, TooManyKeysError> {
        if self.keys.len() >= KEYS_MAX {
            self.keys.retain(|it| it.is_good(now));
        }
        if self.keys.len() >= KEYS_MAX {
            return Err(TooManyKeysError::Full);
        }
        let key = ApiKey::draw()?;
        let Grant { principal, roles, expires_at } = grant;
        let entry = KeyEntry {
            sha256: key.digest(),
            principal,
            roles,
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        self.keys.push(entry.clone());
        Ok(Drawn { key, entry })
    }

    /// Takes back the key whose id is or begins so.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub fn revoke(&mut self, id: &str, now: Timestamp) -> Result<Revoked, RevokeError> {
        let is_it = |it: &KeyEntry| !id.is_empty() && String::from(it.sha256).starts_with(id);
        let count = self.keys.iter().filter(|it| is_it(it)).count();
        let Some(entry) = self.keys.iter_mut().find(|it| is_it(it)) else {
            return Err(RevokeError::Unknown(id.to_owned()));
        };
        if id.len() < PREFIX_DIGITS_MIN {
            return Err(RevokeError::TooShort(id.to_owned()));
        }
        if count > 1 {
            return Err(RevokeError::Ambiguous(id.to_owned(), count));
        }
        let was_good = entry.revoked_at.is_none();
        entry.revoked_at.get_or_insert(now);
        Ok(Revoked { entry: entry.clone(), was_good })
    }

    /// Takes every key of a principal back that is still good; how many those were, or none where nobody
    /// is called so.
    pub fn revoke_all(&mut self, principal: &Name, now: Timestamp) -> Option<usize> {
        let mut his = self.keys.iter_mut().filter(|it| it.principal == *principal).peekable();
        his.peek()?;
        let good = his.filter(|it| it.revoked_at.is_none());
        Some(good.map(|it| it.revoked_at = Some(now)).count())
    }

    /// What a key that somebody holds is good for here.
    #[must_use]
    pub fn find(&self, key: &ApiKey) -> Option<&KeyEntry> {
        let digest = key.digest();
        self.keys.iter().find(|it| it.sha256 == digest)
    }
}

impl KeyEntry {
    /// Whether it is good now.
    #[must_use]
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|it| now < it)
    }

    /// Who shows it.
    #[must_use]
    pub fn holder(&self) -> Principal {
        Principal { name: self.principal.clone(), roles: self.roles.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_000)
    }

    fn grant(name: &str) -> Grant {
        let roles = vec!["customer".parse().unwrap()];
        Grant { principal: name.parse().unwrap(), roles, expires_at: None }
    }

    #[test]
    fn what_was_written_is_read_again_and_holds_no_key() {
        let mut file = KeyFile::default();
        let drawn = file.create(grant("alice"), now()).unwrap();
        let text = file.text();
        assert_eq!(KeyFile::read(&text).unwrap(), file);
        assert!(!text.contains(&drawn.key.reveal()[10..20]), "{text}");
        assert_eq!(file.find(&drawn.key), Some(&drawn.entry));
    }

    #[test]
    fn a_key_is_taken_back_by_what_its_id_begins_with_and_once() {
        let mut file = KeyFile::default();
        let id = file.create(grant("alice"), now()).unwrap().entry.sha256.id();
        file.create(grant("bob"), now()).unwrap();
        assert_eq!(file.revoke("", now()), Err(RevokeError::Unknown(String::new())));
        assert_eq!(file.revoke("zz", now()), Err(RevokeError::Unknown("zz".to_owned())));
        let short = id[..1].to_owned();
        assert_eq!(file.revoke(&short, now()), Err(RevokeError::TooShort(short)));
        assert!(file.keys().iter().all(|it| it.is_good(now())), "one letter takes nothing back");
        let revoked = file.revoke(&id[..PREFIX_DIGITS_MIN], now()).unwrap();
        assert!(revoked.was_good && revoked.entry.principal.as_str() == "alice", "{revoked:?}");
        let later = now() + std::time::Duration::from_secs(9);
        assert!(!file.revoke(&id, later).unwrap().was_good);
        assert_eq!(file.keys()[0].revoked_at, Some(now()));
        assert!(!file.keys()[0].is_good(now()) && file.keys()[1].is_good(now()));
    }

    #[test]
    fn all_keys_of_one_are_taken_back_and_nobody_elses() {
        let mut file = KeyFile::default();
        for name in ["alice", "bob", "alice"] {
            file.create(grant(name), now()).unwrap();
        }
        let mut revoke = |name: &str| file.revoke_all(&name.parse().unwrap(), now());
        assert_eq!([revoke("alice"), revoke("alice"), revoke("eve")], [Some(2), Some(0), None]);
        let good: Vec<bool> = file.keys().iter().map(|it| it.is_good(now())).collect();
        assert_eq!(good, [false, true, false]);
    }

    #[test]
    fn a_file_of_another_form_or_version_is_refused() {
        for text in ["", "[]", "{\"version\": 1}", "{\"version\": 1, \"keys\": [{}]}"] {
            assert!(matches!(KeyFile::read(text), Err(ReadKeysError::Form(_))), "{text}");
        }
        let newer = "{\"version\": 2, \"keys\": {}, \"more\": true}";
        assert!(matches!(KeyFile::read(newer), Err(ReadKeysError::Version(2))));
        let mut file = KeyFile::default();
        file.create(grant("alice"), now()).unwrap();
        file.keys.push(file.keys[0].clone());
        assert!(matches!(KeyFile::read(&file.text()), Err(ReadKeysError::Twice(_))));
    }
}
