//! A certificate of public names for who has none: vouched for by an authority that is made for it alone
//! and whose key is dropped at once, so that nobody can ever vouch for another in its name.

use std::{fmt, time::Duration};

use base::Timestamp;
use rcgen::{
    DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use sha2::{Digest as _, Sha256};

use super::signer::{Span, authority, dated};

/// Longest life that browsers take of a certificate (CA/Browser Forum, Baseline Requirements 6.3.2).
const LIFE: Duration = Duration::from_secs(397 * 86_400);
/// Bytes of the key's digest that tell one authority from the others of its name.
const TELLING: usize = 4;

/// A certificate, its key and who vouches for it, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct SelfMade {
    /// What clients are told to believe.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl SelfMade {
    /// Makes one for these names and addresses, good for 397 days; `whose` stands in the authority's name.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn make(whose: &str, names: &[String], now: Timestamp) -> Result<Self, rcgen::Error> {
        let (root, own) = (KeyPair::generate()?, KeyPair::generate()?);
        let digest = Sha256::digest(root.der_bytes());
        let telling: String = digest.iter().take(TELLING).map(|it| format!("{it:02x}")).collect();
        let span = Span::of(now, LIFE);
        let vouching = authority(&format!("{whose} {telling}"), 0, span).self_signed(&root)?;
        let issuer = Issuer::from_ca_cert_der(vouching.der(), root)?;
        let mut params = dated(span);
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = rcgen::CertificateParams::new(names)?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&own, &issuer)?.pem();
        Ok(Self { authority: vouching.pem(), certificate, key: own.serialize_pem() })
    }
}

/// Without its key.
impl fmt::Debug for SelfMade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SelfMade").finish_non_exhaustive()
    }
}
