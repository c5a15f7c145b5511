//! Faults that an operator plants at the mesh, to see what others do.

use std::time::Duration;

/// One planted fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its name; a second one of that name takes its place.
    pub name: String,
    /// The destination that it stands before.
    pub service: String,
    /// The route that it is bound to, as `namespace/name`; `None` means all.
    pub route: Option<String>,
    /// A header that must be there with this value; name in lower case.
    pub header: Option<(String, String)>,
    /// Share of requests that it hits, 0 to 1.
    pub share: f64,
    /// Wait before the request goes on.
    pub delay: Option<Duration>,
    /// What becomes of it.
    pub abort: Option<Abort>,
    /// How long it stands from when it was planted.
    pub expires_after: Option<Duration>,
}

/// What becomes of a request that a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// This status, without a call.
    Status(u16),
    /// The answer is cut and the connection reset after so many bytes of its body.
    ResetAfter(u64),
}
