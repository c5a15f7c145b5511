//! YAML as a tree with places. Bounded on purpose: no anchors, no aliases (a file of a kilobyte
//! could stand for a gigabyte), no tags, no member twice, so many bytes and so deep.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::{Code, context::Context, origin::Spot};

/// Bytes of one file; a larger one is refused unread.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Levels of lists and mappings in each other; deeper ones are refused.
pub const DEPTH_MAX: usize = 64;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) spot: Spot,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar { text: String, is_quoted: bool },
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A member of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) spot: Spot,
    pub(super) node: Node,
}

/// What a scalar is by YAML 1.2's core schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Null,
    Bool,
    Number,
    Text,
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_quoted: false }
            if kind_of_plain(text) == ScalarKind::Null)
    }

    /// What it is, for a sentence.
    pub(super) fn describe(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar { is_quoted: true, .. } => "text",
            Value::Scalar { text, .. } => match kind_of_plain(text) {
                ScalarKind::Null => "nothing",
                ScalarKind::Bool => "true or false",
                ScalarKind::Number => "a number",
                ScalarKind::Text => "text",
            },
        }
    }
}

/// What a scalar without quotes is: YAML 1.2.2, 10.3.2.
pub(super) fn kind_of_plain(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return ScalarKind::Bool,
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_named = matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    let is_based = |prefix: &str, radix| {
        let digits = unsigned.strip_prefix(prefix);
        digits.is_some_and(|it| !it.is_empty() && it.chars().all(|it| it.is_digit(radix)))
    };
    let starts_like_number = unsigned.starts_with(|it: char| it.is_ascii_digit() || it == '.');
    let is_decimal = starts_like_number && unsigned.parse::<f64>().is_ok();
    if is_named || is_decimal || is_based("0x", 16) || is_based("0o", 8) {
        ScalarKind::Number
    } else {
        ScalarKind::Text
    }
}

/// The documents of a file, up to the first thing that is no YAML of ours.
pub(super) fn documents(context: &Context<'_>) -> Vec<Node> {
    let text = context.text();
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, {FILE_BYTES_MAX} may be", text.len());
        context.error(context.whole_file(), Code::FileTooLarge, message);
        return Vec::new();
    }
    let mut builder = Builder { context, documents: Vec::new(), open: Vec::new() };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        if builder.take(event).is_err() {
            break;
        }
    }
    builder.documents
}

/// The finding is told already; the rest of the file is not read.
struct Unreadable;

/// A list or mapping that has not ended.
enum Open {
    List { spot: Spot, items: Vec<Node> },
    Map { spot: Spot, members: Vec<Member>, names: BTreeSet<String>, name: Option<(String, Spot)> },
}

struct Builder<'a> {
    context: &'a Context<'a>,
    documents: Vec<Node>,
    open: Vec<Open>,
}

impl Builder<'_> {
    fn take(&mut self, event: Result<(Event<'_>, Span), ScanError>) -> Result<(), Unreadable> {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            let spot = self.context.spot(marker.line(), marker.col() + 1, 1);
            self.context.error(spot, Code::Syntax, format!("no YAML: {}", error.info()));
            Unreadable
        })?;
        let spot = self.spot_of(&span, &event);
        match event {
            Event::Alias(_) => Err(self.refuse_anchor(spot)),
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(anchor, tag)
            | Event::MappingStart(anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                Err(self.refuse_anchor(spot))
            }
            Event::Scalar(text, style, ..) => {
                let is_quoted = style != ScalarStyle::Plain;
                self.close(Node {
                    spot,
                    value: Value::Scalar { text: text.into_owned(), is_quoted },
                })
            }
            Event::SequenceStart(..) => self.push(Open::List { spot, items: Vec::new() }),
            Event::MappingStart(..) => {
                let (members, names) = (Vec::new(), BTreeSet::new());
                self.push(Open::Map { spot, members, names, name: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { spot, items }) => {
                    self.close(Node { spot, value: Value::List(items) })
                }
                Some(Open::Map { spot, members, .. }) => {
                    self.close(Node { spot, value: Value::Map(members) })
                }
                None => Ok(()),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn spot_of(&self, span: &Span, event: &Event<'_>) -> Spot {
        let is_one_line = span.start.line() == span.end.line();
        let width = match event {
            Event::Scalar(..) | Event::Alias(_) if is_one_line => {
                span.end.col().saturating_sub(span.start.col())
            }
            _ => 1,
        };
        self.context.spot(span.start.line(), span.start.col() + 1, width.max(1))
    }

    fn refuse_anchor(&self, spot: Spot) -> Unreadable {
        let message = "anchors, aliases and tags are not read".to_owned();
        self.context.error(spot, Code::Anchor, message);
        Unreadable
    }

    fn push(&mut self, open: Open) -> Result<(), Unreadable> {
        if self.open.len() >= DEPTH_MAX {
            let (Open::List { spot, .. } | Open::Map { spot, .. }) = open;
            let message = format!("nested deeper than {DEPTH_MAX} levels");
            self.context.error(spot, Code::TooDeep, message);
            return Err(Unreadable);
        }
        self.open.push(open);
        Ok(())
    }

    /// A node is complete: it is a document, an item, the name of a member or its value.
    fn close(&mut self, node: Node) -> Result<(), Unreadable> {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { members, names, name, .. }) => match name.take() {
                None => {
                    let spot = node.spot;
                    let Value::Scalar { text, .. } = node.value else {
                        let message = "the name of a member is no text".to_owned();
                        self.context.error(spot, Code::WrongType, message);
                        return Err(Unreadable);
                    };
                    *name = Some((text, spot));
                }
                Some((name, spot)) => {
                    if names.insert(name.clone()) {
                        members.push(Member { name, spot, node });
                    } else {
                        let message = format!("`{name}` is here twice");
                        self.context.error(spot, Code::DuplicateMember, message);
                    }
                }
            },
        }
        Ok(())
    }
}
