//! Spans of every process, found by the delivery that they belong to.
//!
//! Bounded; the oldest trace goes first, whole: half a trace would tell half a story. A span is
//! known by its id, so that one that arrives twice, from a sender that heard no answer, is one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::Serialize;
use serde_json::{Map, Value};
use telemetry::{AttributeValue, SpanId, SpanRecord, SpanStatus, TraceId, otlp::Resource};

/// The attribute by which a trace is found.
const DELIVERY_ATTRIBUTE: &str = "delivery.id";

/// One span as the page and `trace` show it. Times are nanoseconds since 1970, as text: they do
/// not fit a JavaScript number.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TraceSpan {
    trace_id: String,
    span_id: String,
    parent_span_id: String,
    name: String,
    service: String,
    instance: String,
    start_unix_nano: String,
    end_unix_nano: String,
    attributes: Map<String, Value>,
    status: &'static str,
    error: Option<String>,
}

/// The spans that arrived, by trace.
#[derive(Debug)]
pub(crate) struct Traces {
    spans_max: usize,
    spans: usize,
    traces: BTreeMap<TraceId, Trace>,
    /// Traces in the order in which their first span came.
    order: VecDeque<TraceId>,
    by_delivery: BTreeMap<String, BTreeSet<TraceId>>,
}

#[derive(Debug, Default)]
struct Trace {
    spans: BTreeMap<SpanId, (Arc<Resource>, SpanRecord)>,
    deliveries: BTreeSet<String>,
}

impl Traces {
    /// Keeps so many spans in all.
    pub(crate) const fn new(spans_max: usize) -> Self {
        Self {
            spans_max,
            spans: 0,
            traces: BTreeMap::new(),
            order: VecDeque::new(),
            by_delivery: BTreeMap::new(),
        }
    }

    /// Takes one span in; drops the oldest traces when the bound is passed.
    pub(crate) fn add(&mut self, resource: &Arc<Resource>, span: SpanRecord) {
        let id = span.trace_id;
        let trace = self.traces.entry(id).or_default();
        if trace.spans.is_empty() {
            self.order.push_back(id);
        }
        if let Some(delivery) = delivery_of(&span) {
            trace.deliveries.insert(delivery.to_owned());
            self.by_delivery.entry(delivery.to_owned()).or_default().insert(id);
        }
        let known = trace.spans.insert(span.span_id, (Arc::clone(resource), span));
        self.spans += usize::from(known.is_none());
        while self.spans > self.spans_max && self.drop_oldest() {}
    }

    /// Every span of every trace that touched the delivery, by start.
    pub(crate) fn of_delivery(&self, delivery: &str) -> Vec<TraceSpan> {
        let traces = self.by_delivery.get(delivery).into_iter().flatten();
        let spans = traces.filter_map(|it| self.traces.get(it)).flat_map(|it| it.spans.values());
        let mut found: Vec<&(Arc<Resource>, SpanRecord)> = spans.collect();
        found.sort_by_key(|(_, it)| it.start_ns);
        found.into_iter().map(|(resource, span)| TraceSpan::new(resource, span)).collect()
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.order.pop_front() else { return false };
        let trace = self.traces.remove(&oldest).unwrap_or_default();
        self.spans -= trace.spans.len();
        for delivery in trace.deliveries {
            let Some(traces) = self.by_delivery.get_mut(&delivery) else { continue };
            traces.remove(&oldest);
            if traces.is_empty() {
                self.by_delivery.remove(&delivery);
            }
        }
        true
    }
}

fn delivery_of(span: &SpanRecord) -> Option<&str> {
    span.attributes.iter().find_map(|(name, value)| match value {
        AttributeValue::Text(text) if name == DELIVERY_ATTRIBUTE => Some(text.as_str()),
        _ => None,
    })
}

impl TraceSpan {
    fn new(resource: &Resource, span: &SpanRecord) -> Self {
        let (status, error) = match &span.status {
            SpanStatus::Unset => ("unset", None),
            SpanStatus::Error(reason) => ("error", Some(reason.clone())),
        };
        let attributes = span.attributes.iter();
        Self {
            trace_id: span.trace_id.to_string(),
            span_id: span.span_id.to_string(),
            parent_span_id: span.parent.map(|it| it.to_string()).unwrap_or_default(),
            name: span.name.to_string(),
            service: resource.service.clone(),
            instance: resource.instance.clone(),
            start_unix_nano: span.start_ns.to_string(),
            end_unix_nano: span.end_ns.to_string(),
            attributes: attributes.map(|(name, it)| (name.to_string(), value_of(it))).collect(),
            status,
            error,
        }
    }
}

