//! Doors of one proxy that cannot both be opened.

use std::net::SocketAddr;

use super::Report;
use crate::{
    Policy,
    proxy::Proxy,
    schema::{Code, Level},
};

pub(super) fn analyze(policy: &Policy, report: &mut Report<'_>) {
    for proxy in &policy.proxies {
        let subject = format!("proxy {}", proxy.name);
        let doors = doors(proxy);
        for (index, (path, listen)) in doors.iter().enumerate() {
            let other = doors[..index].iter().find(|(_, it)| collide(*it, *listen));
            let Some((first, _)) = other else { continue };
            let message = format!("{listen} is taken{} by `{first}`", report.at(&subject, first));
            report.tell((&subject, path), Level::Error, Code::PortTwice, message);
        }
    }
}

fn doors(proxy: &Proxy) -> Vec<(String, SocketAddr)> {
    let edges = proxy.edges.iter().map(|it| it.listen).enumerate();
    let outbound = proxy.outbound.iter().map(|it| it.listen).enumerate();
    let inbound = proxy.inbound.iter().map(|it| it.listen).enumerate();
    let mut doors: Vec<_> = edges.map(|(index, it)| (format!("edge[{index}]"), it)).collect();
    doors.extend(outbound.map(|(index, it)| (format!("outbound[{index}]"), it)));
    doors.extend(inbound.map(|(index, it)| (format!("inbound[{index}]"), it)));
    doors.extend(proxy.admin.map(|it| ("admin".to_owned(), it)));
    doors
}

/// Port 0 is any free one. The unspecified address is all of its family; of both where the system
/// lets IPv6 take IPv4, so it is judged so.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let is_every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (is_every || one.ip() == other.ip())
}
