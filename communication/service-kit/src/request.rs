//! What every handler may ask about the request that it serves.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use base::{Code, headers};
use http::{HeaderMap, request::Parts};
use telemetry::{TraceContext, baggage};

use crate::{deadline::Deadline, problem::Problem};

/// The request around a handler. An extractor.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// The server span: parent of whatever the handler causes.
    pub trace: TraceContext,
    /// When the caller stops waiting.
    pub deadline: Deadline,
    /// Attempts above this one.
    pub attempt: u32,
    /// Template of the route.
    pub route: &'static str,
    /// The version that stood before the path, such as `/v0.1.0`; else empty.
    pub version_prefix: String,
    /// Baggage to hand on unread, when it is within its limits.
    pub baggage: Option<String>,
}

impl RequestContext {
    pub(crate) fn read(
        fields: &HeaderMap,
        trace: TraceContext,
        longest: std::time::Duration,
        route: &'static str,
    ) -> Result<Self, Problem> {
        let attempt = text(fields, headers::SKEIN_ATTEMPT).and_then(|it| it.parse().ok());
        let baggage = text(fields, headers::BAGGAGE).filter(|it| baggage::is_forwardable(it));
        Ok(Self {
            trace,
            deadline: read_deadline(fields, longest)?,
            attempt: attempt.unwrap_or(0),
            route,
            version_prefix: String::new(),
            baggage: baggage.map(str::to_owned),
        })
    }
}

/// The deadline that the caller names, but never later than ours.
fn read_deadline(fields: &HeaderMap, longest: std::time::Duration) -> Result<Deadline, Problem> {
    let Some(value) = fields.get(headers::SKEIN_DEADLINE_MS) else {
        return Ok(Deadline::after(longest));
    };
    let left = value.to_str().ok().and_then(|it| it.trim().parse::<u64>().ok());
    let left = left.ok_or_else(|| {
        Problem::of(Code::InvalidRequest, "Skein-Deadline-Ms is not a number of milliseconds")
    })?;
    if left == 0 {
        return Err(Problem::of(Code::DeadlineExpired, "no time was left, so no work was done"));
    }
    Ok(Deadline::after(std::time::Duration::from_millis(left).min(longest)))
}

/// A header as text.
pub(crate) fn text<'a>(fields: &'a HeaderMap, name: &str) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

/// The text of an `Idempotency-Key`, with or without the quotes of a structured field.
pub(crate) fn unquoted(value: &str) -> &str {
    let value = value.trim();
    value.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or(value)
}

/// The trace context that the caller sent.
pub(crate) fn trace_parent(fields: &HeaderMap) -> Option<TraceContext> {
    let state = text(fields, headers::TRACESTATE);
    match text(fields, headers::TRACEPARENT) {
        Some(parent) => TraceContext::parse(parent, state),
        None => TraceContext::parse_b3(|name| text(fields, name)),
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // Outside the stack, as in a test of one handler, there is no caller who waits.
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self {
            trace: TraceContext::root(&mut base::Random::with_seed(0), false),
            deadline: Deadline::after(std::time::Duration::from_secs(10)),
            attempt: 0,
            route: "",
            version_prefix: String::new(),
            baggage: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(value: &str) -> Result<Deadline, Problem> {
        let mut fields = HeaderMap::new();
        fields.insert(headers::SKEIN_DEADLINE_MS, value.parse().unwrap());
        read_deadline(&fields, Duration::from_secs(10))
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_what_the_caller_says_but_never_more_than_ours() {
        assert_eq!(read("250").unwrap().remaining(), Duration::from_millis(250));
        assert_eq!(read("99999999999").unwrap().remaining(), Duration::from_secs(10));
        assert_eq!(read("0").unwrap_err().code, "deadline_expired");
        assert_eq!(read("soon").unwrap_err().code, "invalid_request");
        assert_eq!(read("-1").unwrap_err().code, "invalid_request");
    }
}
