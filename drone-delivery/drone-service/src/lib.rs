//! The Drone service: the fleet, who is booked for what, and every flight.
//!
//! A drone is booked for one delivery at a time and a delivery has one drone; both are decided by
//! rows, in a transaction. A booked drone flies once its delivery was made. It knows nothing about
//! stages of deliveries or confirmations at the door: it says what drones do, others say what that
//! means.

mod api;
mod booking;
mod domain;
mod events;
mod flights;
mod metrics;
mod operators;
mod positions;
mod service;
mod store;
mod tower;

pub use api::{Shared, routes, rows};
pub use service::{DroneConfig, run};
