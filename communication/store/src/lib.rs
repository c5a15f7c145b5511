//! One service's database: SQL in grouped commits, and the tables that every service needs.
//!
//! A write is a closure over a [`Transaction`]. Closures that wait at the same time share one
//! commit, each behind a savepoint of its own, so one that refuses is undone alone and one sync
//! pays for all. A write is acknowledged when its commit is on stable storage. The built-in tables
//! keep what makes messages and calls safe: outbox, inbox, public keys, operations, leases.
//!
//! Below it stands `SQLite`, one file that the replicas of a service on one machine share; no type
//! of its driver shows. It refuses to let a closure end the transaction, to convert values
//! silently, and to open a file that a newer program has changed.

mod connection;
mod copying;
mod error;
mod idempotency;
mod inbox;
mod leases;
mod leftover;
mod metrics;
mod migrate;
mod operations;
mod outbox;
mod query;
mod readers;
mod schema;
mod settings;
mod simulation;
mod store;
mod sweep;
pub mod testing;
mod value;
mod writer;

pub use error::{
    Applied, Constraint, MigrationName, OpenError, ReadError, SqlError, Unavailable, WriteError,
};
pub use idempotency::{KeyHold, KeyState, StoredReply};
pub use leases::Lease;
pub use migrate::Migration;
pub use operations::{Effect, LedgerTotals, OperationState};
pub use outbox::{OutboxMessage, OutboxPage, Parked, ParkedMessage};
pub use query::{Reader, Row, Transaction};
pub use settings::StoreSettings;
pub use simulation::simulated_clock;
pub use store::Store;
pub use sweep::Retention;
pub use value::{FromValue, ToValue, Value, ValueError, ValueRef};
