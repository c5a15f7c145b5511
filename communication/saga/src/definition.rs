//! A saga as data: the steps in order, how each is done, undone, repeated and given up.
//!
//! The builder and a JSON document make the same [`Definition`], so any language can define one.
//! A definition is refused unless it holds together as a whole, with every problem listed; its
//! hash pins the sagas in flight to the version that they were accepted under. It names services
//! by their logical names and knows nothing about what they do.

mod check;
mod parts;
mod template;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use parts::{
    Call, Condition, Expectation, External, Retry, Step, StepKind, UNDO_ATTEMPTS_MAX, Undo,
    WhenItFails,
};
use template::CallTemplate;
pub(crate) use template::Scope;
pub use template::{Rendered, Unrenderable};

/// Time that a saga may consume before its pivot; from names-and-numbers: 60 s.
pub const COMPLETE_BY_MS: u64 = 60_000;
/// Steps that one definition may have: an undo plan stays one small record.
pub const STEPS_MAX: usize = 64;

/// What a definition says, before anyone has checked it. This is the JSON document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Name of the kind of saga; small letters, digits, `-` and `_`.
    pub name: String,
    /// Counts the published changes of one name.
    pub version: u32,
    /// Milliseconds that a saga may consume, while somebody owns it, before its pivot has passed.
    #[serde(default = "complete_by_ms")]
    pub complete_by_ms: u64,
    /// The steps, in the order in which they are done.
    pub steps: Vec<Step>,
}

fn complete_by_ms() -> u64 {
    COMPLETE_BY_MS
}

/// A definition that holds together, with its templates read and its hash taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    document: Document,
    hash: String,
    pub(crate) compiled: Vec<CompiledStep>,
}

/// What the machine needs of a step and the document says only indirectly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CompiledStep {
    pub(crate) call: CallTemplate,
    pub(crate) undo: Option<CallTemplate>,
    /// Whether anything refers to the reply, so that it must be kept.
    pub(crate) output_is_used: bool,
}

/// Something that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Where in the document, as a JSON pointer.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// Why a definition was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// The text is not a document of this shape.
    #[error("the document cannot be read: {detail}")]
    Malformed {
        /// What the reader stumbled over.
        detail: String,
    },
    /// The document can be read and does not hold together.
    #[error("the definition does not hold together: {}", list(.problems))]
    Invalid {
        /// Everything that is wrong, not just the first.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        text.push_str(&format!("{separator}{}: {}", problem.pointer, problem.detail));
    }
    text
}

impl Definition {
    /// Starts a definition in code; [`Builder::build`] gives what the document would have given.
    #[must_use]
    pub fn builder(name: impl Into<String>, version: u32) -> Builder {
        let (name, steps) = (name.into(), Vec::new());
        Builder(Document { name, version, complete_by_ms: COMPLETE_BY_MS, steps })
    }

    /// Reads and checks a JSON document.
    ///
    /// # Errors
    /// It is not a document of this shape, or it does not hold together.
    pub fn from_json(text: &str) -> Result<Self, DefinitionError> {
        let document = serde_json::from_str(text)
            .map_err(|it| DefinitionError::Malformed { detail: it.to_string() })?;
        Self::from_document(document)
    }

    /// Checks a document.
    ///
    /// # Errors
    /// It does not hold together; every problem is listed.
    pub fn from_document(document: Document) -> Result<Self, DefinitionError> {
        Self::checked(document, check::Rules::New)
    }

    /// Reads a document that was accepted once, by the rules that held then: the sagas in flight
    /// that are pinned to it must come to their end.
    pub(crate) fn from_stored(text: &str) -> Result<Self, DefinitionError> {
        let document = serde_json::from_str(text)
            .map_err(|it| DefinitionError::Malformed { detail: it.to_string() })?;
        Self::checked(document, check::Rules::Stored)
    }

    fn checked(document: Document, rules: check::Rules) -> Result<Self, DefinitionError> {
        let (compiled, problems) = check::compile(&document, rules);
        if !problems.is_empty() {
            return Err(DefinitionError::Invalid { problems });
        }
        let whole = serde_json::to_value(&document)
            .map_err(|it| DefinitionError::Malformed { detail: it.to_string() })?;
        Ok(Self { hash: hash_of(&whole), document, compiled })
    }

    /// The document, with every default written out: what is stored and served.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_value(&self.document).map(|it| canonical(&it)).unwrap_or_default()
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Name of the kind of saga.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// Version of that name.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.document.version
    }

    /// SHA-256 over the canonical document, in hexadecimal: what pins a saga to its definition.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The steps in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.document.steps
    }

    /// Position of the step of that name.
    #[must_use]
    pub fn position(&self, step: &str) -> Option<usize> {
        self.steps().iter().position(|it| it.name == step)
    }

    /// Position of the pivot, when there is one.
    #[must_use]
    pub fn pivot(&self) -> Option<usize> {
        self.steps().iter().position(|it| it.kind == StepKind::Pivot)
    }
}

/// Collects a definition in code.
#[derive(Debug, Clone)]
pub struct Builder(Document);

impl Builder {
    /// Sets the time that a saga may consume before its pivot, in milliseconds.
    #[must_use]
    pub fn complete_by_ms(mut self, complete_by_ms: u64) -> Self {
        self.0.complete_by_ms = complete_by_ms;
        self
    }

    /// Appends a step.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.0.steps.push(step);
        self
    }

    /// Checks the whole.
    ///
    /// # Errors
    /// It does not hold together; every problem is listed.
    pub fn build(self) -> Result<Definition, DefinitionError> {
        Definition::from_document(self.0)
    }
}

/// SHA-256 of a JSON value in its canonical form, in hexadecimal.
#[must_use]
pub fn hash_of(value: &Value) -> String {
    let digest = Sha256::digest(canonical(value).as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// JSON without spaces and with the members of every object in the order of their names, so that
/// the hash does not hang on how a map is built.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_canonical(&members[name], text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
