//! Placeholders: read once when the definition is checked, filled in before each call.

use serde_json::{Map, Value};

use super::parts::Call;

/// A call with its values filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// JSON body.
    pub body: Option<Value>,
}

/// Why a call could not be filled in: the same input gives the same answer again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unrenderable {
    /// Nothing stands where the placeholder points, and it has no alternative.
    #[error("`{reference}` has no value")]
    Missing {
        /// The placeholder.
        reference: String,
    },
    /// The value cannot be part of a path: it is empty, a dot segment, null, a list or an object.
    #[error("the value of `{reference}` cannot be part of a path")]
    NoPathPart {
        /// The placeholder.
        reference: String,
    },
}

/// What placeholders may point at.
pub(crate) trait Scope {
    /// Id of the saga.
    fn saga_id(&self) -> &str;
    /// Input of the saga.
    fn input(&self) -> &Value;
    /// Reply body of the step at that position, when it was done and kept.
    fn output(&self, step: usize) -> Option<&Value>;
}

/// A call whose placeholders have been read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallTemplate {
    method: String,
    path: Vec<Piece>,
    body: Option<Body>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Value(Reference),
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Literal(Value),
    Whole(Reference),
    Text(Vec<Piece>),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    written: String,
    alternatives: Vec<Target>,
    pub(crate) or_null: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Target {
    SagaId,
    Input(Vec<String>),
    Output { step: usize, path: Vec<String> },
}

impl Reference {
    /// Positions of the steps that it points at, in the order of the alternatives.
    pub(crate) fn steps(&self) -> impl Iterator<Item = usize> + '_ {
        self.alternatives.iter().filter_map(|it| match it {
            Target::Output { step, .. } => Some(*step),
            Target::SagaId | Target::Input(_) => None,
        })
    }

    /// The only step it points at, when there is no way out of that one being missing.
    pub(crate) fn hangs_on(&self) -> Option<usize> {
        match (self.or_null, self.alternatives.as_slice()) {
            (false, [Target::Output { step, .. }]) => Some(*step),
            _ => None,
        }
    }

    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    fn find<'a>(&self, scope: &'a dyn Scope) -> Result<Found<'a>, Unrenderable> {
        for target in &self.alternatives {
            let found = match target {
                Target::SagaId => return Ok(Found::Text(scope.saga_id())),
                Target::Input(path) => walk(scope.input(), path),
                Target::Output { step, path } => scope.output(*step).and_then(|it| walk(it, path)),
            };
            if let Some(value) = found {
                return Ok(Found::Json(value));
            }
        }
        if self.or_null {
            return Ok(Found::Json(&Value::Null));
        }
        Err(Unrenderable::Missing { reference: self.written.clone() })
    }
}

enum Found<'a> {
    Text(&'a str),
    Json(&'a Value),
}

impl Found<'_> {
    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(*text),
            Self::Json(value) => (*value).clone(),
        }
    }

    /// As part of a text; null is empty.
    fn to_text(&self) -> String {
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Json(Value::String(text)) => text.clone(),
            Self::Json(Value::Null) => String::new(),
            Self::Json(value) => value.to_string(),
        }
    }
}

fn walk<'a>(from: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(from, |value, key| match value {
        Value::Object(members) => members.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|it| items.get(it)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

impl CallTemplate {
    /// Reads the placeholders of a call. `position` finds a step by its name.
    pub(crate) fn read(
        call: &Call,
        position: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<Self, Vec<(&'static str, String)>> {
        let path = pieces(&call.path, position).map_err(|it| ("path", it));
        let body = call.body.as_ref().map(|it| read_body(it, position)).transpose();
        let body = body.map_err(|it| ("body", it));
        match (path, body) {
            (Ok(path), Ok(body)) => Ok(Self { method: call.method.clone(), path, body }),
            (path, body) => Err(path.err().into_iter().chain(body.err()).collect()),
        }
    }

    /// Fills in the values.
    pub(crate) fn render(&self, scope: &dyn Scope) -> Result<Rendered, Unrenderable> {
        let mut path = String::new();
        for piece in &self.path {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Value(reference) => {
                    let part = path_part(&reference.find(scope)?);
                    let part = part.ok_or_else(|| Unrenderable::NoPathPart {
                        reference: reference.written.clone(),
                    })?;
                    path.push_str(&part);
                }
            }
        }
        let body = self.body.as_ref().map(|it| it.render(scope)).transpose()?;
        Ok(Rendered { method: self.method.clone(), path, body })
    }

    /// Every placeholder of the call.
    pub(crate) fn references(&self) -> Vec<&Reference> {
        let mut all = Vec::new();
        collect(&self.path, &mut all);
        if let Some(body) = &self.body {
            body.collect(&mut all);
        }
        all
    }
}

