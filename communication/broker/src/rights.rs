//! What a client may do here, by who it has shown to be.
//!
//! What is judged is told by names alone, so that any policy can decide.

use std::{fmt, net::SocketAddr, sync::Arc};

use callers::Actor;
use identity::{Handshakes, SpiffeId};

/// What a client does with a topic, a group or the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Appends to a topic, or makes it.
    Produce,
    /// Reads a topic.
    Consume,
    /// Takes part in a group, or moves its place.
    Group,
    /// Looks at groups, and at settings of topics, of anybody.
    Describe,
    /// Removes and changes topics and groups of anybody, and looks at them.
    Administer,
}

/// Why somebody is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// He is served or refused by it: whoever counts denials counts this one.
    ToServe,
    /// What he is told, or what is told of him, depends on it; he is refused nothing.
    ToTell,
}

/// Says whether a client may do something with a topic or group of this name. Asked for each request,
/// so it is quick.
#[derive(Clone)]
pub struct Judge(Arc<Say>);

type Say = dyn Fn(&SpiffeId, Right, &str, Judged) -> bool + Send + Sync;

impl Judge {
    /// Calls a function.
    #[must_use]
    pub fn new(
        say: impl Fn(&SpiffeId, Right, &str, Judged) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(say))
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Judge")
    }
}

/// What becomes of clients that speak no TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainClients {
    /// They are refused.
    #[default]
    Refused,
    /// They may do everything, whoever they are: for stock clients of this machine.
    Trusted,
}

/// The door of a log.
#[derive(Debug, Clone)]
pub struct LogDoor {
    /// How clients show who they are.
    pub handshakes: Handshakes,
    /// What they may do.
    pub judge: Judge,
    /// What becomes of those that cannot.
    pub plain: PlainClients,
}

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    /// Nobody asked.
    Anybody {
        /// The client's end of the connection.
        from: SocketAddr,
    },
    /// He was asked, and has not said it.
    Nobody,
    /// He has shown who he is.
    Known { id: SpiffeId, judge: Judge },
}

impl Client {
    /// Whether he is served.
    pub(crate) fn may(&self, right: Right, name: &str) -> bool {
        self.is_let(right, name, Judged::ToServe)
    }

    /// Whether he would be: nothing is refused by it.
    pub(crate) fn might(&self, right: Right, name: &str) -> bool {
        self.is_let(right, name, Judged::ToTell)
    }

    fn is_let(&self, right: Right, name: &str, why: Judged) -> bool {
        match self {
            Self::Anybody { .. } => true,
            Self::Nobody => false,
            Self::Known { id, judge } => judge.0(id, right, name, why),
        }
    }

    /// Who he is, where what he did is told.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Anybody { from } => Actor::At(*from),
            Self::Nobody => Actor::Named("nobody".to_owned()),
            Self::Known { id, .. } => Actor::Named(id.to_string()),
        }
    }

    /// Takes out of these what the client may not do.
    pub(crate) fn denied<T>(
        &self,
        right: Right,
        asked: &mut Vec<T>,
        name: impl Fn(&T) -> &str,
    ) -> Vec<T> {
        asked.extract_if(.., |it| !self.may(right, name(it))).collect()
    }
}
