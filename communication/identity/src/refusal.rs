//! Why a peer is not let in, as one short word: the same in the metric, the log and the test.
//!
//! The peer itself is told less: TLS gives it an alert, and what the alert says helps nobody who tries.

/// Why a connection was refused in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum Refusal {
    /// The peer showed no certificate.
    NoCertificate,
    /// A certificate cannot be read.
    Malformed,
    /// More, or longer, certificates than a chain of ours can have.
    ChainTooLong,
    /// None of our anchors vouches for it; also whoever vouches for itself.
    UnknownIssuer,
    /// It names no URI, or several.
    NotOneName,
    /// The URI is no identity.
    MalformedName,
    /// Another trust domain.
    WrongDomain,
    /// Another service than the one that was called.
    WrongService,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// An authority's certificate, shown as that of a service.
    AuthorityAsLeaf,
    /// It may not be used for what it is used for.
    WrongUsage,
    /// A key of a kind or strength that is not taken.
    WeakKey,
    /// Its serial number is on the deny list.
    Revoked,
    /// A signature is wrong.
    BadSignature,
    /// Another version of TLS than 1.3.
    WrongVersion,
    /// Another protocol inside than the one that is spoken here.
    WrongProtocol,
    /// It did not come to an end in time.
    TimedOut,
    /// More handshakes at once, or a second, than are made for one address.
    TooMany,
    /// There was no room any more, and it was the oldest of the address with the most under way.
    GaveWay,
    /// We have no identity, or ours is over: closed rather than open.
    NoIdentity,
    /// The peer refused us, or went away.
    PeerRefused,
    /// Anything else that is no TLS.
    NotTls,
}

impl Refusal {
    /// Every reason.
    pub const ALL: &[Self] = &[
        Self::NoCertificate,
        Self::Malformed,
        Self::ChainTooLong,
        Self::UnknownIssuer,
        Self::NotOneName,
        Self::MalformedName,
        Self::WrongDomain,
        Self::WrongService,
        Self::Expired,
        Self::NotYetValid,
        Self::AuthorityAsLeaf,
        Self::WrongUsage,
        Self::WeakKey,
        Self::Revoked,
        Self::BadSignature,
        Self::WrongVersion,
        Self::WrongProtocol,
        Self::TimedOut,
        Self::TooMany,
        Self::GaveWay,
        Self::NoIdentity,
        Self::PeerRefused,
        Self::NotTls,
    ];

    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed => "malformed_certificate",
            Self::ChainTooLong => "chain_too_long",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NotOneName => "not_one_name",
            Self::MalformedName => "malformed_name",
            Self::WrongDomain => "wrong_domain",
            Self::WrongService => "wrong_service",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::AuthorityAsLeaf => "authority_as_leaf",
            Self::WrongUsage => "wrong_usage",
            Self::WeakKey => "weak_key",
            Self::Revoked => "revoked",
            Self::BadSignature => "bad_signature",
            Self::WrongVersion => "wrong_version",
            Self::WrongProtocol => "wrong_protocol",
            Self::TimedOut => "timed_out",
            Self::TooMany => "too_many_handshakes",
            Self::GaveWay => "gave_way",
            Self::NoIdentity => "no_identity",
            Self::PeerRefused => "peer_refused",
            Self::NotTls => "not_tls",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_listed_once_under_a_word_of_its_own() {
        let words: BTreeSet<_> = Refusal::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), Refusal::ALL.len());
        let (_, text) = include_str!("refusal.rs").split_once("fn as_str").unwrap();
        let (text, _) = text.split_once("\n    }\n").unwrap();
        assert_eq!(text.matches(" => \"").count(), Refusal::ALL.len());
    }
}
