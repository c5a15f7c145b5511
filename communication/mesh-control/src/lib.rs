//! The control plane: who runs where, and by what policy the proxies call them.
//!
//! Instances register and renew ([`Registry`]), sources add what files and names of the DNS say, and
//! every proxy hears the whole as one numbered state, answers that it took it or why not, and keeps
//! the last good one while nobody answers. What cannot be a policy reaches no proxy.
//!
//! It refuses to carry a request, to say who is healthy (that is for the breakers of the callers), and
//! to believe what an instance says of its own identity. The wire is our own: decision 15.

mod alive;
mod instance;
mod metrics;
mod plane;
mod registry;
pub mod sources;
mod state;
mod subscriber;
mod wire;

pub use instance::{Registration, RegistrationError, Spoken};
pub use plane::{Plane, StartError};
pub use registry::{Change, INSTANCES_MAX, RegisterError, Registered, Registry, RegistryConfig};
pub use state::{Sets, State};
pub use subscriber::{Hearer, Upstream, subscribe};
