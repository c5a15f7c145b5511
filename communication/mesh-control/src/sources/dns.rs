//! Services found by names of the DNS: addresses (A, AAAA) at a port that is told, or service records (SRV,
//! RFC 2782), which say host, port and weight themselves. A change is seen within [`Dns::every`] after the
//! resolver sees it. A name that is not answered for keeps what it had.

mod resolver;

use std::{
    collections::BTreeMap, fmt, future::Future, io, net::SocketAddr, str::FromStr, time::Duration,
};

use mesh_policy::destination::{Endpoint, EndpointSet};
use tokio::time::timeout;

use super::{Contribution, Source};

pub use resolver::SystemResolver;

/// Addresses of one name that are taken.
const ADDRESSES_MAX: usize = 1_000;
/// The time that a resolver gets.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A name that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// `host:port`, by its addresses.
    Host(String),
    /// `_service._proto.domain`, by its service records.
    Service(String),
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text
            .rsplit_once(':')
            .map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        match (port, text.starts_with('_')) {
            (Some(true), _) => Ok(Self::Host(text.to_owned())),
            (None, true) => Ok(Self::Service(text.to_owned())),
            _ => Err("neither `host:port` nor `_service._proto.domain`"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Host(name) | Self::Service(name)) = self;
        formatter.write_str(name)
    }
}

/// One service record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which hosts come first: those with the lowest number.
    pub priority: u16,
    /// Its share among those of its priority.
    pub weight: u16,
    /// `host:port`.
    pub target: String,
}

/// Who knows what stands behind a name.
pub trait Resolve: Send + 'static {
    /// The addresses of `host:port`.
    fn addresses(
        &self,
        authority: &str,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// The service records of a name.
    fn records(&self, name: &str) -> impl Future<Output = io::Result<Vec<Record>>> + Send;
}

/// An address, and its weight among the others.
type Found = BTreeMap<SocketAddr, u32>;

