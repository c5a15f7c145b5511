//! What a delivery asks of the plan.

use std::time::Duration;

use base::Timestamp;
use fleet_rules::Errand;

/// How soon a client wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// In its turn.
    Usual,
    /// Before those that wait in their turn.
    Expedited,
    /// At a time of its own; the place is held from the booking on.
    Held,
}

/// Bounds and margins of the plan, in simulated time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PlanRules {
    /// Longest wait from now, or from the wanted time on, until the package is fetched.
    pub(crate) horizon: Duration,
    /// How far ahead a wanted time may lie.
    pub(crate) ahead: Duration,
    /// How much later than an expedited one a usual order counts as having come.
    pub(crate) lead: Duration,
    /// Left free behind each flight, so that a small delay moves nobody else.
    pub(crate) slack: Duration,
    /// How long a drone waits for a delivery to be made before it flies for the next.
    pub(crate) grace: Duration,
}

/// An order in the plan that has not taken off. Times are simulated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) delivery_id: String,
    pub(crate) errand: Errand,
    /// Smaller goes first: milliseconds of simulated time.
    pub(crate) rank: i64,
    /// The package is not fetched before then.
    pub(crate) not_before: Timestamp,
    /// The package must be at its door by then.
    pub(crate) latest: Option<Timestamp>,
    /// Whether the delivery was made; before that nobody takes off.
    pub(crate) made: bool,
    /// When the customer was last told that it is fetched.
    pub(crate) told: Option<Timestamp>,
}

impl Order {
    /// The rank of what comes now.
    pub(crate) fn rank_at(now: Timestamp, urgency: Urgency, rules: &PlanRules) -> i64 {
        match urgency {
            Urgency::Expedited | Urgency::Held => now.as_millis(),
            Urgency::Usual => (now + rules.lead).as_millis(),
        }
    }

    /// What decides who goes first; the id only between two of the same millisecond.
    pub(crate) fn key(&self) -> (i64, &str) {
        (self.rank, &self.delivery_id)
    }
}
