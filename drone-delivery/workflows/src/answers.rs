//! What the end of a workflow answers to who asked for it. Pure: no clock, no I/O.

use contracts::shipping::RequestEventKind;
use saga::{Outcome, Status};

use crate::{CANCEL, CANCEL_CARRIER, HAND_OVER, RESCHEDULE, RESCHEDULE_CARRIER};

/// Code with which whoever serves a delivery says that it knows a newer wish.
const STALE_REVISION: &str = "stale_revision";

/// What the end of a workflow answers, if anybody asked. `decided` says whether whoever serves the delivery had
/// agreed, `code` why the workflow did not complete.
#[must_use]
pub fn answer_of(
    definition: &str,
    outcome: Outcome,
    decided: bool,
    code: Option<&str>,
) -> Option<RequestEventKind> {
    // What a person settled by hand counts as done from the decision on.
    let done = match outcome {
        Outcome::Completed => true,
        Outcome::Resolved => decided,
        Outcome::Compensated | Outcome::Cancelled => false,
    };
    Some(match definition {
        // No client asked: what became of it shows in the stages of the delivery.
        HAND_OVER => return None,
        CANCEL | CANCEL_CARRIER if done => RequestEventKind::RequestCancelled,
        RESCHEDULE | RESCHEDULE_CARRIER if done => RequestEventKind::RequestRescheduled,
        RESCHEDULE | RESCHEDULE_CARRIER if code == Some(STALE_REVISION) => {
            RequestEventKind::RequestSuperseded
        }
        CANCEL | CANCEL_CARRIER | RESCHEDULE | RESCHEDULE_CARRIER => {
            RequestEventKind::RequestRefused
        }
        _ => match outcome {
            Outcome::Completed => RequestEventKind::RequestScheduled,
            Outcome::Cancelled => RequestEventKind::RequestCancelled,
            Outcome::Compensated | Outcome::Resolved => RequestEventKind::RequestFailed,
        },
    })
}

/// What is answered to an operation that was to follow a create which then ended like that: a
/// cancel had its way when the create was called off.
#[must_use]
pub fn answer_of_dropped(definition: &str, create: Status) -> RequestEventKind {
    match definition {
        CANCEL | CANCEL_CARRIER if create == Status::Cancelled => {
            RequestEventKind::RequestCancelled
        }
        _ => RequestEventKind::RequestRefused,
    }
}

/// Which text a customer gets when a workflow has ended like that, if any.
#[must_use]
pub const fn template_of(kind: RequestEventKind) -> Option<&'static str> {
    match kind {
        RequestEventKind::RequestFailed => Some("failed"),
        RequestEventKind::RequestCancelled => Some("cancelled"),
        RequestEventKind::RequestRefused => Some("refused"),
        RequestEventKind::RequestScheduled
        | RequestEventKind::RequestParked
        | RequestEventKind::RequestSuperseded
        | RequestEventKind::RequestRescheduled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CREATE;
    use RequestEventKind::{
        RequestCancelled, RequestFailed, RequestRefused, RequestRescheduled, RequestScheduled,
        RequestSuperseded,
    };

    #[track_caller]
    fn check(definition: &str, outcome: Outcome, decided: bool, expected: RequestEventKind) {
        let found = answer_of(definition, outcome, decided, Some("picked_up"));
        assert_eq!(found, Some(expected), "{definition} {outcome:?}");
    }

    #[test]
    fn an_undone_create_is_a_failed_request_and_an_undone_cancel_a_refused_one() {
        check(CREATE, Outcome::Compensated, false, RequestFailed);
        check(CREATE, Outcome::Cancelled, false, RequestCancelled);
        for operation in [CANCEL, CANCEL_CARRIER, RESCHEDULE, RESCHEDULE_CARRIER] {
            check(operation, Outcome::Compensated, false, RequestRefused);
        }
    }

    #[test]
    fn what_is_completed_is_done() {
        check(CREATE, Outcome::Completed, true, RequestScheduled);
        check(CANCEL, Outcome::Completed, true, RequestCancelled);
        check(CANCEL_CARRIER, Outcome::Completed, true, RequestCancelled);
        check(RESCHEDULE, Outcome::Completed, true, RequestRescheduled);
        check(RESCHEDULE_CARRIER, Outcome::Completed, true, RequestRescheduled);
    }

    #[test]
    fn what_a_person_settled_counts_as_done_when_the_drone_had_agreed() {
        check(CANCEL, Outcome::Resolved, true, RequestCancelled);
        check(CANCEL, Outcome::Resolved, false, RequestRefused);
        check(RESCHEDULE, Outcome::Resolved, true, RequestRescheduled);
        check(CREATE, Outcome::Resolved, false, RequestFailed);
    }

    #[test]
    fn a_move_that_a_newer_one_overtook_is_superseded_and_not_refused() {
        for workflow in [RESCHEDULE, RESCHEDULE_CARRIER] {
            let found = answer_of(workflow, Outcome::Compensated, false, Some("stale_revision"));
            assert_eq!(found, Some(RequestSuperseded), "{workflow}");
        }
    }

    #[test]
    fn nobody_is_answered_about_what_no_client_asked_for() {
        for outcome in [Outcome::Completed, Outcome::Compensated, Outcome::Resolved] {
            assert_eq!(answer_of(HAND_OVER, outcome, true, None), None, "{outcome:?}");
        }
    }

    #[test]
    fn a_cancel_that_stopped_the_create_is_done_and_what_was_to_follow_a_failed_one_is_refused() {
        assert_eq!(answer_of_dropped(CANCEL, Status::Cancelled), RequestCancelled);
        assert_eq!(answer_of_dropped(CANCEL, Status::Compensated), RequestRefused);
        assert_eq!(answer_of_dropped(RESCHEDULE, Status::Cancelled), RequestRefused);
    }
}
