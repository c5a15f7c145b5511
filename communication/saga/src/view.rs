//! What there is to see of one saga: for observers, for pages and for the command line.

use std::sync::Arc;

use base::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    definition::Definition,
    machine::{Cause, Forward, Parked, Phase, Record, State, Status, UndoProgress, UndoStatus},
};

/// One saga, as its row says. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaView {
    /// Its id.
    pub id: Arc<str>,
    /// The definition that it is pinned to.
    pub definition: Arc<Definition>,
    /// Its input.
    pub input: Arc<Value>,
    /// Where it stands.
    pub state: Arc<State>,
    /// Name of the instance that owns it; none while nobody needs to.
    pub owner: Option<Arc<str>>,
    /// How often an owner took it: what fences the owners before.
    pub epoch: u64,
    /// `traceparent` of the request that caused it.
    pub trace: Option<Arc<str>>,
    /// What it works on, alone.
    pub subject: Option<Arc<str>>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When its last record was written.
    pub updated_at: Timestamp,
}

/// How far one step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Name of the step.
    pub name: String,
    /// The service that does it.
    pub service: String,
    /// `pending`, `running`, `done`, `skipped`, `failed`, `parked`, `in_doubt`, `undoing`,
    /// `awaited`, `undone` or `stuck`.
    pub status: &'static str,
    /// Calls for it whose end is known: of the undo once it is being undone.
    pub attempts: u32,
}

/// One fact of a saga's history.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// Counts from 0.
    pub number: u64,
    /// Under which epoch it was written.
    pub epoch: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

impl SagaView {
    /// Where it stands, in one word.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Why it did not complete, as far as it did not.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.state.cause()
    }

    /// What a step was answered; none while it is not done, and where it was skipped.
    #[must_use]
    pub fn output(&self, step: &str) -> Option<&Value> {
        let position = self.definition.position(step)?;
        let done = self.state.done.iter().find(|it| it.step == position);
        done.and_then(|it| it.output.as_ref())
    }

    /// Its steps in order.
    #[must_use]
    pub fn steps(&self) -> Vec<StepView> {
        let steps = self.definition.steps().iter().enumerate();
        let view = |(position, step): (usize, &crate::definition::Step)| {
            let (status, attempts) = self.step_status(position);
            StepView { name: step.name.clone(), service: step.service.clone(), status, attempts }
        };
        steps.map(view).collect()
    }

    fn step_status(&self, step: usize) -> (&'static str, u32) {
        let done = self.state.done.iter().find(|it| it.step == step);
        let forward = match done {
            Some(it) if it.skipped => ("skipped", 0),
            Some(_) => ("done", 1),
            None => ("pending", 0),
        };
        let at_hand =
            |at: &Forward, status| if at.step == step { (status, at.attempts) } else { forward };
        let undo = |undos: &[UndoProgress], begun| {
            undos.iter().find(|it| it.step == step).map(|it| undo_status(it, begun))
        };
        match &self.state.phase {
            Phase::Running(at) => at_hand(at, "running"),
            Phase::Aborting { at, undos, .. } => {
                undo(undos, false).unwrap_or_else(|| at_hand(at, "failed"))
            }
            Phase::Compensating { undos, .. } | Phase::Parked(Parked::Undo { undos, .. }) => {
                undo(undos, true).unwrap_or(forward)
            }
            Phase::Parked(Parked::Forward { at, .. }) => at_hand(at, "parked"),
            Phase::Queued | Phase::Closed { .. } => forward,
        }
    }
}

fn undo_status(undo: &UndoProgress, begun: bool) -> (&'static str, u32) {
    match &undo.status {
        UndoStatus::Pending { attempts, .. } if begun => ("undoing", *attempts),
        UndoStatus::Pending { attempts, .. } => match undo.certainty {
            crate::machine::Certainty::Applied => ("done", *attempts),
            crate::machine::Certainty::InDoubt => ("in_doubt", *attempts),
        },
        UndoStatus::Awaited { .. } => ("awaited", 1),
        UndoStatus::Undone => ("undone", 1),
        UndoStatus::GivenUp { attempts, .. } => ("stuck", *attempts),
    }
}
