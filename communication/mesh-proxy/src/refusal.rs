//! Refusals of the mesh: one short code in status, problem body, `skein-error`, `Proxy-Status`,
//! metric, span and log.

use std::{borrow::Cow, time::Duration};

use base::Code;
use bytes::Bytes;
use http::StatusCode;

use crate::{
    head::ResponseHead,
    reply::{Reply, ReplyBody, Source},
};

/// Why the mesh answers by itself.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The short code.
    pub code: Code,
    /// Status, where it is not the one of the code.
    pub status: Option<StatusCode>,
    /// What went wrong, for a person.
    pub detail: Cow<'static, str>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// Further fields.
    pub fields: Vec<(&'static str, String)>,
    /// Whether certainly no application has seen the request.
    pub is_unprocessed: bool,
}

impl Refusal {
    /// A refusal before any application saw the request.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: None,
            detail: detail.into(),
            retry_after: code.retry_after(),
            fields: Vec::new(),
            is_unprocessed: true,
        }
    }

    /// An application may have seen the request.
    #[must_use]
    pub fn maybe_processed(self) -> Self {
        Self { is_unprocessed: false, ..self }
    }

    /// After so many tries: the hops above see that this one has decided. It is `is_unprocessed` when
    /// every one of them was.
    #[must_use]
    pub(crate) fn after(mut self, tries: u32, is_unprocessed: bool) -> Self {
        if tries > 0 {
            self.fields.push((base::headers::SKEIN_ATTEMPT, tries.to_string()));
        }
        Self { is_unprocessed, ..self }
    }

    /// With a time to come back.
    #[must_use]
    pub fn retry_after(self, wait: Option<Duration>) -> Self {
        Self { retry_after: wait.or(self.retry_after), ..self }
    }

    /// As an answer; `trace_id` names the trace that it stands in.
    #[must_use]
    pub fn reply(self, trace_id: Option<&str>) -> Reply {
        let code = self.code;
        let status = self.status.unwrap_or_else(|| {
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        });
        let body = self.body(status, trace_id);
        let mut head = ResponseHead::new(status);
        head.fields.push(b"content-type", b"application/problem+json");
        head.fields.push(b"skein-error", code.as_str().as_bytes());
        head.fields.push(b"proxy-status", proxy_status(code).as_bytes());
        if let Some(wait) = self.retry_after {
            // Rounded up: who comes back earlier is refused again.
            let seconds = wait.as_millis().div_ceil(1_000).to_string();
            head.fields.push(b"retry-after", seconds.as_bytes());
        }
        for (name, value) in &self.fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        let is_unprocessed = self.is_unprocessed;
        let reply = Reply::whole(head, body);
        Reply { source: Source::Mesh { code, is_unprocessed }, ..reply }
    }

    fn body(&self, status: StatusCode, trace_id: Option<&str>) -> Bytes {
        let code = self.code.as_str();
        let document = serde_json::json!({
            "type": format!("urn:problem:{code}"),
            "title": code.replace('_', " "),
            "status": status.as_u16(),
            "detail": self.detail,
            "code": code,
            "retryable": self.code.is_retryable(),
            "trace_id": trace_id,
        });
        document.to_string().into()
    }
}

/// RFC 9209: says that the proxy, not the application, answers, and why.
fn proxy_status(code: Code) -> String {
    let error = match code {
        Code::NoRoute => "destination_not_found",
        Code::NoEndpoint | Code::BreakerOpen => "destination_unavailable",
        Code::UpstreamUnavailable => "connection_refused",
        Code::UpstreamReset => "connection_terminated",
        Code::UpstreamTimeout | Code::DeadlineExpired => "http_response_timeout",
        Code::UpstreamMalformed => "http_protocol_error",
        Code::Overloaded => "connection_limit_reached",
        Code::Internal => "proxy_internal_error",
        _ => "http_request_denied",
    };
    format!("skein; error={error}; details=\"{code}\"")
}

/// A reply without a body, for places where nothing can be said.
#[must_use]
pub fn silent(status: StatusCode) -> Reply {
    let mut head = ResponseHead::new(status);
    head.length = Some(0);
    Reply { head, body: ReplyBody::empty(), source: Source::Application }
}
