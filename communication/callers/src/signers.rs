//! Who signs for an issuer: a JSON Web Key Set (RFC 7517), as issuers publish it.
//!
//! A key says for which algorithm it is good, by its kind and its curve; a token does not choose. What
//! is no key for signatures that we take is passed over, as RFC 7517 section 5 asks: issuers publish
//! theirs for others too. Symmetric keys are among those.

use std::collections::BTreeMap;

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

use crate::base64url;

/// Keys of one set that are kept; one with more is refused.
pub const SIGNERS_MAX: usize = 64;
/// Bytes of a point of P-256, and of a key of Ed25519 (RFC 7518 6.2.1.2, RFC 8037 2).
const COORDINATE_BYTES: usize = 32;
/// RSA of fewer bits is no signature any more; NIST SP 800-131A.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Who signs for an issuer, by the name that a token calls the key by.
#[derive(Debug, Clone, Default)]
pub struct Signers(BTreeMap<String, Signer>);

/// A key that signatures are checked with.
#[derive(Debug, Clone)]
pub(crate) enum Signer {
    /// RS256.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// ES256: an uncompressed point.
    P256(Vec<u8>),
    /// `EdDSA` over Ed25519.
    Ed25519(Vec<u8>),
}

/// Why a text is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum ReadSignersError {
    /// It is no JSON Web Key Set.
    #[error("it is no JSON Web Key Set")]
    Form(#[source] serde_json::Error),
    /// More keys than are kept.
    #[error("it has {0} keys, and {SIGNERS_MAX} may be")]
    TooMany(usize),
    /// Two keys of one name: which of the two is meant?
    #[error("two keys are called `{0}`")]
    Twice(String),
    /// None of them checks a signature of RS256, ES256 or `EdDSA`.
    #[error("none of its keys is one with a `kid` for RS256, ES256 or EdDSA")]
    None,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// The members that matter here; every other one is passed over (RFC 7517 section 4).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Signers {
    /// Reads a set.
    ///
    /// # Errors
    /// [`ReadSignersError`].
    pub fn read(text: &str) -> Result<Self, ReadSignersError> {
        let set: Set = serde_json::from_str(text).map_err(ReadSignersError::Form)?;
        if set.keys.len() > SIGNERS_MAX {
            return Err(ReadSignersError::TooMany(set.keys.len()));
        }
        let mut signers = BTreeMap::new();
        for jwk in set.keys {
            let Some((name, signer)) = jwk.signer() else { continue };
            if signers.insert(name.clone(), signer).is_some() {
                return Err(ReadSignersError::Twice(name));
            }
        }
        if signers.is_empty() { Err(ReadSignersError::None) } else { Ok(Self(signers)) }
    }

    /// The key of a name. A name is compared and nothing else: it is no path and no query.
    pub(crate) fn find(&self, name: &str) -> Option<&Signer> {
        self.0.get(name)
    }
}

impl Jwk {
    fn signer(self) -> Option<(String, Signer)> {
        if self.purpose.is_some_and(|it| it != "sig") {
            return None;
        }
        let bytes = |it: &Option<String>| it.as_deref().and_then(base64url::decode);
        let coordinate = |it| bytes(it).filter(|it| it.len() == COORDINATE_BYTES);
        let signer = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => {
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                RSA_BYTES.contains(&n.len()).then_some(Signer::Rsa { n, e })?
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (coordinate(&self.x)?, coordinate(&self.y)?);
                Signer::P256([&[4][..], &x, &y].concat())
            }
            ("OKP", Some("Ed25519")) => Signer::Ed25519(coordinate(&self.x)?),
            _ => return None,
        };
        let is_its = self.alg.is_none_or(|it| it == signer.algorithm());
        is_its.then_some((self.kid?, signer))
    }
}

impl Signer {
    /// The algorithm that it is good for, as tokens name it (RFC 7518 3.1, RFC 8037 3.1).
    pub(crate) const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa { .. } => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    /// Whether it has signed this.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        };
        verified.is_ok()
    }
}
