//! What the parts of a running broker share.

use std::{
    fs::File,
    sync::atomic::{AtomicI64, Ordering},
};

use callers::Witness;
use identity::Room;

use crate::{
    commits::Commits, config::BrokerConfig, groups::Groups, metrics::BrokerMetrics,
    rights::LogDoor, topics::Topics, users::Users,
};

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: BrokerConfig,
    pub(crate) advertised: (String, u16),
    pub(crate) topics: Topics,
    pub(crate) commits: Commits,
    pub(crate) groups: Groups,
    pub(crate) metrics: BrokerMetrics,
    /// Where clients show who they are; none where nobody asks.
    pub(crate) door: Option<LogDoor>,
    /// Who may say by a name and a secret who he is.
    pub(crate) users: Option<Users>,
    /// Who hears what administrators change.
    pub(crate) witness: Option<Witness>,
    /// Places of those who have not yet.
    pub(crate) strangers: Room,
    pub(crate) next_producer: AtomicI64,
    /// Held for as long as the broker lives; the kernel lets go of it with the process.
    #[expect(dead_code, reason = "it is held, not looked at")]
    pub(crate) lock: File,
}

impl Shared {
    pub(crate) fn next_producer_id(&self) -> i64 {
        self.next_producer.fetch_add(1, Ordering::Relaxed)
    }
}
