//! Whom we trust: the anchors of one trust domain, and the serial numbers that are denied.
//!
//! Several anchors may stand at once, so that one can be replaced while services run. What stands
//! here comes from the authority and is kept while the authority is away.

mod signed;

use std::{collections::BTreeMap, sync::Arc};

use base::Timestamp;
use rustls::pki_types::{CertificateDer, TrustAnchor, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::signed::{CarriedError, SignedBundle};
use crate::certificate::Serial;

/// Anchors that may stand at once: the old one, the new one, and room for two that are not gone yet.
pub const ANCHORS_MAX: usize = 4;
/// Denied serial numbers that are kept. An identity lives an hour: as many would be denied within one.
pub const REVOKED_MAX: usize = 10_000;

/// Short name of an anchor: the first eight bytes of its SHA-256, hexadecimal.
pub type AnchorId = String;

/// Whom we trust.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Grows with each change: of two bundles of one authority the higher one is in force.
    pub version: u64,
    /// The trust domain that the anchors vouch for.
    pub trust_domain: String,
    /// The anchors' certificates, PEM.
    pub anchors: Vec<String>,
    /// Denied serial numbers, each until the certificate would end by itself.
    pub revoked: BTreeMap<Serial, Timestamp>,
}

/// Why a bundle cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Nobody could be trusted.
    #[error("the bundle has no anchor")]
    Empty,
    /// More anchors or denied numbers than may stand at once.
    #[error("the bundle has more than {ANCHORS_MAX} anchors or {REVOKED_MAX} denied numbers")]
    TooLarge,
    /// An anchor is no certificate.
    #[error("anchor {index} of the bundle cannot be read")]
    Malformed {
        /// Which one, from 0.
        index: usize,
    },
}

/// A bundle that was read.
#[derive(Debug, Clone)]
pub struct Trust {
    pub(crate) bundle: Bundle,
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
    /// The form in which it can be carried, where it is known.
    signed: Option<Arc<SignedBundle>>,
}

impl Bundle {
    /// The short names of its anchors; one that is no certificate has none.
    #[must_use]
    pub fn anchor_ids(&self) -> Vec<AnchorId> {
        let read = |it: &String| CertificateDer::from_pem_slice(it.as_bytes()).ok();
        self.anchors.iter().filter_map(read).map(|it| anchor_id(&it)).collect()
    }
}

impl Trust {
    /// Reads a bundle's anchors.
    ///
    /// # Errors
    /// It has none, too many, or one that is no certificate.
    pub fn read(bundle: Bundle) -> Result<Self, BundleError> {
        if bundle.anchors.is_empty() {
            return Err(BundleError::Empty);
        }
        if bundle.anchors.len() > ANCHORS_MAX || bundle.revoked.len() > REVOKED_MAX {
            return Err(BundleError::TooLarge);
        }
        let read =
            |(index, text): (usize, &String)| anchor(text).ok_or(BundleError::Malformed { index });
        let anchors = bundle.anchors.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Self { bundle, anchors, signed: None })
    }

    /// The bundle as it came.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Whether a certificate's number is on the deny list.
    #[must_use]
    pub fn denies(&self, serial: &Serial) -> bool {
        self.bundle.revoked.contains_key(serial)
    }
}

fn anchor(pem: &str) -> Option<TrustAnchor<'static>> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    webpki::anchor_from_trusted_cert(&certificate).ok().map(|it| it.to_owned())
}

/// The short name of an anchor.
#[must_use]
pub fn anchor_id(certificate: &CertificateDer<'_>) -> AnchorId {
    Sha256::digest(certificate)[..8].iter().map(|it| format!("{it:02x}")).collect()
}
