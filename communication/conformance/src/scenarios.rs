//! The scenarios, by what they are about.

mod admin;
mod consume;
mod faults;
mod groups;
mod produce;
mod queues;

use crate::scenario::Scenario;

/// Every scenario, in the order of the table.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let all: [&[Scenario]; 16] = [
        produce::receipts::ALL,
        produce::shapes::ALL,
        produce::refusals::ALL,
        produce::numbers::ALL,
        consume::places::ALL,
        consume::foreign::ALL,
        consume::flow::ALL,
        groups::sharing::ALL,
        groups::members::ALL,
        queues::settling::ALL,
        queues::lanes::ALL,
        queues::letters::ALL,
        admin::ALL,
        faults::connections::ALL,
        faults::strangers::ALL,
        faults::restarts::ALL,
    ];
    all.concat()
}