impl Body {
    fn render(&self, scope: &dyn Scope) -> Result<Value, Unrenderable> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Whole(reference) => reference.find(scope)?.to_json(),
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(literal) => text.push_str(literal),
                        Piece::Value(reference) => text.push_str(&reference.find(scope)?.to_text()),
                    }
                }
                Value::String(text)
            }
            Self::Array(items) => {
                Value::Array(items.iter().map(|it| it.render(scope)).collect::<Result<_, _>>()?)
            }
            Self::Object(members) => {
                let members = members
                    .iter()
                    .map(|(name, it)| Ok((name.clone(), it.render(scope)?)))
                    .collect::<Result<Map<_, _>, Unrenderable>>()?;
                Value::Object(members)
            }
        })
    }

    fn collect<'a>(&'a self, all: &mut Vec<&'a Reference>) {
        match self {
            Self::Literal(_) => {}
            Self::Whole(reference) => all.push(reference),
            Self::Text(pieces) => collect(pieces, all),
            Self::Array(items) => items.iter().for_each(|it| it.collect(all)),
            Self::Object(members) => members.iter().for_each(|(_, it)| it.collect(all)),
        }
    }
}

fn collect<'a>(pieces: &'a [Piece], all: &mut Vec<&'a Reference>) {
    all.extend(pieces.iter().filter_map(|it| match it {
        Piece::Value(reference) => Some(reference),
        Piece::Text(_) => None,
    }));
}

fn read_body(value: &Value, position: &dyn Fn(&str) -> Option<usize>) -> Result<Body, String> {
    Ok(match value {
        Value::String(text) => {
            let mut pieces = pieces(text, position)?;
            match pieces.as_mut_slice() {
                [] | [Piece::Text(_)] => Body::Literal(value.clone()),
                [Piece::Value(reference)] => Body::Whole(reference.clone()),
                _ => Body::Text(pieces),
            }
        }
        Value::Array(items) => {
            Body::Array(items.iter().map(|it| read_body(it, position)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let read = |(name, it): (&String, &Value)| Ok((name.clone(), read_body(it, position)?));
            Body::Object(members.iter().map(read).collect::<Result<_, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Body::Literal(value.clone()),
    })
}

fn pieces(text: &str, position: &dyn Fn(&str) -> Option<usize>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, behind)) = after.split_once("}}") else {
            return Err(format!("a placeholder in `{text}` does not end"));
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Value(reference(inside.trim(), position)?));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

fn reference(written: &str, position: &dyn Fn(&str) -> Option<usize>) -> Result<Reference, String> {
    let mut alternatives = Vec::new();
    let mut or_null = false;
    for part in written.split("??").map(str::trim) {
        if or_null {
            return Err(format!("`null` is not the last alternative of `{written}`"));
        }
        if part == "null" {
            or_null = true;
            continue;
        }
        alternatives.push(target(part, position)?);
    }
    if alternatives.is_empty() {
        return Err(format!("`{written}` points at nothing"));
    }
    Ok(Reference { written: written.to_owned(), alternatives, or_null })
}

fn target(part: &str, position: &dyn Fn(&str) -> Option<usize>) -> Result<Target, String> {
    let mut keys = part.split('.').map(str::to_owned);
    let root = keys.next().unwrap_or_default();
    let keys: Vec<String> = keys.collect();
    if keys.iter().any(String::is_empty) {
        return Err(format!("`{part}` has an empty member name"));
    }
    match (root.as_str(), keys.as_slice()) {
        ("saga", [id]) if id == "id" => Ok(Target::SagaId),
        ("input", _) => Ok(Target::Input(keys)),
        ("steps", [name, body, path @ ..]) if body == "body" => {
            let step = position(name).ok_or_else(|| format!("`{part}` names an unknown step"))?;
            Ok(Target::Output { step, path: path.to_vec() })
        }
        _ => Err(format!("`{part}` is none of `input.…`, `steps.<name>.body.…`, `saga.id`")),
    }
}

/// The value as one part of a path. An empty part or a dot segment would address another resource,
/// in the worst case the whole collection.
fn path_part(found: &Found<'_>) -> Option<String> {
    let text = match found {
        Found::Json(Value::Null | Value::Array(_) | Value::Object(_)) => return None,
        Found::Json(Value::String(_) | Value::Number(_) | Value::Bool(_)) | Found::Text(_) => {
            found.to_text()
        }
    };
    if matches!(text.as_str(), "" | "." | "..") {
        return None;
    }
    let mut part = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                part.push(char::from(byte));
            }
            _ => {
                part.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    Some(part)
}
