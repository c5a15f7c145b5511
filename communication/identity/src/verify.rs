//! Whether a peer is who it says: chain, time, use, deny list. Pure over the moment that comes in.
//!
//! Everything that costs little is judged first, and nothing is computed for a chain that is longer
//! than ours can be. It refuses what it does not know; there is no setting that opens it.

use std::time::Duration;

use base::Timestamp;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::{
    bundle::Trust,
    certificate::{Leaf, Serial, serial_of},
    name::SpiffeId,
    refusal::Refusal,
};

/// Clocks of two machines may differ by so much; the specification of this system says so.
pub const SKEW: Duration = Duration::from_secs(60);
/// A service, its issuer, and one more where an authority stands below another.
const CHAIN_MAX: usize = 3;
/// Ours have about 600 bytes; a longer one is not read.
const CERTIFICATE_BYTES_MAX: usize = 4 << 10;

/// Signatures that are taken, in chains and in handshakes.
pub(crate) static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] =
    &[webpki::ring::ECDSA_P256_SHA256, webpki::ring::ECDSA_P384_SHA384, webpki::ring::ED25519];

/// What the certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The peer accepted our connection.
    Serve,
    /// The peer opened a connection to us.
    Call,
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its name.
    pub id: SpiffeId,
    /// The number of its certificate.
    pub serial: Serial,
    /// Until when it is that.
    pub not_after: Timestamp,
}

/// Judges a peer's chain, its own certificate first.
///
/// # Errors
/// The first reason why it is not let in.
pub fn verify(
    chain: &[CertificateDer<'_>],
    trust: &Trust,
    purpose: Purpose,
    now: Timestamp,
) -> Result<PeerIdentity, Refusal> {
    let [own, issuers @ ..] = chain else { return Err(Refusal::NoCertificate) };
    if chain.len() > CHAIN_MAX || chain.iter().any(|it| it.len() > CERTIFICATE_BYTES_MAX) {
        return Err(Refusal::ChainTooLong);
    }
    let leaf = Leaf::read(own)?;
    if leaf.id.trust_domain() != trust.bundle.trust_domain {
        return Err(Refusal::WrongDomain);
    }
    if !(match purpose {
        Purpose::Serve => leaf.serves,
        Purpose::Call => leaf.calls,
    }) {
        return Err(Refusal::WrongUsage);
    }
    let is_denied = |it: &Serial| trust.denies(it);
    if is_denied(&leaf.serial) {
        return Err(Refusal::Revoked);
    }
    // Who denies an issuer denies all that it has signed.
    for issuer in issuers {
        if is_denied(&serial_of(issuer)?) {
            return Err(Refusal::Revoked);
        }
    }
    judge_chain(own, issuers, trust, purpose, now)?;
    Ok(PeerIdentity { id: leaf.id, serial: leaf.serial, not_after: leaf.not_after })
}

/// Judges signatures and times from the service up to an anchor.
///
/// A chain that is over, or has not begun, is judged once more by a clock that differs from ours as
/// much as a clock may.
fn judge_chain(
    own: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    trust: &Trust,
    purpose: Purpose,
    now: Timestamp,
) -> Result<(), Refusal> {
    let own = EndEntityCert::try_from(own).map_err(|it| refusal_of(&it))?;
    let usage = || match purpose {
        Purpose::Serve => KeyUsage::server_auth(),
        Purpose::Call => KeyUsage::client_auth(),
    };
    let judge = |seconds: u64| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let anchors = &trust.anchors;
        own.verify_for_usage(ALGORITHMS, anchors, issuers, at, usage(), None, None)
            .map(drop)
            .map_err(|it| refusal_of(&it))
    };
    let now = u64::try_from(now.as_millis() / 1_000).unwrap_or(0);
    match judge(now) {
        Err(Refusal::Expired) => judge(now.saturating_sub(SKEW.as_secs())),
        Err(Refusal::NotYetValid) => judge(now.saturating_add(SKEW.as_secs())),
        judged => judged,
    }
}

fn refusal_of(error: &webpki::Error) -> Refusal {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => Refusal::Expired,
        Error::CertNotValidYet { .. } => Refusal::NotYetValid,
        Error::CaUsedAsEndEntity => Refusal::AuthorityAsLeaf,
        Error::RequiredEkuNotFoundContext(_) => Refusal::WrongUsage,
        Error::InvalidSignatureForPublicKey => Refusal::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Refusal::WeakKey,
        Error::UnknownIssuer
        | Error::EndEntityUsedAsCa
        | Error::PathLenConstraintViolated
        | Error::NameConstraintViolation => Refusal::UnknownIssuer,
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => Refusal::ChainTooLong,
        _ => Refusal::Malformed,
    }
}
