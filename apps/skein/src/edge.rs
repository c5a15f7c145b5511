//! The edge: what comes from outside is led on by the routes of one file, and by nothing else.
//!
//! What no route names does not exist from outside. What strangers say about who they are, when they
//! give up and how often they tried goes no further.

use mesh_proxy::{Door, Forward, Mesh, Outbound, ToTls, Way};
use service_kit::{Bound, Health, Routes, SecureDoor, Service, ServiceContext, StartError};

/// An edge.
#[derive(Debug, Clone, Default)]
pub struct Edge {
    /// Its name in the policy.
    pub name: String,
    /// Hosts that are ours; none means every one.
    pub hosts: Vec<String>,
    /// Its door over TLS.
    pub secure: Option<SecureDoor>,
    /// What its plain door does.
    pub plain: PlainDoor,
}

/// What the plain door of an edge does that has one over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainDoor {
    /// It serves as the other.
    #[default]
    Serves,
    /// It sends on to this port over TLS what shows no credential, and refuses the rest.
    SendsTo(u16),
}

/// Serves an edge on the context's tasks.
///
/// # Errors
/// An address cannot be listened on.
pub fn run(context: &ServiceContext, mesh: &Mesh, edge: Edge) -> Result<Bound, StartError> {
    let outbound = Outbound::new(mesh.clone());
    outbound.keep_swept(&context.tasks);
    let forward = Forward::new(outbound, Way::To(Door::Edge(edge.name)));
    let mut forward = forward.for_hosts(edge.hosts);
    if let PlainDoor::SendsTo(port) = edge.plain {
        forward = forward.over_tls(ToTls::port(port, &context.telemetry));
    }
    // The operators look at what leads on from here, not at the calls that this process makes itself.
    let service = Service::new(Routes::new()).mesh(mesh).health(Health::new());
    service.public().secure(edge.secure).serve_edge(context, forward)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_policy::{
        Policy,
        destination::EndpointSet,
        route::{Backend, Match, Parent, PathMatch, Route, RouteKind, Rule},
    };
    use runtime::{SystemClock, Tasks};
    use service_kit::{Call, Client, ServiceAddresses, ServiceConfig};
    use telemetry::Telemetry;

    use super::*;

    fn edge() -> Edge {
        Edge { name: "edge".to_owned(), ..Edge::default() }
    }

    fn policy() -> Policy {
        let path = PathMatch::Prefix("/api/orders".to_owned());
        let backend =
            Backend { service: "orders".to_owned(), port: None, weight: 1, filters: Vec::new() };
        let rule = Rule {
            matches: vec![Match { path: Some(path), ..Match::default() }],
            backends: vec![backend],
            ..Rule::default()
        };
        let route = Route {
            name: "default/public".to_owned(),
            kind: RouteKind::Http,
            created: None,
            parents: vec![Parent::Gateway { name: "edge".to_owned(), section: None }],
            hostnames: Vec::new(),
            rules: vec![rule],
        };
        let endpoints = [("orders".to_owned(), EndpointSet::default())].into();
        Policy { routes: vec![route], endpoints, ..Policy::default() }
    }

    #[tokio::test]
    async fn what_no_route_names_does_not_exist_from_outside() {
        let config = ServiceConfig::new("gateway", "gateway-1", "/nonexistent");
        let clock = SystemClock::shared();
        let context = ServiceContext::new(config, clock, Telemetry::disabled(), Tasks::new());
        let mesh = Mesh::new("edge", policy(), &Telemetry::disabled()).unwrap();
        let hosts = vec!["127.0.0.1".to_owned()];
        let bound = run(&context, &mesh, Edge { hosts, ..edge() }).unwrap();
        let client = client(&bound);
        let status = async |from, path: &str| {
            client.call(Call::get(from, path.to_owned())).await.unwrap().status.as_u16()
        };
        for path in ["/metrics", "/openapi.json", "/readyz/log", "/admin/faults", "/api/other"] {
            assert_eq!(status("outside", path).await, 404, "{path}");
        }
        assert_eq!(status("outside", "/readyz").await, 200);
        assert_eq!(status("outside", "/api/orders/x").await, 503, "led on, to nobody here");
        assert_eq!(status("outside", "/api/orders/a%2fb").await, 400);
        assert_eq!(status("outside", "/api/orders/..%3Fx").await, 400);
        assert_eq!(status("stranger", "/api/orders/x").await, 421);
        assert_eq!(status("operators", "/metrics").await, 200);
    }

    #[tokio::test]
    async fn operators_see_the_routes_of_the_edge_and_not_those_of_its_own_calls() {
        let config = ServiceConfig::new("gateway", "gateway-1", "/nonexistent");
        let clock = SystemClock::shared();
        let context = ServiceContext::new(config, clock, Telemetry::disabled(), Tasks::new());
        let mesh = Mesh::new("edge", policy(), &Telemetry::disabled()).unwrap();
        let bound = run(&context, &mesh, edge()).unwrap();
        let client = client(&bound);
        let page = async |path: &str| {
            let reply = client.call(Call::get("operators", path.to_owned())).await.unwrap();
            reply.json().unwrap()
        };
        let routes = page("/routes").await;
        let seen = (&routes["source"], &routes["routes"][0]["door"]);
        assert_eq!(serde_json::to_string(&seen).unwrap(), r#"["edge","edge/edge"]"#);
        let why = page("/explain?edge=edge&path=/api/orders/7").await;
        assert_eq!(
            (&why["route"], &why["verdict"]),
            (&"default/public".into(), &"no_endpoint".into())
        );
    }

    fn client(bound: &Bound) -> Client {
        let services = ServiceAddresses::new()
            .with("outside", bound.http_url())
            .with("stranger", format!("http://localhost:{}", bound.http.port()))
            .with("operators", bound.admin_url());
        Client::new(services, Duration::from_secs(5), Telemetry::disabled())
    }
}
