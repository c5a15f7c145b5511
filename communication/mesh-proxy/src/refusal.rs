//! Refusals of the mesh: one short code in status, problem body, `skein-error`, `Proxy-Status`,
//! metric, span and log.

use std::{borrow::Cow, time::Duration};

use base::Code;
use bytes::Bytes;
use http::StatusCode;
use telemetry::{Span, TraceId};

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
    /// The trace of the tries that were made; where the request came in one, it is that.
    pub trace_id: Option<TraceId>,
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
            trace_id: None,
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

    /// In the trace of the try that it comes from.
    #[must_use]
    pub(crate) fn traced(self, try_span: &Span) -> Self {
        Self { trace_id: Some(try_span.context().trace_id), ..self }
    }

    /// With a time to come back.
    #[must_use]
    pub fn retry_after(self, wait: Option<Duration>) -> Self {
        Self { retry_after: wait.or(self.retry_after), ..self }
    }

    /// As an answer in the words of the caller: a gRPC call gets a status without a body.
    #[must_use]
    pub fn reply_as(self, grpc: Grpc, trace_id: Option<&str>) -> Reply {
        match grpc {
            Grpc::Yes => self.grpc(),
            Grpc::No => self.reply(trace_id),
        }
    }

    /// As a gRPC answer that has trailers alone, in its head ("Trailers-Only", gRPC over HTTP/2).
    fn grpc(self) -> Reply {
        let code = self.code;
        let mut head = ResponseHead::new(StatusCode::OK);
        head.fields.push(b"content-type", b"application/grpc");
        head.fields.push(b"grpc-status", grpc_status(code).to_string().as_bytes());
        head.fields.push(b"grpc-message", percent_encoded(&self.detail).as_bytes());
        self.explain(&mut head);
        head.length = Some(0);
        let source = Source::Mesh { code, is_unprocessed: self.is_unprocessed };
        Reply { head, body: ReplyBody::empty(), source }
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
        self.explain(&mut head);
        let is_unprocessed = self.is_unprocessed;
        let reply = Reply::whole(head, body);
        Reply { source: Source::Mesh { code, is_unprocessed }, ..reply }
    }

    /// The fields that say who answers, and why.
    fn explain(&self, head: &mut ResponseHead) {
        head.fields.push(base::headers::SKEIN_ERROR.as_bytes(), self.code.as_str().as_bytes());
        head.fields.push(b"proxy-status", proxy_status(self.code).as_bytes());
        if let Some(wait) = self.retry_after {
            // Rounded up: who comes back earlier is refused again.
            let seconds = wait.as_millis().div_ceil(1_000).to_string();
            head.fields.push(b"retry-after", seconds.as_bytes());
        }
        for (name, value) in &self.fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
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

/// Whether a caller speaks gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grpc {
    /// It does.
    Yes,
    /// It does not, or something else that is called so, as gRPC-Web.
    No,
}

impl Grpc {
    /// By its content type: `application/grpc`, or that with `+` and a codec, or with parameters.
    #[must_use]
    pub fn of(content_type: Option<&[u8]>) -> Self {
        const TYPE: &[u8] = b"application/grpc";
        let Some((start, rest)) = content_type.and_then(|it| it.split_at_checked(TYPE.len()))
        else {
            return Self::No;
        };
        let is_it = start.eq_ignore_ascii_case(TYPE)
            && matches!(rest.first(), None | Some(b'+' | b';' | b' '));
        if is_it { Self::Yes } else { Self::No }
    }
}

/// The gRPC status that says the same to a client.
const fn grpc_status(code: Code) -> u32 {
    match code {
        Code::NoRoute => 12,
        Code::DeadlineExpired | Code::UpstreamTimeout => 4,
        Code::Overloaded
        | Code::NoEndpoint
        | Code::BreakerOpen
        | Code::UpstreamUnavailable
        | Code::DependencyUnavailable
        | Code::IdentityRefused => 14,
        Code::RateLimited => 8,
        Code::Forbidden | Code::TlsRequired => 7,
        Code::Unauthenticated => 16,
        _ => 13,
    }
}

/// A `grpc-message`: printable ASCII but for `%`, the rest by percent.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// RFC 9209: says that the proxy, not the application, answers, and why.
fn proxy_status(code: Code) -> String {
    let error = match code {
        Code::NoRoute => "destination_not_found",
        Code::NoEndpoint | Code::BreakerOpen => "destination_unavailable",
        Code::UpstreamUnavailable => "connection_refused",
        // RFC 9209 2.3.14: whichever side it was, the certificate stood in the way.
        Code::IdentityRefused => "tls_certificate_error",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_known_by_its_content_type_and_grpc_web_is_another_thing() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC;x=1"] {
            assert_eq!(Grpc::of(Some(yes.as_bytes())), Grpc::Yes, "{yes}");
        }
        for no in ["application/grpc-web", "application/json", "application/grp", ""] {
            assert_eq!(Grpc::of(Some(no.as_bytes())), Grpc::No, "{no}");
        }
        assert_eq!(Grpc::of(None), Grpc::No);
    }

    #[test]
    fn a_message_of_grpc_is_printable_ascii() {
        assert_eq!(percent_encoded("50 % \u{fc}\n"), "50 %25 %C3%BC%0A");
    }
}
