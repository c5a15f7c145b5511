//! One span: a piece of work with a beginning, an end and a verdict.

use std::borrow::Cow;

use tokio::time::Instant;

use crate::{
    context::{SpanId, TraceContext, TraceId},
    hub::Telemetry,
};

/// Attributes of one span that are kept; more are dropped, so that a loop cannot grow a span.
const ATTRIBUTES_MAX: usize = 32;
/// Links of one span that are kept.
const LINKS_MAX: usize = 32;
/// Characters of a text attribute that are kept.
const TEXT_CHARS_MAX: usize = 1_024;

/// Which side of what a span stands on (numbers as in OTLP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Work inside the process.
    Internal = 1,
    /// Answers a call.
    Server = 2,
    /// Makes a call.
    Client = 3,
    /// Puts a message into a topic.
    Producer = 4,
    /// Handles a message.
    Consumer = 5,
}

/// A value on a span.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeValue {
    /// Text.
    Text(String),
    /// Whole number.
    Int(i64),
    /// Number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl From<&str> for AttributeValue {
    fn from(value: &str) -> Self {
        Self::Text(value.chars().take(TEXT_CHARS_MAX).collect())
    }
}
impl From<String> for AttributeValue {
    fn from(value: String) -> Self {
        if value.len() <= TEXT_CHARS_MAX { Self::Text(value) } else { value.as_str().into() }
    }
}
impl From<i64> for AttributeValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<u32> for AttributeValue {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}
impl From<u16> for AttributeValue {
    fn from(value: u16) -> Self {
        Self::Int(value.into())
    }
}
impl From<f64> for AttributeValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
impl From<bool> for AttributeValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// How the work ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SpanStatus {
    /// Nothing to say: it went well, or the caller was refused rightly.
    #[default]
    Unset,
    /// It failed, and why.
    Error(String),
}

/// A finished span, as it is exported.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanRecord {
    /// The trace.
    pub trace_id: TraceId,
    /// This span.
    pub span_id: SpanId,
    /// The span that caused this one.
    pub parent: Option<SpanId>,
    /// `tracestate`, when there was one.
    pub state: Option<String>,
    /// Few values: a route or an operation, never an id.
    pub name: Cow<'static, str>,
    /// Which side of what.
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    /// Nanoseconds since 1970.
    pub end_ns: u64,
    /// Facts, at most 32.
    pub attributes: Vec<(Cow<'static, str>, AttributeValue)>,
    /// Spans in other traces that this one follows, at most 32.
    pub links: Vec<(TraceId, SpanId)>,
    /// How it ended.
    pub status: SpanStatus,
}

/// A running span. It ends when it is dropped; [`Span::end`] says so in the open.
///
/// A span that is not sampled carries ids for those downstream and records nothing.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    recording: Option<Box<Recording>>,
}

#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) record: SpanRecord,
    pub(crate) started: Instant,
    pub(crate) telemetry: Telemetry,
}

impl Span {
    pub(crate) fn new(context: TraceContext, recording: Option<Box<Recording>>) -> Self {
        Self { context, recording }
    }

    /// The context to hand to whatever this span calls.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context.clone()
    }

    /// Whether anything that is said about this span is kept.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.recording.is_some()
    }

    /// Replaces the name, for example once the route is known.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(recording) = &mut self.recording {
            recording.record.name = name.into();
        }
    }

    /// Adds a fact.
    pub fn attribute(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<AttributeValue>,
    ) {
        if let Some(recording) = &mut self.recording
            && recording.record.attributes.len() < ATTRIBUTES_MAX
        {
            recording.record.attributes.push((name.into(), value.into()));
        }
    }

    /// Links a span of another trace, such as the one that created a message.
    pub fn link(&mut self, other: &TraceContext) {
        if let Some(recording) = &mut self.recording
            && recording.record.links.len() < LINKS_MAX
        {
            recording.record.links.push((other.trace_id, other.span_id));
        }
    }

    /// Marks the work as failed; the last reason stands.
    pub fn fail(&mut self, reason: impl Into<String>) {
        if let Some(recording) = &mut self.recording {
            recording.record.status = SpanStatus::Error(reason.into());
        }
    }

    /// A `tracing` span that puts `trace_id` and `span_id` on every log line written inside it.
    #[must_use]
    pub fn log_span(&self) -> tracing::Span {
        let (trace_id, span_id) = (self.context.trace_id, self.context.span_id);
        // Level error, so that no log level filters the ids away.
        tracing::error_span!("span", %trace_id, %span_id)
    }

    /// Ends the span now.
    pub fn end(self) {}
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        let Recording { mut record, started, telemetry } = *recording;
        let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        record.end_ns = record.start_ns.saturating_add(elapsed);
        telemetry.finish(record);
    }
}
