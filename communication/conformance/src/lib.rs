//! What the `messaging` client promises over any log that speaks Kafka's protocol, as scenarios that
//! a log either bears out or does not.
//!
//! A scenario names one promise, does what a user would do, and judges by what it reads back. It
//! holds when the promised end was seen; it is not offered when the backend lacks something that was
//! probed beforehand and has a name; in every other case it does not hold, with the reason. The suite
//! assumes nothing about who answers: the same scenarios run against our broker, a foreign one that
//! was started here, and an address that somebody gives.

mod backend;
mod capability;
mod document;
mod embedded;
mod front;
mod judge;
mod memory;
mod peers;
mod scenario;
mod scenarios;
mod stage;
mod suite;
mod wire;

pub use backend::{Backend, Keeps, StartError};
pub use capability::Capability;
pub use document::{document, listed};
pub use embedded::Embedded;
pub use peers::{Peer, Running};
pub use scenario::{Group, Outcome, Scenario};
pub use scenarios::all;
pub use suite::{ProbeError, Report, Row, Suite};
