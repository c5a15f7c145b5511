//! One call and its reply, as values.

use std::{borrow::Cow, time::Duration};

use base::OperationKey;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use mesh_proxy::head::Fields;
use serde_json::Value;
use telemetry::TraceContext;

use crate::{deadline::Deadline, problem::Problem, request::RequestContext};

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Call {
    /// Name of the service.
    pub service: Cow<'static, str>,
    /// Method.
    pub method: Method,
    /// Path and query, percent-encoded.
    pub path: String,
    /// Template of the path, for the span's name; a path would have as many values as ids.
    pub route: Option<&'static str>,
    /// Further headers.
    pub headers: HeaderMap,
    /// Body; empty for none.
    pub body: Bytes,
    /// When the caller stops waiting.
    pub deadline: Option<Deadline>,
    /// Longest wait, in the place of the client's.
    pub timeout: Option<Duration>,
    /// Key and fencing epoch of a saga's step.
    pub operation: Option<(OperationKey, Option<u64>)>,
    /// How many attempts came before; they are not repeated below.
    pub attempt: u32,
    /// The span that makes the call.
    pub trace: Option<TraceContext>,
}

impl Call {
    /// A call without body, deadline or key.
    #[must_use]
    pub fn new(
        service: impl Into<Cow<'static, str>>,
        method: Method,
        path: impl Into<String>,
    ) -> Self {
        Self {
            service: service.into(),
            method,
            path: path.into(),
            route: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            deadline: None,
            timeout: None,
            operation: None,
            attempt: 0,
            trace: None,
        }
    }

    /// `GET`.
    #[must_use]
    pub fn get(service: impl Into<Cow<'static, str>>, path: impl Into<String>) -> Self {
        Self::new(service, Method::GET, path)
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        Self { body: value.to_string().into(), ..self }
    }

    /// With the template of the path.
    #[must_use]
    pub fn route(self, route: &'static str) -> Self {
        Self { route: Some(route), ..self }
    }

    /// With a header; an unreadable value is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// With a deadline.
    #[must_use]
    pub fn within(self, deadline: Deadline) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// As part of serving a request: its trace, its deadline, its attempt depth.
    #[must_use]
    pub fn on_behalf_of(self, request: &RequestContext) -> Self {
        Self {
            deadline: Some(request.deadline),
            trace: Some(request.trace.clone()),
            attempt: request.attempt,
            ..self
        }
    }

    /// Below a span.
    #[must_use]
    pub fn traced(self, trace: TraceContext) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// As a step of a saga.
    #[must_use]
    pub fn operation(self, key: OperationKey, epoch: Option<u64>) -> Self {
        Self { operation: Some((key, epoch)), ..self }
    }
}

/// What a service answered, whatever the status.
#[derive(Debug, Clone)]
pub struct CallReply {
    /// Status.
    pub status: StatusCode,
    /// Header fields.
    pub fields: Fields,
    /// Body, at most 1 MiB.
    pub body: Bytes,
}

impl CallReply {
    /// The first value under a name, whatever its case, when it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.named(name).and_then(|it| std::str::from_utf8(it).ok())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The problem that the body describes.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let mut problem = Problem::read(self.status, &self.body)?;
        problem.retry_after = self.retry_after();
        Some(problem)
    }

    /// The wait that the service asks for, when it is given in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.header(header::RETRY_AFTER.as_str())?;
        value.trim().parse().ok().map(Duration::from_secs)
    }
}

/// A path segment with everything escaped that may not stand in one.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place_in_the_path() {
        assert_eq!(segment("a/b?c#d e"), "a%2Fb%3Fc%23d%20e");
        assert_eq!(segment("order-1.x_~"), "order-1.x_~");
    }
}
