//! What the authority keeps on disk: anchors and issuer with their keys, and the deny list.
//!
//! The form carries a version from the first day; one that is not known is refused with both named.
//! What was issued is not kept: after a start every anchor counts as in use for the life of one
//! identity, which is the longest that it can be.

use std::collections::BTreeMap;

use base::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

use super::signer::Signer;
use crate::{
    bundle::{AnchorId, anchor_id},
    certificate::Serial,
};

/// The form that is written.
pub(crate) const VERSION: u32 = 1;

/// Why what stands on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadStateError {
    /// Another form.
    #[error("the authority's state has form {found}; this program reads form {VERSION}")]
    UnknownVersion {
        /// What was found.
        found: u64,
    },
    /// Not what the form says.
    #[error("the authority's state cannot be read: {reason}")]
    Malformed {
        /// What does not fit. Never what stands there: it is secret.
        reason: String,
    },
    /// A state of another trust domain.
    #[error("the authority's state is of trust domain `{found}`, not of `{expected}`")]
    OtherDomain {
        /// The domain of the state.
        found: String,
        /// The domain that was asked for.
        expected: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) version: u32,
    pub(crate) trust_domain: String,
    /// Of the bundle.
    pub(crate) bundle_version: u64,
    /// How many authorities were made: each has a name of its own.
    pub(crate) made: u64,
    /// From the oldest to the newest.
    pub(crate) anchors: Vec<AnchorState>,
    /// The anchor below which the issuer stands.
    pub(crate) signs: AnchorId,
    pub(crate) issuer: Pair,
    pub(crate) revoked: BTreeMap<Serial, Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnchorState {
    pub(crate) id: AnchorId,
    pub(crate) trusted_since: Timestamp,
    pub(crate) pair: Pair,
}

/// A certificate and its key, PEM.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    key: String,
}

impl std::fmt::Debug for Pair {
    // The key never gets into a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pair(…)")
    }
}

impl Pair {
    pub(crate) fn of(signer: &Signer) -> Self {
        Self {
            certificate: crate::pem::certificate(signer.certificate()),
            key: signer.key().serialize_pem(),
        }
    }

    pub(crate) fn signer(&self) -> Result<Signer, ReadStateError> {
        let malformed = |reason: &str| ReadStateError::Malformed { reason: reason.to_owned() };
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|_| malformed("a certificate is none"))?;
        let key = KeyPair::from_pem(&self.key).map_err(|_| malformed("a key is none"))?;
        Signer::read(certificate, key).map_err(|_| malformed("key and certificate do not fit"))
    }
}

impl AnchorState {
    pub(crate) fn new(signer: &Signer, trusted_since: Timestamp) -> Self {
        Self { id: anchor_id(signer.certificate()), trusted_since, pair: Pair::of(signer) }
    }
}

impl State {
    /// Reads what [`write`](Self::write) gave.
    pub(crate) fn read(text: &str, trust_domain: &str) -> Result<Self, ReadStateError> {
        // The error's own text may show a piece of what it read.
        let malformed = |error: &serde_json::Error| ReadStateError::Malformed {
            reason: format!("line {}, column {}", error.line(), error.column()),
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|it| malformed(&it))?;
        let found = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if found != u64::from(VERSION) {
            return Err(ReadStateError::UnknownVersion { found });
        }
        let state: Self = serde_json::from_value(value).map_err(|it| malformed(&it))?;
        if state.trust_domain != trust_domain {
            let (found, expected) = (state.trust_domain, trust_domain.to_owned());
            return Err(ReadStateError::OtherDomain { found, expected });
        }
        if !state.anchors.iter().any(|it| it.id == state.signs) {
            let reason = "the anchor that signs is not among the anchors".to_owned();
            return Err(ReadStateError::Malformed { reason });
        }
        Ok(state)
    }

    pub(crate) fn write(&self) -> String {
        serde_json::to_string_pretty(self).expect("text, numbers and maps with text as keys")
    }
}
