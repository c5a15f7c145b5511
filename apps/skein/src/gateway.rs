//! The edge: the public routes, each led to the service behind it.
//!
//! An interim: it has the limits, traces and metrics of any service, and no balancing and no TLS;
//! the mesh's edge takes its place. What no route names does not exist from outside. Baggage,
//! epochs and deadlines that come from outside go no further.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, Method, Uri, header},
    response::{IntoResponse as _, Response},
};
use service_kit::{
    Bound, Call, CallReply, Change, Health, JsonBody, MutatingRoute, Problem, Repetition,
    RequestContext, Routes, Sample, SampleCall, Service, ServiceContext, StartError,
};

/// One public route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicRoute {
    /// `None` reads; else what it changes by.
    pub change: Option<Change>,
    /// Template, such as `/api/orders/{id}`.
    pub path: &'static str,
    /// The service behind it.
    pub service: &'static str,
}

impl PublicRoute {
    /// A route that reads.
    #[must_use]
    pub const fn get(path: &'static str, service: &'static str) -> Self {
        Self { change: None, path, service }
    }

    /// A route that changes something.
    #[must_use]
    pub const fn change(change: Change, path: &'static str, service: &'static str) -> Self {
        Self { change: Some(change), path, service }
    }
}

/// Headers of a request that the service behind may see.
const IN: [HeaderName; 4] =
    [header::CONTENT_TYPE, header::ACCEPT, header::IF_MATCH, header::IF_NONE_MATCH];
/// Headers of a reply that the client may see; our own error code and the replay mark besides.
const OUT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::LOCATION,
    header::RETRY_AFTER,
    header::ALLOW,
    header::ETAG,
    header::CACHE_CONTROL,
];
const OUR_OUT: [&str; 2] = [base::headers::IDEMPOTENT_REPLAYED, "skein-error"];

#[derive(Debug, Clone)]
struct Edge {
    context: ServiceContext,
    service: &'static str,
}

/// Serves the public routes on the context's tasks.
///
/// # Errors
/// The address cannot be listened on.
pub fn run(context: &ServiceContext, table: &[PublicRoute]) -> Result<Bound, StartError> {
    let mut routes = Routes::new();
    for route in table {
        let edge = Edge { context: context.clone(), service: route.service };
        let one = match route.change {
            None => Routes::new().get(route.path, forward),
            Some(change) => Routes::new().change(row(change, route.path), forward),
        };
        routes = routes.merge(one.with_state(edge));
    }
    Service::new(routes).health(Health::new()).public().serve(context)
}

/// The service behind proves what it promises; here it is only led on.
const fn row(change: Change, path: &'static str) -> MutatingRoute {
    MutatingRoute {
        change,
        path,
        repetition: Repetition::ProvenBy("the service behind the route"),
        sample: |_| Sample {
            before: Vec::new(),
            call: SampleCall { method: Method::POST, path: String::new(), body: None },
            other_body: None,
            undo: None,
        },
    }
}

async fn forward(
    State(edge): State<Edge>,
    context: RequestContext,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    // Also at the edge: a call that is led on without a form is given one on the way.
    body: JsonBody,
) -> Result<Response, Problem> {
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    let target = format!("{}{path}", context.version_prefix);
    let mut call = Call::new(edge.service, method, target)
        .route(context.route)
        .within(context.deadline)
        .traced(context.trace.clone());
    // The client decides how long it waits; a service that is slow is not cut off here first.
    call.timeout = Some(context.deadline.remaining());
    call.body = body.into_bytes();
    for name in IN {
        if let Some(value) = headers.get(&name) {
            call.headers.insert(name, value.clone());
        }
    }
    if let Some(key) = headers.get(base::headers::IDEMPOTENCY_KEY) {
        let name = HeaderName::from_static(base::headers::IDEMPOTENCY_KEY);
        call.headers.insert(name, key.clone());
    }
    Ok(reply(edge.context.client.call(call).await?))
}

fn reply(reply: CallReply) -> Response {
    let mut response = Body::from(reply.body).into_response();
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for name in OUT.iter().map(HeaderName::as_str).chain(OUR_OUT) {
        if let (Some(value), Ok(name)) = (reply.headers.get(name), HeaderName::try_from(name)) {
            headers.insert(name, value.clone());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runtime::{SystemClock, Tasks};
    use service_kit::{Client, ServiceAddresses, ServiceConfig};
    use telemetry::Telemetry;

    use super::*;

    #[tokio::test]
    async fn what_no_route_names_does_not_exist_from_outside() {
        let config = ServiceConfig::new("gateway", "gateway-1", "/nonexistent");
        let clock = SystemClock::shared();
        let context = ServiceContext::new(config, clock, Telemetry::disabled(), Tasks::new());
        let bound = run(&context, &[PublicRoute::get("/api/orders/{id}", "orders")]).unwrap();
        let services = ServiceAddresses::new()
            .with("outside", bound.http_url())
            .with("operators", bound.admin_url());
        let client = Client::new(services, Duration::from_secs(5), Telemetry::disabled());
        let status = async |from, path: &str| {
            client.call(Call::get(from, path.to_owned())).await.unwrap().status.as_u16()
        };
        for path in ["/metrics", "/openapi.json", "/readyz/log", "/admin/faults", "/api/other"] {
            assert_eq!(status("outside", path).await, 404, "{path}");
        }
        assert_eq!(status("outside", "/readyz").await, 200);
        assert_eq!(status("outside", "/api/orders/x").await, 502, "led on, to nobody here");
        assert_eq!(status("operators", "/metrics").await, 200);
    }
}
