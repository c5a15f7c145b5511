//! The Delivery service: what became of a delivery, from Created to the doorstep.
//!
//! It owns the stages. Drones and carriers report where they physically are; the translation turns
//! that into what it means for a delivery, and each new stage leaves in the transaction that made
//! it, as an event for any subscriber. It refuses to know how a drone flies and who subscribes.

mod api;
mod confirmations;
mod domain;
mod events;
mod listeners;
mod notifier;
mod positions;
mod service;
mod store;
mod stream;
mod translation;
mod watch;

pub use api::{Shared, routes, rows};
pub use listeners::StreamConfig;
pub use service::{DeliveryConfig, Recipient, run};
pub use watch::WatchConfig;
