//! What a running process needs besides its work: owned tasks, the real clock, layered settings.
//!
//! Whoever starts a task owns it: [`Tasks`] is the only place that spawns, so a drain can wait for
//! everything and a death is heard. It refuses to read arguments, environment or files: the program
//! in `apps` does that and passes values.

mod clock;
pub mod config;
mod descriptors;
mod tasks;

pub use clock::{SystemClock, boot_id, random_from_os, secret_from_os};
pub use descriptors::{connections_within_descriptors, raise_descriptor_limit};
pub use tasks::{Drained, Shutdown, Tasks};
