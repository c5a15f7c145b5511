//! Proxy: the program beside a service, or the edge.

use std::path::PathBuf;

use super::{
    Code,
    context::Context,
    document::Document,
    endpoints::PROTOCOLS,
    section::Section,
    values::{self, integer, word},
    yaml::{Node, Value},
};
use crate::{
    destination::Protocol,
    proxy::{AccessLog, Certificate, Control, Edge, Identity, Inbound, Instance, Outbound, Proxy},
};

/// Doors of one kind, hosts of one edge, and files of one proxy; more is refused.
const DOORS_MAX: usize = 256;

/// Threads that serve.
const WORKERS_MAX: usize = 1024;

pub(super) fn read(document: &Document<'_>, subject: &str) -> Option<Proxy> {
    let known = [
        "edge",
        "outbound",
        "inbound",
        "admin",
        "files",
        "workers",
        "traces",
        "accessLog",
        "drainDelay",
        "control",
        "identity",
    ];
    let spec = document.section("a Proxy", &known)?;
    if !["edge", "outbound", "inbound"].iter().any(|it| spec.get(it).is_some()) {
        let message = "a Proxy needs `inbound`, `outbound` or `edge`".to_owned();
        spec.context.error(document.spec.spot, Code::MissingMember, message);
    }
    spec.context.record(subject, "admin", spec.spot_of("admin"));
    let edges = doors(&spec, "edge", subject, |context, node| edge(context, node, document));
    let mut names = Vec::new();
    for (edge, node) in edges.iter().zip(spec.one_or_more("edge", DOORS_MAX)) {
        if names.contains(&&edge.name) {
            let message = format!("an edge `{}` is here already", edge.name);
            spec.context.error(node.spot, Code::DuplicateName, message);
        }
        names.push(&edge.name);
    }
    let control = spec.read("control", control);
    let registers = control.as_ref().is_some_and(|it| it.instance.is_some());
    if registers && spec.get("inbound").is_none() {
        let message = "an instance needs a door: `inbound`".to_owned();
        spec.context.error(spec.spot_of("control"), Code::MissingMember, message);
    }
    let files = spec.one_or_more("files", DOORS_MAX).iter();
    let file = |it| values::text_up_to(4096)(spec.context, it).map(PathBuf::from);
    Some(Proxy {
        name: document.name.clone(),
        outbound: doors(&spec, "outbound", subject, outbound),
        inbound: doors(&spec, "inbound", subject, inbound),
        admin: spec.read("admin", values::address),
        files: files.filter_map(file).collect(),
        workers: spec.read("workers", integer_of_size(WORKERS_MAX)).unwrap_or(0),
        trace_endpoint: spec.read("traces", values::url),
        access_log: spec.read("accessLog", access_log),
        drain_delay: spec.read("drainDelay", values::duration),
        control,
        identity: spec.read("identity", identity),
        edges,
    })
}

fn identity(context: &Context<'_>, node: &Node) -> Option<Identity> {
    let section = Section::of(context, node, "an identity", &["name", "authority"])?;
    let authority = section.read_needed("authority", values::text_up_to(4096)).map(PathBuf::from);
    Some(Identity { name: section.read_needed("name", values::identity)?, authority: authority? })
}

fn control(context: &Context<'_>, node: &Node) -> Option<Control> {
    let section =
        Section::of(context, node, "a control plane", &["address", "identity", "instance"])?;
    let identity = section.read("identity", values::identity);
    if section.get("identity").is_some() && identity.is_none() {
        // Without it anybody would be believed.
        return None;
    }
    let instance = section.read("instance", instance);
    Some(Control { address: section.read_needed("address", values::address)?, identity, instance })
}

fn instance(context: &Context<'_>, node: &Node) -> Option<Instance> {
    let known = ["name", "version", "zone", "capacity", "address"];
    let section = Section::of(context, node, "an instance", &known)?;
    let version = section.read("version", values::text_up_to(128));
    let zone = section.read("zone", values::text_up_to(128));
    let capacity = section.read("capacity", integer(0, 1_000_000)).unwrap_or(1);
    let address = section.read("address", values::address);
    let name = section.read_needed("name", values::text_up_to(128))?;
    Some(Instance { name, version, zone, capacity, address })
}

fn integer_of_size(max: usize) -> impl Fn(&Context<'_>, &Node) -> Option<usize> {
    move |context, node| integer(0, max)(context, node)
}

/// A share alone, or a mapping.
fn access_log(context: &Context<'_>, node: &Node) -> Option<AccessLog> {
    let defaults = AccessLog::default();
    if !matches!(node.value, Value::Map(_)) {
        return values::per_mille(context, node).map(|it| AccessLog { per_mille: it, ..defaults });
    }
    let section = Section::of(context, node, "an access log", &["share", "slow"])?;
    Some(AccessLog {
        per_mille: section.read("share", values::per_mille).unwrap_or(defaults.per_mille),
        slow: section.read("slow", values::duration).unwrap_or(defaults.slow),
    })
}

fn doors<T>(
    spec: &Section<'_>,
    member: &str,
    subject: &str,
    read: impl Fn(&Context<'_>, &Node) -> Option<T>,
) -> Vec<T> {
    let mut doors = Vec::new();
    for node in spec.one_or_more(member, DOORS_MAX) {
        let Some(door) = read(spec.context, node) else { continue };
        spec.context.record(subject, &format!("{member}[{}]", doors.len()), node.spot);
        doors.push(door);
    }
    doors
}

fn edge(context: &Context<'_>, node: &Node, document: &Document<'_>) -> Option<Edge> {
    let known = ["name", "listen", "hosts", "certificate"];
    let section = Section::of(context, node, "an edge", &known)?;
    let certificate = section.read("certificate", certificate);
    if section.get("certificate").is_some() && certificate.is_none() {
        // Without it the edge would be open in plain text.
        return None;
    }
    let hosts = section.one_or_more("hosts", DOORS_MAX).iter();
    let hosts = hosts.filter_map(|it| values::own_host(context, it)).collect();
    let name = section.read("name", values::name).unwrap_or_else(|| document.name.clone());
    let listen = section.read_needed("listen", values::address)?;
    Some(Edge { name, listen, hosts, certificate })
}

fn certificate(context: &Context<'_>, node: &Node) -> Option<Certificate> {
    let section = Section::of(context, node, "a certificate", &["chain", "key"])?;
    let file = |name| section.read_needed(name, values::text_up_to(4096)).map(PathBuf::from);
    let (chain, key) = (file("chain"), file("key"));
    Some(Certificate { chain: chain?, key: key? })
}

fn outbound(context: &Context<'_>, node: &Node) -> Option<Outbound> {
    let known = ["listen", "service", "protocol"];
    let section = Section::of(context, node, "an outbound door", &known)?;
    let (service, protocol) = (section.read("service", values::name), protocol(&section));
    let listen = section.read_needed("listen", values::address)?;
    Some(Outbound { listen, service, protocol })
}

fn inbound(context: &Context<'_>, node: &Node) -> Option<Inbound> {
    let known = ["listen", "application", "protocol", "readinessPath"];
    let section = Section::of(context, node, "an inbound door", &known)?;
    let protocol = protocol(&section);
    let readiness_path = section.read("readinessPath", values::path);
    let listen = section.read_needed("listen", values::address);
    let application = section.read_needed("application", values::address);
    Some(Inbound { listen: listen?, application: application?, protocol, readiness_path })
}

fn protocol(section: &Section<'_>) -> Option<Protocol> {
    section.read("protocol", word(&PROTOCOLS))
}
