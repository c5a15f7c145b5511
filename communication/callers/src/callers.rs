//! Everybody that an edge knows, and who of them a request comes from.

use std::collections::BTreeMap;

use base::Timestamp;

use crate::{
    key::{ApiKey, KeyDigest, PREFIX},
    key_file::{KeyEntry, KeyFile},
    principal::{Principal, Role},
    refused::Refused,
    signers::Signers,
    token,
};

/// Everybody that an edge knows.
#[derive(Debug, Clone, Default)]
pub struct Callers {
    keys: BTreeMap<KeyDigest, KeyEntry>,
    issuers: Vec<Issuer>,
}

/// Somebody whose tokens are believed.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What it calls itself in `iss`, letter by letter.
    pub name: String,
    /// What it calls us in `aud`.
    pub audience: String,
    /// The claim that lists roles.
    pub roles_claim: String,
    /// The roles of whom no roles are claimed for.
    pub roles: Vec<Role>,
    /// Who signs for it.
    pub signers: Signers,
}

impl Callers {
    /// Those of a file of keys, and those whom issuers vouch for.
    #[must_use]
    pub fn new<'a>(files: impl IntoIterator<Item = &'a KeyFile>, issuers: Vec<Issuer>) -> Self {
        let entries = files.into_iter().flat_map(KeyFile::keys);
        let keys = entries.map(|it| (it.sha256, it.clone())).collect();
        Self { keys, issuers }
    }

    /// Who a request comes from, by the values of its `Authorization` fields: one, `Bearer` with a key
    /// or a token (RFC 6750).
    ///
    /// # Errors
    /// [`Refused`]: for metrics, not for who asks.
    pub fn identify<'a>(
        &self,
        mut given: impl Iterator<Item = &'a [u8]>,
        now: Timestamp,
    ) -> Result<Principal, Refused> {
        let first = given.next().ok_or(Refused::Missing)?;
        // Of two, one would be judged here and the other one somewhere else.
        if given.next().is_some() {
            return Err(Refused::Malformed);
        }
        let text = str::from_utf8(first).map_err(|_| Refused::Malformed)?;
        let (scheme, credential) = text.split_once(' ').ok_or(Refused::Malformed)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Refused::Malformed);
        }
        let credential = credential.trim_matches(' ');
        if credential.starts_with(PREFIX) {
            self.by_key(&credential.parse()?, now)
        } else {
            token::verify(credential, &self.issuers, now)
        }
    }

    fn by_key(&self, key: &ApiKey, now: Timestamp) -> Result<Principal, Refused> {
        let entry = self.keys.get(&key.digest()).ok_or(Refused::UnknownKey)?;
        if entry.revoked_at.is_some() {
            Err(Refused::RevokedKey)
        } else if entry.is_good(now) {
            Ok(entry.holder())
        } else {
            Err(Refused::ExpiredKey)
        }
    }
}
