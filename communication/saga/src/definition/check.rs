//! Whether a document holds together, and what the machine needs of it.

use std::collections::BTreeSet;

use super::{
    CompiledStep, Document, Problem, STEPS_MAX,
    parts::{Call, Step, StepKind, WhenItFails},
    template::{CallTemplate, Reference},
};

const METHODS: [&str; 6] = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"];

/// By which rules a document is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// All of them.
    New,
    /// Those without which the machine cannot run it: later rules bind no document from before.
    Stored,
}

/// Reads every template and lists everything that is wrong. The steps are complete only when the
/// list is empty.
pub(super) fn compile(document: &Document, rules: Rules) -> (Vec<CompiledStep>, Vec<Problem>) {
    let mut check = Check { document, rules, problems: Vec::new() };
    check.whole();
    check.order_of_kinds();
    let steps: Vec<_> = document.steps.iter().enumerate().map(|it| check.step(it)).collect();
    let mut used: BTreeSet<usize> = BTreeSet::new();
    for (call, undo) in &steps {
        let references = call.iter().chain(undo).flat_map(CallTemplate::references);
        used.extend(references.flat_map(Reference::steps));
    }
    for step in &document.steps {
        used.extend(step.conditions().filter_map(|it| check.position(&it.1.step)));
    }
    let compiled = steps.into_iter().enumerate().filter_map(|(index, (call, undo))| {
        Some(CompiledStep { call: call?, undo, output_is_used: used.contains(&index) })
    });
    (compiled.collect(), check.problems)
}

