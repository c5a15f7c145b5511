//! Filters at work: `mesh-policy` says what changes, here it is changed.

use bytes::Bytes;
use http::StatusCode;
use mesh_policy::{
    filter::{self, Arrival, Edit, Redirect},
    route::{Backend, Found, RequestView as _},
};

use crate::{
    head::{Fields, RequestHead, ResponseHead},
    refusal::silent,
    reply::Reply,
};

/// A redirect answers by itself.
pub(super) fn redirect(found: Option<&Found<'_>>, head: &RequestHead) -> Option<Reply> {
    let found = found?;
    let redirect = filter::redirect(&found.rule.filters)?;
    let location = redirect.location(&arrival(head), found.matched.prefix());
    Some(answer(redirect, &location))
}

fn answer(redirect: &Redirect, location: &str) -> Reply {
    let mut reply = silent(StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND));
    reply.head.fields.push(b"location", location.as_bytes());
    reply
}

fn arrival(head: &RequestHead) -> Arrival<'_> {
    let authority = std::str::from_utf8(&head.authority).unwrap_or_default();
    let port = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Arrival {
        scheme: "http",
        host: head.host(),
        listener_port: port.unwrap_or(80),
        path: head.path(),
        query: head.query(),
    }
}

/// What rule and backend change on the way there.
pub(super) fn on_request(found: &Found<'_>, backend: &Backend, head: &mut RequestHead) {
    for edit in filter::request_edits(&found.rule.filters, &backend.filters) {
        apply(edit, &mut head.fields);
    }
    let Some(rewrite) = filter::rewrite(&found.rule.filters, &backend.filters) else { return };
    if let Some(change) = &rewrite.path {
        let path = change.apply(head.path(), found.matched.prefix()).into_owned();
        head.set_path(&path);
    }
    if let Some(hostname) = &rewrite.hostname {
        head.set_authority(Bytes::copy_from_slice(hostname.as_bytes()));
    }
}

/// What rule and backend change on the way back.
pub(super) fn on_response(found: &Found<'_>, backend: &Backend, head: &mut ResponseHead) {
    for edit in filter::response_edits(&found.rule.filters, &backend.filters) {
        apply(edit, &mut head.fields);
    }
}

fn apply(edit: Edit<'_>, fields: &mut Fields) {
    match edit {
        Edit::Set { name, value } => fields.set(name, value.as_bytes()),
        Edit::Append { name, value } => fields.append(name, value.as_bytes()),
        Edit::Remove { name } => fields.remove_named(name),
    }
}
