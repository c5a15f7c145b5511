//! A document: what kind it is and what it is called.

use super::{
    Code,
    context::Context,
    origin::Spot,
    section::Section,
    values,
    yaml::{Node, Value},
};

const GATEWAY: &str = "gateway.networking.k8s.io/v1";
const EXPERIMENTAL: &str = "gateway.networking.x-k8s.io/v1alpha1";
const OURS: &str = "skein/v1";

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    HttpRoute,
    GrpcRoute,
    BackendTrafficPolicy,
    Proxy,
    Endpoints,
    TrafficPolicy,
    ApiVersions,
    RateLimit,
    Fault,
    Authorization,
    EdgeAccess,
}

const KINDS: [(&str, &str, Kind); 11] = [
    ("HTTPRoute", GATEWAY, Kind::HttpRoute),
    ("GRPCRoute", GATEWAY, Kind::GrpcRoute),
    ("XBackendTrafficPolicy", EXPERIMENTAL, Kind::BackendTrafficPolicy),
    ("Proxy", OURS, Kind::Proxy),
    ("Endpoints", OURS, Kind::Endpoints),
    ("TrafficPolicy", OURS, Kind::TrafficPolicy),
    ("ApiVersions", OURS, Kind::ApiVersions),
    ("RateLimit", OURS, Kind::RateLimit),
    ("Fault", OURS, Kind::Fault),
    ("Authorization", OURS, Kind::Authorization),
    ("EdgeAccess", OURS, Kind::EdgeAccess),
];

/// A document whose head is right.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) namespace: String,
    /// Seconds since 1970.
    pub(super) created: Option<i64>,
    /// Where its name stands.
    pub(super) spot: Spot,
    pub(super) spec: &'a Node,
}

impl<'a> Document<'a> {
    /// The document; nothing where it is empty or its head is wrong, which is told.
    pub(super) fn of(context: &'a Context<'a>, node: &'a Node) -> Option<Self> {
        if node.is_null() {
            return None;
        }
        if !matches!(node.value, Value::Map(_)) {
            let message = format!("a document is a mapping, this is {}", node.describe());
            context.error(node.spot, Code::WrongType, message);
            return None;
        }
        // What `kubectl get -o yaml` adds is passed over: `status` here, some of `metadata` below.
        let known = ["apiVersion", "kind", "metadata", "spec", "status"];
        let kind = Self::kind_of(context, node);
        // Whose words they are is unknown then, so its members are not looked at.
        kind?;
        let head = Section::of(context, node, "a document", &known)?;
        let known = [
            "name",
            "namespace",
            "creationTimestamp",
            "labels",
            "annotations",
            "uid",
            "resourceVersion",
            "generation",
            "managedFields",
        ];
        head.need("metadata");
        let spec = head.need("spec");
        let metadata = head.section("metadata", "metadata", &known)?;
        let created = metadata.read("creationTimestamp", values::timestamp);
        let namespace = metadata.read("namespace", values::name);
        Some(Self {
            context,
            kind: kind?,
            name: metadata.read_needed("name", values::name)?,
            namespace: namespace.unwrap_or_else(|| "default".to_owned()),
            created: created.map(jiff::Timestamp::as_second),
            spot: metadata.spot_of("name"),
            spec: spec?,
        })
    }

    fn kind_of(context: &'a Context<'a>, node: &'a Node) -> Option<Kind> {
        let head = Section::any(context, node);
        let api_version = head.need("apiVersion").and_then(|it| values::text(context, it));
        let node = head.need("kind")?;
        let kind = values::text(context, node)?;
        let Some((_, expected, known)) = KINDS.iter().find(|(name, ..)| *name == kind) else {
            let names = KINDS.map(|(name, ..)| name);
            let message = format!("kind `{kind}` is not read here");
            match kind {
                "Service" | "EndpointSlice" => {
                    let hint = "`Endpoints` says where a service is found";
                    context.error_with(node.spot, Code::UnknownKind, message, hint);
                }
                "Gateway" => {
                    let hint = "`Proxy` says where an edge listens";
                    context.error_with(node.spot, Code::UnknownKind, message, hint);
                }
                _ => context.error_near(node.spot, Code::UnknownKind, message, (kind, &names)),
            }
            return None;
        };
        let api_version = api_version?;
        if api_version != *expected {
            let message = format!("`{api_version}` has no {kind} that is read here");
            let spot = head.get("apiVersion").map_or(node.spot, |it| it.spot);
            let hint = format!("write `{expected}`");
            context.error_with(spot, Code::UnknownApiVersion, message, &hint);
            return None;
        }
        Some(*known)
    }

    /// `namespace/name`.
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its members, once each that is not known has been told.
    pub(super) fn section(&self, what: &'static str, known: &[&str]) -> Option<Section<'a>> {
        Section::of(self.context, self.spec, what, known)
    }
}
