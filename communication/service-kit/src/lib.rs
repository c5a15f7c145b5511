//! The shape of one service: HTTP in and out, health, limits, faults, drain.
//!
//! It knows no business: a service brings its routes, its tables and its rules, and gets the rest
//! the same way as every other one. It refuses to retry (the mesh and the saga do that), to read
//! arguments or environment (the program does), and to accept a route that changes something
//! without a row in the table that the conformance tests walk.

mod admin;
mod body;
mod caller;
pub mod client;
mod config;
mod context;
mod deadline;
mod export;
pub mod faults;
mod health;
mod id;
pub mod idempotency;
pub mod inbox;
pub mod json;
mod openapi;
mod operation;
mod operators;
mod page;
mod parameters;
pub mod problem;
mod query;
mod ready;
mod relay;
pub mod reply;
mod request;
mod routes;
mod saga_caller;
mod server;
mod service;
mod stack;
mod sweeper;
mod system;
mod tap;
pub mod testing;

pub use caller::Caller;
pub use client::{Call, CallError, CallReply, Client, PLAIN_SOURCE, Refused, segment};
pub use config::{FaultHook, Limits, PortSharing, Profile, ServiceAddresses, ServiceConfig};
pub use context::ServiceContext;
pub use deadline::Deadline;
pub use health::Health;
pub use id::check_id;
pub use json::JsonBody;
pub use mesh_policy::edge_access::Reach;
pub use operation::{Operation, hash_of};
pub use operators::Operators;
pub use page::page;
pub use problem::{FieldError, Problem};
pub use query::Query;
pub use ready::{announce_ready, ready_line};
pub use relay::start_relay;
pub use reply::respond;
pub use request::RequestContext;
pub use routes::{Change, MutatingRoute, Repetition, Routes, Sample, SampleCall};
pub use saga_caller::SagaCaller;
pub use service::{Bound, SecureDoor, Service, StartError};
pub use sweeper::{ForgetSlice, forget, start_forgetting, start_sweeper};
