//! One delivery: where its workflow stands, which stage it reached, and what happened on the way.

use base::Timestamp;
use contracts::{
    DeliveryStage, Location, Words as _,
    shipping::{DeliveryEvent, Operation, RequestEvent, RequestEventKind},
};
use serde::{Serialize, Serializer};

/// Lines of one story that are kept, the newest: a reschedule for ever must not grow it.
const LINES_MAX: usize = 64;

/// Where a delivery stands, as the page says it: a stage, or what lies beside the stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was asked for; nothing is made yet.
    Accepted,
    /// A person must look at it.
    Parked,
    /// It reached this stage.
    At(DeliveryStage),
}

impl Standing {
    /// Whether nothing can happen to it any more.
    pub(crate) const fn is_end(self) -> bool {
        match self {
            Self::Accepted | Self::Parked => false,
            Self::At(stage) => stage.is_end(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Parked => "Parked",
            Self::At(stage) => stage.word(),
        }
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What is known of the workflow that makes, moves or cancels the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Workflow {
    Running,
    Parked,
    Scheduled,
    Cancelled,
    Failed,
}

/// One line of a delivery's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    /// A stage, or the name of an event of its request.
    pub(crate) kind: &'static str,
    pub(crate) detail: Option<String>,
}

/// A delivery as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) id: String,
    pub(crate) stage: Standing,
    pub(crate) failed_step: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) drone_id: Option<String>,
}

/// A delivery as its panel shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Story {
    #[serde(flatten)]
    pub(crate) summary: Summary,
    pub(crate) pickup: Option<Location>,
    pub(crate) dropoff: Option<Location>,
    pub(crate) events: Vec<Line>,
}

/// What is known of a delivery.
#[derive(Debug)]
pub(super) struct Delivery {
    id: String,
    workflow: Workflow,
    /// Why the workflow failed or is parked, with the step.
    trouble: Option<(Option<String>, Option<String>)>,
    /// The newest event of the delivery itself.
    newest: Option<DeliveryEvent>,
    lines: Vec<Line>,
}

impl Delivery {
    pub(super) const fn new(id: String) -> Self {
        Self { id, workflow: Workflow::Running, trouble: None, newest: None, lines: Vec::new() }
    }

    /// Takes in what a client asked for. It says nothing of what became of it.
    pub(super) fn asked(&mut self, operation: Operation, at: Timestamp) {
        self.tell(Line { at, kind: operation.event_type().name, detail: None });
    }

    /// Takes an event of the workflow in. Its end is final.
    pub(super) fn heard_of_request(&mut self, event: &RequestEvent) {
        self.tell(Line {
            at: event.occurred_at,
            kind: event.kind.event_type().name,
            detail: detail_of(event),
        });
        match self.workflow {
            Workflow::Cancelled | Workflow::Failed => return,
            Workflow::Running | Workflow::Parked | Workflow::Scheduled => {}
        }
        self.workflow = match event.kind {
            RequestEventKind::RequestFailed => Workflow::Failed,
            RequestEventKind::RequestCancelled => Workflow::Cancelled,
            // What a cancel or a move is answered besides leaves the delivery as it is.
            _ if event.operation != Operation::Delivery.as_str() => return,
            RequestEventKind::RequestParked => Workflow::Parked,
            // Also out of Parked: a person helped.
            RequestEventKind::RequestScheduled
            | RequestEventKind::RequestRefused
            | RequestEventKind::RequestSuperseded
            | RequestEventKind::RequestRescheduled => Workflow::Scheduled,
        };
        self.trouble = match self.workflow {
            Workflow::Running | Workflow::Scheduled => None,
            Workflow::Parked | Workflow::Cancelled | Workflow::Failed => {
                Some((event.failed_step.clone(), event.reason.clone()))
            }
        };
    }

    /// Takes a stage in. A late or repeated event only adds to the story.
    pub(super) fn heard_of_delivery(&mut self, event: &DeliveryEvent) {
        let (kind, detail) = (event.stage.word(), event.reason.clone());
        self.tell(Line { at: event.occurred_at, kind, detail });
        if self.newest.as_ref().is_none_or(|it| it.sequence < event.sequence) {
            self.newest = Some(event.clone());
        }
    }

    /// Where it stands. The workflow has the last word, except that what was handed over is.
    pub(super) fn standing(&self) -> Standing {
        match (self.workflow, self.newest.as_ref().map(|it| it.stage)) {
            (_, Some(DeliveryStage::Completed)) => Standing::At(DeliveryStage::Completed),
            (Workflow::Failed, _) => Standing::At(DeliveryStage::Failed),
            (Workflow::Cancelled, _) => Standing::At(DeliveryStage::Cancelled),
            (Workflow::Parked, _) => Standing::Parked,
            (Workflow::Running | Workflow::Scheduled, Some(stage)) => Standing::At(stage),
            (Workflow::Scheduled, None) => Standing::At(DeliveryStage::Created),
            (Workflow::Running, None) => Standing::Accepted,
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let (failed_step, reason) = self.trouble.clone().unwrap_or_default();
        let newest = self.newest.as_ref();
        Summary {
            id: self.id.clone(),
            stage: self.standing(),
            failed_step,
            reason: reason.or_else(|| newest.and_then(|it| it.reason.clone())),
            drone_id: newest.and_then(|it| it.drone_id.clone()),
        }
    }

    pub(super) fn story(&self) -> Story {
        Story {
            summary: self.summary(),
            pickup: self.newest.as_ref().map(|it| it.pickup),
            dropoff: self.newest.as_ref().map(|it| it.dropoff),
            events: self.lines.clone(),
        }
    }

    /// Adds a line at its place in time.
    fn tell(&mut self, line: Line) {
        if self.lines.contains(&line) {
            return;
        }
        let place = self.lines.partition_point(|it| it.at <= line.at);
        self.lines.insert(place, line);
        if self.lines.len() > LINES_MAX {
            self.lines.remove(0);
        }
    }
}

/// What a line of a workflow says besides its name. The reason names the step.
fn detail_of(event: &RequestEvent) -> Option<String> {
    let operation = Some(event.operation.as_str()).filter(|it| *it != "delivery");
    let why = event.reason.as_deref().or(event.failed_step.as_deref());
    let parts: Vec<&str> = [operation, why].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}
