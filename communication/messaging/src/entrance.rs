//! How a log is entered: by an identity of ours, or as its own stock clients enter it.

use std::fmt;

use bytes::{BufMut as _, BytesMut};
use identity::{Handshakes, PublicTrust, SpiffeId};
use kafka_wire::messages::sasl;

/// How a log is entered.
#[derive(Debug, Clone)]
pub enum LogEntrance {
    /// One of ours, which asks who comes in.
    Identity(LogTls),
    /// Any other; in plain text and without a name where nothing is said.
    Foreign(ForeignLog),
}

/// How a log of ours is entered that asks who comes in, and shows who it is.
#[derive(Debug, Clone)]
pub struct LogTls {
    /// How this process shows who it is.
    pub handshakes: Handshakes,
    /// Who the log must prove to be.
    pub log: SpiffeId,
}

/// How another log is entered.
#[derive(Debug, Clone, Default)]
pub struct ForeignLog {
    /// By whom it proves the name that it is called by, inside TLS; in plain text without.
    pub trust: Option<PublicTrust>,
    /// Who this process says it is (SASL PLAIN, RFC 4616).
    pub login: Option<LogLogin>,
}

/// A user name and its secret. Neither has a NUL in it.
#[derive(Clone)]
pub struct LogLogin {
    /// Who.
    pub user: String,
    /// Never shown.
    pub secret: String,
}

impl LogLogin {
    /// As the mechanism says it.
    pub(crate) fn said(&self) -> sasl::Secret {
        let mut said = BytesMut::with_capacity(2 + self.user.len() + self.secret.len());
        said.put_u8(0);
        said.put_slice(self.user.as_bytes());
        said.put_u8(0);
        said.put_slice(self.secret.as_bytes());
        sasl::Secret(said.freeze())
    }
}

impl fmt::Debug for LogLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LogLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Default for LogEntrance {
    fn default() -> Self {
        Self::Foreign(ForeignLog::default())
    }
}

impl From<Option<LogTls>> for LogEntrance {
    fn from(tls: Option<LogTls>) -> Self {
        tls.map_or_else(Self::default, Self::Identity)
    }
}
