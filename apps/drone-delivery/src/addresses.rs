//! Where every role is found: a fixed distance from one port.

use std::net::{Ipv4Addr, SocketAddr};

use service_kit::ServiceAddresses;

use crate::{roles::Role, settings::Settings};

/// Distance of the dashboard's collector of spans from the base.
const COLLECTOR_PORT: u16 = 18;

/// Distance of the gateway's port over TLS from the base.
const HTTPS_PORT: u16 = 443;

impl Role {
    /// Where the first instance of its first version listens.
    pub(crate) const fn address(self, settings: &Settings) -> SocketAddr {
        loopback(settings.port_base.saturating_add(self.port()))
    }
}

/// Where the collector of spans listens.
pub(crate) const fn collector(settings: &Settings) -> SocketAddr {
    loopback(settings.port_base.saturating_add(COLLECTOR_PORT))
}

/// Where the first gateway listens over TLS.
pub(crate) const fn https(settings: &Settings) -> SocketAddr {
    loopback(settings.port_base.saturating_add(HTTPS_PORT))
}

/// A port of the loopback interface: nothing else is ever bound.
pub(crate) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Where every role is found by the others: its first instance.
pub(crate) fn addresses(settings: &Settings) -> ServiceAddresses {
    Role::ALL
        .into_iter()
        .filter(|it| it.is_called())
        .map(|it| (it.name(), format!("http://{}", it.address(settings))))
        .collect()
}
