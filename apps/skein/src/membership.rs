//! How a process of the mesh comes to who it shows itself to be.

use std::{path::PathBuf, time::Duration};

use base::SharedClock;
use clap::Args;
use identity::{
    Current, Grounds, HandshakeConfig, Handshakes, KeeperConfig, Membership, SpiffeId, keep,
};
use runtime::{Tasks, random_from_os};
use telemetry::Telemetry;
use tokio::time::timeout;

use crate::Failure;

/// Who a process that is told by arguments shows itself to be.
#[derive(Debug, Clone, Args)]
pub struct MembershipArguments {
    /// Who it shows itself to be, `spiffe://DOMAIN/ns/NAMESPACE/svc/SERVICE`; in plain text, on the loopback
    /// interface alone, where nothing is said.
    #[arg(long, value_name = "NAME", requires = "authority")]
    pub identity: Option<SpiffeId>,
    /// The socket of the authority that vouches for it: `skein authority`.
    #[arg(long, value_name = "SOCKET", requires = "identity")]
    pub authority: Option<PathBuf>,
}

impl MembershipArguments {
    /// The same by the user that it runs as, if it is to be anybody.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        let (id, authority) = self.identity.clone().zip(self.authority.clone())?;
        Some(Membership { authority, id, grounds: Grounds::User })
    }
}

/// How often a process looks whom to trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// It hears it for itself.
    ForItself,
    /// Others hear it from it, on other machines too: their time counts from its look.
    ForOthers,
}

/// Between two looks of one from whom others hear it.
const LOOK_FOR_OTHERS_MS: u64 = 2_000;

impl Looks {
    fn config(self) -> KeeperConfig {
        match self {
            Self::ForItself => KeeperConfig::default(),
            Self::ForOthers => {
                KeeperConfig { look_ms: LOOK_FOR_OTHERS_MS, ..KeeperConfig::default() }
            }
        }
    }
}

/// Longest wait for the first identity.
const JOIN_WITHIN: Duration = Duration::from_secs(10);

/// Joins in the background; what comes second is nothing until the first identity came.
#[must_use]
pub fn join(
    membership: Membership,
    looks: Looks,
    clock: &SharedClock,
    telemetry: &Telemetry,
    tasks: &Tasks,
) -> (Handshakes, Current) {
    let (config, random) = (looks.config(), random_from_os());
    // Requests in flight need it to the end.
    let current = keep(config, membership, clock.clone(), random, telemetry, &tasks.later());
    let config = HandshakeConfig::default();
    (Handshakes::new(&config, current.clone(), clock.clone(), telemetry), current)
}

/// Joins, and waits for the first identity.
///
/// # Errors
/// None came in time: the authority is away, or refuses; the log has its words.
pub async fn joined(
    membership: Membership,
    looks: Looks,
    clock: &SharedClock,
    telemetry: &Telemetry,
    tasks: &Tasks,
) -> Result<Handshakes, Failure> {
    let (id, authority) = (membership.id.to_string(), membership.authority.clone());
    let (handshakes, mut current) = join(membership, looks, clock, telemetry, tasks);
    if let Ok(Ok(_)) = timeout(JOIN_WITHIN, current.wait_for(Option::is_some)).await {
        return Ok(handshakes);
    }
    let what = format!("the authority has issued no identity `{id}` in time");
    Err(Failure::new("no_identity", what).at(authority.display()))
}
