//! Ours: the client that services call through, over the mesh in this process, under the policy that
//! the proxy is measured with.

use std::{io, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use mesh_policy::{
    destination::{Endpoint, EndpointSet, Protocol},
    schema::{self, SourceFile},
};
use mesh_proxy::{Mesh, Outbound};
use runtime::{SystemClock, Tasks};
use service_kit::{Call, Client as ServiceClient};
use telemetry::{Telemetry, TelemetryConfig, TraceContext};

use crate::{
    broken,
    exchange::{HEADERS, PATH},
};

const POLICY: &str = include_str!("../../../../bench/mesh/features.routes.yaml");
/// The service whose routes stand in that policy.
const SERVICE: &str = "items1";
/// What a service's client waits at the longest (`call_timeout` of its settings).
const TIMEOUT: Duration = Duration::from_secs(2);

/// A handle on the one client of this process, with what stands in each of its calls.
#[derive(Debug, Clone)]
pub(super) struct Client {
    client: ServiceClient,
    headers: HeaderMap,
    trace: Option<TraceContext>,
}

impl Client {
    /// One whose service has these instances.
    pub(super) fn of(targets: &[SocketAddr], tasks: &Tasks) -> io::Result<Self> {
        let file = SourceFile { name: "features.routes.yaml".to_owned(), text: POLICY.to_owned() };
        let mut policy = schema::read(&[file]).map_err(|it| broken(format!("{it:?}")))?;
        let endpoints = targets.iter().map(|address| Endpoint {
            address: *address,
            instance: None,
            version: None,
            weight: 1,
            identity: None,
        });
        let set = EndpointSet { protocol: Protocol::Http1, endpoints: endpoints.collect() };
        policy.endpoints.insert(SERVICE.to_owned(), set);
        let telemetry = Telemetry::new(TelemetryConfig::default(), SystemClock::shared());
        let mesh = Mesh::new("bench", policy, &telemetry).map_err(io::Error::other)?;
        let outbound = Outbound::new(mesh);
        outbound.keep_swept(tasks);
        let mut headers = HeaderMap::new();
        // The trace is handed over as a service does it that serves a request meanwhile.
        let (own, trace): (Vec<_>, Vec<_>) =
            HEADERS.into_iter().partition(|(name, _)| *name != "traceparent");
        for (name, value) in own {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let trace = trace.first().and_then(|(_, value)| TraceContext::parse(value, None));
        Ok(Self { client: ServiceClient::over(outbound, TIMEOUT, &telemetry), headers, trace })
    }

    pub(super) async fn exchange(&self, expected: &[u8]) -> io::Result<()> {
        let mut call = Call::get(SERVICE, PATH).route("/api/items/{id}");
        call.headers = self.headers.clone();
        call.trace.clone_from(&self.trace);
        let reply = self.client.call(call).await.map_err(io::Error::other)?;
        if reply.status != StatusCode::OK {
            return Err(broken(format!("answered {}", reply.status)));
        }
        if reply.body != expected {
            return Err(broken("another body"));
        }
        Ok(())
    }
}
