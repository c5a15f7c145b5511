//! What a failed transaction means for the request that it served, and which of a delivery's
//! transactions a person is talking about. Pure: no clock, no I/O.

use contracts::shipping::RequestEventKind;
use saga::{Outcome, SagaView, Status, machine::Verb};

/// The transaction that makes a delivery; all others change one.
const CREATE: &str = "create";
const CANCEL: &str = "cancel";
const RESCHEDULE: &str = "reschedule";

/// The delivery that a transaction works on.
pub(crate) fn delivery_of(saga: &str) -> &str {
    saga.split('/').next().unwrap_or(saga)
}

/// What a transaction was asked for, in the word of the record that asked.
pub(crate) fn operation_of(definition: &str) -> &'static str {
    match definition {
        CANCEL => "cancel",
        RESCHEDULE => "reschedule",
        _ => "delivery",
    }
}

/// What the end of a transaction means for the request; none when another service tells it.
pub(crate) fn end_of_request(
    definition: &str,
    outcome: Outcome,
    pivot_passed: bool,
) -> Option<RequestEventKind> {
    match (definition, outcome) {
        (_, Outcome::Completed) => None,
        (CREATE, Outcome::Cancelled) => Some(RequestEventKind::RequestCancelled),
        (CREATE, Outcome::Compensated | Outcome::Resolved) => Some(RequestEventKind::RequestFailed),
        // A person has done the rest by hand.
        (CANCEL, Outcome::Resolved) if pivot_passed => Some(RequestEventKind::RequestCancelled),
        (RESCHEDULE, Outcome::Resolved) if pivot_passed => {
            Some(RequestEventKind::RequestRescheduled)
        }
        (_, Outcome::Compensated | Outcome::Cancelled | Outcome::Resolved) => {
            Some(RequestEventKind::RequestRefused)
        }
    }
}

/// Which text a customer gets, if any.
pub(crate) const fn template_of(kind: RequestEventKind) -> Option<&'static str> {
    match kind {
        RequestEventKind::RequestFailed => Some("failed"),
        RequestEventKind::RequestCancelled => Some("cancelled"),
        RequestEventKind::RequestRefused => Some("refused"),
        RequestEventKind::RequestScheduled
        | RequestEventKind::RequestParked
        | RequestEventKind::RequestRescheduled => None,
    }
}

/// Statuses of transactions that failed.
pub(crate) const FAILED: [Status; 5] =
    [Status::Parked, Status::Aborting, Status::Compensating, Status::Compensated, Status::Resolved];

/// How much a transaction needs somebody: the smaller, the more. None for one that is well.
pub(crate) fn urgency(saga: &SagaView) -> Option<usize> {
    let failed = FAILED.iter().position(|it| *it == saga.status());
    // One that nobody can answer for still runs, and may need a person all the same.
    failed.or_else(|| (saga.status() == Status::Running && saga.state.alerted).then_some(0))
}

/// The verb of a word in any letter case.
pub(crate) fn verb_of(word: &str) -> Option<Verb> {
    [Verb::Retry, Verb::Compensate, Verb::Resolve]
        .into_iter()
        .find(|it| it.as_str().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(definition: &str, outcome: Outcome, passed: bool, expected: Option<RequestEventKind>) {
        assert_eq!(
            end_of_request(definition, outcome, passed),
            expected,
            "{definition} {outcome:?}"
        );
    }

    #[test]
    fn an_undone_create_is_a_failed_request_and_an_undone_cancel_a_refused_one() {
        check(CREATE, Outcome::Compensated, false, Some(RequestEventKind::RequestFailed));
        check(CREATE, Outcome::Cancelled, false, Some(RequestEventKind::RequestCancelled));
        check(CANCEL, Outcome::Compensated, false, Some(RequestEventKind::RequestRefused));
        check(RESCHEDULE, Outcome::Compensated, false, Some(RequestEventKind::RequestRefused));
    }

    #[test]
    fn what_a_person_settled_counts_as_done_when_the_drone_had_agreed() {
        check(CANCEL, Outcome::Resolved, true, Some(RequestEventKind::RequestCancelled));
        check(CANCEL, Outcome::Resolved, false, Some(RequestEventKind::RequestRefused));
        check(RESCHEDULE, Outcome::Resolved, true, Some(RequestEventKind::RequestRescheduled));
        check(CREATE, Outcome::Resolved, false, Some(RequestEventKind::RequestFailed));
    }

    #[test]
    fn a_completed_transaction_is_the_scheduler_s_to_tell() {
        check(CREATE, Outcome::Completed, true, None);
    }

    #[test]
    fn verbs_are_known_in_any_letter_case() {
        assert_eq!(verb_of("Retry"), Some(Verb::Retry));
        assert_eq!(verb_of("forget"), None);
    }
}
