//! Policy as text: the Gateway API's YAML and a few kinds of our own, read with every error at its
//! place.
//!
//! An unknown key is an error with a suggestion: a mesh that ignores what it does not know (linkerd)
//! leaves its users to find out at night. All files are read, and all that is wrong is said at once;
//! then nothing of it is used.

mod cursor;
mod finding;
mod gateway;
mod ours;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use cursor::{Item, Map, Notes};
pub use finding::{Finding, Level};
use tree::Node;

use crate::{
    destination::{Attachments, EndpointSet, Protocol},
    policy::Policy,
    route::RouteKind,
};

const GATEWAY: &str = "gateway.networking.k8s.io/v1";
const GATEWAY_X: &str = "gateway.networking.x-k8s.io/v1alpha1";
const OURS: &str = "skein/v1";

/// Every kind that is read, with its version.
const KINDS: [(&str, &str); 9] = [
    ("HTTPRoute", GATEWAY),
    ("GRPCRoute", GATEWAY),
    ("XBackendTrafficPolicy", GATEWAY_X),
    ("Endpoints", OURS),
    ("TrafficPolicy", OURS),
    ("RateLimit", OURS),
    ("Fault", OURS),
    ("ApiVersions", OURS),
    ("Proxy", OURS),
];

/// A file as it was read from wherever it lies.
#[derive(Debug, Clone, Copy)]
pub struct SourceFile<'a> {
    /// Its name, for findings.
    pub name: &'a str,
    /// What stands in it.
    pub text: &'a str,
}

/// `metadata`.
struct Meta {
    name: String,
    namespace: String,
    created: Option<i64>,
}

