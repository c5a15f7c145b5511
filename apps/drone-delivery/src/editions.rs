//! What runs: the roles in their versions, each in how many processes and as which program.

use std::{fmt, path::Path, str::FromStr};

use crate::{
    roles::Role,
    settings::{ForeignService, Settings},
};

/// Replicas of one role: more would only share the same cores.
const REPLICAS_MAX: u32 = 16;
/// The version of a role that is not named with another one.
pub(crate) const FIRST_VERSION: &str = "v1";
/// Letters of a version.
const VERSION_LETTERS_MAX: usize = 16;

/// A role in one version: `account`, or `account@v2` beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edition {
    /// What it does.
    pub(crate) role: Role,
    /// `None` is [`FIRST_VERSION`]. Else lower-case letters and digits: it becomes part of names of
    /// files and of services.
    other: Option<String>,
}

impl Edition {
    /// The role in its first version.
    pub(crate) const fn first(role: Role) -> Self {
        Self { role, other: None }
    }

    /// Whether it has its role's well-known port.
    pub(crate) const fn is_first(&self) -> bool {
        self.other.is_none()
    }

    /// Its version.
    pub(crate) fn version(&self) -> &str {
        self.other.as_deref().unwrap_or(FIRST_VERSION)
    }

    /// The name of one of its processes, from a word for the role: `account@v2-1`.
    pub(crate) fn instance(&self, word: &str, number: u32) -> String {
        match &self.other {
            Some(version) => format!("{word}@{version}-{number}"),
            None => format!("{word}-{number}"),
        }
    }
}

/// As settings and flags name it.
impl fmt::Display for Edition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.role.name())?;
        self.other.as_ref().map_or(Ok(()), |version| write!(formatter, "@{version}"))
    }
}

impl FromStr for Edition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        let role = Role::parse(name).ok_or_else(|| {
            let known: Vec<_> = Role::ALL.iter().map(|it| it.name()).collect();
            format!("no role is called `{name}`; there are {}", known.join(", "))
        })?;
        let Some(version) = version else { return Ok(Self::first(role)) };
        let fits = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
        if !role.is_service() {
            return Err(format!("{name} runs in one version, not in `{version}`"));
        }
        if version == FIRST_VERSION {
            return Err(format!("version {FIRST_VERSION} of {name} is called `{name}`"));
        }
        if version.is_empty() || version.len() > VERSION_LETTERS_MAX || !version.bytes().all(fits) {
            return Err(format!(
                "version `{version}` of {name} is not 1 to {VERSION_LETTERS_MAX} lower-case letters \
                 and digits"
            ));
        }
        Ok(Self { role, other: Some(version.to_owned()) })
    }
}

impl Settings {
    /// What runs: each role, and behind it its further versions.
    pub(crate) fn editions(&self) -> Vec<Edition> {
        let mut others: Vec<Edition> = self
            .programs
            .keys()
            .chain(self.services.keys())
            // Checked when the settings were made.
            .filter_map(|it| it.parse().ok())
            .filter(|it: &Edition| !it.is_first())
            .collect();
        others.sort();
        let all = |role| {
            let of_role = others.iter().filter(move |it| it.role == role).cloned();
            std::iter::once(Edition::first(role)).chain(of_role)
        };
        let runs = |it: &Role| *it != Role::Control || self.mesh_control.enabled;
        Role::ALL.into_iter().filter(runs).flat_map(all).collect()
    }

    /// Processes that a role has in a version.
    pub(crate) fn replicas(&self, edition: &Edition) -> u32 {
        self.replicas.get(&edition.to_string()).copied().unwrap_or(1)
    }

    /// Another program file than ours for a role in a version.
    pub(crate) fn program(&self, edition: &Edition) -> Option<&Path> {
        let path = self.programs.get(&edition.to_string())?;
        (!path.as_os_str().is_empty()).then_some(path)
    }

    /// The program of somebody else that is a role in a version.
    pub(crate) fn foreign(&self, edition: &Edition) -> Option<&ForeignService> {
        self.services.get(&edition.to_string())
    }

    /// Whether the roles that are named exist, and can be what is said of them.
    pub(crate) fn check_editions(&self) -> Result<(), String> {
        for name in self.programs.keys() {
            name.parse::<Edition>()?;
        }
        for name in self.services.keys() {
            let edition: Edition = name.parse()?;
            if !edition.role.is_service() {
                return Err(format!("{name} is no service that another program can be"));
            }
            if self.programs.contains_key(name) {
                return Err(format!("{name} is in `programs` and in `services`"));
            }
        }
        let editions = self.editions();
        for name in self.replicas.keys() {
            let edition: Edition = name.parse()?;
            if !editions.contains(&edition) {
                return Err(format!(
                    "{name} has replicas and no program; `--role {name}=` names ours"
                ));
            }
        }
        for edition in editions {
            let most = if edition.role.is_replicated() { REPLICAS_MAX } else { 1 };
            let wanted = self.replicas(&edition);
            if wanted == 0 || wanted > most {
                return Err(format!("{edition} runs in 1 to {most} processes, not {wanted}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edition_is_read_as_it_is_written() {
        for text in ["account", "account@v2", "third-party-transport@blue7"] {
            let edition: Edition = text.parse().unwrap();
            assert_eq!(edition.to_string(), text);
        }
        let edition: Edition = "account@v2".parse().unwrap();
        assert_eq!(
            (edition.version(), edition.instance("account", 3).as_str()),
            ("v2", "account@v2-3")
        );
        assert_eq!(Edition::first(Role::Account).version(), "v1");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        assert_eq!(text.parse::<Edition>().unwrap_err(), expected);
    }

    #[test]
    fn a_version_that_is_no_part_of_a_file_s_name_is_refused() {
        let letters = |version: &str| {
            format!("version `{version}` of account is not 1 to 16 lower-case letters and digits")
        };
        for version in ["", "../v2", "v2.1", "V2", "v-2", "v1234567890123456"] {
            check_refused(&format!("account@{version}"), &letters(version));
        }
        check_refused("account@v1", "version v1 of account is called `account`");
        check_refused("gateway@v2", "gateway runs in one version, not in `v2`");
    }
}
