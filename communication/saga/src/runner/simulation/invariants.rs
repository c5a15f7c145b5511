//! What must hold of every saga that is over, whatever happened on the way.

use base::{Monotonic, Timestamp};

use super::world::World;
use crate::{
    machine::{Moment, Record, State, Status},
    view::{HistoryRow, SagaView},
};

impl World {
    /// The invariants of the plan, for one saga that is over.
    pub(super) async fn check(&mut self, id: &str, context: &str) -> Status {
        self.services.deliver_late();
        let view = self.view(id).await;
        let history = self.history(id).await;
        let status = view.status();
        assert!(status.is_closed() || status == Status::Parked, "I1 {context}: {view:?}");
        self.check_effects(&view, context);
        check_history(&view, &history, context);
        status
    }

    pub(super) fn check_effects(&self, view: &SagaView, context: &str) {
        for step in view.definition.steps() {
            let kept = self.kept(&view.id, &step.name);
            assert!(kept.effects <= 1 && kept.undos <= 1, "I3 {context}: {} {kept:?}", step.name);
            match view.status() {
                Status::Completed => {
                    assert!(kept.done && !kept.undone, "I2 {context}: {} {kept:?}", step.name);
                }
                Status::Compensated | Status::Cancelled => {
                    let nothing = kept.effects == kept.undos;
                    assert!(nothing, "I2 {context}: {} {kept:?}", step.name);
                }
                _ => {}
            }
        }
        assert!(view.owner.is_none(), "{context}: {:?} owns what is over", view.owner);
    }
}

fn check_history(view: &SagaView, history: &[HistoryRow], context: &str) {
    let numbers: Vec<u64> = history.iter().map(|it| it.number).collect();
    assert_eq!(numbers, (0..view.state.records).collect::<Vec<_>>(), "{context}");
    assert!(history.is_sorted_by_key(|it| it.epoch), "I9 {context}");
    let claims = history.iter().filter(|it| matches!(it.record, Record::Claimed { .. }));
    let mut owners: Vec<u64> = claims.map(|it| it.epoch).collect();
    owners.dedup();
    assert!(owners.is_sorted(), "I9 {context}");
    let pivot = view.definition.pivot();
    let passed = history
        .iter()
        .position(|it| matches!(it.record, Record::StepDone { step, .. } if Some(step) == pivot));
    if let Some(passed) = passed {
        let back = history[passed..]
            .iter()
            .any(|it| matches!(it.record, Record::Aborting { .. } | Record::UndoDone { .. }));
        assert!(!back, "I10 {context}: {history:?}");
    }
    // Wall and monotonic time move together here, so that the moments can be told.
    let moment = |at: Timestamp| {
        let monotonic = Monotonic::from_millis(u64::try_from(at.as_millis()).unwrap());
        Moment { wall: at, monotonic, draw: 0.0 }
    };
    let moments: Vec<_> = history.iter().map(|it| (moment(it.at), it.record.clone())).collect();
    let folded = State::of(&view.definition, &moments).unwrap();
    assert_eq!(folded, *view.state, "I14 {context}");
}