struct Check<'a> {
    document: &'a Document,
    rules: Rules,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.problems.push(Problem { pointer: pointer.into(), detail: detail.into() });
    }

    fn position(&self, step: &str) -> Option<usize> {
        self.document.steps.iter().position(|it| it.name == step)
    }

    fn whole(&mut self) {
        let document = self.document;
        if !is_name(&document.name) {
            self.problem("/name", "is not made of small letters, digits, `-` and `_`");
        }
        if document.complete_by_ms == 0 {
            self.problem("/complete_by_ms", "is zero");
        }
        if document.steps.is_empty() || document.steps.len() > STEPS_MAX {
            self.problem("/steps", format!("has not between 1 and {STEPS_MAX} steps"));
        }
        let mut names = BTreeSet::new();
        for (index, step) in document.steps.iter().enumerate() {
            if !names.insert(&step.name) {
                self.problem(format!("/steps/{index}/name"), "occurs twice");
            }
        }
    }

    fn order_of_kinds(&mut self) {
        let mut pivot_seen = false;
        for (index, step) in self.document.steps.iter().enumerate() {
            let fault = match (step.kind, pivot_seen) {
                (StepKind::Pivot, true) => Some("is a second pivot"),
                (StepKind::Compensable, true) => Some("is compensable and stands after the pivot"),
                (StepKind::Retriable, false) => Some("is retriable and stands before any pivot"),
                (StepKind::Compensable | StepKind::Pivot, false) | (StepKind::Retriable, true) => {
                    None
                }
            };
            pivot_seen |= step.kind == StepKind::Pivot;
            if let Some(fault) = fault {
                self.problem(format!("/steps/{index}/kind"), fault);
            }
        }
    }

    fn step(
        &mut self,
        (index, step): (usize, &Step),
    ) -> (Option<CallTemplate>, Option<CallTemplate>) {
        let at = format!("/steps/{index}");
        if !is_name(&step.name) {
            self.problem(format!("{at}/name"), "is not made of small letters, digits, `-` and `_`");
        }
        if step.service.is_empty() {
            self.problem(format!("{at}/service"), "is empty");
        }
        // A person is not asked while earlier steps stay half done.
        let decides = step.kind == StepKind::Pivot && index == 0;
        if step.when_it_fails == WhenItFails::Park && !decides {
            self.problem(format!("{at}/when_it_fails"), "parks, and is no pivot at the beginning");
        }
        self.limits(&at, step);
        self.conditions(&at, index, step);
        self.undo_fits_kind(&at, step);
        let call = self.call(&format!("{at}/call"), &step.call, index);
        let undo = step.undo.as_ref().and_then(|undo| {
            if undo.attempts_max == 0 {
                self.problem(format!("{at}/undo/attempts_max"), "is zero");
            }
            if undo.external.is_some_and(|it| it.deadline_ms == 0) {
                self.problem(format!("{at}/undo/external/deadline_ms"), "is zero");
            }
            self.call(&format!("{at}/undo/call"), &undo.call, index + 1)
        });
        if let Some(undo) = &undo {
            self.undo_survives_doubt(&at, index, undo);
        }
        (call, undo)
    }

    fn limits(&mut self, at: &str, step: &Step) {
        if step.attempts_max == 0 {
            self.problem(format!("{at}/attempts_max"), "is zero");
        }
        if step.timeout_ms == 0 {
            self.problem(format!("{at}/timeout_ms"), "is zero");
        }
        if step.backoff.factor == 0 || step.backoff.cap_ms < step.backoff.initial_ms {
            self.problem(format!("{at}/backoff"), "does not grow from its start to its cap");
        }
    }

    fn conditions(&mut self, at: &str, index: usize, step: &Step) {
        for (member, condition) in step.conditions() {
            let at = format!("{at}/{member}");
            if step.kind == StepKind::Pivot {
                self.problem(&at, "would leave out the pivot");
            }
            if self.position(&condition.step).is_none_or(|it| it >= index) {
                self.problem(format!("{at}/step"), "is no earlier step");
            }
            if !is_pointer(&condition.pointer) {
                self.problem(format!("{at}/pointer"), "is no JSON pointer");
            }
        }
    }

    fn undo_fits_kind(&mut self, at: &str, step: &Step) {
        let fault = match (step.kind, &step.undo) {
            (StepKind::Compensable, None) if !step.call.reads_only() => {
                "is missing: a compensable step that changes something must say how"
            }
            (StepKind::Retriable, Some(_)) => "would never run: the step stands after the pivot",
            (StepKind::Compensable | StepKind::Pivot, Some(undo))
                if self.rules == Rules::New
                    && undo.call.reads_only()
                    && !step.call.reads_only() =>
            {
                "only reads: it cannot take back what the step changes"
            }
            (StepKind::Compensable | StepKind::Pivot, _) | (StepKind::Retriable, None) => return,
        };
        self.problem(format!("{at}/undo"), fault);
    }

    /// Checks one call; it may refer to steps before position `end`.
    fn call(&mut self, at: &str, call: &Call, end: usize) -> Option<CallTemplate> {
        if !METHODS.contains(&call.method.as_str()) {
            self.problem(format!("{at}/method"), format!("is none of {}", METHODS.join(", ")));
        }
        if !call.path.starts_with('/') {
            self.problem(format!("{at}/path"), "does not begin with `/`");
        }
        if call.success.iter().any(|it| !(200..500).contains(it)) {
            self.problem(format!("{at}/success"), "has a status outside 200 to 499");
        }
        if let Some(expect) = &call.expect {
            if !is_pointer(&expect.pointer) {
                self.problem(format!("{at}/expect/pointer"), "is no JSON pointer");
            }
            if expect.otherwise.is_empty() {
                self.problem(format!("{at}/expect/otherwise"), "is empty");
            }
        }
        let steps = &self.document.steps;
        let position = |name: &str| steps.iter().position(|it| it.name == name);
        match CallTemplate::read(call, &position) {
            Ok(template) => {
                self.references(at, &template, end);
                Some(template)
            }
            Err(faults) => {
                for (member, detail) in faults {
                    self.problem(format!("{at}/{member}"), detail);
                }
                None
            }
        }
    }

    fn references(&mut self, at: &str, template: &CallTemplate, end: usize) {
        for reference in template.references() {
            let written = reference.written();
            if reference.steps().any(|it| it >= end) {
                self.problem(at, format!("`{written}` refers to a step that is not done by then"));
            }
            let skippable = |it: usize| self.document.steps[it].conditions().next().is_some();
            if reference.hangs_on().is_some_and(skippable) {
                self.problem(
                    at,
                    format!("`{written}` refers to a step that may be left out; add `?? …`"),
                );
            }
        }
    }

    fn undo_survives_doubt(&mut self, at: &str, index: usize, undo: &CallTemplate) {
        for reference in undo.references() {
            if reference.hangs_on() == Some(index) {
                let written = reference.written();
                self.problem(
                    format!("{at}/undo/call"),
                    format!("`{written}` is missing when the step is in doubt; add `?? …`"),
                );
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let holds = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(holds)
}

fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}
