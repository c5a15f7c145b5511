//! A broker that speaks the Kafka protocol over the durable log, for one machine.
//!
//! Any language's stock client can produce, consume in groups and commit. An acknowledgement means
//! that the record is on stable storage, and no fetch returns a record before that. It refuses to
//! be a cluster, to keep transactions, and to believe what a frame claims; beyond one machine the
//! same clients go to Kafka.

mod admin;
mod batches;
mod catalog;
mod commits;
mod config;
mod connection;
mod deeds;
mod dispatch;
mod door;
mod fetch;
mod files;
mod group_admin;
mod groups;
mod metrics;
mod offsets;
mod produce;
mod producers;
mod remembered;
mod rights;
mod server;
mod session;
mod settings;
mod shared;
mod topic_error;
mod topics;
mod turned_away;
mod users;
mod versions;

pub use commits::CommitsError;
pub use config::{BrokerConfig, TopicConfig};
pub use rights::{Judge, Judged, LogDoor, PlainClients, Right};
pub use server::{Around, BoundBroker, Broker, StartError};
pub use users::{Users, user_id};
