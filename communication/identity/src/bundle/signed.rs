//! A bundle that anybody may carry: whoever has the anchors' keys signs it, and who trusts one of them takes it.
//!
//! Signed is the text as it travels, so it has one form and nothing has to be brought into one; nothing of it
//! is read before a signature was found good. Who carries it can hold it back. He cannot change it, and makes
//! nobody take an older one.

use std::{collections::BTreeMap, fmt, sync::Arc};

use rcgen::SigningKey;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use webpki::EndEntityCert;

use super::{ANCHORS_MAX, AnchorId, Bundle, BundleError, Trust, anchor_id};
use crate::bytes::Bytes;

/// A bundle with a full deny list has about a megabyte.
const BUNDLE_BYTES_MAX: usize = 2 << 20;
/// One of P-256 has at most 72.
const SIGNATURE_BYTES_MAX: usize = 128;
/// What stands before a bundle that an anchor signs. A certificate never begins so, and no bundle passes for one.
const CONTEXT: &[u8] = b"skein trust bundle 1\0";

/// A bundle as it is carried from machine to machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBundle {
    /// The text that was signed.
    bundle: String,
    /// What each anchor signed it with.
    signatures: BTreeMap<AnchorId, Bytes>,
}

/// Why a bundle that was carried here was not taken. What is trusted stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CarriedError {
    /// More text or signatures than any bundle has.
    #[error("the bundle has more than {BUNDLE_BYTES_MAX} bytes or {ANCHORS_MAX} signatures")]
    TooLong,
    /// No anchor that is trusted here signed it.
    #[error("no anchor that is trusted here signed the bundle")]
    Stranger,
    /// The signature of a trusted anchor is not one of this text.
    #[error("the bundle is not the text that was signed")]
    Forged,
    /// What was signed is no bundle that is understood here.
    #[error("what was signed is no bundle of this form")]
    Malformed,
    /// It is of another trust domain.
    #[error("the bundle is of another trust domain")]
    OtherDomain,
    /// What is trusted here is newer.
    #[error("the bundle is older than what is trusted here")]
    Older,
    /// Nobody could trust by it.
    #[error(transparent)]
    Unusable(#[from] BundleError),
}

impl CarriedError {
    /// Every reason, with `Empty` for all that make a bundle unusable.
    pub const ALL: &[Self] = &[
        Self::TooLong,
        Self::Stranger,
        Self::Forged,
        Self::Malformed,
        Self::OtherDomain,
        Self::Older,
        Self::Unusable(BundleError::Empty),
    ];

    /// The word in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Stranger => "stranger",
            Self::Forged => "forged",
            Self::Malformed => "malformed",
            Self::OtherDomain => "other_domain",
            Self::Older => "older",
            Self::Unusable(_) => "unusable",
        }
    }
}

impl SignedBundle {
    /// Has each of these anchors sign a bundle.
    ///
    /// # Errors
    /// A key does not sign.
    pub fn sign<'a, K: SigningKey + 'a>(
        bundle: &Bundle,
        anchors: impl IntoIterator<Item = (&'a AnchorId, &'a K)>,
    ) -> Result<Self, rcgen::Error> {
        let bundle =
            serde_json::to_string(bundle).expect("text, numbers and maps with text as keys");
        let message = message(&bundle);
        let sign = |(id, key): (&AnchorId, &K)| Ok((id.clone(), Bytes(key.sign(&message)?)));
        let signatures = anchors.into_iter().map(sign).collect::<Result<_, rcgen::Error>>()?;
        Ok(Self { bundle, signatures })
    }

    /// The bundle, where one of these anchors, as PEM, signed it.
    fn read(&self, anchors: &[String]) -> Result<Bundle, CarriedError> {
        let is_short = |it: &Bytes| it.0.len() <= SIGNATURE_BYTES_MAX;
        if self.bundle.len() > BUNDLE_BYTES_MAX
            || self.signatures.len() > ANCHORS_MAX
            || !self.signatures.values().all(is_short)
        {
            return Err(CarriedError::TooLong);
        }
        let message = message(&self.bundle);
        let mut found = Err(CarriedError::Stranger);
        for anchor in anchors {
            let Ok(anchor) = CertificateDer::from_pem_slice(anchor.as_bytes()) else { continue };
            let Some(signature) = self.signatures.get(&anchor_id(&anchor)) else { continue };
            found = match has_signed(&anchor, &message, signature) {
                true => Ok(()),
                false => Err(CarriedError::Forged),
            };
            if found.is_ok() {
                break;
            }
        }
        found?;
        serde_json::from_str(&self.bundle).map_err(|_| CarriedError::Malformed)
    }
}

/// Without the text: it may have a megabyte.
impl fmt::Debug for SignedBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by: Vec<_> = self.signatures.keys().collect();
        formatter.debug_struct("SignedBundle").field("by", &by).finish_non_exhaustive()
    }
}

fn message(bundle: &str) -> Vec<u8> {
    [CONTEXT, bundle.as_bytes()].concat()
}

fn has_signed(anchor: &CertificateDer<'_>, message: &[u8], signature: &Bytes) -> bool {
    EndEntityCert::try_from(anchor).is_ok_and(|it| {
        it.verify_signature(webpki::ring::ECDSA_P256_SHA256, message, &signature.0).is_ok()
    })
}

impl Trust {
    /// Whom to trust by a bundle that somebody carried here; nothing where it is the version that is held.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn carried(&self, signed: Arc<SignedBundle>) -> Result<Option<Self>, CarriedError> {
        let bundle = signed.read(&self.bundle.anchors)?;
        if bundle.trust_domain != self.bundle.trust_domain {
            return Err(CarriedError::OtherDomain);
        }
        if bundle.version < self.bundle.version {
            return Err(CarriedError::Older);
        }
        if bundle.version == self.bundle.version {
            return Ok(None);
        }
        Ok(Some(Self { signed: Some(signed), ..Self::read(bundle)? }))
    }

    /// Whom to trust by a bundle that stands in a file of our own: it vouches for itself.
    ///
    /// # Errors
    /// None of its own anchors signed it, or it cannot be used.
    pub(crate) fn own(signed: Arc<SignedBundle>) -> Result<Self, CarriedError> {
        let bundle: Bundle =
            serde_json::from_str(&signed.bundle).map_err(|_| CarriedError::Malformed)?;
        signed.read(&bundle.anchors)?;
        Ok(Self { signed: Some(signed), ..Self::read(bundle)? })
    }

    /// The same with the form in which it can be carried; nothing where that says anything else.
    pub(crate) fn with_signed(&self, signed: Arc<SignedBundle>) -> Option<Self> {
        let is_same = signed.read(&self.bundle.anchors).is_ok_and(|it| it == self.bundle);
        is_same.then(|| Self { signed: Some(signed), ..self.clone() })
    }

    /// The form in which it can be carried to others, where it is known.
    #[must_use]
    pub const fn signed(&self) -> Option<&Arc<SignedBundle>> {
        self.signed.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let words: BTreeSet<_> = CarriedError::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), CarriedError::ALL.len());
    }

    #[test]
    fn the_longest_bundle_has_room() {
        // A number has at most 32 bytes, a moment 24 letters.
        let denied = 64 + "\"\":\"2026-01-01T00:00:00.000Z\",".len();
        assert!(super::super::REVOKED_MAX * denied + ANCHORS_MAX * 4_096 < BUNDLE_BYTES_MAX);
    }
}
