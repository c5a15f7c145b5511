//! The Ingestion service: takes requests in, makes them durable, says where they stand.
//!
//! It validates, publishes and answers 202; nothing behind the log can make it slow. It refuses to
//! judge whether a delivery is feasible: that is found out later, and read at the `Location`. What
//! it shows there is a read model, folded from the events of those who know.

mod allowance;
mod api;
mod backlog;
mod disk;
mod domain;
mod events;
mod service;
mod store;
mod watch;

pub use api::{Shared, routes};
pub use service::{IngestionConfig, run};
