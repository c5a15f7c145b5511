//! Errors on the wire: `application/problem+json` (RFC 9457) with one short code for machines.

use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use base::{Code, headers::SKEIN_ERROR};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The content type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Where in the request the trouble is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body, such as `/size`.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// A refusal or a failure, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    /// Status of the reply.
    pub status: StatusCode,
    /// Short code: one of [`base::Code`] or one of the service's own.
    pub code: Cow<'static, str>,
    /// What went wrong, for a person.
    pub detail: String,
    /// Whether the same request may succeed later, unchanged.
    pub retryable: bool,
    /// When to try again, at the earliest.
    pub retry_after: Option<Duration>,
    /// Where in the request the trouble is.
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A problem of the platform, with the status that goes with its code.
    #[must_use]
    pub fn of(code: Code, detail: impl Into<String>) -> Self {
        Self {
            status: status_of(code),
            code: code.as_str().into(),
            detail: detail.into(),
            retryable: code.is_retryable(),
            retry_after: code.retry_after(),
            errors: Vec::new(),
        }
    }

    /// A refusal with a code of the service's own; not retryable unless [`Problem::retryable`].
    #[must_use]
    pub fn refusal(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            retryable: false,
            retry_after: None,
            errors: Vec::new(),
        }
    }

    /// 400 with the members that are wrong.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = "the request has members that cannot be accepted";
        Self { errors, ..Self::of(Code::InvalidRequest, detail) }
    }

    /// 400 with what a reader found wrong, as pairs of JSON pointer and detail.
    #[must_use]
    pub fn of_faults<F: Into<(String, String)>>(faults: Vec<F>) -> Self {
        let error = |it: F| {
            let (pointer, detail) = it.into();
            FieldError { pointer, detail }
        };
        Self::invalid(faults.into_iter().map(error).collect())
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::of(Code::NotFound, detail)
    }

    /// 409.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::of(Code::Conflict, detail)
    }

    /// 500. The cause goes to the log, not to the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::of(Code::Internal, "the service failed; its log says why under the trace id")
    }

    /// The same, worth trying again after `wait`.
    #[must_use]
    pub fn retryable(mut self, wait: Duration) -> Self {
        self.retryable = true;
        self.retry_after = Some(wait);
        self
    }

    /// The body. `trace_id` is known to the stack only.
    #[must_use]
    pub fn body(&self, trace_id: Option<&str>) -> Vec<u8> {
        let body = Body {
            r#type: format!("urn:problem:{}", self.code),
            title: self.code.replace('_', " "),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: &self.code,
            retryable: self.retryable,
            trace_id,
            errors: &self.errors,
        };
        // Text, numbers and lists always serialize.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    /// Reads a problem from a reply; `None` when the body is not one.
    #[must_use]
    pub fn read(status: StatusCode, body: &[u8]) -> Option<Self> {
        let read: OwnedBody = serde_json::from_slice(body).ok()?;
        Some(Self {
            status,
            code: read.code.into(),
            detail: read.detail,
            retryable: read.retryable,
            retry_after: None,
            errors: read.errors,
        })
    }
}

/// Why a request was refused or failed (RFC 9457).
#[derive(Serialize, ToSchema)]
struct Body<'a> {
    /// `urn:problem:` and the code.
    r#type: String,
    title: String,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// For a person.
    detail: &'a str,
    /// For a machine: a short word.
    code: &'a str,
    /// Whether the same request may succeed later, unchanged.
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    /// Where in the request the trouble is.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(inline, required = false)]
    errors: &'a [FieldError],
}

/// The form of [`Problem::body`], for documents.
pub(crate) fn schema() -> serde_json::Value {
    // Made of names and types alone, which always serialize.
    serde_json::to_value(<Body<'_> as utoipa::PartialSchema>::schema()).unwrap_or_default()
}

#[derive(Deserialize)]
struct OwnedBody {
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    errors: Vec<FieldError>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body(None)).into_response();
        self.put_headers(response.headers_mut());
        // The stack finds the problem here and writes the body again with the trace id.
        response.extensions_mut().insert(self);
        response
    }
}

impl Problem {
    fn put_headers(&self, headers: &mut http::HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            headers.insert(SKEIN_ERROR, code);
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
    }
}

/// Each code's status is a status.
pub(crate) fn status_of(code: Code) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_rfc_9457_with_our_members() {
        let error = FieldError { pointer: "/size".to_owned(), detail: "not a size".to_owned() };
        let problem = Problem::invalid(vec![error]);
        let body: serde_json::Value = serde_json::from_slice(&problem.body(Some("4bf9"))).unwrap();
        assert_eq!(body["type"], "urn:problem:invalid_request");
        assert_eq!((&body["status"], &body["code"]), (&400.into(), &"invalid_request".into()));
        assert_eq!((&body["retryable"], &body["trace_id"]), (&false.into(), &"4bf9".into()));
        assert_eq!(body["errors"][0]["pointer"], "/size");
    }

    #[test]
    fn what_was_written_can_be_read() {
        let problem = Problem::refusal(StatusCode::CONFLICT, "all_taken", "none is free");
        assert_eq!(Problem::read(problem.status, &problem.body(None)), Some(problem));
        assert_eq!(Problem::read(StatusCode::OK, b"true"), None);
    }

    #[test]
    fn a_shedding_reply_says_when_to_come_back() {
        let response = Problem::of(Code::Overloaded, "full").into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[SKEIN_ERROR], "overloaded");
        let wait = Duration::from_millis(1_200);
        let later = Problem::conflict("busy").retryable(wait).into_response();
        assert_eq!(later.headers()[header::RETRY_AFTER], "2");
    }
}
