//! Everybody that an edge knows, and who of them a request comes from.

use std::collections::BTreeMap;

use base::Timestamp;

use crate::{
    issuer::Issuer,
    key::{ApiKey, KeyDigest, PREFIX},
    key_file::{KeyEntry, KeyFile},
    principal::Principal,
    refused::Refused,
    token,
};

/// Everybody that an edge knows.
#[derive(Debug, Clone, Default)]
pub struct Callers {
    keys: BTreeMap<KeyDigest, KeyEntry>,
    issuers: Vec<Issuer>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_file::{Drawn, Grant};

    #[test]
    fn one_credential_of_the_scheme_bearer_is_read() {
        let mut file = KeyFile::default();
        let now = Timestamp::from_millis(1_000);
        let grant =
            |expires_at| Grant { principal: "bob".parse().unwrap(), roles: Vec::new(), expires_at };
        let good = file.create(grant(None), now).unwrap();
        let over = file.create(grant(Some(now)), now).unwrap();
        let revoked = file.create(grant(None), now).unwrap();
        file.revoke(&revoked.entry.sha256.id(), now).unwrap();
        let callers = Callers::new([&file], Vec::new());
        let identify = |given: &[&str]| {
            let given = given.iter().map(|it| it.as_bytes());
            callers.identify(given, now).map(|it| it.name.as_str().to_owned())
        };
        let bearer = |it: &Drawn| format!("Bearer {}", it.key.reveal());
        assert_eq!(identify(&[&bearer(&good)]), Ok("bob".to_owned()));
        assert_eq!(identify(&[&bearer(&good).replace("Bearer", "bEARER")]), Ok("bob".to_owned()));
        assert_eq!(identify(&["Bearer a.b.c"]), Err(Refused::Malformed));
        assert_eq!(identify(&[]), Err(Refused::Missing));
        assert_eq!(identify(&[&bearer(&good), &bearer(&good)]), Err(Refused::Malformed));
        assert_eq!(identify(&[good.key.reveal()]), Err(Refused::Malformed));
        assert_eq!(identify(&[&bearer(&good).replace("Bearer", "Basic")]), Err(Refused::Malformed));
        assert_eq!(identify(&[&bearer(&over)]), Err(Refused::ExpiredKey));
        assert_eq!(identify(&[&bearer(&revoked)]), Err(Refused::RevokedKey));
        let unknown = ApiKey::draw().unwrap();
        assert_eq!(identify(&[&format!("Bearer {}", unknown.reveal())]), Err(Refused::UnknownKey));
    }
}
