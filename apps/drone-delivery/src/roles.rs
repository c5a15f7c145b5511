//! The roles: what runs, on which ports, in which order.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use service_kit::ServiceAddresses;
use skein::supervise::ProcessSpec;

use crate::settings::Settings;

/// One kind of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Broker,
    Dashboard,
    Account,
    ThirdPartyTransport,
    Package,
    Drone,
    Delivery,
    History,
    Ingestion,
    Scheduler,
    Supervisor,
    Gateway,
}

/// Distance of the dashboard's collector of spans from the base.
pub(crate) const COLLECTOR_PORT: u16 = 18;

impl Role {
    /// All of them, in the order in which `ps` lists them.
    pub(crate) const ALL: [Self; 12] = [
        Self::Gateway,
        Self::Ingestion,
        Self::Scheduler,
        Self::Supervisor,
        Self::Account,
        Self::ThirdPartyTransport,
        Self::Package,
        Self::Drone,
        Self::Delivery,
        Self::History,
        Self::Dashboard,
        Self::Broker,
    ];

    /// Its name, in calls, logs, traces and commands.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Dashboard => "dashboard",
            Self::Account => "account",
            Self::ThirdPartyTransport => "third-party-transport",
            Self::Package => "package",
            Self::Drone => "drone",
            Self::Delivery => "delivery",
            Self::History => "history",
            Self::Ingestion => "ingestion",
            Self::Scheduler => "scheduler",
            Self::Supervisor => "supervisor",
            Self::Gateway => "gateway",
        }
    }

    /// The role of a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Distance of its port from the base.
    const fn port(self) -> u16 {
        match self {
            Self::Dashboard => 0,
            Self::Gateway => 80,
            Self::Broker => 92,
            Self::Ingestion => 101,
            Self::Scheduler => 102,
            Self::Supervisor => 103,
            Self::Account => 104,
            Self::Delivery => 105,
            Self::Package => 106,
            Self::Drone => 107,
            Self::ThirdPartyTransport => 108,
            Self::History => 109,
        }
    }

    /// What its port is called in `ps`.
    const fn port_name(self) -> &'static str {
        match self {
            Self::Broker => "kafka",
            _ => "http",
        }
    }

    /// Roles of a lower stage start first and stop last: the log outlives who writes to it, and the
    /// edge closes before what is behind it.
    const fn stage(self) -> u32 {
        match self {
            Self::Broker | Self::Dashboard => 0,
            Self::Gateway => 2,
            _ => 1,
        }
    }

    /// Whether several processes may share its port and its database.
    pub(crate) const fn is_replicated(self) -> bool {
        !matches!(self, Self::Broker | Self::Dashboard)
    }

    /// Where it listens.
    pub(crate) const fn address(self, settings: &Settings) -> SocketAddr {
        loopback(settings.port_base.saturating_add(self.port()))
    }
}

/// Where the collector of spans listens.
pub(crate) const fn collector(settings: &Settings) -> SocketAddr {
    loopback(settings.port_base.saturating_add(COLLECTOR_PORT))
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Where every role is found by the others.
pub(crate) fn addresses(settings: &Settings) -> ServiceAddresses {
    Role::ALL
        .into_iter()
        .filter(|it| *it != Role::Broker)
        .map(|it| (it.name(), format!("http://{}", it.address(settings))))
        .collect()
}

/// The processes of a system with these settings.
pub(crate) fn processes(settings: &Settings, data: &Path, program: &Path) -> Vec<ProcessSpec> {
    let of_role = |role: Role| (1..=settings.replicas(role)).map(move |number| (role, number));
    let spec = |(role, number): (Role, u32)| {
        let (name, instance) = (role.name(), format!("{}-{number}", role.name()));
        let program = settings.programs.get(name).map_or(program, |it| it.as_path());
        let mut ports =
            BTreeMap::from([(role.port_name().to_owned(), role.address(settings).port())]);
        if role == Role::Dashboard {
            ports.insert("otlp".to_owned(), collector(settings).port());
        }
        let data = data.to_string_lossy().into_owned();
        ProcessSpec {
            arguments: ["role", name, "--instance", &instance, "--data", &data]
                .map(str::to_owned)
                .to_vec(),
            ports,
            stage: role.stage(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..ProcessSpec::new(name, &instance, program)
        }
    };
    Role::ALL.into_iter().flat_map(of_role).map(spec).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_role_has_a_name_and_a_port_of_its_own() {
        let settings = Settings::default();
        let names: BTreeSet<_> = Role::ALL.iter().map(|it| it.name()).collect();
        let ports: BTreeSet<_> = Role::ALL.iter().map(|it| it.address(&settings)).collect();
        assert_eq!((names.len(), ports.len()), (Role::ALL.len(), Role::ALL.len()));
        assert!(Role::ALL.iter().all(|it| Role::parse(it.name()) == Some(*it)));
    }

    #[test]
    fn replicas_share_a_port_and_the_base_moves_all() {
        let settings = Settings {
            port_base: 9_000,
            replicas: BTreeMap::from([("account".to_owned(), 2)]),
            programs: BTreeMap::from([("account".to_owned(), "/other".into())]),
            ..Settings::default()
        };
        let specs = processes(&settings, Path::new("/data"), Path::new("/program"));
        let accounts: Vec<_> = specs.iter().filter(|it| it.role == "account").collect();
        let instances: Vec<_> = accounts.iter().map(|it| it.instance.as_str()).collect();
        assert_eq!(instances, ["account-1", "account-2"]);
        assert!(accounts.iter().all(|it| it.ports["http"] == 9_104));
        assert!(accounts.iter().all(|it| it.program == Path::new("/other")));
        assert_eq!(specs.len(), Role::ALL.len() + 1);
    }
}
