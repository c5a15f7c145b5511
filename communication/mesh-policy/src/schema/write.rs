//! Endpoints as a file, for whoever keeps it current.

use std::collections::BTreeMap;

use crate::destination::{Endpoint, EndpointSet, Protocol};

/// The documents that [`read`](super::read) reads as these endpoints. The same endpoints give the
/// same bytes: services by name, endpoints in their order, text always in quotes.
#[must_use]
pub fn write_endpoints(endpoints: &BTreeMap<String, EndpointSet>) -> String {
    let documents = endpoints.iter().map(|(service, set)| document(service, set));
    documents.collect::<Vec<_>>().join("---\n")
}

fn document(service: &str, set: &EndpointSet) -> String {
    let protocol = match set.protocol {
        Protocol::Http1 => "http",
        Protocol::Http2 => "h2c",
        Protocol::Tcp => "tcp",
    };
    let service = quoted(service);
    let mut out = format!(
        "apiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: {service}}}\nspec:\n  \
         protocol: {protocol}\n"
    );
    if set.endpoints.is_empty() {
        out.push_str("  endpoints: []\n");
    } else {
        out.push_str("  endpoints:\n");
    }
    for endpoint in &set.endpoints {
        push_endpoint(&mut out, endpoint);
    }
    out
}

fn push_endpoint(out: &mut String, endpoint: &Endpoint) {
    let mut members = vec![format!("address: {}", quoted(&endpoint.address.to_string()))];
    let instance = endpoint.instance.as_deref();
    members.extend(instance.map(|it| format!("instance: {}", quoted(it))));
    members.extend(endpoint.version.as_deref().map(|it| format!("version: {}", quoted(it))));
    if endpoint.weight != 1 {
        members.push(format!("weight: {}", endpoint.weight));
    }
    members.extend(endpoint.identity.as_deref().map(|it| format!("identity: {}", quoted(it))));
    out.push_str(&format!("    - {{{}}}\n", members.join(", ")));
}

/// A double-quoted scalar: YAML 1.2.2, 7.3.1.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            ' '..='~' => out.push(character),
            other => out.push_str(&format!("\\U{:08x}", u32::from(other))),
        }
    }
    out.push('"');
    out
}
