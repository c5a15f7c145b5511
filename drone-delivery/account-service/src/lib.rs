//! The Account service: who may ship.
//!
//! Shipping asks it one question before anything is booked. It knows nothing of deliveries.

mod api;
mod domain;
mod events;
mod service;
mod store;

pub use api::{Shared, routes, rows};
pub use service::{AccountConfig, run};
