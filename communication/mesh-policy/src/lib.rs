//! The decisions of the mesh: which route, which endpoint, whether again, whether at all.
//!
//! Everything here is a value or a function of values: time comes in as a [`Moment`], chance as
//! [`base::Random`], and what is to be done comes out. It refuses to wait, to read a clock, a file
//! or a socket; `mesh-proxy` does that, in each of its three placements, over these same decisions.
//! Policy is data ([`Policy`]), read from the Gateway API's YAML and a few kinds of our own.

pub mod analyze;
pub mod authority;
pub mod authorization;
pub mod balance;
pub mod breaker;
pub mod concurrency;
pub mod destination;
pub mod edge_access;
pub mod explain;
pub mod fault;
pub mod filter;
mod moment;
pub mod path;
pub mod policy;
pub mod proxy;
mod query;
pub mod rate;
mod request;
pub mod retry;
pub mod route;
pub mod schema;
pub mod version;

pub use destination::Destination;
pub use moment::Moment;
pub use policy::Policy;
