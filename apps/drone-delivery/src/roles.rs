//! The roles: what kinds of process there are, and in which versions.

use std::{fmt, str::FromStr};

/// One kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Gateway,
    Ingestion,
    Scheduler,
    Supervisor,
    Account,
    ThirdPartyTransport,
    Package,
    Drone,
    Delivery,
    History,
    Dashboard,
    Broker,
    Control,
}

/// What a role is to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The way in.
    Edge,
    /// A service of the business: it may run in several versions, as a program of somebody else, and
    /// behind a proxy.
    Service,
    /// What people look at.
    Page,
    /// What all others write to.
    Log,
    /// What says where the others are, in a system that has one.
    Control,
}

/// What is known of a role before anything is set.
#[derive(Debug)]
struct Spec {
    role: Role,
    /// In calls, logs, traces and commands.
    name: &'static str,
    kind: Kind,
    /// Distance of its port from the base.
    port: u16,
    /// Its section of the settings.
    settings: &'static str,
}

/// The roles, in the order in which `ps` lists them. What each is started with stands in `role.rs`; the
/// program, its tests (`drone-delivery roles -o json`) and the documentation's ports are held to this.
#[rustfmt::skip]
const TABLE: [Spec; 13] = {
    use Kind::{Control, Edge, Log, Page, Service};
    [
        Spec { role: Role::Gateway, name: "gateway", kind: Edge, port: 80, settings: "gateway" },
        Spec { role: Role::Ingestion, name: "ingestion", kind: Service, port: 101, settings: "ingestion" },
        Spec { role: Role::Scheduler, name: "scheduler", kind: Service, port: 102, settings: "scheduler" },
        Spec { role: Role::Supervisor, name: "supervisor", kind: Service, port: 103, settings: "supervisor" },
        Spec { role: Role::Account, name: "account", kind: Service, port: 104, settings: "account" },
        Spec { role: Role::ThirdPartyTransport, name: "third-party-transport", kind: Service, port: 108, settings: "third_party_transport" },
        Spec { role: Role::Package, name: "package", kind: Service, port: 106, settings: "package" },
        Spec { role: Role::Drone, name: "drone", kind: Service, port: 107, settings: "drone" },
        Spec { role: Role::Delivery, name: "delivery", kind: Service, port: 105, settings: "delivery" },
        Spec { role: Role::History, name: "history", kind: Service, port: 109, settings: "history" },
        Spec { role: Role::Dashboard, name: "dashboard", kind: Page, port: 0, settings: "dashboard" },
        Spec { role: Role::Broker, name: "broker", kind: Log, port: 92, settings: "broker" },
        Spec { role: Role::Control, name: "control", kind: Control, port: 70, settings: "mesh_control" },
    ]
};

impl Role {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; TABLE.len()] = {
        let mut all = [Self::Gateway; TABLE.len()];
        let mut index = 0;
        while index < TABLE.len() {
            all[index] = TABLE[index].role;
            index += 1;
        }
        all
    };

    /// Its line: they stand in the order of the roles.
    const fn spec(self) -> &'static Spec {
        const ROWS: &[Spec] = &TABLE;
        &ROWS[self as usize]
    }

    /// Its name, in calls, logs, traces and commands.
    pub(crate) const fn name(self) -> &'static str {
        self.spec().name
    }

    /// The role of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// What it is to the system.
    pub(crate) const fn kind(self) -> Kind {
        self.spec().kind
    }

    /// Distance of its port from the base.
    pub(crate) const fn port(self) -> u16 {
        self.spec().port
    }

    /// Its section of the settings.
    pub(crate) const fn settings(self) -> &'static str {
        self.spec().settings
    }

    /// What its port is called in `ps`.
    pub(crate) const fn port_name(self) -> &'static str {
        match self.kind() {
            Kind::Log => "kafka",
            Kind::Control => "control",
            Kind::Edge | Kind::Service | Kind::Page => "http",
        }
    }

    /// Whether the other roles can call it. One that cannot be called calls nobody either.
    pub(crate) const fn is_called(self) -> bool {
        !matches!(self.kind(), Kind::Log | Kind::Control)
    }

    /// Whether several processes may share its database.
    pub(crate) const fn is_replicated(self) -> bool {
        matches!(self.kind(), Kind::Service | Kind::Edge)
    }

    /// Whether it is a service of the business.
    pub(crate) const fn is_service(self) -> bool {
        matches!(self.kind(), Kind::Service)
    }
}

impl Kind {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Service => "service",
            Self::Page => "page",
            Self::Log => "log",
            Self::Control => "control",
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_role_has_a_name_and_a_port_of_its_own() {
        let names: BTreeSet<_> = Role::ALL.iter().map(|it| it.name()).collect();
        let ports: BTreeSet<_> = Role::ALL.iter().map(|it| it.port()).collect();
        assert_eq!((names.len(), ports.len()), (Role::ALL.len(), Role::ALL.len()));
        assert!(Role::ALL.iter().all(|it| Role::parse(it.name()) == Some(*it)));
        assert!(Role::ALL.iter().all(|it| it.spec().role == *it), "a line in another's place");
    }

    #[test]
    fn the_ports_that_are_documented_are_those_of_the_table() {
        let text = include_str!("../../../docs/operations.md").replace('\n', " ");
        let ports = text.split("## Ports ").nth(1).unwrap().split("## ").next().unwrap();
        for role in Role::ALL {
            let words = match role {
                Role::Dashboard => "page".to_owned(),
                Role::Broker => "Kafka protocol".to_owned(),
                Role::Control => "control plane".to_owned(),
                _ => role.name().replace("third-party-", "third-party "),
            };
            let line = format!("+{} {words}", role.port());
            assert!(ports.contains(&line), "{line} is not said: {ports}");
        }
    }

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
