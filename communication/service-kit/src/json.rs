//! JSON bodies: parsed to a value within a depth limit; reading its members is the domain's part.
//!
//! A member that an object gives twice is refused (RFC 7493 2.3): parsers do not agree on which of the
//! two counts, so what one program has checked would be another one than the next program acts on.
//!
//! A body that does not say that it is JSON is refused before it is read. A page of another origin
//! may have a browser send any text without asking us first, as long as it calls it plain text, a
//! form or nothing at all; to call it JSON it has to ask, and nobody here says yes.

use std::ops::Deref;

use axum::extract::{FromRequest, Request, rejection::BytesRejection};
use base::Code;
use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;

mod unique;

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
    /// 400 `invalid_request` when the text is not JSON, is nested too deep, or gives a member twice.
    pub fn parse(&self) -> Result<Value, Problem> {
        parse(&self.bytes, self.depth.0)
    }

    /// The bytes as they came, to be led on.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl Deref for JsonBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let named = names_json(request.headers());
        // Outside the stack, as in a test of one handler, the default stands.
        let depth = request.extensions().get().copied();
        let depth = depth.unwrap_or_else(|| DepthMax(Limits::default().json_depth_max));
        let bytes = Bytes::from_request(request, state).await.map_err(|it| unread(&it))?;
        // Where there is no body, as in most calls that take something away, it has no form.
        if !named && !bytes.is_empty() {
            let detail = "a body is application/json, and its Content-Type says so";
            return Err(Problem::of(Code::UnsupportedMediaType, detail));
        }
        Ok(Self { bytes, depth })
    }
}

fn unread(rejection: &BytesRejection) -> Problem {
    let problem = Problem::of(Code::InvalidRequest, rejection.body_text());
    Problem { status: rejection.status(), ..problem }
}

/// Whether the one `Content-Type` is `application/json` or another form with that syntax, such as
/// `application/merge-patch+json` (RFC 6839, 3.1).
fn names_json(fields: &HeaderMap) -> bool {
    let mut given = fields.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return false };
    let text = only.to_str().unwrap_or_default();
    let form = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some(subtype) = form.strip_prefix("application/") else { return false };
    subtype == "json" || subtype.strip_suffix("+json").is_some_and(|it| !it.is_empty())
}

/// Parses a body whose arrays and objects are nested at most `depth_max` deep.
///
/// # Errors
/// 400 `invalid_request` when the text is not JSON, is nested deeper, or gives a member twice.
pub(crate) fn parse(body: &[u8], depth_max: usize) -> Result<Value, Problem> {
    let refuse = |detail: String| {
        let error = FieldError { pointer: String::new(), detail };
        Problem::invalid(vec![error])
    };
    // Counted before the parser builds anything: its own limit is four times ours.
    if depth(body) > depth_max {
        return Err(refuse(format!("nested deeper than {depth_max}")));
    }
    unique::parse(body).map_err(|error| match error {
        unique::Error::Syntax(error) => refuse(format!("not JSON: {error}")),
        unique::Error::Twice { pointer } => {
            let detail = "this member is given twice".to_owned();
            Problem::invalid(vec![FieldError { pointer, detail }])
        }
    })
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
    fn only_what_is_called_json_once_is_json() {
        let check = |given: &[&str], expected: bool| {
            let mut fields = HeaderMap::new();
            for value in given {
                fields.append(header::CONTENT_TYPE, value.parse().unwrap());
            }
            assert_eq!(names_json(&fields), expected, "{given:?}");
        };
        check(&["application/json"], true);
        check(&["Application/JSON ; charset=utf-8"], true);
        check(&["application/merge-patch+json"], true);
        check(&[], false);
        check(&["application/json", "text/plain"], false);
        for other in ["text/plain", "text/json", "application/+json", "application/x-json", ""] {
            check(&[other], false);
        }
        check(&["text/plain; application/json"], false);
        check(&["application/x-www-form-urlencoded"], false);
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
    fn a_member_that_is_given_twice_is_named() {
        #[track_caller]
        fn check(text: &str, pointer: Option<&str>) {
            let refused = parse(text.as_bytes(), 32).map_err(|it| it.errors[0].pointer.clone());
            assert_eq!(refused.err().as_deref(), pointer, "{text}");
        }
        check(r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}"#, None);
        check(r#"{"a":1,"a":1}"#, Some("/a"));
        check(r#"{"a":1,"\u0061":null}"#, Some("/a"));
        check(r#"{"x":{"a":1,"b":2,"a":3}}"#, Some("/x/a"));
        check(r#"[0,{"a/b~":[{"":1,"":2}]}]"#, Some("/1/a~1b~0/0/"));
    }

    #[test]
    fn numbers_and_texts_are_read_as_they_were() {
        let text = r#"[null,true,-1,18446744073709551615,1.5,1e300,"a\nÄ",{},[]]"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes(), 32).unwrap(), expected);
        assert!(parse(b"1 2", 32).is_err(), "something behind the value");
    }

    #[test]
    fn what_is_not_json_is_an_invalid_request() {
        assert_eq!(parse(b"{", 32).unwrap_err().code, "invalid_request");
        assert_eq!(parse(b"", 32).unwrap_err().status, 400);
    }
}
