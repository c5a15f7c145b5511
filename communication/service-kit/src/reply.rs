//! Replies as values: what an operation keeps and gives again.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use base::headers::SKEIN_ERROR;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use store::StoredReply;

use crate::{
    json,
    problem::{CONTENT_TYPE, Problem},
};

/// A JSON reply.
///
/// # Errors
/// 500 when the value cannot be written, which is a defect of ours.
pub fn json(status: u16, value: &impl Serialize) -> Result<StoredReply, Problem> {
    let reply = StoredReply { status, headers: Vec::new(), body: json::write(value)? };
    Ok(reply.header("content-type", "application/json"))
}

/// A plain text reply.
#[must_use]
pub fn text(status: u16, content: &str) -> StoredReply {
    let reply = StoredReply { status, headers: Vec::new(), body: content.as_bytes().to_vec() };
    reply.header("content-type", "text/plain; charset=utf-8")
}

/// A reply without a body.
#[must_use]
pub const fn empty(status: u16) -> StoredReply {
    StoredReply { status, headers: Vec::new(), body: Vec::new() }
}

/// A refusal that is a reply: without the id of a trace, which is another each time.
#[must_use]
pub fn refusal(problem: &Problem) -> StoredReply {
    let body = problem.body(None);
    let reply = StoredReply { status: problem.status.as_u16(), headers: Vec::new(), body };
    reply.header("content-type", CONTENT_TYPE).header(SKEIN_ERROR, &problem.code)
}

/// The reply as the caller gets it.
#[must_use]
pub fn respond(reply: StoredReply) -> Response {
    let mut response = Body::from(reply.body).into_response();
    // What was kept was valid when it was written.
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
