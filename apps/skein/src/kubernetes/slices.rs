//! What EndpointSlices say (`discovery.k8s.io/v1`), read for whoever balances over them.
//!
//! A service stands under its name (label `kubernetes.io/service-name`), at one port: the first whose
//! `appProtocol` or name begins with `http`, `grpc` or `kubernetes.io/h2c`, else the first of TCP. IPv4 goes before
//! IPv6: both are the same pods. Who is not ready is left out; where nothing is said somebody is.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use mesh_control::Sets;
use mesh_policy::destination::{Endpoint, EndpointSet, Protocol};
use serde::Deserialize;

/// The label that names the service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// One page of a list of slices.
#[derive(Debug, Deserialize)]
pub(super) struct SliceList {
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<Slice>,
}

#[derive(Debug, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    goes_on: String,
}

#[derive(Debug, Deserialize)]
struct Slice {
    metadata: Meta,
    #[serde(default)]
    ports: Option<Vec<Port>>,
    #[serde(default)]
    endpoints: Option<Vec<Target>>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    port: Option<u16>,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    target_ref: Option<TargetRef>,
}

#[derive(Debug, Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct TargetRef {
    name: Option<String>,
}

impl SliceList {
    /// Where the next page begins; nothing behind the last.
    pub(super) fn goes_on(&self) -> Option<&str> {
        Some(&*self.metadata.goes_on).filter(|it| !it.is_empty())
    }

    /// Adds what this page says.
    pub(super) fn add_to(self, found: &mut Found) {
        for slice in self.items {
            let Some(service) = slice.metadata.labels.get(SERVICE_NAME) else { continue };
            let service = found.0.entry(service.clone()).or_default();
            let ports = slice.ports.unwrap_or_default();
            let Some((port, protocol)) = chosen(&ports) else { continue };
            service.protocol = service.protocol.or(Some(protocol));
            for target in slice.endpoints.unwrap_or_default() {
                // All addresses of one are the same pod.
                let address = target.addresses.first().and_then(|it| it.parse::<IpAddr>().ok());
                let Some(address) = address.filter(|_| target.conditions.ready != Some(false))
                else {
                    continue;
                };
                let instance = target.target_ref.and_then(|it| it.name);
                service.endpoints.insert(SocketAddr::new(address, port), instance);
            }
        }
    }
}

/// The port of a service, and what is spoken there.
fn chosen(ports: &[Port]) -> Option<(u16, Protocol)> {
    let mut tcp = ports.iter().filter(|it| it.protocol.as_deref().is_none_or(|it| it == "TCP"));
    let words = |it: &Port| [it.app_protocol.clone(), it.name.clone()].into_iter().flatten();
    let begins = |it: &&Port, with: &[&str]| {
        words(it).any(|word| with.iter().any(|it| word.starts_with(it)))
    };
    let spoken = tcp.clone().find(|it| begins(it, &["http", "grpc", "kubernetes.io/h2c"]));
    let port = spoken.or_else(|| tcp.next())?;
    let is_http2 = begins(&port, &["grpc", "http2", "kubernetes.io/h2c"]);
    Some((port.port?, if is_http2 { Protocol::Http2 } else { Protocol::Http1 }))
}

/// What all pages have said.
#[derive(Debug, Default)]
pub(super) struct Found(BTreeMap<String, OfService>);

#[derive(Debug, Default)]
struct OfService {
    protocol: Option<Protocol>,
    /// Each with the name of its pod.
    endpoints: BTreeMap<SocketAddr, Option<String>>,
}

impl Found {
    /// The lists of the services.
    pub(super) fn sets(self) -> Sets {
        self.0.into_iter().map(|(name, it)| (name, it.set())).collect()
    }
}

impl OfService {
    fn set(self) -> EndpointSet {
        let has_v4 = self.endpoints.keys().any(SocketAddr::is_ipv4);
        let endpoint = |(address, instance)| Endpoint {
            address,
            instance,
            version: None,
            weight: 1,
            identity: None,
        };
        let of_family = self.endpoints.into_iter().filter(|it| it.0.is_ipv4() == has_v4);
        EndpointSet {
            endpoints: of_family.map(endpoint).collect(),
            protocol: self.protocol.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(service: &str, ports: &Value, endpoints: &Value) -> Value {
        json!({"metadata": {"labels": {SERVICE_NAME: service}}, "ports": ports, "endpoints": endpoints})
    }

    fn found(items: &[Value]) -> Sets {
        let list = json!({"metadata": {"resourceVersion": "7"}, "items": items});
        let list: SliceList = serde_json::from_value(list).unwrap();
        assert_eq!(list.goes_on(), None);
        let mut found = Found::default();
        list.add_to(&mut found);
        found.sets()
    }

    fn addresses(set: &EndpointSet) -> Vec<String> {
        set.endpoints.iter().map(|it| it.address.to_string()).collect()
    }

    #[test]
    fn slices_of_a_service_are_put_together_without_those_that_are_not_ready() {
        let ports = json!([{"name": "metrics", "port": 9090}, {"name": "http", "port": 8080}]);
        let first = json!([
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"name": "cart-1"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {}},
        ]);
        let second = json!([{"addresses": ["10.0.0.4"]}, {"addresses": ["10.0.0.1"]}]);
        let sets = found(&[
            slice("cart", &ports, &first),
            slice("cart", &ports, &second),
            slice("bank", &json!([{"port": 1, "appProtocol": "kubernetes.io/h2c"}]), &Value::Null),
            json!({"metadata": {}, "ports": null, "endpoints": null}),
        ]);
        assert_eq!(sets.keys().collect::<Vec<_>>(), ["bank", "cart"]);
        assert_eq!(addresses(&sets["cart"]), ["10.0.0.1:8080", "10.0.0.3:8080", "10.0.0.4:8080"]);
        assert_eq!(sets["cart"].protocol, Protocol::Http1);
        assert_eq!((sets["bank"].endpoints.len(), sets["bank"].protocol), (0, Protocol::Http2));
    }

    #[test]
    fn the_same_pods_in_two_families_are_counted_once() {
        let ports = json!([{"port": 80, "protocol": "UDP"}, {"port": 81, "protocol": "TCP"}]);
        let of = |address: &str| json!([{"addresses": [address]}]);
        let sets = found(&[
            slice("cart", &ports, &of("2001:db8::1")),
            slice("cart", &ports, &of("10.0.0.1")),
            slice("six", &ports, &of("2001:db8::2")),
            slice("named", &ports, &of("cart.example")),
        ]);
        assert_eq!(addresses(&sets["cart"]), ["10.0.0.1:81"]);
        assert_eq!(addresses(&sets["six"]), ["[2001:db8::2]:81"]);
        assert_eq!(addresses(&sets["named"]), Vec::<String>::new());
    }

    #[test]
    fn a_page_that_is_not_the_last_says_where_the_next_begins() {
        let list: SliceList =
            serde_json::from_value(json!({"metadata": {"continue": "x=="}, "items": []})).unwrap();
        assert_eq!(list.goes_on(), Some("x=="));
    }
}
