//! Why somebody is not known: for metrics and for whoever runs the edge, never for who asks.

/// Why a credential is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("no credential")]
    Missing,
    /// There are several, it is of another scheme, too long, or neither a key nor a token.
    #[error("a credential of a form that is not read")]
    Malformed,
    /// No such key was ever drawn, or it is forgotten.
    #[error("an unknown key")]
    UnknownKey,
    /// The key was taken back.
    #[error("a revoked key")]
    RevokedKey,
    /// The key's time is over.
    #[error("an expired key")]
    ExpiredKey,
    /// An algorithm that is not on the list, or not the one of the signer.
    #[error("an algorithm that is not taken")]
    Algorithm,
    /// The token asks for something that nobody here understands (`crit`, RFC 7515 4.1.11).
    #[error("a token with an extension that is not understood")]
    Extension,
    /// Nobody issues tokens of that name here.
    #[error("an unknown issuer")]
    Issuer,
    /// It names no signer, or one that the issuer does not list.
    #[error("an unknown signer")]
    Signer,
    /// It was signed by somebody else, or changed.
    #[error("a signature that is not the signer's")]
    Signature,
    /// It is meant for somebody else.
    #[error("a token for somebody else")]
    Audience,
    /// Its time is over.
    #[error("an expired token")]
    Expired,
    /// Its time has not begun.
    #[error("a token whose time has not begun")]
    NotYet,
    /// It names nobody, or in a way that is not taken.
    #[error("a token that names nobody")]
    Subject,
}

impl Refused {
    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::RevokedKey => "revoked_key",
            Self::ExpiredKey => "expired_key",
            Self::Algorithm => "algorithm",
            Self::Extension => "extension",
            Self::Issuer => "issuer",
            Self::Signer => "signer",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Subject => "subject",
        }
    }
}
