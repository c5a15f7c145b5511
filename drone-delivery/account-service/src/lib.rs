//! The Account service: who may ship, and what they shipped.
//!
//! Shipping asks it one question before anything is booked. Of deliveries it knows nothing: what an account
//! used in a month it asks those who know, at each look.

mod api;
mod domain;
mod events;
mod service;
mod store;

pub use api::{Shared, routes, rows};
pub use service::{AccountConfig, run};
