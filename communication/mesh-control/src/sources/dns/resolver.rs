//! Who is asked on this machine: for addresses the system's resolver, as any other program does; for service
//! records the name servers of its configuration, since the system's resolver cannot be asked for them.

use std::{io, net::SocketAddr, sync::Arc};

use hickory_resolver::{
    Resolver, TokioResolver,
    config::ResolverConfig,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use tokio::net::lookup_host;

use super::{Record, Resolve};

/// The system's resolver, and its name servers.
#[derive(Clone)]
pub struct SystemResolver {
    /// Nobody can be asked for service records where the configuration is none that can be read.
    servers: Result<Arc<TokioResolver>, String>,
}

impl SystemResolver {
    /// The name servers of this machine.
    #[must_use]
    pub fn new() -> Self {
        let servers = Resolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
        Self::of(servers)
    }

    /// Other name servers for service records.
    #[must_use]
    pub fn asking(servers: ResolverConfig) -> Self {
        Self::of(Resolver::builder_with_config(servers, TokioRuntimeProvider::default()).build())
    }

    fn of(servers: Result<TokioResolver, NetError>) -> Self {
        Self { servers: servers.map(Arc::new).map_err(|it| it.to_string()) }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SystemResolver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SystemResolver")
    }
}

impl Resolve for SystemResolver {
    async fn addresses(&self, authority: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host(authority).await?.collect())
    }

    async fn records(&self, name: &str) -> io::Result<Vec<Record>> {
        let servers = self.servers.as_ref().map_err(|it| io::Error::other(it.clone()))?;
        let answer = servers.lookup(name, RecordType::SRV).await.map_err(io::Error::other)?;
        let records = answer.answers().iter().filter_map(|it| match &it.data {
            // A target that is the root says that nobody serves here (RFC 2782).
            RData::SRV(record) if !record.target.is_root() => Some(Record {
                priority: record.priority,
                weight: record.weight,
                target: format!("{}:{}", record.target.to_ascii(), record.port),
            }),
            _ => None,
        });
        Ok(records.collect())
    }
}
