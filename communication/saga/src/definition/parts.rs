//! The parts of a definition, as the document writes them and as code builds them.

use std::time::Duration;

use base::Backoff;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Tries of one undo before a person is asked. The forward limit of 4 would give up within two
/// seconds; with the waits capped at 30 s, 12 tries outlive an outage of about two minutes.
pub const UNDO_ATTEMPTS_MAX: u32 = 12;

/// What may happen to a step after it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Stands before the pivot and can be taken back.
    Compensable,
    /// The point of no return: once it is done the saga only goes forward.
    Pivot,
    /// Stands after the pivot and is repeated until it is done.
    Retriable,
}

/// What happens to a saga before its pivot has passed when a step is not done: its tries or its time
/// are used up, or the service threw an exception. A service that refuses always aborts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenItFails {
    /// What was done is undone.
    #[default]
    Abort,
    /// A person is asked: for a step that must not be given up while nobody has decided about it.
    Park,
}

impl WhenItFails {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out a reference")]
    const fn is_abort(&self) -> bool {
        matches!(self, Self::Abort)
    }
}

/// One step: a call, and what takes it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique in the definition; small letters, digits, `-` and `_`. Part of the operation key.
    pub name: String,
    /// Logical name of the service that is called.
    pub service: String,
    /// What may happen to it later.
    pub kind: StepKind,
    /// How it is done.
    pub call: Call,
    /// How it is taken back; a compensable step that changes anything must have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// When it is left out, by what an earlier step replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_when: Option<Condition>,
    /// When alone it is done, by what an earlier step replied; otherwise it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub do_when: Option<Condition>,
    /// Failed tries in all, the first included, before a transient failure counts as lasting.
    #[serde(default = "attempts_max")]
    pub attempts_max: u32,
    /// Waits between the tries, of the call and of the undo.
    #[serde(default)]
    pub backoff: Retry,
    /// Milliseconds that one call may take.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Taken back before the others, because what it holds is scarce.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undo_first: bool,
    /// What becomes of the saga when the step is not done.
    #[serde(default, skip_serializing_if = "WhenItFails::is_abort")]
    pub when_it_fails: WhenItFails,
}

fn attempts_max() -> u32 {
    4
}

fn timeout_ms() -> u64 {
    2_000
}

/// Waits between tries: `initial_ms`, growing by `factor` up to `cap_ms`, each drawn between zero
/// and that ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Ceiling of the first wait.
    pub initial_ms: u64,
    /// What each further ceiling is multiplied by.
    pub factor: u32,
    /// No ceiling grows past this.
    pub cap_ms: u64,
}

impl Default for Retry {
    /// 0.1, 0.4, 1.6 s … up to 30 s.
    fn default() -> Self {
        Self { initial_ms: 100, factor: 4, cap_ms: 30_000 }
    }
}

impl Retry {
    pub(crate) fn backoff(self) -> Backoff {
        Backoff {
            initial: Duration::from_millis(self.initial_ms),
            factor: self.factor,
            cap: Duration::from_millis(self.cap_ms),
        }
    }
}

/// One HTTP call, with placeholders.
///
/// In `path` and `body`, `{{input.a.b}}`, `{{steps.<name>.body.a.b}}` and `{{saga.id}}` stand for
/// values. A string of the body that is exactly one placeholder becomes the JSON value itself;
/// otherwise values are put into the text. Parts of a path are percent-encoded. Where a value may
/// be missing, alternatives follow after `??`, the last of which may be `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `GET`, `PUT`, `POST`, `PATCH`, `DELETE` or `HEAD`.
    pub method: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// JSON body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Statuses that mean done; none stands for every 2xx.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success: Vec<u16>,
    /// What the reply must say besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
}

/// What a successful reply must say; otherwise the step was rejected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// JSON pointer into the reply; empty for the whole.
    pub pointer: String,
    /// The value that must stand there.
    pub equals: Value,
    /// Reason code of the rejection.
    pub otherwise: String,
}

/// A question to the reply of an earlier step. A reply that does not have the member, or a step
/// that was itself left out, answers no.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The earlier step.
    pub step: String,
    /// JSON pointer into its reply; empty for the whole.
    pub pointer: String,
    /// The value that answers yes.
    pub equals: Value,
}

/// How a step is taken back. The call must succeed on a step that was never done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The call that takes it back, or that asks an outside party to.
    pub call: Call,
    /// Tries in all, the first included, before a person is asked.
    #[serde(default = "undo_attempts_max")]
    pub attempts_max: u32,
    /// Set when somebody outside finishes the undo and calls back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

fn undo_attempts_max() -> u32 {
    UNDO_ATTEMPTS_MAX
}

/// An undo that an outside party finishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct External {
    /// Milliseconds of wall time that the party has; then a person is asked.
    pub deadline_ms: u64,
}

