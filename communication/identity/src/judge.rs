//! The strict judgement of peers in the form that the TLS library asks for it.

use std::{io, sync::Arc};

use base::SharedClock;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::{
    bundle::Trust,
    refusal::Refusal,
    verify::{ALGORITHMS, PeerIdentity, Purpose, verify},
};

/// Signatures of handshakes that are taken: a scheme names key and hash, so each has one algorithm.
static SCHEMES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: ALGORITHMS,
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[webpki::ring::ECDSA_P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[webpki::ring::ECDSA_P384_SHA384]),
        (SignatureScheme::ED25519, &[webpki::ring::ED25519]),
    ],
};

/// Whether those may open a connection who show no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strangers {
    Refused,
    /// They say in another way who they are.
    Heard,
}

/// Judges both kinds of peers.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    trust: Arc<Trust>,
    clock: SharedClock,
    strangers: Strangers,
}

impl Judge {
    pub(crate) fn new(trust: Arc<Trust>, clock: SharedClock) -> Self {
        Self { trust, clock, strangers: Strangers::Refused }
    }

    /// The same for an entrance where strangers may be heard.
    pub(crate) fn with(&self, strangers: Strangers) -> Self {
        Self { strangers, ..self.clone() }
    }

    fn judge(
        &self,
        own: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        purpose: Purpose,
    ) -> Result<PeerIdentity, Error> {
        let chain: Vec<_> = [own].into_iter().chain(issuers).cloned().collect();
        verify(&chain, &self.trust, purpose, self.clock.now()).map_err(error_of)
    }
}

/// A refusal as the library carries it; [`refusal_of`] takes it out again.
fn error_of(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

/// Why a handshake failed.
pub(crate) fn refusal_of(error: &Error) -> Refusal {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref().copied().unwrap_or(Refusal::Malformed)
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => Refusal::BadSignature,
        // These are what the library says of a server outside; of our own peers we say it ourselves.
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => Refusal::UnknownIssuer,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Refusal::WrongService,
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => Refusal::Expired,
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Refusal::NotYetValid,
        Error::InvalidCertificate(_) => Refusal::Malformed,
        Error::NoCertificatesPresented => Refusal::NoCertificate,
        Error::NoApplicationProtocol => Refusal::WrongProtocol,
        Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => Refusal::WrongVersion,
        Error::AlertReceived(_) => Refusal::PeerRefused,
        _ => Refusal::NotTls,
    }
}

/// The same of a handshake as a connection tells it; without a word of TLS the peer went away.
pub(crate) fn refusal_in(error: &io::Error) -> Refusal {
    let inner = error.get_ref().and_then(|it| it.downcast_ref());
    inner.map_or(Refusal::PeerRefused, refusal_of)
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let peer = self.judge(end_entity, intermediates, Purpose::Serve)?;
        // The name that was asked for is the identity that was meant, in the form of DNS.
        if server_name.to_str() == peer.id.server_name() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(error_of(Refusal::WrongService))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(error_of(Refusal::WrongVersion))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &SCHEMES)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.mapping.iter().map(|(scheme, _)| *scheme).collect()
    }
}

impl ClientCertVerifier for Judge {
    // Whom we trust is nobody's business before we know them; ours have one certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.strangers == Strangers::Refused
    }

    // One that is shown is judged at every entrance.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let judged = self.judge(end_entity, intermediates, Purpose::Call);
        judged.map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
