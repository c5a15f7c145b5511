//! The roles: what kinds of process there are, and what each service is started with.

use std::{future::Future, pin::Pin};

use service_kit::{Bound, ServiceContext, StartError};

use crate::settings::Settings;

/// A process that is about to serve.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<Bound, StartError>>>>;
/// Starts a service with its part of the settings.
pub(crate) type Start = fn(ServiceContext, Settings) -> Starting;

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
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// The way in.
    Edge,
    /// A service of the business: it may run in several versions, as a program of somebody else, and
    /// behind a proxy.
    Service(Start),
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

/// The roles, in the order in which `ps` lists them. The program, its tests (`drone-delivery roles -o json`)
/// and the documentation's ports are held to this.
#[rustfmt::skip]
const TABLE: [Spec; 13] = {
    use Kind::{Control, Edge, Log, Page, Service};
    [
        Spec { role: Role::Gateway, name: "gateway", kind: Edge, port: 80, settings: "gateway" },
        Spec { role: Role::Ingestion, name: "ingestion", port: 101, settings: "ingestion",
            kind: Service(|context, it| Box::pin(ingestion_service::run(context, it.ingestion, it.fleet.pickup_ahead()))) },
        Spec { role: Role::Scheduler, name: "scheduler", port: 102, settings: "scheduler",
            kind: Service(|context, it| Box::pin(scheduler_service::run(context, it.scheduler))) },
        Spec { role: Role::Supervisor, name: "supervisor", port: 103, settings: "supervisor",
            kind: Service(|context, it| Box::pin(supervisor_service::run(context, it.supervisor))) },
        Spec { role: Role::Account, name: "account", port: 104, settings: "account",
            kind: Service(|context, it| Box::pin(account_service::run(context, it.account))) },
        Spec { role: Role::ThirdPartyTransport, name: "third-party-transport", port: 108, settings: "third_party_transport",
            kind: Service(|context, it| Box::pin(third_party_transport_service::run(context, it.fleet, it.third_party_transport))) },
        Spec { role: Role::Package, name: "package", port: 106, settings: "package",
            kind: Service(|context, it| Box::pin(package_service::run(context, it.package))) },
        Spec { role: Role::Drone, name: "drone", port: 107, settings: "drone",
            kind: Service(|context, it| Box::pin(drone_service::run(context, it.fleet, it.drone))) },
        Spec { role: Role::Delivery, name: "delivery", port: 105, settings: "delivery",
            kind: Service(|context, it| Box::pin(delivery_service::run(context, it.delivery))) },
        Spec { role: Role::History, name: "history", port: 109, settings: "history",
            kind: Service(|context, it| Box::pin(history_service::run(context, it.history))) },
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
        &TABLE[self as usize]
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
            Kind::Edge | Kind::Service(_) | Kind::Page => "http",
        }
    }

    /// Whether the other roles can call it. One that cannot be called calls nobody either.
    pub(crate) const fn is_called(self) -> bool {
        !matches!(self.kind(), Kind::Log | Kind::Control)
    }

    /// Whether several processes may share its database.
    pub(crate) const fn is_replicated(self) -> bool {
        matches!(self.kind(), Kind::Service(_) | Kind::Edge)
    }

    /// Whether it is a service of the business.
    pub(crate) const fn is_service(self) -> bool {
        matches!(self.kind(), Kind::Service(_))
    }
}

impl Kind {
    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Service(_) => "service",
            Self::Page => "page",
            Self::Log => "log",
            Self::Control => "control",
        }
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
}
