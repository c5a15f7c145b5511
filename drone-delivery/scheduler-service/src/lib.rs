//! The Scheduler: takes requests from the log and sees each through, step by step, or gives it up
//! to the Supervisor.
//!
//! It is the saga engine with this application's workflows, fed by a topic. It books nothing itself
//! and undoes nothing itself.

mod api;
mod domain;
mod events;
mod intake;
mod service;
mod store;

pub use api::{Shared, routes};
pub use domain::{Bounds, definitions};
pub use service::{SchedulerConfig, run};
