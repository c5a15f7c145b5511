//! Endpoints: where a service is found.

use std::collections::BTreeSet;

use super::{
    Code,
    context::Context,
    document::Document,
    section::Section,
    values::{self, integer, word},
    yaml::Node,
};
use crate::destination::{Endpoint, EndpointSet, Protocol};

/// Endpoints of one service; more is refused.
const ENDPOINTS_MAX: usize = 10_000;

pub(super) const PROTOCOLS: [(&str, Protocol); 3] =
    [("http", Protocol::Http1), ("h2c", Protocol::Http2), ("tcp", Protocol::Tcp)];

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<EndpointSet> {
    let spec = document.section("Endpoints", &["protocol", "endpoints"])?;
    let protocol = spec.read("protocol", word(&PROTOCOLS)).unwrap_or_default();
    spec.need("endpoints");
    let (mut endpoints, mut addresses) = (Vec::new(), BTreeSet::new());
    for node in spec.list("endpoints", ENDPOINTS_MAX) {
        let Some(endpoint) = endpoint(spec.context, node) else { continue };
        if !addresses.insert(endpoint.address) {
            let message = format!("{} is in this list already", endpoint.address);
            spec.context.error(node.spot, Code::DuplicateName, message);
        }
        spec.context.record(subject, &format!("endpoints[{}]", endpoints.len()), node.spot);
        endpoints.push(endpoint);
    }
    Some(EndpointSet { protocol, endpoints })
}

fn endpoint(context: &Context<'_>, node: &Node) -> Option<Endpoint> {
    let known = ["address", "instance", "version", "weight", "identity"];
    let section = Section::of(context, node, "an endpoint", &known)?;
    let instance = section.read("instance", values::text_up_to(128));
    let version = section.read("version", values::text_up_to(128));
    let weight = section.read("weight", integer(0, 1_000_000)).unwrap_or(1);
    let identity = section.read("identity", values::identity);
    if section.get("identity").is_some() && identity.is_none() {
        // Without it the endpoint would be called in plain text.
        return None;
    }
    let address = section.read_needed("address", values::address_to_call)?;
    Some(Endpoint { address, instance, version, weight, identity })
}