/// What a name stands for now. Of service records those count that come first and have an address: the
/// others stand by for when none is left.
async fn found(resolver: &(impl Resolve + Sync), name: &Name) -> io::Result<Found> {
    let mut records = match name {
        Name::Host(authority) => {
            let addresses = resolver.addresses(authority).await?;
            return Ok(addresses.into_iter().map(|it| (it, 1)).collect());
        }
        Name::Service(name) => resolver.records(name).await?,
    };
    records.sort_by_key(|it| it.priority);
    let mut unanswered = None;
    for tier in records.chunk_by(|a, b| a.priority == b.priority) {
        let mut found = Found::new();
        for record in tier {
            match resolver.addresses(&record.target).await {
                // Hosts with weight 0 are to be chosen rarely, beside others: never is not rarely.
                Ok(all) => {
                    found.extend(all.into_iter().map(|it| (it, u32::from(record.weight).max(1))))
                }
                Err(error) => unanswered = Some(error),
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    unanswered.map_or_else(|| Ok(Found::new()), Err)
}

/// Services by name of the DNS.
#[derive(Debug)]
pub struct Dns<R> {
    services: BTreeMap<String, Name>,
    every: Duration,
    resolver: R,
    known: BTreeMap<String, Found>,
}

impl<R: Resolve> Dns<R> {
    /// The services with the name of each.
    #[must_use]
    pub const fn new(services: BTreeMap<String, Name>, every: Duration, resolver: R) -> Self {
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
        for (service, name) in &self.services {
            let asked = timeout(ANSWER_WITHIN, found(&self.resolver, name)).await;
            match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(found) => {
                    let taken = found.into_iter().take(ADDRESSES_MAX).collect();
                    self.known.insert(service.clone(), taken);
                }
                Err(error) => {
                    tracing::warn!(service, %name, %error, "a name is not answered for; what it had stays");
                }
            }
        }
        let set = |found: &Found| EndpointSet {
            endpoints: found.iter().map(|(address, weight)| endpoint(*address, *weight)).collect(),
            ..EndpointSet::default()
        };
        let known = self.services.keys().map(|it| {
            let addresses = self.known.get(it).map_or_else(EndpointSet::default, set);
            (it.clone(), addresses)
        });
        Ok(Contribution { documents: Vec::new(), sets: known.collect() })
    }
}

const fn endpoint(address: SocketAddr, weight: u32) -> Endpoint {
    Endpoint { address, instance: None, version: None, weight, identity: None }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is known of each name.
    #[derive(Clone, Default)]
    struct Zone(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        addresses: BTreeMap<String, Vec<SocketAddr>>,
        records: Option<Vec<Record>>,
    }

    impl Zone {
        fn has(&self, authority: &str, numbers: &[u8]) {
            let addresses = numbers.iter().map(|it| SocketAddr::from(([10, 0, 0, *it], 80)));
            self.0.lock().unwrap().addresses.insert(authority.to_owned(), addresses.collect());
        }

        fn forgets(&self, authority: &str) {
            self.0.lock().unwrap().addresses.remove(authority);
        }

        fn records(&self, records: &[(u16, u16, &str)]) {
            let record = |&(priority, weight, target): &(u16, u16, &str)| Record {
                priority,
                weight,
                target: target.to_owned(),
            };
            self.0.lock().unwrap().records = Some(records.iter().map(record).collect());
        }
    }

    impl Resolve for Zone {
        async fn addresses(&self, authority: &str) -> io::Result<Vec<SocketAddr>> {
            let found = self.0.lock().unwrap().addresses.get(authority).cloned();
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        async fn records(&self, name: &str) -> io::Result<Vec<Record>> {
            assert_eq!(name, "_http._tcp.cart.internal");
            self.0.lock().unwrap().records.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    fn dns(name: &str, zone: &Zone) -> Dns<Zone> {
        let services = BTreeMap::from([("cart".to_owned(), name.parse().unwrap())]);
        Dns::new(services, Duration::from_secs(5), zone.clone())
    }

    /// The last part of each address, and its weight.
    async fn seen(dns: &mut Dns<Zone>) -> Vec<(u8, u32)> {
        let said = dns.look().await.unwrap();
        let last = |it: &Endpoint| match it.address.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(_) => 0,
        };
        said.sets["cart"].endpoints.iter().map(|it| (last(it), it.weight)).collect()
    }

    // mesh 12b: 70
    #[tokio::test]
    async fn a_record_that_changes_is_followed_and_a_resolver_that_is_away_takes_nothing() {
        let zone = Zone::default();
        let mut dns = dns("cart.internal:80", &zone);
        assert_eq!(seen(&mut dns).await, []);
        zone.has("cart.internal:80", &[2, 1, 2]);
        assert_eq!(seen(&mut dns).await, [(1, 1), (2, 1)]);
        zone.has("cart.internal:80", &[3]);
        assert_eq!(seen(&mut dns).await, [(3, 1)]);
        zone.forgets("cart.internal:80");
        assert_eq!(seen(&mut dns).await, [(3, 1)]);
        zone.has("cart.internal:80", &[]);
        assert_eq!(seen(&mut dns).await, []);
    }

    #[tokio::test]
    async fn of_service_records_the_first_that_have_an_address_are_taken_with_their_weights() {
        let zone = Zone::default();
        let mut dns = dns("_http._tcp.cart.internal", &zone);
        assert_eq!(seen(&mut dns).await, []);
        zone.has("a:80", &[1]);
        zone.has("b:80", &[2, 3]);
        zone.has("c:80", &[4]);
        zone.records(&[(20, 5, "c:80"), (10, 3, "a:80"), (10, 0, "b:80")]);
        assert_eq!(seen(&mut dns).await, [(1, 3), (2, 1), (3, 1)]);
        // Who comes first is gone: the others step in.
        zone.has("a:80", &[]);
        zone.forgets("b:80");
        assert_eq!(seen(&mut dns).await, [(4, 5)]);
        // Nobody can be asked: what was known stays.
        zone.forgets("c:80");
        assert_eq!(seen(&mut dns).await, [(4, 5)]);
        // The zone says that there is nobody.
        zone.records(&[]);
        assert_eq!(seen(&mut dns).await, []);
    }

    #[test]
    fn a_name_is_that_of_a_host_with_its_port_or_of_a_service() {
        assert_eq!("cart:80".parse(), Ok(Name::Host("cart:80".to_owned())));
        assert_eq!("[::1]:80".parse(), Ok(Name::Host("[::1]:80".to_owned())));
        let service = "_http._tcp.cart.internal";
        assert_eq!(service.parse(), Ok(Name::Service(service.to_owned())));
        for neither in ["", "cart", ":80", "cart:http", "cart:70000", "_http._tcp.cart:http"] {
            assert!(neither.parse::<Name>().is_err(), "{neither}");
        }
    }
}
