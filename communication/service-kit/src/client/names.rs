//! Where servers outside are: looked up at the first call and again now and then. Names move, and a
//! machine may start before its network.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use mesh_policy::destination::EndpointSet;
use tokio::{net::lookup_host, sync::Mutex, time::Instant};

use crate::config::{Place, ServiceAddresses};

/// A name is looked up again after that. Most of those that move are kept for a minute by whoever says
/// where they are.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// The servers, by what we call them.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, Name>);

#[derive(Debug)]
struct Name {
    place: Place,
    /// Held while it is looked up: whoever calls meanwhile waits for what is found.
    found: Mutex<Option<Found>>,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    address: SocketAddr,
    at: Instant,
}

impl Names {
    pub(super) fn of(services: &ServiceAddresses) -> Self {
        let known = services.places().filter_map(|(name, place)| {
            let found = Mutex::default();
            Some((name.to_owned(), Name { place: place?, found }))
        });
        Self(known.collect())
    }

    /// Looks a server up where that was long ago. Gives its endpoint where that is another one than
    /// before. Cancel-safe: who waits next looks it up.
    pub(super) async fn look_up(&self, service: &str) -> Option<EndpointSet> {
        let Name { place, found } = self.0.get(service)?;
        let mut found = found.lock().await;
        if found.is_some_and(|it| !place.is_named() || it.at.elapsed() < LOOK_UP_EVERY) {
            return None;
        }
        let addresses = lookup_host(place.host_and_port()).await;
        let addresses: Vec<SocketAddr> = addresses.into_iter().flatten().collect();
        let before = found.map(|it| it.address);
        // Where it was before is the best guess as long as nobody knows better.
        let stays = before.filter(|it| addresses.is_empty() || addresses.contains(it));
        let address = stays.or_else(|| addresses.first().copied())?;
        *found = Some(Found { address, at: Instant::now() });
        (before != Some(address)).then(|| place.at(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(url: &str) -> Names {
        Names::of(&ServiceAddresses::new().with("there", url))
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_looked_up_at_the_first_call_and_told_again_only_when_it_moved() {
        let names = names("https://localhost:8443");
        let found = names.look_up("there").await.unwrap();
        let endpoint = &found.endpoints[0];
        assert!(endpoint.address.ip().is_loopback() && endpoint.address.port() == 8_443);
        assert_eq!(endpoint.identity.as_deref(), Some("https://localhost"));
        assert_eq!(names.look_up("there").await, None);
        // It has moved since.
        let moved = Some(Found { address: "192.0.2.1:1".parse().unwrap(), at: Instant::now() });
        *names.0["there"].found.lock().await = moved;
        assert_eq!(names.look_up("there").await, None, "not each time");
        tokio::time::advance(LOOK_UP_EVERY).await;
        assert_eq!(names.look_up("there").await, Some(found));
    }

    #[tokio::test]
    async fn an_address_is_what_it_says_and_what_says_nothing_is_nowhere() {
        for (url, address) in [
            ("http://127.0.0.1:9000", Some("127.0.0.1:9000")),
            ("http://127.0.0.1", Some("127.0.0.1:80")),
            ("https://[::1]", Some("[::1]:443")),
            ("https://", None),
        ] {
            let found = names(url).look_up("there").await;
            let found = found.map(|it| it.endpoints[0].address.to_string());
            assert_eq!(found.as_deref(), address, "{url}");
        }
    }
}
