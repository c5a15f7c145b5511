//! The Third-party Transport service: carriers for what no drone can carry.
//!
//! Shipping asks it one question, whether a carrier is needed; asking books one when it is. It
//! knows what drones can do only as numbers, and nothing about the fleet: what it leaves to drones
//! any of them could fly. The carriers behind it are simulated, or companies that are asked by HTTP.

mod api;
mod booking;
mod domain;
mod events;
mod outside;
mod service;
mod store;
mod tours;

pub use api::{Shared, routes, rows};

pub use service::{TransportConfig, run};
