//! What people outside are shown: a certificate of a public name and its key, from files.
//!
//! They show nothing themselves; who they are is asked inside the connection. TLS 1.3 and 1.2 are spoken,
//! HTTP/2 and HTTP/1 in it. What cannot be used is refused before it takes the place of what can.

use std::{fmt, net::IpAddr, sync::Arc};

use base::{SharedClock, Timestamp};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use telemetry::Telemetry;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    bounds::{Bounds, HandshakeConfig},
    certificate::{names_of, validity_of},
    credentials::Protocol,
    metrics::{HandshakeMetrics, Side},
    pem,
    read_ahead::{ReadAhead, TlsStream},
    refusal::Refusal,
    verify::SKEW,
};

/// What is spoken with people, what is liked best first.
const PROTOCOLS: [Protocol; 2] = [Protocol::Http2, Protocol::Http1];

/// The certificate in force; `None` while there is none.
pub type Presented = watch::Receiver<Option<Arc<PublicCertificate>>>;

/// A certificate with its chain and its key.
pub struct PublicCertificate {
    config: Arc<ServerConfig>,
    own: CertificateDer<'static>,
    names: Vec<String>,
    not_after: Timestamp,
}

/// Why a certificate and a key cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicCertificateError {
    /// There is no certificate, or one that cannot be read.
    #[error("there is no chain of certificates as PEM")]
    NoCertificate,
    /// There is no key, or one that cannot be read.
    #[error("there is no private key as PEM")]
    NoKey,
    /// A key of a kind or a strength that is not taken.
    #[error("the key is of a kind that is not taken")]
    WeakKey,
    /// The key is not that of the first certificate.
    #[error("the key is not that of the certificate")]
    Mismatch,
    /// Its time is over.
    #[error("the certificate ended at {0}")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("the certificate begins at {0}")]
    NotYetValid(Timestamp),
}

impl PublicCertificateError {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::NoKey => "no_key",
            Self::WeakKey => "weak_key",
            Self::Mismatch => "mismatch",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
        }
    }
}

impl PublicCertificate {
    /// Reads a chain, the own certificate first, and its key, as PEM (PKCS 8, PKCS 1 or SEC 1).
    ///
    /// # Errors
    /// [`PublicCertificateError`].
    pub fn read(chain: &str, key: &str, now: Timestamp) -> Result<Self, PublicCertificateError> {
        use PublicCertificateError as Bad;
        let chain = pem::certificates(chain).ok_or(Bad::NoCertificate)?;
        let own = chain.first().cloned().ok_or(Bad::NoCertificate)?;
        let (not_before, not_after) = validity_of(&own).map_err(|_| Bad::NoCertificate)?;
        let names = names_of(&own).map_err(|_| Bad::NoCertificate)?;
        if now >= not_after {
            return Err(Bad::Expired(not_after));
        }
        if now + SKEW < not_before {
            return Err(Bad::NotYetValid(not_before));
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Bad::NoKey)?;
        let key = ring::sign::any_supported_type(&key).map_err(|_| Bad::WeakKey)?;
        let certified = CertifiedKey::new(chain, key);
        // A kind of key that cannot say whether it fits is none that is taken.
        certified.keys_match().map_err(|_| Bad::Mismatch)?;
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers of each version")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = PROTOCOLS.map(|it| it.alpn().to_vec()).to_vec();
        Ok(Self { config: Arc::new(config), own, names, not_after })
    }

    /// Names and addresses in it, in its order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Valid until here.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// SHA-256 of the certificate, as browsers and `openssl x509 -fingerprint -sha256` show it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(&self.own);
        digest.iter().map(|it| format!("{it:02X}")).collect::<Vec<_>>().join(":")
    }

    /// The own certificate.
    pub(crate) const fn own(&self) -> &CertificateDer<'static> {
        &self.own
    }
}

/// Without its key.
impl fmt::Debug for PublicCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PublicCertificate")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Handshakes with people outside, under the certificate in force; a cheap handle.
#[derive(Debug, Clone)]
pub struct PublicHandshakes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    presented: Presented,
    bounds: Bounds,
    metrics: HandshakeMetrics,
}

impl PublicHandshakes {
    /// Handshakes within bounds.
    #[must_use]
    pub fn new(
        config: &HandshakeConfig,
        presented: Presented,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Self {
        let (bounds, metrics) = (Bounds::new(config, clock), HandshakeMetrics::new(telemetry));
        Self(Arc::new(Shared { presented, bounds, metrics }))
    }

    /// Lets anybody in who speaks TLS. Dropped, it closes the connection.
    ///
    /// # Errors
    /// Why the handshake came to no good end; counted.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        from: IpAddr,
    ) -> Result<TlsStream<S>, Refusal> {
        let accepted = self.try_accept(stream, from).await;
        accepted.inspect_err(|refusal| self.0.metrics.refused(Side::Public, *refusal))
    }

    async fn try_accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        from: IpAddr,
    ) -> Result<TlsStream<S>, Refusal> {
        let mut place = self.0.bounds.enter(from)?;
        let shown = self.0.presented.borrow().clone().ok_or(Refusal::NoIdentity)?;
        let acceptor = TlsAcceptor::from(Arc::clone(&shown.config));
        let begun = Instant::now();
        let stream = place.hold(Box::pin(acceptor.accept(ReadAhead::of(stream)))).await?;
        self.0.metrics.duration.with(&[Side::Public.as_str()]).observe_duration(begun.elapsed());
        Ok(stream.into())
    }
}

#[cfg(test)]
mod tests;
