//! The data plane of the mesh: what carries a request from one service to another.
//!
//! It does what `mesh-policy` decides and decides nothing itself. It is strict where peers are
//! lenient: a message that two programs could read in two ways is refused at the first of them.
//!
//! A request's path is [`Outbound::call`], read top to bottom; it is the same inside a service,
//! beside a program in any language, and at the edge.

pub mod body;
mod closing;
pub mod downstream;
mod event_stream;
mod forward;
mod gate;
mod guard;
pub mod h1;
mod h2;
pub mod head;
mod idle;
mod mesh;
mod outbound;
mod owned;
mod pending;
pub mod program;
mod readiness;
pub mod refusal;
pub mod reply;
mod stream;
pub mod tap;
mod tunnel;
mod upstream;
pub mod view;
mod watch;
mod worker;

pub use downstream::{Handler, Limits, Site};
pub use forward::{Forward, ToTls, Way};
pub use gate::{Full, Gate, Place};
pub use guard::Guard;
pub use h2::{Flood, FrameBudget};
pub use head::{Peer, Transport};
pub use mesh::{Door, Mesh, Subject};
pub use outbound::{Context, Deadline, Outbound};
pub use readiness::{NotReady, Readiness};
pub use refusal::Refusal;
pub use reply::{Reply, ReplyBody, Source};
pub use stream::Stream;
pub use tunnel::{Tunnel, When};
