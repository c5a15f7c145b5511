//! Certificates as they are made here: anchor, issuer, service. Shapes only; who gets one is decided above.
//!
//! Curve P-256 throughout: every TLS library takes it, and signing costs a tenth of a millisecond.

use std::time::Duration;

use base::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use crate::{certificate::validity_of, name::SpiffeId, public::PublicName, verify::SKEW};

/// A request of ours has about 350 bytes.
const REQUEST_BYTES_MAX: usize = 2 << 10;

/// An authority's certificate with its key.
pub(crate) struct Signer {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    validity: (Timestamp, Timestamp),
}

/// From when until when a certificate is valid. Its beginning is dated back by what clocks may differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) now: Timestamp,
    pub(crate) until: Timestamp,
}

/// Why a request is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It cannot be read, is not signed by its own key, or is too long.
    #[error("the request cannot be read, or its own key did not sign it")]
    Malformed,
    /// A key of another kind than P-256.
    #[error("the request's key is not on curve P-256")]
    WeakKey,
    /// It asks for another name than its sender has, or for more than that.
    #[error("the request asks for another name")]
    WrongName,
}

impl Span {
    pub(crate) fn of(now: Timestamp, life: Duration) -> Self {
        Self { now, until: now + life }
    }
}

impl Signer {
    /// An anchor: it signs issuers, and they nothing but services.
    pub(crate) fn anchor(name: &str, span: Span) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = authority(name, 1, span).self_signed(&key)?;
        Self::read(certificate.into(), key)
    }

    /// An issuer below this anchor.
    pub(crate) fn issuer(&self, name: &str, span: Span) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let until = span.until.min(self.validity.1);
        let params = authority(name, 0, Span { until, ..span });
        Self::read(params.signed_by(&key, &self.issuer)?.into(), key)
    }

    /// Puts a certificate and its key together.
    pub(crate) fn read(
        certificate: CertificateDer<'static>,
        key: KeyPair,
    ) -> Result<Self, rcgen::Error> {
        let validity =
            validity_of(&certificate).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { certificate, issuer, validity })
    }

    /// Signs what a service asked for.
    pub(crate) fn sign(
        &self,
        id: &SpiffeId,
        hosts: &[PublicName],
        request: &CertificateSigningRequestParams,
        span: Span,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        let mut params = dated(span);
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
        for host in hosts {
            params.subject_alt_names.push(name_of(host)?);
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        // Nothing of the request is taken over but its key.
        Ok(params.signed_by(&request.public_key, &self.issuer)?.into())
    }

    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(crate) fn key(&self) -> &KeyPair {
        self.issuer.key()
    }

    pub(crate) const fn validity(&self) -> (Timestamp, Timestamp) {
        self.validity
    }
}

/// The key is never shown.
impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").field("validity", &self.validity).finish_non_exhaustive()
    }
}

fn name_of(host: &PublicName) -> Result<SanType, rcgen::Error> {
    let host = host.host();
    Ok(match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.as_ref().try_into()?),
    })
}

pub(super) fn authority(name: &str, below: u8, span: Span) -> CertificateParams {
    let mut params = dated(span);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

pub(super) fn dated(span: Span) -> CertificateParams {
    let at = |it: Timestamp| {
        let since = Duration::from_millis(u64::try_from(it.as_millis()).unwrap_or(0));
        date_time_ymd(1970, 1, 1) + since
    };
    let mut params = CertificateParams::default();
    params.not_before = at(span.now) - SKEW;
    params.not_after = at(span.until);
    params
}

/// A process's request: its key, and the name that it expects. Made by the process, read by the authority.
pub(crate) fn request(id: &SpiffeId, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// Reads a request, and sees that its sender has the key and means the name that it has.
pub(crate) fn read_request(
    request: &[u8],
    id: &SpiffeId,
) -> Result<CertificateSigningRequestParams, RequestError> {
    if request.len() > REQUEST_BYTES_MAX {
        return Err(RequestError::Malformed);
    }
    let request = CertificateSigningRequestDer::from(request);
    let read = CertificateSigningRequestParams::from_der(&request);
    let read = read.map_err(|error| match error {
        rcgen::Error::UnsupportedSignatureAlgorithm => RequestError::WeakKey,
        _ => RequestError::Malformed,
    })?;
    if read.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
        return Err(RequestError::WeakKey);
    }
    match &read.params.subject_alt_names[..] {
        [SanType::URI(name)] if name.as_str() == id.to_string() => Ok(read),
        _ => Err(RequestError::WrongName),
    }
}
