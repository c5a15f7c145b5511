//! Consumer groups: who has which partition, who may commit, what happens while members come and go.

pub(super) mod members;
pub(super) mod sharing;
