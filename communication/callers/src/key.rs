//! API keys: 256 random bits under a word by which a scanner of leaks finds them.
//!
//! Kept is the SHA-256 of a key, without salt and without a slow function: those protect secrets that
//! can be guessed or that two may share, and nobody guesses 256 random bits. It is looked up by that
//! digest, so that the time which a look takes tells of digests alone, which nobody can choose.

use std::{fmt, str::FromStr};

use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, Serialize};

use crate::{base64url, refused::Refused};

/// What every key begins with.
pub(crate) const PREFIX: &str = "skein_";
const SECRET_BYTES: usize = 32;
/// Hexadecimal digits of a digest that people call a key by.
const ID_DIGITS: usize = 12;

/// A key as its holder has it. It is shown once and written nowhere by us.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// What is kept of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyDigest([u8; 32]);

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct DrawKeyError;

impl ApiKey {
    /// A new one, of the system's randomness.
    ///
    /// # Errors
    /// [`DrawKeyError`].
    pub fn draw() -> Result<Self, DrawKeyError> {
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).map_err(|_| DrawKeyError)?;
        Ok(Self(format!("{PREFIX}{}", base64url::encode(&secret))))
    }

    /// As its holder sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> KeyDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, self.0.as_bytes()).as_ref());
        KeyDigest(bytes)
    }
}

impl FromStr for ApiKey {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let secret = text.strip_prefix(PREFIX).and_then(base64url::decode);
        let is_key = secret.is_some_and(|it| it.len() == SECRET_BYTES);
        if is_key { Ok(Self(text.to_owned())) } else { Err(Refused::Malformed) }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key: what is debugged ends in logs.
        write!(formatter, "ApiKey({})", self.digest().id())
    }
}

impl KeyDigest {
    /// What people call the key by. It is no part of the key.
    #[must_use]
    pub fn id(&self) -> String {
        let mut text = String::from(*self);
        text.truncate(ID_DIGITS);
        text
    }
}

impl From<KeyDigest> for String {
    fn from(digest: KeyDigest) -> Self {
        digest.0.iter().map(|it| format!("{it:02x}")).collect()
    }
}

impl TryFrom<String> for KeyDigest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "a digest has 64 hexadecimal digits in lower case";
        let mut bytes = [0; 32];
        let is_digit = |it: u8| it.is_ascii_digit() || (b'a'..=b'f').contains(&it);
        if text.len() != 64 || !text.bytes().all(is_digit) {
            return Err(WRONG);
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = str::from_utf8(pair).map_err(|_| WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_drawn_anew_each_time_and_never_shown_by_accident() {
        let (one, other) = (ApiKey::draw().unwrap(), ApiKey::draw().unwrap());
        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.reveal().parse(), Ok(one.clone()));
        assert!(!format!("{one:?}").contains(&one.reveal()[6..12]));
        let text = String::from(one.digest());
        assert_eq!(KeyDigest::try_from(text.clone()), Ok(one.digest()));
        assert!(text.starts_with(&one.digest().id()));
    }

    #[test]
    fn what_is_no_key_is_refused_before_it_is_looked_up() {
        let key = ApiKey::draw().unwrap();
        let key = key.reveal();
        for other in [&key[1..], &key[..key.len() - 1], &format!("{key}A"), "skein_", "", "x.y.z"] {
            assert_eq!(other.parse::<ApiKey>(), Err(Refused::Malformed), "{other}");
        }
    }
}