/// What files say, all together.
///
/// # Errors
/// Everything that is wrong with them, in the order of the files.
pub fn read(files: &[SourceFile<'_>]) -> Result<Policy, Vec<Finding>> {
    let mut reading = Reading::default();
    let mut findings = Vec::new();
    for file in files {
        let notes = Notes::new(file.name);
        match tree::documents(file.name, file.text) {
            Ok(documents) => documents.iter().for_each(|it| reading.document(it, &notes)),
            Err(finding) => notes.findings.borrow_mut().push(finding),
        }
        findings.extend(notes.findings.into_inner());
    }
    if findings.iter().any(|it| it.level == Level::Error) {
        findings.sort_by(|left, right| {
            (&left.file, left.line, left.column).cmp(&(&right.file, right.line, right.column))
        });
        return Err(findings);
    }
    reading.mark_idempotent();
    Ok(reading.policy)
}

#[derive(Default)]
struct Reading {
    policy: Policy,
    seen: BTreeSet<(String, String)>,
    idempotent: Vec<String>,
}

impl Reading {
    fn document(&mut self, node: &Node, notes: &Notes) {
        let item = Item { node, name: "document", notes };
        // Nothing between two lines of dashes.
        if matches!(&node.value, tree::Value::Scalar { text, .. } if text.is_empty() || text == "~")
        {
            return;
        }
        let Some(document) = item.map("a document") else { return };
        let version = document.need("apiVersion").and_then(|it| it.text());
        let kind = document.need("kind").and_then(|it| it.word(&KINDS.map(|kind| (kind.0, kind))));
        let meta = document.need("metadata").and_then(|it| meta(&it));
        let spec = document.need("spec").and_then(|it| it.map("spec"));
        document.skip("status");
        let (Some(version), Some((kind, known)), Some(meta), Some(spec)) =
            (version, kind, meta, spec)
        else {
            return;
        };
        if version != known {
            let message = format!("{kind} is read as `{known}`, not `{version}`");
            document.notes.error(document.place, "SK1009", message);
        }
        let name = (kind.to_owned(), format!("{}/{}", meta.namespace, meta.name));
        if !self.seen.insert(name) {
            let message = format!("there are two of the kind {kind} called `{}`", meta.name);
            document.notes.error(document.place, "SK1010", message);
        }
        self.read(kind, &meta, &spec);
    }

    fn read(&mut self, kind: &str, meta: &Meta, spec: &Map<'_>) {
        let policy = &mut self.policy;
        match kind {
            "HTTPRoute" => policy.routes.push(gateway::route(meta, spec, RouteKind::Http)),
            "GRPCRoute" => policy.routes.push(gateway::route(meta, spec, RouteKind::Grpc)),
            "XBackendTrafficPolicy" => gateway::retry_budget(spec, policy),
            "Endpoints" => {
                policy.endpoints.insert(meta.name.clone(), ours::endpoints(spec));
            }
            "TrafficPolicy" => {
                if let Some((target, attachments, idempotent)) = ours::traffic(spec) {
                    merge(policy.attachments.entry(target).or_default(), attachments);
                    self.idempotent.extend(idempotent);
                }
            }
            "RateLimit" => policy.rate_limits.extend(ours::rate_limit(meta, spec)),
            "Fault" => policy.faults.extend(ours::fault(meta, spec)),
            "ApiVersions" => policy.routes.push(ours::versions(meta, spec)),
            _ => policy.proxies.push(ours::proxy(meta, spec)),
        }
    }

    /// Routes that a traffic policy calls idempotent are tried again whatever their method.
    fn mark_idempotent(&mut self) {
        for name in &self.idempotent {
            let name = ours::full_name(name);
            let routes = self.policy.routes.iter_mut().filter(|it| it.name == name);
            for rule in routes.flat_map(|it| &mut it.rules) {
                rule.retry.get_or_insert_default().is_idempotent = true;
            }
        }
    }
}

/// What a later document sets takes the place of what an earlier one set for the same target.
fn merge(into: &mut Attachments, from: Attachments) {
    into.balance = from.balance.or(into.balance);
    into.breaker = from.breaker.or(into.breaker);
    into.concurrency = from.concurrency.or(into.concurrency);
    into.retry = from.retry.or_else(|| into.retry.take());
    into.timeouts = from.timeouts.or(into.timeouts);
}

fn meta(item: &Item<'_>) -> Option<Meta> {
    let map = item.map("metadata")?;
    for known in ["labels", "annotations", "generation", "resourceVersion", "uid", "managedFields"]
    {
        map.skip(known);
    }
    let namespace = map.text("namespace").unwrap_or_else(|| "default".to_owned());
    let created = map.get("creationTimestamp").and_then(|it| it.time());
    Some(Meta { name: map.need("name")?.text()?, namespace, created })
}

/// Endpoints as a file, the same for the same endpoints.
#[must_use]
pub fn write_endpoints(endpoints: &BTreeMap<String, EndpointSet>) -> String {
    let mut text = String::new();
    for (name, set) in endpoints {
        // Writing to a text cannot fail.
        let _written = write_set(&mut text, name, set);
    }
    text
}

fn write_set(text: &mut String, name: &str, set: &EndpointSet) -> std::fmt::Result {
    writeln!(text, "---\napiVersion: {OURS}\nkind: Endpoints\nmetadata: {{name: {name}}}\nspec:")?;
    match set.protocol {
        Protocol::Http1 => {}
        Protocol::Http2 => writeln!(text, "  protocol: h2c")?,
        Protocol::Tcp => writeln!(text, "  protocol: tcp")?,
    }
    if set.endpoints.is_empty() {
        return writeln!(text, "  endpoints: []");
    }
    writeln!(text, "  endpoints:")?;
    for it in &set.endpoints {
        write!(text, "  - {{address: \"{}\"", it.address)?;
        for (key, value) in [("instance", &it.instance), ("version", &it.version)] {
            if let Some(value) = value {
                write!(text, ", {key}: \"{value}\"")?;
            }
        }
        if it.weight != 1 {
            write!(text, ", weight: {}", it.weight)?;
        }
        writeln!(text, "}}")?;
    }
    Ok(())
}
