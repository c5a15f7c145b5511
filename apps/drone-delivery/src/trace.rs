//! The trace of one delivery as a tree: from the request to the doorstep, undo included.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Deserialize;
use serde_json::{Map, Value};
use service_kit::{Call, segment};
use skein::{Exit, Failure, Output, table::printable};

use crate::system::System;

/// Prints the tree.
pub(crate) async fn trace(system: System, id: &str, output: Output) -> Result<Exit, Failure> {
    let path = format!("/api/traces?delivery={}", segment(id));
    let document = system.ask(Call::get("dashboard", path)).await?;
    let mut spans: Vec<Span> = serde_json::from_value(document["spans"].clone())
        .map_err(|it| Failure::new("bad_trace", "the spans cannot be read").because(it))?;
    if spans.is_empty() {
        return Err(Failure::new("no_trace", "no span of this delivery is known")
            .because("spans are kept in memory, and not every trace is recorded under load")
            .exit(Exit::NotFound)
            .next(format!("drone-delivery saga show {id}")));
    }
    match output.format {
        skein::Format::Json => output.document(&document),
        skein::Format::Table | skein::Format::Wide => {
            for saga in sagas_of(&spans) {
                let path = format!("/api/sagas/{}", segment(&saga));
                // The tree is worth something without its marks.
                let Ok(saga) = system.ask(Call::get("scheduler", path)).await else { break };
                mark(&mut spans, &saga);
            }
            output.text(&render(&spans));
        }
    }
    Ok(Exit::Done)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    span_id: String,
    parent_span_id: String,
    name: String,
    service: String,
    start_unix_nano: String,
    end_unix_nano: String,
    #[serde(default)]
    attributes: Map<String, Value>,
    #[serde(default)]
    error: Option<String>,
}

impl Span {
    fn start_micros(&self) -> u64 {
        self.start_unix_nano.parse::<u64>().unwrap_or(0) / 1_000
    }

    fn text(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute)?.as_str()
    }

    /// The event that was sent or processed: its type without context and version.
    fn event(&self) -> Option<&str> {
        self.text("cloudevents.event_type")?.rsplit('.').nth(1)
    }

    fn took_micros(&self) -> u64 {
        let end = self.end_unix_nano.parse::<u64>().unwrap_or(0) / 1_000;
        end.saturating_sub(self.start_micros())
    }
}

/// The sagas that the spans are of.
fn sagas_of(spans: &[Span]) -> BTreeSet<String> {
    spans.iter().filter_map(|it| it.text("saga.id")).map(str::to_owned).collect()
}

/// Marks what failed a saga: the last call for the step of its cause. A service that says no has
/// answered well, so that its span says nothing of it.
fn mark(spans: &mut [Span], saga: &Value) {
    let (id, cause) = (saga["id"].as_str(), &saga["cause"]);
    let (Some(step), Some(code)) = (cause["step"].as_str(), cause["code"].as_str()) else { return };
    let is_it = |it: &&mut Span| {
        it.text("saga.id") == id && it.text("saga.step") == Some(step) && it.name.starts_with("do ")
    };
    let last = spans.iter_mut().filter(is_it).max_by_key(|it| it.start_micros());
    if let Some(span) = last.filter(|it| it.error.is_none()) {
        span.error = Some(code.to_owned());
    }
}

/// One line a span, children below their parent in the order of their start.
fn render(spans: &[Span]) -> String {
    let known: BTreeSet<&str> = spans.iter().map(|it| it.span_id.as_str()).collect();
    let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    let mut roots = Vec::new();
    for span in spans {
        if known.contains(span.parent_span_id.as_str()) {
            children.entry(&span.parent_span_id).or_default().push(span);
        } else {
            roots.push(span);
        }
    }
    let began = spans.iter().map(Span::start_micros).min().unwrap_or(0);
    let mut text = String::new();
    for root in roots {
        write_line(&mut text, "", root, began);
        write_children(&mut text, "", root, &children, began);
    }
    text
}

fn write_children(
    text: &mut String,
    indent: &str,
    parent: &Span,
    children: &BTreeMap<&str, Vec<&Span>>,
    began: u64,
) {
    let below = children.get(parent.span_id.as_str()).map_or(&[][..], Vec::as_slice);
    for (index, span) in below.iter().enumerate() {
        let is_last = index + 1 == below.len();
        let (branch, trunk) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        write_line(text, &format!("{indent}{branch}"), span, began);
        write_children(text, &format!("{indent}{trunk}"), span, children, began);
    }
}

fn write_line(text: &mut String, indent: &str, span: &Span, began: u64) {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let millis = |micros: u64| micros as f64 / 1_000.0;
    let error = span.error.as_ref().map(|it| format!("  ! {}", printable(it))).unwrap_or_default();
    let event = span.event().map(|it| format!(" {}", printable(it))).unwrap_or_default();
    let status = span.attributes.get("http.response.status_code");
    let status = status.map(|it| format!(" → {it}")).unwrap_or_default();
    // Writing to a string cannot fail.
    let _written = writeln!(
        text,
        "{indent}{} {}{event}{status}  +{:.1} ms, {:.1} ms{error}",
        printable(&span.service),
        printable(&span.name),
        millis(span.start_micros().saturating_sub(began)),
        millis(span.took_micros()),
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(id: &str, parent: &str, start: u64) -> Span {
        Span {
            span_id: id.to_owned(),
            parent_span_id: parent.to_owned(),
            name: format!("step {id}"),
            service: "service".to_owned(),
            start_unix_nano: (start * 1_000_000).to_string(),
            end_unix_nano: (start * 1_000_000 + 500_000).to_string(),
            attributes: Map::new(),
            error: (id == "c").then(|| "refused".to_owned()),
        }
    }

    #[test]
    fn children_stand_below_their_parent() {
        let spans =
            [span("a", "elsewhere", 1), span("b", "a", 2), span("d", "b", 3), span("c", "a", 4)];
        let expected = "\
service step a  +0.0 ms, 0.5 ms
├─ service step b  +1.0 ms, 0.5 ms
│  └─ service step d  +2.0 ms, 0.5 ms
└─ service step c  +3.0 ms, 0.5 ms  ! refused
";
        assert_eq!(render(&spans), expected);
    }

    #[test]
    fn the_step_that_failed_a_saga_is_marked_with_its_code() {
        let call = |id: &str, parent: &str, start, name: &str, saga: &str| {
            let attributes = json!({"saga.id": saga, "saga.step": "account"});
            let attributes = attributes.as_object().unwrap().clone();
            Span { name: name.to_owned(), attributes, ..span(id, parent, start) }
        };
        let mut spans = [
            span("a", "elsewhere", 1),
            call("b", "a", 2, "do account", "d/create"),
            call("d", "a", 3, "do account", "d/create"),
            call("e", "a", 4, "undo account", "d/create"),
            call("f", "a", 5, "do account", "d/cancel/1"),
        ];
        assert_eq!(sagas_of(&spans).into_iter().collect::<Vec<_>>(), ["d/cancel/1", "d/create"]);
        mark(&mut spans, &json!({"id": "d/cancel/1", "cause": null}));
        let cause = json!({"step": "account", "code": "account_suspended"});
        mark(&mut spans, &json!({"id": "d/create", "cause": cause}));
        let expected = "\
service step a  +0.0 ms, 0.5 ms
├─ service do account  +1.0 ms, 0.5 ms
├─ service do account  +2.0 ms, 0.5 ms  ! account_suspended
├─ service undo account  +3.0 ms, 0.5 ms
└─ service do account  +4.0 ms, 0.5 ms
";
        assert_eq!(render(&spans), expected);
    }
}
