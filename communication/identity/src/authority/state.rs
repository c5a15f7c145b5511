//! What the authority keeps on disk: its issuer with the key, and what it stands on: anchors with their keys
//! and the deny list, or, in a branch, the signed bundle that it was given.
//!
//! The form carries a version from the first day; the one before is read, any other is refused with both
//! named. What was issued is not kept: after a start every anchor counts as in use for the life of one
//! identity, which is the longest that it can be. Which branches were made is kept: they live longer.

mod before;

use std::{collections::BTreeMap, sync::Arc};

use base::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

use super::signer::Signer;
use crate::{
    bundle::{AnchorId, Bundle, CarriedError, SignedBundle, Trust, anchor_id},
    certificate::Serial,
    rotation::KeepAnchor,
};

/// The form that is written.
pub(crate) const VERSION: u32 = 2;

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

/// What only the first authority of a trust domain does was asked of a branch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this authority is a branch: only the first one of `{trust_domain}`, which has the keys of the \
     anchors, replaces, denies, and makes branches"
)]
pub struct NotFirst {
    /// The trust domain.
    pub trust_domain: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) version: u32,
    pub(crate) trust_domain: String,
    /// The anchor below which the issuer stands.
    pub(crate) signs: AnchorId,
    pub(crate) issuer: Pair,
    pub(crate) stands: Stands,
}

/// What an authority stands on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stands {
    /// The keys of the anchors are here.
    First(First),
    /// They are elsewhere.
    Branch(Branch),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct First {
    /// Of the bundle.
    pub(crate) bundle_version: u64,
    /// How many authorities were made: each has a name of its own.
    pub(crate) made: u64,
    /// From the oldest to the newest.
    pub(crate) anchors: Vec<AnchorState>,
    pub(crate) revoked: BTreeMap<Serial, Timestamp>,
    /// From the oldest to the newest; those that are over are forgotten.
    pub(crate) branches: Vec<Given>,
}

/// An issuer that was given to another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Grows with each.
    pub number: u64,
    /// The number of the issuer's certificate: who denies it denies all that the branch signs.
    pub serial: Serial,
    /// The anchor that signed it.
    pub anchor: AnchorId,
    /// Made at that moment.
    pub made: Timestamp,
    /// Signs nothing from then on.
    pub until: Timestamp,
}

/// A branch: the anchors as they were carried here, in the form in which they can be carried on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "BranchText", into = "BranchText")]
pub(crate) struct Branch {
    /// Of two branches the one with the higher number is newer.
    pub(crate) number: u64,
    pub(crate) trust: Trust,
    pub(crate) signed: Arc<SignedBundle>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BranchText {
    number: u64,
    signed: SignedBundle,
}

impl From<Branch> for BranchText {
    fn from(Branch { number, signed, .. }: Branch) -> Self {
        Self { number, signed: Arc::unwrap_or_clone(signed) }
    }
}

impl TryFrom<BranchText> for Branch {
    type Error = CarriedError;

    fn try_from(BranchText { number, signed }: BranchText) -> Result<Self, CarriedError> {
        let signed = Arc::new(signed);
        Ok(Self { number, trust: Trust::own(Arc::clone(&signed))?, signed })
    }
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

impl First {
    pub(crate) fn anchor(&self, id: &str) -> Result<&AnchorState, KeepAnchor> {
        let found = self.anchors.iter().find(|it| it.id == id);
        found.ok_or_else(|| KeepAnchor::Unknown(id.to_owned()))
    }

    /// When the last branch is over.
    pub(crate) fn end_below(&self) -> Option<Timestamp> {
        self.branches.iter().map(|it| it.until).max()
    }
}

impl State {
    /// Reads what [`write`](Self::write) gave, or what the program before this one wrote.
    pub(crate) fn read(text: &str, trust_domain: &str) -> Result<Self, ReadStateError> {
        // The error's own text may show a piece of what it read.
        let malformed = |error: &serde_json::Error| ReadStateError::Malformed {
            reason: format!("line {}, column {}", error.line(), error.column()),
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|it| malformed(&it))?;
        let found = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let read = match found {
            1 => serde_json::from_value(value).map(before::State::into_present),
            it if it == u64::from(VERSION) => serde_json::from_value(value),
            _ => return Err(ReadStateError::UnknownVersion { found }),
        };
        let state: Self = read.map_err(|it| malformed(&it))?;
        if state.trust_domain != trust_domain {
            let (found, expected) = (state.trust_domain, trust_domain.to_owned());
            return Err(ReadStateError::OtherDomain { found, expected });
        }
        state.check().map_err(|reason| ReadStateError::Malformed { reason: reason.to_owned() })?;
        Ok(state)
    }

    fn check(&self) -> Result<(), &'static str> {
        match &self.stands {
            Stands::First(first) if !first.anchors.iter().any(|it| it.id == self.signs) => {
                Err("the anchor that signs is not among the anchors")
            }
            Stands::Branch(it) if it.trust.bundle().trust_domain != self.trust_domain => {
                Err("the bundle is of another trust domain")
            }
            Stands::First(_) | Stands::Branch(_) => Ok(()),
        }
    }

    /// Whom to trust.
    pub(crate) fn bundle(&self) -> Bundle {
        match &self.stands {
            Stands::First(first) => Bundle {
                version: first.bundle_version,
                trust_domain: self.trust_domain.clone(),
                anchors: first.anchors.iter().map(|it| it.pair.certificate.clone()).collect(),
                revoked: first.revoked.clone(),
            },
            Stands::Branch(branch) => branch.trust.bundle().clone(),
        }
    }

    /// What only an authority with the keys of the anchors has.
    pub(crate) fn first(&mut self) -> Result<&mut First, NotFirst> {
        match &mut self.stands {
            Stands::First(first) => Ok(first),
            Stands::Branch(_) => Err(NotFirst { trust_domain: self.trust_domain.clone() }),
        }
    }

    pub(crate) fn write(&self) -> String {
        serde_json::to_string_pretty(self).expect("text, numbers and maps with text as keys")
    }
}
