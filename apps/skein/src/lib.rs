//! Runs and inspects a system of services: the process supervisor, the edge, the log's commands.
//!
//! It has never heard of what the services do. A program on top of it names the roles and wires
//! them; see `apps/drone-delivery`.

pub mod audit;
pub mod authority;
pub mod callers;
pub mod certificate;
pub mod check;
pub mod commands;
pub mod control;
pub mod edge;
pub mod exit;
pub mod failure;
pub mod folder;
mod following;
pub mod keys;
pub mod kubernetes;
pub mod letters;
pub mod membership;
pub mod mesh;
pub mod output;
pub mod preflight;
pub mod program;
pub mod proxy;
mod sockets;
pub mod supervise;
pub mod table;
pub mod users;

pub use exit::Exit;
pub use failure::Failure;
pub use output::{Color, Format, Output};
pub use table::Table;
