//! JSON bodies: parsed to a value within a depth limit; reading its members is the domain's part.

use std::ops::Deref;

use axum::extract::{FromRequest, Request};
use base::Code;
use bytes::Bytes;
use serde_json::Value;

use crate::{
    config::Limits,
    problem::{FieldError, Problem},
};

/// A body that is to be read as JSON, within the limits of the process that serves it. An extractor;
/// it derefs to the bytes as they came.
#[derive(Debug, Clone)]
pub struct JsonBody {
    bytes: Bytes,
    depth: DepthMax,
}

/// Nesting of a body, as the stack was told: arrays and objects inside each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DepthMax(pub(crate) usize);

impl JsonBody {
    /// Its value.
    ///
    /// # Errors
    /// 400 `invalid_request` when the text is not JSON or is nested too deep.
    pub fn parse(&self) -> Result<Value, Problem> {
        parse(&self.bytes, self.depth.0)
    }
}

impl Deref for JsonBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = <Bytes as FromRequest<S>>::Rejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        // Outside the stack, as in a test of one handler, the default stands.
        let depth = request.extensions().get().copied();
        let depth = depth.unwrap_or_else(|| DepthMax(Limits::default().json_depth_max));
        Ok(Self { bytes: Bytes::from_request(request, state).await?, depth })
    }
}

/// Parses a body whose arrays and objects are nested at most `depth_max` deep.
///
/// # Errors
/// 400 `invalid_request` when the text is not JSON or is nested deeper.
pub(crate) fn parse(body: &[u8], depth_max: usize) -> Result<Value, Problem> {
    let refuse = |detail: String| {
        let error = FieldError { pointer: String::new(), detail };
        Problem::invalid(vec![error])
    };
    // Counted before the parser builds anything: its own limit is four times ours.
    if depth(body) > depth_max {
        return Err(refuse(format!("nested deeper than {depth_max}")));
    }
    serde_json::from_slice(body).map_err(|error| refuse(format!("not JSON: {error}")))
}

/// A reply body.
///
/// # Errors
/// 500 when the value cannot be written, which is a defect of ours.
pub fn write<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "reply cannot be written as JSON");
        Problem::of(Code::Internal, "the reply could not be written")
    })
}

/// How deep brackets are nested, those inside strings left out.
fn depth(text: &[u8]) -> usize {
    let (mut deepest, mut depth, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: usize) {
        assert_eq!(depth(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        check("5", 0);
        check(r#"{"a":[1,{"b":2}]}"#, 3);
        check(r#""[[[\"[[""#, 0);
        check(r#"{"a\\":[]}"#, 2);
        check("]]]][", 1);
    }

    #[test]
    fn a_body_nested_33_deep_is_refused_and_32_is_not() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(32).as_bytes(), 32).is_ok());
        let problem = parse(nested(33).as_bytes(), 32).unwrap_err();
        assert!(problem.errors[0].detail.contains("deeper"), "{problem:?}");
        assert!(parse(nested(100_000).as_bytes(), 32).is_err());
    }

    #[test]
    fn what_is_not_json_is_an_invalid_request() {
        assert_eq!(parse(b"{", 32).unwrap_err().code, "invalid_request");
        assert_eq!(parse(b"", 32).unwrap_err().status, 400);
    }
}
