//! OTLP/HTTP in its JSON form, for `/v1/traces`: ids are hexadecimal, 64-bit numbers are strings.
//!
//! Own small types: the generated ones bring protobuf and gRPC with them. Unknown members are
//! ignored, as the specification asks.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{
    context::{SpanId, TraceId},
    span::{AttributeValue, SpanKind, SpanRecord, SpanStatus},
};

/// The semantic conventions that the attribute names follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";
/// Spans of one request that are decoded; the rest is refused.
const SPANS_MAX: usize = 100_000;

/// Who the spans are about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resource {
    /// `service.name`.
    pub service: String,
    /// `service.instance.id`.
    pub instance: String,
    /// `service.version`.
    pub version: String,
}

/// The text is not an OTLP trace request.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The shape is wrong.
    #[error("not an OTLP trace request")]
    Shape(#[source] serde_json::Error),
    /// More spans than one request may hold.
    #[error("more than {SPANS_MAX} spans in one request")]
    TooMany,
}

/// The request body of `POST /v1/traces`.
#[must_use]
pub fn encode(resource: &Resource, spans: &[SpanRecord]) -> Value {
    let attributes = [
        ("service.name", &resource.service),
        ("service.instance.id", &resource.instance),
        ("service.version", &resource.version),
    ];
    let request = Request {
        resource_spans: vec![ResourceSpans {
            resource: WireResource {
                attributes: attributes.map(|(key, value)| Attribute::text(key, value)).into(),
            },
            schema_url: SCHEMA_URL.to_owned(),
            scope_spans: vec![ScopeSpans {
                scope: Scope { name: "skein".to_owned() },
                spans: spans.iter().map(WireSpan::from).collect(),
            }],
        }],
    };
    // The types hold text, numbers and lists only.
    serde_json::to_value(request).unwrap_or(Value::Null)
}

