//! Filters at work: `mesh-policy` says what changes, here it is changed.

use bytes::Bytes;
use http::StatusCode;
use mesh_policy::{
    filter::{Filter, HeaderChange, Redirect, Redirected, Rewrite, rewritten_path},
    route::{PathMatch, RequestView as _, Rule, table::Found},
};

use crate::{
    head::{Fields, RequestHead, ResponseHead},
    refusal::silent,
    reply::{Reply, Source},
};

/// The rule's filters on a request; a redirect answers by itself.
pub(super) fn on_request(found: Option<&Found<'_>>, head: &mut RequestHead) -> Option<Reply> {
    let found = found?;
    let prefix = match found.matched.and_then(|it| it.path.as_ref()) {
        Some(PathMatch::Prefix(prefix)) => prefix.as_str(),
        Some(PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Grpc { .. }) | None => "/",
    };
    for filter in &found.rule.filters {
        match filter {
            Filter::RequestHeaders(change) => apply(change, &mut head.fields),
            Filter::Rewrite(rewrite) => rewrite_head(rewrite, prefix, head),
            Filter::Redirect(redirect) => return Some(redirected(redirect, prefix, head)),
            Filter::ResponseHeaders(_) => {}
        }
    }
    None
}

/// The filters of one backend on a request.
pub(super) fn on_backend(rule: Option<&Rule>, backend: usize, head: &mut RequestHead) {
    let Some(backend) = rule.and_then(|it| it.backends.get(backend)) else { return };
    for filter in &backend.filters {
        if let Filter::RequestHeaders(change) = filter {
            apply(change, &mut head.fields);
        }
    }
}

/// The filters of rule and backend on a response.
pub(super) fn on_response(rule: Option<&Rule>, backend: usize, head: &mut ResponseHead) {
    let Some(rule) = rule else { return };
    let of_backend = rule.backends.get(backend).map(|it| it.filters.as_slice()).unwrap_or_default();
    for filter in of_backend.iter().chain(&rule.filters) {
        if let Filter::ResponseHeaders(change) = filter {
            apply(change, &mut head.fields);
        }
    }
}

fn apply(change: &HeaderChange, fields: &mut Fields) {
    for (name, value) in &change.set {
        fields.set(name, value.as_bytes());
    }
    for (name, value) in &change.add {
        fields.append(name, value.as_bytes());
    }
    for name in &change.remove {
        fields.remove_named(name);
    }
}

fn rewrite_head(rewrite: &Rewrite, prefix: &str, head: &mut RequestHead) {
    if let Some(hostname) = &rewrite.hostname {
        head.set_authority(Bytes::copy_from_slice(hostname.as_bytes()));
    }
    if let Some(change) = &rewrite.path {
        let path = rewritten_path(change, prefix, head.path());
        head.set_path(&path);
    }
}

fn redirected(redirect: &Redirect, prefix: &str, head: &RequestHead) -> Reply {
    let authority = String::from_utf8_lossy(&head.authority);
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let location = redirect.location(Redirected {
        prefix,
        scheme: "http",
        host: head.host(),
        port,
        path: head.path(),
        query: head.query(),
    });
    let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    let mut reply = silent(status);
    reply.head.fields.push(b"location", location.as_bytes());
    reply.source = Source::Application;
    reply
}
