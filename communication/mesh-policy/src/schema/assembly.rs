//! Documents become one policy; no two of them have the same name.

use super::{
    Code, api_versions, authorization, budget,
    context::Context,
    document::{Document, Kind},
    edge_access, endpoints, fault, grpc_route, http_route,
    names::Names,
    origin::Spot,
    proxy, rate_limit, traffic_policy,
};
use crate::{Policy, retry::RouteRetry, route::Route};

/// A policy that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    policy: Policy,
    names: Names,
    /// Routes that may be repeated, with the place that says so.
    idempotent: Vec<(String, Spot)>,
}

impl Assembly {
    pub(super) fn take(&mut self, document: &Document<'_>) {
        match document.kind {
            Kind::HttpRoute => self.add_route(document, http_route::read),
            Kind::GrpcRoute => self.add_route(document, grpc_route::read),
            Kind::ApiVersions => self.add_route(document, api_versions::read),
            Kind::Endpoints => {
                self.add(document, "endpoints", endpoints::read, |policy, name, set| {
                    policy.endpoints.insert(name, set);
                });
            }
            Kind::Proxy => {
                self.add(document, "proxy", proxy::read, |it, _, proxy| it.proxies.push(proxy));
            }
            Kind::RateLimit => {
                self.add(document, "rate-limit", rate_limit::read, |it, _, limit| {
                    it.rate_limits.push(limit);
                });
            }
            Kind::Fault => {
                self.add(document, "fault", fault::read, |it, _, fault| it.faults.push(fault));
            }
            Kind::Authorization => {
                self.add(document, "authorization", authorization::read, |it, _, policy| {
                    it.authorizations.push(policy);
                });
            }
            Kind::EdgeAccess => {
                self.add(document, "edge-access", edge_access::read, |it, _, access| {
                    it.edge_access.push(access);
                });
            }
            Kind::TrafficPolicy => {
                let attachments = &mut self.policy.attachments;
                self.idempotent.extend(traffic_policy::read(
                    document,
                    attachments,
                    &mut self.names,
                ));
            }
            Kind::BackendTrafficPolicy => {
                budget::read(document, &mut self.policy.attachments, &mut self.names);
            }
        }
    }

    fn add_route(
        &mut self,
        document: &Document<'_>,
        read: impl Fn(&Document<'_>, &str) -> Option<Route>,
    ) {
        // Rate limits and faults name a route without its kind, so all kinds share their names.
        let subject = format!("route {}", document.full_name());
        let is_new = self.names.claim(document.context, &subject, document.spot);
        let route = read(document, &subject);
        self.policy.routes.extend(route.filter(|_| is_new));
    }

    fn add<T>(
        &mut self,
        document: &Document<'_>,
        kind: &str,
        read: impl Fn(&Document<'_>, &str) -> Option<T>,
        put: impl Fn(&mut Policy, String, T),
    ) {
        let subject = format!("{kind} {}", document.name);
        let is_new = self.names.claim(document.context, &subject, document.spot);
        if let Some(value) = read(document, &subject).filter(|_| is_new) {
            put(&mut self.policy, document.name.clone(), value);
        }
    }

    /// The policy, once routes know what was said about them elsewhere.
    pub(super) fn finish(mut self, context: Option<&Context<'_>>) -> Policy {
        for (name, spot) in self.idempotent {
            if let Some(route) = self.policy.routes.iter_mut().find(|it| it.name == name) {
                for rule in &mut route.rules {
                    rule.retry.get_or_insert_with(RouteRetry::default).is_idempotent = true;
                }
            } else if let Some(context) = context {
                let names: Vec<&str> = self.policy.routes.iter().map(|it| &*it.name).collect();
                let message = format!("no file has a route `{name}`");
                context.error_near(spot, Code::UnknownName, message, (&name, &names));
            }
        }
        self.policy
    }
}

/// Documents of a lower phase are read before it: what builds on others comes after them.
pub(super) fn phase(document: &Document<'_>) -> u8 {
    match document.kind {
        Kind::TrafficPolicy if traffic_policy::is_for_every(document.spec) => 1,
        Kind::TrafficPolicy => 2,
        Kind::BackendTrafficPolicy => 3,
        Kind::HttpRoute
        | Kind::GrpcRoute
        | Kind::Proxy
        | Kind::Endpoints
        | Kind::ApiVersions
        | Kind::RateLimit
        | Kind::Fault
        | Kind::Authorization
        | Kind::EdgeAccess => 0,
    }
}