impl Step {
    /// What it asks earlier replies, under the names of the members.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&'static str, &Condition)> {
        let skip = self.skip_when.iter().map(|it| ("skip_when", it));
        skip.chain(self.do_when.iter().map(|it| ("do_when", it)))
    }

    /// A step that can be taken back.
    #[must_use]
    pub fn compensable(name: impl Into<String>, service: impl Into<String>, call: Call) -> Self {
        Self::of(StepKind::Compensable, name.into(), service.into(), call)
    }

    /// The point of no return.
    #[must_use]
    pub fn pivot(name: impl Into<String>, service: impl Into<String>, call: Call) -> Self {
        Self::of(StepKind::Pivot, name.into(), service.into(), call)
    }

    /// A step after the point of no return.
    #[must_use]
    pub fn retriable(name: impl Into<String>, service: impl Into<String>, call: Call) -> Self {
        Self::of(StepKind::Retriable, name.into(), service.into(), call)
    }

    fn of(kind: StepKind, name: String, service: String, call: Call) -> Self {
        Self {
            name,
            service,
            kind,
            call,
            undo: None,
            skip_when: None,
            do_when: None,
            attempts_max: attempts_max(),
            backoff: Retry::default(),
            timeout_ms: timeout_ms(),
            undo_first: false,
            when_it_fails: WhenItFails::Abort,
        }
    }

    /// Says how the step is taken back.
    #[must_use]
    pub fn undo(mut self, call: Call) -> Self {
        self.undo = Some(Undo { call, attempts_max: undo_attempts_max(), external: None });
        self
    }

    /// Says that an outside party finishes the undo within so many milliseconds. Does nothing on
    /// a step without an undo.
    #[must_use]
    pub fn undo_finishes_outside(mut self, deadline_ms: u64) -> Self {
        if let Some(undo) = &mut self.undo {
            undo.external = Some(External { deadline_ms });
        }
        self
    }

    /// Sets the tries of the undo. Does nothing on a step without an undo.
    #[must_use]
    pub fn undo_attempts_max(mut self, attempts_max: u32) -> Self {
        if let Some(undo) = &mut self.undo {
            undo.attempts_max = attempts_max;
        }
        self
    }

    /// Asks a person when the step is not done, and aborts the saga only when it is refused.
    #[must_use]
    pub fn parks(mut self) -> Self {
        self.when_it_fails = WhenItFails::Park;
        self
    }

    /// Takes this step back before the others.
    #[must_use]
    pub fn undo_first(mut self) -> Self {
        self.undo_first = true;
        self
    }

    /// Leaves the step out when the reply of an earlier step says so.
    #[must_use]
    pub fn skip_when(
        mut self,
        step: impl Into<String>,
        pointer: impl Into<String>,
        equals: impl Into<Value>,
    ) -> Self {
        let (step, pointer, equals) = (step.into(), pointer.into(), equals.into());
        self.skip_when = Some(Condition { step, pointer, equals });
        self
    }

    /// Leaves the step out unless the reply of an earlier step says so.
    #[must_use]
    pub fn do_when(
        mut self,
        step: impl Into<String>,
        pointer: impl Into<String>,
        equals: impl Into<Value>,
    ) -> Self {
        let (step, pointer, equals) = (step.into(), pointer.into(), equals.into());
        self.do_when = Some(Condition { step, pointer, equals });
        self
    }

    /// Sets the failed tries in all.
    #[must_use]
    pub fn attempts_max(mut self, attempts_max: u32) -> Self {
        self.attempts_max = attempts_max;
        self
    }

    /// Sets the waits between tries.
    #[must_use]
    pub fn backoff(mut self, backoff: Retry) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the time that one call may take.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = timeout_ms;
        self
    }
}

impl Call {
    /// A call with any method.
    #[must_use]
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        let (method, path) = (method.into(), path.into());
        Self { method, path, body: None, success: Vec::new(), expect: None }
    }

    /// Reads.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// Creates or replaces.
    #[must_use]
    pub fn put(path: impl Into<String>) -> Self {
        Self::new("PUT", path)
    }

    /// Adds or runs.
    #[must_use]
    pub fn post(path: impl Into<String>) -> Self {
        Self::new("POST", path)
    }

    /// Changes.
    #[must_use]
    pub fn patch(path: impl Into<String>) -> Self {
        Self::new("PATCH", path)
    }

    /// Removes.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    /// Sets the JSON body.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Sets the statuses that mean done.
    #[must_use]
    pub fn success(mut self, statuses: impl Into<Vec<u16>>) -> Self {
        self.success = statuses.into();
        self
    }

    /// Says what the reply must say besides; otherwise the step is rejected with that code.
    #[must_use]
    pub fn expect(
        mut self,
        pointer: impl Into<String>,
        equals: impl Into<Value>,
        otherwise: impl Into<String>,
    ) -> Self {
        let (pointer, equals, otherwise) = (pointer.into(), equals.into(), otherwise.into());
        self.expect = Some(Expectation { pointer, equals, otherwise });
        self
    }

    /// Whether the call can change anything at the service.
    #[must_use]
    pub fn reads_only(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// Whether that status means done.
    #[must_use]
    pub fn is_success(&self, status: u16) -> bool {
        if self.success.is_empty() {
            (200..300).contains(&status)
        } else {
            self.success.contains(&status)
        }
    }
}
