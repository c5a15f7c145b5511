//! The roles: what kinds of process there are, and what each service is started with.

use std::{future::Future, pin::Pin};

use fleet_rules::FleetConfig;
use serde::{Deserialize, Serialize};
use service_kit::{Bound, ServiceContext, StartError};

/// The services of the business: a line each, and nothing else in this program names one to start it.
/// Role, name, distance of its port from the base, section of the settings with what stands in it, start.
macro_rules! services {
    ($($role:ident, $name:literal, $port:literal, $section:ident: $config:ty, $start:expr;)*) => {
        /// One kind of process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Role {
            Gateway,
            $($role,)*
            Dashboard,
            Broker,
            Control,
        }

        /// What the services are told, each in its section.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub(crate) struct ServiceSettings {
            $(pub(crate) $section: $config,)*
        }

        impl Role {
            /// All of them, in the order in which `ps` lists them.
            pub(crate) const ALL: [Self; 4 + [$($port),*].len()] =
                [Self::Gateway, $(Self::$role,)* Self::Dashboard, Self::Broker, Self::Control];

            /// What is known of it. The program, its tests (`drone-delivery roles -o json`) and the
            /// documentation's ports are held to this.
            const fn spec(self) -> Spec {
                let (name, kind, port, settings) = match self {
                    Self::Gateway => ("gateway", Kind::Edge, 80, "gateway"),
                    $(Self::$role => {
                        let start: Start =
                            |context, own, fleet| Box::pin($start(context, own.$section, fleet));
                        ($name, Kind::Service(start), $port, stringify!($section))
                    })*
                    Self::Dashboard => ("dashboard", Kind::Page, 0, "dashboard"),
                    Self::Broker => ("broker", Kind::Log, 92, "broker"),
                    Self::Control => ("control", Kind::Control, 70, "mesh_control"),
                };
                Spec { name, kind, port, settings }
            }
        }
    };
}

services! {
    Ingestion, "ingestion", 101, ingestion: ingestion_service::IngestionConfig,
        |context, it, fleet: FleetConfig| ingestion_service::run(context, it, fleet.pickup_ahead());
    Scheduler, "scheduler", 102, scheduler: scheduler_service::SchedulerConfig,
        |context, it, _| scheduler_service::run(context, it);
    Supervisor, "supervisor", 103, supervisor: supervisor_service::SupervisorConfig,
        |context, it, _| supervisor_service::run(context, it);
    Account, "account", 104, account: account_service::AccountConfig,
        |context, it, _| account_service::run(context, it);
    ThirdPartyTransport, "third-party-transport", 108, third_party_transport: third_party_transport_service::TransportConfig,
        |context, it, fleet| third_party_transport_service::run(context, fleet, it);
    Package, "package", 106, package: package_service::PackageConfig,
        |context, it, _| package_service::run(context, it);
    Drone, "drone", 107, drone: drone_service::DroneConfig,
        |context, it, fleet| drone_service::run(context, fleet, it);
    Delivery, "delivery", 105, delivery: delivery_service::DeliveryConfig,
        |context, it, _| delivery_service::run(context, it);
    History, "history", 109, history: history_service::HistoryConfig,
        |context, it, _| history_service::run(context, it);
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

/// A process that is about to serve.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<Bound, StartError>>>>;
/// Starts a service with its part of the settings, and what the fleet is like.
pub(crate) type Start = fn(ServiceContext, ServiceSettings, FleetConfig) -> Starting;

/// What is known of a role before anything is set.
#[derive(Debug)]
struct Spec {
    /// In calls, logs, traces and commands.
    name: &'static str,
    kind: Kind,
    /// Distance of its port from the base.
    port: u16,
    /// Its section of the settings.
    settings: &'static str,
}

impl Role {
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
