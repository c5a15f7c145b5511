//! The Supervisor: takes the transactions that failed, gives them another try or undoes them by
//! the services' own cancel APIs, and brings the rest before a person.
//!
//! It knows no undo of its own: what to undo stands in the transaction's record. It restarts no
//! processes.

mod api;
mod domain;
mod events;
mod service;
mod store;

pub use api::{Shared, routes, rows};
pub use service::{SupervisorConfig, run};
