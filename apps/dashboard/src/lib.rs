//! The live page and the server that feeds it: streets, drones, deliveries, one delivery's trace,
//! who calls whom, and what waits in the log.
//!
//! It is a subscriber like any other: it reads the topics from their start, keeps a bounded view in
//! memory, and nothing waits for it. It also takes spans in (OTLP over HTTP, JSON), so that a
//! trace that crosses every process can be shown as one tree. It refuses to be a database: what it
//! shows is gone when it stops, and comes back from the topics; spans do not.

mod api;
mod feed;
mod queues;
mod service;
mod sse;
mod topology;
mod traces;
mod view;

pub use service::{Asking, DashboardConfig, Surroundings, run};
pub use topology::{Part, Process, Processes};
