//! Which of a delivery's transactions a person is talking about, and what can be done about it. Pure:
//! no clock, no I/O.

use saga::{SagaView, Status, machine::Verb};

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

    #[test]
    fn verbs_are_known_in_any_letter_case() {
        assert_eq!(verb_of("Retry"), Some(Verb::Retry));
        assert_eq!(verb_of("forget"), None);
    }
}
