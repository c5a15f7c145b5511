//! Local rate limits by the generic cell rate algorithm (ITU-T I.371): 429 with Retry-After.

use std::time::Duration;

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Its name, for header and metric.
    pub name: String,
    /// The route that it binds, as `namespace/name`; `None` means every request of the parent.
    pub route: Option<String>,
    /// Requests in `period`.
    pub requests: u32,
    /// The period.
    pub period: Duration,
    /// Requests that may come at once.
    pub burst: u32,
    /// Who is counted apart.
    pub key: RateKey,
}

/// Who is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RateKey {
    /// Everybody together.
    #[default]
    All,
    /// Each address of a client.
    Client,
    /// Each value of a header; name in lower case. Those without one are counted together.
    Header(String),
}
