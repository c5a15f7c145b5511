//! Who somebody is: a name and roles, in letters that a header carries as they are.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Bytes of a name at the most.
const NAME_BYTES_MAX: usize = 200;
/// Bytes of a role at the most.
const ROLE_BYTES_MAX: usize = 63;

/// Who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// What things that are somebody's name as their owner.
    pub name: Name,
    /// What policy speaks of.
    pub roles: Vec<Role>,
}

/// The name of a principal: 1 to 200 visible letters of ASCII, no comma among them. It travels in a
/// header, so one that would have to be escaped there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A role: `a-z`, `0-9` and `-`, 1 to 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Role(String);

/// Why a text is no name or no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is no [`Name`].
    #[error("a principal has 1 to {NAME_BYTES_MAX} visible letters of ASCII, no comma among them")]
    Name,
    /// It is no [`Role`].
    #[error("a role has 1 to {ROLE_BYTES_MAX} letters of a-z, 0-9 and `-`")]
    Role,
}

impl Name {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Role {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let is_letter = |it: u8| it.is_ascii_graphic() && it != b',';
        let is_name = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_letter);
        if is_name { Ok(Self(text)) } else { Err(NameError::Name) }
    }
}

impl TryFrom<String> for Role {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let is_letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        let is_role = (1..=ROLE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_letter);
        if is_role { Ok(Self(text)) } else { Err(NameError::Role) }
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl FromStr for Role {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl From<Role> for String {
    fn from(role: Role) -> Self {
        role.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_header_carries_as_it_is() {
        for name in ["alice", "auth0|5f", "a@b.example", &"n".repeat(200)] {
            assert!(name.parse::<Name>().is_ok(), "{name}");
        }
        for other in ["", " a", "a b", "a,b", "a\r\nx: 1", "\u{e9}", "a\0", &"n".repeat(201)] {
            assert_eq!(other.parse::<Name>(), Err(NameError::Name), "{other:?}");
        }
        for other in ["", "Customer", "a b", "a,b", "a_b", &"r".repeat(64)] {
            assert_eq!(other.parse::<Role>(), Err(NameError::Role), "{other:?}");
        }
    }
}