fn value_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Text(text) => Value::from(text.as_str()),
        AttributeValue::Int(number) => Value::from(*number),
        AttributeValue::Float(number) => Value::from(*number),
        AttributeValue::Bool(flag) => Value::from(*flag),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use telemetry::SpanKind;

    use super::*;

    pub(crate) fn span(trace: u64, id: u64, delivery: Option<&str>) -> SpanRecord {
        let attribute = |it: &str| (DELIVERY_ATTRIBUTE.into(), AttributeValue::from(it));
        SpanRecord {
            trace_id: TraceId::parse(&format!("{trace:032x}")).unwrap(),
            span_id: SpanId::parse(&format!("{id:016x}")).unwrap(),
            parent: None,
            state: None,
            name: "work".into(),
            kind: SpanKind::Internal,
            start_ns: id,
            end_ns: id + 1,
            attributes: delivery.map(attribute).into_iter().collect(),
            links: Vec::new(),
            status: SpanStatus::Unset,
        }
    }

    fn traces(spans_max: usize, spans: impl IntoIterator<Item = SpanRecord>) -> Traces {
        let (mut traces, resource) = (Traces::new(spans_max), Arc::default());
        spans.into_iter().for_each(|it| traces.add(&resource, it));
        traces
    }

    #[track_caller]
    fn check(traces: &Traces, delivery: &str, expected: &[&str]) {
        let found = traces.of_delivery(delivery);
        let starts: Vec<_> = found.iter().map(|it| it.start_unix_nano.as_str()).collect();
        assert_eq!(starts, expected, "of {delivery}");
    }

    #[test]
    fn a_delivery_finds_every_span_of_its_traces_by_start() {
        let (of_d1, of_none) = (Some("d1"), None);
        let traces = traces(
            100,
            [span(1, 30, of_none), span(1, 4, of_d1), span(2, 20, of_none), span(3, 40, of_d1)],
        );
        check(&traces, "d1", &["4", "30", "40"]);
        check(&traces, "d2", &[]);
    }

    #[test]
    fn spans_that_arrive_twice_are_kept_once() {
        let twice = [span(1, 1, Some("d1")), span(1, 2, None), span(1, 1, Some("d1"))];
        let mut traces = traces(2, twice);
        check(&traces, "d1", &["1", "2"]);
        traces.add(&Arc::default(), span(1, 2, None));
        check(&traces, "d1", &["1", "2"]);
    }

    #[test]
    fn the_oldest_trace_makes_room_whole_and_alone() {
        let first = [span(1, 1, Some("d1")), span(1, 2, Some("d2")), span(2, 3, Some("d2"))];
        let mut traces = traces(3, first);
        traces.add(&Arc::default(), span(3, 4, Some("d3")));
        check(&traces, "d1", &[]);
        check(&traces, "d2", &["3"]);
        check(&traces, "d3", &["4"]);
        assert_eq!(traces.by_delivery.len(), 2);
    }

    #[test]
    fn a_trace_that_alone_is_past_the_bound_is_dropped() {
        let traces = traces(3, (1..=4).map(|it| span(1, it, Some("d1"))));
        check(&traces, "d1", &[]);
        assert_eq!((traces.spans, traces.order.len()), (0, 0));
    }

    #[test]
    fn a_span_is_written_as_the_page_reads_it() {
        let failed = SpanRecord {
            parent: SpanId::parse("000000000000000a"),
            status: SpanStatus::Error("overloaded".to_owned()),
            ..span(1, 2, Some("d1"))
        };
        let resource = Resource { service: "orders".to_owned(), ..Resource::default() };
        let written = serde_json::to_value(TraceSpan::new(&resource, &failed)).unwrap();
        assert_eq!(written["parentSpanId"], "000000000000000a");
        assert_eq!(
            (&written["service"], &written["startUnixNano"]),
            (&"orders".into(), &"2".into())
        );
        assert_eq!(
            (&written["status"], &written["error"]),
            (&"error".into(), &"overloaded".into())
        );
        assert_eq!(written["attributes"]["delivery.id"], "d1");
    }
}
