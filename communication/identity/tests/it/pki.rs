//! An authority of the tests' own, which signs whatever it is asked to.

use std::time::Duration;

use base::Timestamp;
use identity::{Bundle, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

pub(crate) const DOMAIN: &str = "mesh.test";
/// The moment at which the tests judge.
pub(crate) const NOW_S: u64 = 1_800_000_000;

pub(crate) fn now() -> Timestamp {
    at(0)
}

/// So many seconds after [`now`].
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((i64::try_from(NOW_S).unwrap() + seconds) * 1_000)
}

pub(crate) fn id(service: &str) -> String {
    format!("spiffe://{DOMAIN}/ns/shop/svc/{service}")
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// An authority's certificate and key.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

/// An anchor with an issuer below it.
pub(crate) struct Pki {
    pub(crate) anchor: Authority,
    pub(crate) issuer: Authority,
}

/// Sets the time of a certificate, in seconds around [`now`].
pub(crate) fn valid(params: &mut CertificateParams, from: i64, until: i64) {
    let at = |seconds: i64| {
        let since = i64::try_from(NOW_S).unwrap() + seconds;
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(since).unwrap())
    };
    (params.not_before, params.not_after) = (at(from), at(until));
}

fn authority_params(name: &str, below: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    valid(&mut params, -86_400, 7 * 86_400);
    params
}

impl Authority {
    pub(crate) fn anchor(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = authority_params(name, 3).self_signed(&key).unwrap();
        Self::of(&certificate, key)
    }

    pub(crate) fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params(name, 2);
        change(&mut params);
        Self::of(&params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn of(certificate: &rcgen::Certificate, key: KeyPair) -> Self {
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        let issuer = Issuer::from_ca_cert_der(&certificate, key).unwrap();
        Self { certificate, pem, issuer }
    }

    pub(crate) fn sign(
        &self,
        key: &impl PublicKeyData,
        params: &CertificateParams,
    ) -> CertificateDer<'static> {
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }
}

/// A good certificate of service `cart`.
pub(crate) fn service() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(&id("cart"))];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    valid(&mut params, -60, 3_600);
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        let anchor = Authority::anchor("anchor");
        let issuer = anchor.below("issuer", |_| {});
        Self { anchor, issuer }
    }

    /// Whom to trust: this anchor alone.
    pub(crate) fn bundle(&self) -> Bundle {
        Bundle {
            version: 1,
            trust_domain: DOMAIN.to_owned(),
            anchors: vec![self.anchor.pem.clone()],
            revoked: [].into(),
        }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::read(self.bundle()).unwrap()
    }

    /// A chain of a service that differs from a good one by one change, and its key.
    pub(crate) fn chain(
        &self,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (Vec<CertificateDer<'static>>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = service();
        change(&mut params);
        (vec![self.issuer.sign(&key, &params), self.issuer.certificate.clone()], key)
    }
}
