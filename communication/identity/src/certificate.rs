//! What a certificate of a service says, read strictly: facts or a refusal, no judgement of trust.
//!
//! Source of the rules: X509-SVID 1.0, sections 2 to 5, and RFC 5280. The chain's signatures are
//! judged in [`verify`](crate::verify), by a library that does nothing else.

use std::{fmt, net::IpAddr};

use base::Timestamp;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ED25519},
    prelude::FromDer as _,
    time::ASN1Time,
    x509::SubjectPublicKeyInfo,
};

use crate::{name::SpiffeId, refusal::Refusal};

/// A certificate's serial number; hexadecimal in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(String);

/// What the certificate of a service says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The one name in it.
    pub id: SpiffeId,
    /// Its number.
    pub serial: Serial,
    /// Valid from here.
    pub not_before: Timestamp,
    /// Valid until here.
    pub not_after: Timestamp,
    /// May be shown by who accepts a connection.
    pub serves: bool,
    /// May be shown by who opens a connection.
    pub calls: bool,
}

impl Leaf {
    /// Reads the certificate of a service.
    ///
    /// # Errors
    /// It cannot be read, is an authority's, has a key that is not taken, or names not exactly one
    /// identity.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, Refusal> {
        let parsed = parse(certificate)?;
        if is_authority(&parsed)? {
            return Err(Refusal::AuthorityAsLeaf);
        }
        if !is_strong(parsed.public_key()) {
            return Err(Refusal::WeakKey);
        }
        let usage = parsed.extended_key_usage().map_err(|_| Refusal::Malformed)?;
        let usage = usage.map(|it| it.value);
        let (not_before, not_after) = validity(&parsed);
        Ok(Self {
            id: only_name(&parsed)?,
            serial: Serial::of(parsed.raw_serial()),
            not_before,
            not_after,
            serves: usage.is_some_and(|it| it.server_auth),
            calls: usage.is_some_and(|it| it.client_auth),
        })
    }
}

/// From when until when any certificate is valid.
///
/// # Errors
/// It cannot be read.
pub(crate) fn validity_of(
    certificate: &CertificateDer<'_>,
) -> Result<(Timestamp, Timestamp), Refusal> {
    parse(certificate).map(|it| validity(&it))
}

/// The names of the DNS and the addresses in any certificate, in its order.
///
/// # Errors
/// It cannot be read.
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Refusal> {
    let parsed = parse(certificate)?;
    let names = parsed.subject_alternative_name().map_err(|_| Refusal::Malformed)?;
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|it| IpAddr::from(it).to_string()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|it| IpAddr::from(it).to_string()),
    };
    let named = names.iter().flat_map(|it| &it.value.general_names).filter_map(|it| match it {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    Ok(named.collect())
}

/// The number of any certificate.
///
/// # Errors
/// It cannot be read.
pub(crate) fn serial_of(certificate: &CertificateDer<'_>) -> Result<Serial, Refusal> {
    parse(certificate).map(|it| Serial::of(it.raw_serial()))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Refusal> {
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| Refusal::Malformed)?;
    if rest.is_empty() { Ok(parsed) } else { Err(Refusal::Malformed) }
}

fn validity(certificate: &X509Certificate<'_>) -> (Timestamp, Timestamp) {
    let at = |it: ASN1Time| Timestamp::from_millis(it.timestamp().saturating_mul(1_000));
    (at(certificate.validity().not_before), at(certificate.validity().not_after))
}

/// A certificate that may sign others must not be shown as that of a service (X509-SVID 1.0, 4.1).
fn is_authority(certificate: &X509Certificate<'_>) -> Result<bool, Refusal> {
    let constraints = certificate.basic_constraints().map_err(|_| Refusal::Malformed)?;
    let usage = certificate.key_usage().map_err(|_| Refusal::Malformed)?;
    Ok(constraints.is_some_and(|it| it.value.ca)
        || usage.is_some_and(|it| it.value.key_cert_sign() || it.value.crl_sign()))
}

/// Elliptic curves of 128 bits of strength and more. RSA is refused as a whole: nothing of ours makes
/// such keys, and a short one then needs no rule.
fn is_strong(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let algorithm = &key.algorithm;
    if algorithm.algorithm == OID_SIG_ED25519 {
        return true;
    }
    let curve = algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok());
    algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve.is_some_and(|it| it == OID_EC_P256 || it == OID_NIST_EC_P384)
}

/// The one URI in the certificate. Names of other kinds say nothing here and are passed over.
fn only_name(certificate: &X509Certificate<'_>) -> Result<SpiffeId, Refusal> {
    let names = certificate.subject_alternative_name().map_err(|_| Refusal::Malformed)?;
    let mut uris = names.iter().flat_map(|it| &it.value.general_names).filter_map(|it| match it {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let (Some(only), None) = (uris.next(), uris.next()) else { return Err(Refusal::NotOneName) };
    only.parse().map_err(|_| Refusal::MalformedName)
}

impl Serial {
    /// From the number's bytes, most significant first.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let significant = bytes.iter().skip_while(|it| **it == 0);
        Self(significant.map(|it| format!("{it:02x}")).collect())
    }

    /// Reads what [`Display`](fmt::Display) writes; upper case and colons are taken too, as other
    /// programs show them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|it| *it != ':').collect();
        let is_number =
            (1..=64).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_hexdigit());
        is_number.then(|| {
            let digits = digits.trim_start_matches('0').to_ascii_lowercase();
            // Bytes are written whole.
            Self(if digits.len() % 2 == 1 { format!("0{digits}") } else { digits })
        })
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_has_one_form_however_it_is_written() {
        let serial = Serial::of(&[0, 0x0a, 0xbc]);
        assert_eq!(serial.to_string(), "0abc");
        for same in ["0abc", "abc", "00:0A:BC", "000abc"] {
            assert_eq!(Serial::parse(same), Some(serial.clone()), "{same}");
        }
        for other in ["", "xyz", "0x12", &"1".repeat(65)] {
            assert_eq!(Serial::parse(other), None, "{other}");
        }
    }
}
