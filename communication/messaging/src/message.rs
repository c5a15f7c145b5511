//! Messages: CloudEvents 1.0 in binary mode, over Kafka's headers.

use std::{collections::BTreeMap, sync::Arc};

use base::Timestamp;
use bytes::Bytes;
use kafka_wire::batch::Record;
use runtime::Shutdown;
use telemetry::TraceContext;

/// A message. `id` and `source` together make it one, however often it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Stable over repetitions.
    pub id: String,
    /// Who says it.
    pub source: String,
    /// `CloudEvents` type; empty for a message of a foreign producer.
    pub kind: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it happened.
    pub time: Timestamp,
    /// What its partition and its order hang on.
    pub key: Option<String>,
    /// Media type of the body.
    pub content_type: String,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// The span that caused it.
    pub trace: Option<TraceContext>,
    /// The body.
    pub body: Bytes,
}

/// Where a message stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

/// A message as a handler gets it.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The message.
    pub message: Message,
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// How often it has been given, this time included.
    pub attempt: u32,
    /// When it was published.
    pub published_at: Timestamp,
    /// The span of the processing: parent of whatever the handler causes.
    pub trace: TraceContext,
    /// Given when the process ends, and when the group gathers anew: the handler has five seconds to
    /// end from then on. Never for a message that was merely read.
    pub stopping: Shutdown,
}

const SPEC_VERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
const SOURCE: &str = "ce_source";
const KIND: &str = "ce_type";
const SUBJECT: &str = "ce_subject";
const TIME: &str = "ce_time";
const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";
/// Headers that stand in members of a message; the others are in `headers`.
const MEMBERS: [&str; 9] = [
    SPEC_VERSION,
    ID,
    SOURCE,
    KIND,
    SUBJECT,
    TIME,
    CONTENT_TYPE,
    base::headers::TRACEPARENT,
    base::headers::TRACESTATE,
];

impl Message {
    /// The record that is published at `now`.
    pub(crate) fn to_record(&self, now: Timestamp) -> Record {
        let mut headers = Vec::with_capacity(9 + self.headers.len());
        let mut put = |name: &str, value: &str| {
            headers.push((name.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes()))));
        };
        put(SPEC_VERSION, "1.0");
        put(ID, &self.id);
        put(SOURCE, &self.source);
        put(KIND, &self.kind);
        if let Some(subject) = &self.subject {
            put(SUBJECT, subject);
        }
        put(TIME, &self.time.to_rfc3339());
        put(CONTENT_TYPE, &self.content_type);
        if let Some(trace) = &self.trace {
            put(base::headers::TRACEPARENT, &trace.traceparent());
            if let Some(state) = trace.tracestate() {
                put(base::headers::TRACESTATE, state);
            }
        }
        for (name, value) in &self.headers {
            put(name, value);
        }
        Record {
            key: self.key.as_ref().map(|it| Bytes::copy_from_slice(it.as_bytes())),
            value: Some(self.body.clone()),
            headers,
            timestamp: now.as_millis(),
        }
    }

    /// The message of a record. One without our headers, from a foreign producer, is known by its
    /// place in the log.
    pub(crate) fn of_record(record: &Record, topic: &str, partition: u32, offset: u64) -> Self {
        let published_at = Timestamp::from_millis(record.timestamp);
        let text = |it: &Option<Bytes>| {
            let text = it.as_deref().and_then(|it| str::from_utf8(it).ok());
            text.unwrap_or_default().to_owned()
        };
        // Of a name that comes twice the last one counts.
        let last =
            |name: &str| record.headers.iter().rfind(|it| it.0 == name).map(|it| text(&it.1));
        let (parent, state) = (last(base::headers::TRACEPARENT), last(base::headers::TRACESTATE));
        let others = record.headers.iter().filter(|it| !MEMBERS.contains(&it.0.as_str()));
        Self {
            id: last(ID).unwrap_or_else(|| format!("{topic}/{partition}/{offset}")),
            source: last(SOURCE).unwrap_or_else(|| "kafka".to_owned()),
            kind: last(KIND).unwrap_or_default(),
            subject: last(SUBJECT),
            time: last(TIME).and_then(|it| Timestamp::parse(&it)).unwrap_or(published_at),
            key: record.key.as_ref().map(|it| String::from_utf8_lossy(it).into_owned()),
            content_type: last(CONTENT_TYPE).unwrap_or_else(|| JSON.to_owned()),
            headers: others.map(|(name, value)| (name.clone(), text(value))).collect(),
            trace: parent.and_then(|it| TraceContext::parse(&it, state.as_deref())),
            body: record.value.clone().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            id: "7".to_owned(),
            source: "/services/orders".to_owned(),
            kind: "com.example.Ordered.v1".to_owned(),
            subject: Some("o1".to_owned()),
            time: Timestamp::from_millis(1_000),
            key: Some("o1".to_owned()),
            content_type: JSON.to_owned(),
            headers: BTreeMap::from([("operation".to_owned(), "order".to_owned())]),
            trace: TraceContext::parse(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                None,
            ),
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn every_attribute_survives_the_log() {
        let record = message().to_record(Timestamp::from_millis(5));
        assert_eq!(record.timestamp, 5);
        assert_eq!(Message::of_record(&record, "t", 1, 2), message());
    }

    #[test]
    fn a_foreign_record_is_known_by_its_place() {
        let record = Record { value: Some(Bytes::from_static(b"x")), ..Record::default() };
        let message = Message::of_record(&record, "orders", 3, 99);
        assert_eq!((message.id.as_str(), message.source.as_str()), ("orders/3/99", "kafka"));
        assert_eq!((message.kind.as_str(), message.key), ("", None));
    }
}
