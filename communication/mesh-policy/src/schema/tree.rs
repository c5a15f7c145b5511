//! YAML as a tree in which every node knows its place. Anchors, aliases and keys that stand twice are
//! refused: a file must say once what it says, and be no longer than it looks.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::finding::{Finding, Level};

/// A file is no longer than this.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;
/// Lists and maps in each other.
const DEPTH_MAX: usize = 64;

/// Where something stands; both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A node with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Text, and whether it was plain (then it may be a number, a boolean or nothing).
    Scalar {
        text: String,
        is_plain: bool,
    },
    List(Vec<Node>),
    /// Entries in order, each with the place of its key.
    Map(Vec<(String, Place, Node)>),
}

impl Value {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Scalar { .. } => "a value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// The documents of a file.
pub(crate) fn documents(file: &str, text: &str) -> Result<Vec<Node>, Finding> {
    let refuse = |place: Place, code, message: String| Finding {
        level: Level::Error,
        code,
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        message,
        suggestion: None,
    };
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is longer than {FILE_BYTES_MAX} bytes");
        return Err(refuse(Place { line: 1, column: 1 }, "SK1001", message));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            let place = Place { line: marker.line(), column: marker.col() + 1 };
            refuse(place, "SK1001", format!("this is not YAML: {}", error.info()))
        })?;
        builder
            .take(event, place(&span))
            .map_err(|(place, message)| refuse(place, "SK1002", message))?;
    }
    Ok(builder.documents)
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
}

enum Open {
    List(Place, Vec<Node>),
    Map { place: Place, entries: Vec<(String, Place, Node)>, key: Option<(String, Place)> },
}

type Refused = (Place, String);

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Refused> {
        let anchored = || (place, "anchors and aliases are not read here".to_owned());
        match event {
            Event::Alias(_) => return Err(anchored()),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                return Err(anchored());
            }
            Event::Scalar(text, style, ..) => {
                let is_plain = style == ScalarStyle::Plain;
                let value = Value::Scalar { text: text.into_owned(), is_plain };
                self.put(Node { place, value })?;
            }
            Event::SequenceStart(..) => self.open(Open::List(place, Vec::new()), place)?,
            Event::MappingStart(..) => {
                self.open(Open::Map { place, entries: Vec::new(), key: None }, place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(place, items)) => {
                    self.put(Node { place, value: Value::List(items) })?;
                }
                Some(Open::Map { place, entries, .. }) => {
                    self.put(Node { place, value: Value::Map(entries) })?;
                }
                None => {}
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, open: Open, place: Place) -> Result<(), Refused> {
        if self.open.len() >= DEPTH_MAX {
            return Err((place, format!("lists and maps are nested more than {DEPTH_MAX} deep")));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), Refused> {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((name, at)) => entries.push((name, at, node)),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err((node.place, "a key is a word".to_owned()));
                    };
                    if entries.iter().any(|(name, ..)| *name == text) {
                        return Err((node.place, format!("`{text}` stands twice")));
                    }
                    *key = Some((text, node.place));
                }
            },
        }
        Ok(())
    }
}
