//! The plan of the fleet: which drone flies for whom, and when. Pure: time comes in, no I/O, no
//! order of a hash table.
//!
//! A drone takes off full, and the time to charge back what a flight took belongs to the flight's
//! place in the plan. So places do not depend on each other's battery: a plan is a list of stretches
//! of time that do not overlap, and no battery can fall below the reserve.
//!
//! What is kept is who flies for whom and the rank of each order; times follow from that. A lane is
//! packed in the order of ranks, each order at the earliest gap that those before it leave. So a
//! younger one never delays an older, a late drone moves what waits for it, and a freed place is
//! filled by who is next. A rank is the time when the order came; one that is not expedited counts
//! as later by the lead, which is how an expedited one passes those that wait, and why nobody can be
//! passed for ever.

mod lane;
mod order;
mod roster;

#[cfg(test)]
mod simulation;

pub(crate) use lane::Place;
pub(crate) use order::{Order, PlanRules, Urgency};
pub(crate) use roster::{Choice, Refusal, Roster};
