//! A failure table, and a crash at every boundary of every case of it.

use base::Direction;

use super::{
    STEPS, forward,
    services::{
        Fault::{Busy, Exception, Halfway, Late, LostReply, LostRequest, Refused, Unsent},
        Planned,
    },
    world::{AfterCrash, World},
    world_with_both,
};
use crate::machine::Status;

/// The cases of the failure table: which calls go wrong, and how the saga may end.
fn cases() -> Vec<(Vec<Planned>, Status)> {
    use Direction::{Do, Undo};
    let mut cases = vec![(Vec::new(), Status::Completed)];
    let fault = |step, direction, fault, times| Planned { step, direction, fault, times };
    for step in 0..5 {
        for (kind, times) in [(Busy, 2), (LostReply, 1), (LostRequest, 2), (Late, 1), (Unsent, 2)] {
            cases.push((vec![fault(step, Do, kind, times)], Status::Completed));
        }
        let refused = if step == 4 { Status::Parked } else { Status::Compensated };
        cases.push((vec![fault(step, Do, Refused, 1)], refused));
        cases.push((vec![fault(step, Do, Exception, 1)], refused));
        cases.push((vec![fault(step, Do, Halfway, 1)], refused));
        cases.push((vec![fault(step, Do, LostReply, 1), fault(step, Do, Refused, 1)], refused));
    }
    for step in 0..3 {
        // Silence for longer than all hand-backs together.
        let silent = [fault(step, Do, LostRequest, 40), fault(step, Do, Late, 1)];
        cases.push((silent.to_vec(), Status::Compensated));
        for kind in [Busy, LostReply, LostRequest, Exception] {
            let faults = vec![fault(3, Do, Refused, 1), fault(step, Undo, kind, 2)];
            cases.push((faults, Status::Compensated));
        }
        let stuck = vec![fault(3, Do, Refused, 1), fault(step, Undo, Refused, 1)];
        cases.push((stuck, Status::Parked));
    }
    cases
}

/// The answer that was to decide the end may be the one that the crash lost: then the call is
/// repeated, and the fault, which was planned once, is not met again.
fn allowed(expected: Status, found: Status) -> bool {
    let luckier = match expected {
        Status::Parked => matches!(found, Status::Compensated | Status::Completed),
        Status::Compensated => found == Status::Completed,
        _ => false,
    };
    found == expected || luckier
}

async fn crash_everywhere(after: AfterCrash) {
    let mut world = world_with_both(7).await;
    let mut runs = 0;
    for (number, (faults, expected)) in cases().into_iter().enumerate() {
        let mut boundary = 0;
        loop {
            let id = format!("{after:?}-{number}-{boundary}");
            let context = format!("{id} {faults:?}");
            world.faults.clone_from(&faults);
            world.services.undo_order.clear();
            // The first run of a case is the one without a crash.
            world.crash_after = (boundary > 0).then(|| boundary - 1);
            let index = forward(&world);
            world.submit(index, &id);
            world.settle(after).await;
            let crashed = boundary > 0 && world.crash_after.take().is_none();
            let found = world.check(&id, &context).await;
            if crashed {
                assert!(allowed(expected, found), "{context}: {found:?}");
            } else {
                assert_eq!(found, expected, "{context}");
                check_undo_order(&world, &faults, &context);
            }
            runs += 1;
            if boundary > 0 && !crashed {
                break;
            }
            boundary += 1;
        }
    }
    println!("{runs} runs");
    assert!(runs > 400, "{runs} runs prove little");
}

fn check_undo_order(world: &World, faults: &[Planned], context: &str) {
    if faults.iter().any(|it| it.direction == Direction::Undo) {
        return;
    }
    let position = |step: &String| STEPS.iter().position(|it| it == step);
    let order: Vec<_> =
        world.services.undo_order.iter().map(|(_, step)| position(step).unwrap()).collect();
    assert!(order.is_sorted_by(|one, next| one > next), "I6 {context}: {order:?}");
}

#[tokio::test]
async fn a_crash_at_any_boundary_followed_by_a_restart_leaves_all_done_or_all_undone() {
    crash_everywhere(AfterCrash::Restart).await;
}

#[tokio::test]
async fn a_crash_at_any_boundary_followed_by_a_takeover_leaves_all_done_or_all_undone() {
    crash_everywhere(AfterCrash::Takeover).await;
}
