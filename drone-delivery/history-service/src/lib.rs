//! The History service: what became of each delivery, long after its topic has forgotten it.
//!
//! It subscribes like anybody else and writes down what it hears; nothing waits for it, and nothing
//! changes upstream when it stops. It refuses to judge: an event is kept as it was said, once, and
//! shown in the order of its number.

mod api;
mod domain;
mod events;
mod service;
mod store;

pub use api::{Shared, routes};
pub use service::{HistoryConfig, run};
