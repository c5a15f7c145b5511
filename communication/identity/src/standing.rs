//! How long a connection may stand that was opened under two identities.
//!
//! A handshake judges once. Who is denied later, or whose time is over, is not to be talked to any
//! more: whoever holds a connection waits here beside its work.

use std::time::Duration;

use tokio::time::sleep;

use crate::{handshake::Handshakes, verify::PeerIdentity};

/// Why a connection may stand no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// One of the identities has come to its end; what is under way may end in order.
    Expired,
    /// The peer's certificate was denied: nothing of it is wanted any more.
    Denied,
}

impl Over {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "identity_over",
            Self::Denied => "identity_denied",
        }
    }
}

impl Handshakes {
    /// Waits until a connection to this peer may stand no longer; `valid_for` is how long both
    /// identities are good for now. It judges anew whenever the credentials in force change. Cancel-safe.
    pub async fn over(self, peer: PeerIdentity, valid_for: Duration) -> Over {
        let mut current = self.current();
        let judged = async {
            loop {
                {
                    let credentials = current.borrow_and_update();
                    // Without an identity of our own we are closed, to who is in as well.
                    let Some(credentials) = credentials.as_ref() else { return Over::Expired };
                    if credentials.trust().denies(&peer.serial) {
                        return Over::Denied;
                    }
                }
                if current.changed().await.is_err() {
                    // Nobody is left to say otherwise: time alone decides.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            over = judged => over,
            () = sleep(valid_for) => Over::Expired,
        }
    }
}
