//! Names of what an engine counts.

use std::time::Duration;

use telemetry::{Counter, CounterFamily, Gauge, HistogramFamily, Telemetry};

use crate::{
    definition::Definition,
    machine::{Record, Status},
};

/// Bounds of saga durations in seconds: a saga may wait for minutes.
const SAGA_SECONDS: [f64; 12] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];

#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) open: Gauge,
    pub(crate) parked: Gauge,
    pub(crate) takeovers: Counter,
    pub(crate) stale: Counter,
    pub(crate) lapses: Counter,
    pub(crate) append_failures: Counter,
    turned_away: Counter,
    closed: CounterFamily,
    steps: CounterFamily,
    calls: HistogramFamily,
    sagas: HistogramFamily,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let counter = |name, help| metrics.counter(name, help, &[]).with(&[]);
        let gauge = |name, help| metrics.gauge(name, help, &[]).with(&[]);
        Self {
            open: gauge("saga_open_count", "Sagas that this instance owns."),
            parked: gauge("saga_parked_count", "Sagas that wait for a person."),
            takeovers: counter(
                "saga_takeovers_total",
                "Sagas taken from an owner that is gone, itself before a restart included.",
            ),
            stale: counter(
                "saga_stale_epoch_total",
                "Sagas that this instance stopped working on because somebody else owns them.",
            ),
            lapses: counter(
                "saga_lease_lapses_total",
                "Times that this instance noticed that its lease had run out.",
            ),
            append_failures: counter(
                "saga_append_failures_total",
                "Records that could not be written and are tried again.",
            ),
            turned_away: counter(
                "saga_turned_away_total",
                "Sagas that ended at once since as many of their subject waited as may.",
            ),
            closed: metrics.counter(
                "saga_closed_total",
                "Sagas that are over, by how they ended.",
                &["definition", "outcome"],
            ),
            steps: metrics.counter(
                "saga_steps_total",
                "Attempts at steps, by how they ended.",
                &["step", "direction", "outcome"],
            ),
            calls: metrics.histogram(
                "saga_step_duration_seconds",
                "How long the calls of a step took.",
                &["step", "direction"],
            ),
            sagas: metrics.histogram_with(
                "saga_duration_seconds",
                "From the acceptance of a saga to its end.",
                &["definition"],
                &SAGA_SECONDS,
            ),
        }
    }

    pub(crate) fn called(&self, step: &str, direction: base::Direction, took: Duration) {
        self.calls.with(&[step, direction.as_str()]).observe_duration(took);
    }

    /// Counts what a durable record says.
    pub(crate) fn recorded(&self, definition: &Definition, record: &Record, age: Duration) {
        let step = |step: usize, direction, outcome: &str| {
            let name = definition.steps().get(step).map_or("", |it| it.name.as_str());
            self.steps.with(&[name, direction, outcome]).inc();
        };
        match record {
            Record::StepDone { step: it, .. } => step(*it, "do", "done"),
            Record::StepSkipped { step: it } => step(*it, "do", "skipped"),
            Record::StepFailed { step: it, class, .. } => step(*it, "do", class.as_str()),
            Record::UndoDone { step: it } => step(*it, "undo", "done"),
            Record::UndoAwaited { step: it, .. } => step(*it, "undo", "awaited"),
            Record::UndoFailed { step: it, class, .. } => step(*it, "undo", class.as_str()),
            Record::UndoGivenUp { step: it, .. } => step(*it, "undo", "given_up"),
            Record::Closed { outcome } => {
                let outcome = Status::from(*outcome).as_str();
                self.closed.with(&[definition.name(), outcome]).inc();
                self.sagas.with(&[definition.name()]).observe_duration(age);
            }
            Record::TurnedAway => self.turned_away.inc(),
            Record::Accepted { .. }
            | Record::Queued
            | Record::TurnCame
            | Record::FollowUpDropped { .. }
            | Record::Claimed { .. }
            | Record::CancelRequested { .. }
            | Record::FollowUp { .. }
            | Record::SignalIgnored { .. }
            | Record::Alerted { .. }
            | Record::Aborting { .. }
            | Record::HandedBack { .. }
            | Record::CompensationBegun
            | Record::Parked { .. }
            | Record::OperatorActed(_) => {}
        }
    }
}
