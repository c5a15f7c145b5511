//! The Package service: what is shipped, and which deliveries refer to it.
//!
//! A package is found by its id alone. Several deliveries may refer to one; undoing a delivery
//! takes its reference away, and the last reference takes the package with it. It knows nothing
//! about where a package is: that is the delivery's matter.

mod api;
mod domain;
mod events;
mod service;
mod store;

pub use api::{Shared, routes, rows};
pub use service::{PackageConfig, run};