/// Reads such a body. A span with broken ids is left out: its sender is broken, not ours.
///
/// # Errors
/// [`DecodeError`] when the shape is wrong or there are more than 100,000 spans.
pub fn decode(body: &Value) -> Result<Vec<(Resource, Vec<SpanRecord>)>, DecodeError> {
    let request = Request::deserialize(body).map_err(DecodeError::Shape)?;
    let mut count = 0;
    let mut decoded = Vec::new();
    for group in request.resource_spans {
        let wire: Vec<WireSpan> = group.scope_spans.into_iter().flat_map(|it| it.spans).collect();
        count += wire.len();
        if count > SPANS_MAX {
            return Err(DecodeError::TooMany);
        }
        let spans = wire.into_iter().filter_map(WireSpan::into_record).collect();
        decoded.push((group.resource.into_resource(), spans));
    }
    Ok(decoded)
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ResourceSpans {
    resource: WireResource,
    scope_spans: Vec<ScopeSpans>,
    schema_url: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct WireResource {
    attributes: Vec<Attribute>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<WireSpan>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Scope {
    name: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireSpan {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    parent_span_id: String,
    name: String,
    kind: u8,
    #[serde(deserialize_with = "number_or_text")]
    start_time_unix_nano: String,
    #[serde(deserialize_with = "number_or_text")]
    end_time_unix_nano: String,
    attributes: Vec<Attribute>,
    links: Vec<Link>,
    status: Status,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Link {
    trace_id: String,
    span_id: String,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Status {
    code: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

/// Status code of a failure in OTLP.
const STATUS_ERROR: u8 = 2;

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Attribute {
    key: String,
    value: Value,
}

/// 64-bit numbers are strings in protobuf's JSON, but senders also write numbers.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    })
}

impl Attribute {
    fn text(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), value: serde_json::json!({ "stringValue": value }) }
    }

    fn new(key: &str, value: &AttributeValue) -> Self {
        let value = match value {
            AttributeValue::Text(text) => serde_json::json!({ "stringValue": text }),
            AttributeValue::Int(number) => serde_json::json!({ "intValue": number.to_string() }),
            AttributeValue::Float(number) => serde_json::json!({ "doubleValue": number }),
            AttributeValue::Bool(flag) => serde_json::json!({ "boolValue": flag }),
        };
        Self { key: key.to_owned(), value }
    }

    fn into_value(self) -> Option<(String, AttributeValue)> {
        let (form, value) = self.value.as_object()?.iter().next()?;
        let value = match (form.as_str(), value) {
            ("stringValue", Value::String(text)) => AttributeValue::from(text.as_str()),
            ("intValue", Value::String(text)) => AttributeValue::Int(text.parse().ok()?),
            ("intValue", Value::Number(number)) => AttributeValue::Int(number.as_i64()?),
            ("doubleValue", Value::Number(number)) => AttributeValue::Float(number.as_f64()?),
            ("boolValue", Value::Bool(flag)) => AttributeValue::Bool(*flag),
            // Lists and maps are kept as text.
            (_, other) => AttributeValue::from(other.to_string()),
        };
        Some((self.key, value))
    }
}

impl WireResource {
    fn into_resource(self) -> Resource {
        let mut resource = Resource::default();
        for (key, value) in self.attributes.into_iter().filter_map(Attribute::into_value) {
            let AttributeValue::Text(text) = value else { continue };
            match key.as_str() {
                "service.name" => resource.service = text,
                "service.instance.id" => resource.instance = text,
                "service.version" => resource.version = text,
                _ => {}
            }
        }
        resource
    }
}

impl From<&SpanRecord> for WireSpan {
    fn from(span: &SpanRecord) -> Self {
        let (code, message) = match &span.status {
            SpanStatus::Unset => (0, String::new()),
            SpanStatus::Error(reason) => (STATUS_ERROR, reason.clone()),
        };
        let link = |(trace_id, span_id): &(TraceId, SpanId)| Link {
            trace_id: trace_id.to_string(),
            span_id: span_id.to_string(),
        };
        Self {
            trace_id: span.trace_id.to_string(),
            span_id: span.span_id.to_string(),
            trace_state: span.state.clone().unwrap_or_default(),
            parent_span_id: span.parent.map(|it| it.to_string()).unwrap_or_default(),
            name: span.name.to_string(),
            kind: span.kind as u8,
            start_time_unix_nano: span.start_ns.to_string(),
            end_time_unix_nano: span.end_ns.to_string(),
            attributes: span.attributes.iter().map(|(key, it)| Attribute::new(key, it)).collect(),
            links: span.links.iter().map(link).collect(),
            status: Status { code, message },
        }
    }
}

impl WireSpan {
    fn into_record(self) -> Option<SpanRecord> {
        // The specification asks readers to accept hexadecimal in either case.
        let trace_of = |text: &str| TraceId::parse(&text.to_ascii_lowercase());
        let span_of = |text: &str| SpanId::parse(&text.to_ascii_lowercase());
        let kind = match self.kind {
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Internal,
        };
        let status = match self.status.code {
            STATUS_ERROR => SpanStatus::Error(self.status.message),
            _ => SpanStatus::Unset,
        };
        let attributes = self.attributes.into_iter().filter_map(Attribute::into_value);
        let links = self.links.iter();
        Some(SpanRecord {
            trace_id: trace_of(&self.trace_id)?,
            span_id: span_of(&self.span_id)?,
            parent: span_of(&self.parent_span_id),
            state: (!self.trace_state.is_empty()).then_some(self.trace_state),
            name: self.name.into(),
            kind,
            start_ns: self.start_time_unix_nano.parse().ok()?,
            end_ns: self.end_time_unix_nano.parse().ok()?,
            attributes: attributes.map(|(key, value)| (key.into(), value)).collect(),
            links: links
                .filter_map(|it| Some((trace_of(&it.trace_id)?, span_of(&it.span_id)?)))
                .collect(),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record() -> SpanRecord {
        SpanRecord {
            trace_id: TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap(),
            span_id: SpanId::parse("00f067aa0ba902b7").unwrap(),
            parent: SpanId::parse("00f067aa0ba902b8"),
            state: Some("a=1".to_owned()),
            name: "GET /orders/{id}".into(),
            kind: SpanKind::Server,
            start_ns: 1_779_393_600_000_000_001,
            end_ns: 1_779_393_600_000_000_900,
            attributes: vec![
                ("http.response.status_code".into(), AttributeValue::Int(503)),
                ("ratio".into(), AttributeValue::Float(0.5)),
                ("again".into(), AttributeValue::Bool(true)),
                ("http.route".into(), AttributeValue::Text("/orders/{id}".to_owned())),
            ],
            links: vec![(
                TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4737").unwrap(),
                SpanId::parse("00f067aa0ba902b9").unwrap(),
            )],
            status: SpanStatus::Error("overloaded".to_owned()),
        }
    }

    #[test]
    fn a_span_survives_the_round_trip() {
        let resource = Resource {
            service: "orders".to_owned(),
            instance: "orders-1".to_owned(),
            version: "1".to_owned(),
        };
        let body = encode(&resource, &[record()]);
        let text = body.to_string();
        assert!(text.contains(r#""startTimeUnixNano":"1779393600000000001""#), "{text}");
        assert!(text.contains(r#""intValue":"503""#), "{text}");
        assert_eq!(decode(&body).unwrap(), vec![(resource, vec![record()])]);
    }

    #[test]
    fn unknown_members_are_ignored_and_broken_spans_left_out() {
        let body = json!({ "new": 1, "resourceSpans": [{ "scopeSpans": [{ "spans": [
            { "traceId": "zz", "spanId": "00f067aa0ba902b7", "name": "broken",
              "startTimeUnixNano": "1", "endTimeUnixNano": "2" },
            { "traceId": "4BF92F3577B34DA6A3CE929D0E0E4736", "spanId": "00f067aa0ba902b7",
              "name": "good", "kind": 3, "startTimeUnixNano": 1, "endTimeUnixNano": "2",
              "flags": 257, "attributes": [{ "key": "list", "value": { "arrayValue": { "values": [] } } }] },
        ] }] }] });
        let decoded = decode(&body).unwrap();
        assert_eq!(decoded[0].1.len(), 1);
        assert_eq!(decoded[0].1[0].name, "good");
        assert!(decode(&json!({ "resourceSpans": 5 })).is_err());
    }
}
