//! Services found by names of the DNS: A and AAAA records, a port that is told.
//!
//! The system's resolver is asked, which keeps to the time to live and does not tell it: a change is
//! seen within [`Dns::every`] after the resolver sees it. SRV records are not read, as it cannot ask
//! for them. A name that is not answered for keeps what it had.

use std::{collections::BTreeMap, future::Future, io, net::SocketAddr, time::Duration};

use mesh_policy::destination::{Endpoint, EndpointSet};
use tokio::{net::lookup_host, time::timeout};

use super::{Contribution, Source};

/// Addresses of one name that are taken.
const ADDRESSES_MAX: usize = 1_000;
/// The time that a resolver gets.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Who knows the addresses of a name.
pub trait Resolve: Send + 'static {
    /// The addresses of `host:port`.
    fn resolve(&self, authority: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, authority: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host(authority).await?.collect())
    }
}

/// Services by name of the DNS.
#[derive(Debug)]
pub struct Dns<R> {
    /// `host:port` of each service.
    services: BTreeMap<String, String>,
    every: Duration,
    resolver: R,
    known: BTreeMap<String, Vec<SocketAddr>>,
}

impl<R: Resolve> Dns<R> {
    /// The services with the `host:port` of each.
    #[must_use]
    pub const fn new(services: BTreeMap<String, String>, every: Duration, resolver: R) -> Self {
        Self { services, every, resolver, known: BTreeMap::new() }
    }
}

impl<R: Resolve + Sync> Source for Dns<R> {
    fn name(&self) -> &str {
        "dns"
    }

    fn every(&self) -> Duration {
        self.every
    }

    async fn look(&mut self) -> Result<Contribution, String> {
        for (service, authority) in &self.services {
            let asked = timeout(ANSWER_WITHIN, self.resolver.resolve(authority)).await;
            match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(mut addresses) => {
                    addresses.sort_unstable();
                    addresses.dedup();
                    addresses.truncate(ADDRESSES_MAX);
                    self.known.insert(service.clone(), addresses);
                }
                Err(error) => {
                    tracing::warn!(service, authority, %error, "a name is not answered for; what it had stays");
                }
            }
        }
        let set = |addresses: &Vec<SocketAddr>| EndpointSet {
            endpoints: addresses.iter().map(|it| endpoint(*it)).collect(),
            ..EndpointSet::default()
        };
        let known = self.services.keys().map(|it| {
            let addresses = self.known.get(it).map_or_else(EndpointSet::default, set);
            (it.clone(), addresses)
        });
        Ok(Contribution { documents: Vec::new(), sets: known.collect() })
    }
}

const fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address, instance: None, version: None, weight: 1, identity: None }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Zone(Arc<Mutex<Option<Vec<SocketAddr>>>>);

    impl Resolve for Zone {
        async fn resolve(&self, authority: &str) -> io::Result<Vec<SocketAddr>> {
            assert_eq!(authority, "cart.internal:80");
            self.0.lock().unwrap().clone().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    // mesh 12b: 70
    #[tokio::test]
    async fn a_record_that_changes_is_followed_and_a_resolver_that_is_away_takes_nothing() {
        let zone = Zone::default();
        let services = BTreeMap::from([("cart".to_owned(), "cart.internal:80".to_owned())]);
        let mut dns = Dns::new(services, Duration::from_secs(5), zone.clone());
        for (records, expected) in [
            (None, &[][..]),
            (Some(&[2, 1, 2][..]), &[1, 2][..]),
            (Some(&[3][..]), &[3][..]),
            (None, &[3][..]),
            (Some(&[][..]), &[][..]),
        ] {
            let address = |it: &u16| SocketAddr::from(([10, 0, 0, 1], *it));
            *zone.0.lock().unwrap() = records.map(|it| it.iter().map(address).collect());
            let said = dns.look().await.unwrap();
            let found = said.sets["cart"].endpoints.iter().map(|it| it.address.port());
            assert_eq!(found.collect::<Vec<_>>(), expected);
        }
    }
}
