//! Peers on both ends of a connection of loopback, good ones and others.

use std::{net::IpAddr, sync::Arc};

use base::{ManualClock, SharedClock};
use identity::{
    Credentials, Current, Entrance, HandshakeConfig, Handshakes, Identity, PeerIdentity, Refusal,
    SpiffeId,
};
use rcgen::KeyPair;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
};
use telemetry::Telemetry;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsConnector;

use crate::pki::{Pki, id, now};

/// One side of ours.
pub(crate) struct Side {
    pub(crate) handshakes: Handshakes,
    pub(crate) telemetry: Telemetry,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) current: watch::Sender<Option<Arc<Credentials>>>,
}

impl Side {
    pub(crate) fn new(pki: &Pki, config: &HandshakeConfig) -> Self {
        let (chain, key) = pki.chain(|_| {});
        Self::with(pki, config, chain, key)
    }

    pub(crate) fn with(
        pki: &Pki,
        config: &HandshakeConfig,
        chain: Vec<CertificateDer<'static>>,
        key: KeyPair,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(now()));
        let shared: SharedClock = clock.clone();
        let identity = Arc::new(Identity::new(chain, key).unwrap());
        let trust = Arc::new(pki.trust());
        let credentials = Credentials::new(identity, trust, shared.clone()).unwrap();
        let (current, watched) = watch::channel(Some(Arc::new(credentials)));
        let telemetry = Telemetry::disabled();
        let handshakes = Handshakes::new(config, watched, shared, &telemetry);
        Self { handshakes, telemetry, clock, current }
    }

    /// How many were refused for that reason on the side that accepts, or that connects.
    pub(crate) fn refused(&self, side: &str, refusal: Refusal) -> u64 {
        let name = "identity_refused_handshakes_total";
        refused(&self.telemetry, name, &format!("side=\"{side}\",reason=\"{refusal}\""))
    }
}

fn refused(telemetry: &Telemetry, name: &str, labels: &str) -> u64 {
    let text = telemetry.metrics().encode();
    let line = text.lines().find_map(|it| it.strip_prefix(&format!("{name}{{{labels}}} ")));
    line.map_or(0, |it| it.parse().unwrap())
}

pub(crate) fn cart() -> SpiffeId {
    id("cart").parse().unwrap()
}

/// A connection of loopback: who opened it, who accepted it, and from where.
pub(crate) async fn connection() -> (TcpStream, TcpStream, IpAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let opening = TcpStream::connect(listener.local_addr().unwrap());
    let (opened, accepted) = tokio::join!(opening, listener.accept());
    let (accepted, from) = accepted.unwrap();
    (opened.unwrap(), accepted, from.ip())
}

/// What a side says of a peer that behaves as told.
pub(crate) async fn accept_from<F: Future>(
    side: &Side,
    peer: impl FnOnce(TcpStream) -> F,
) -> Result<PeerIdentity, Refusal> {
    let (opened, accepted, from) = connection().await;
    // Closed at once where it was let in: a peer that waits for more then goes on.
    let accepting =
        async { side.handshakes.accept(accepted, from, Entrance::Service).await.map(|it| it.peer) };
    tokio::join!(accepting, peer(opened)).0
}

/// Believes whatever it is shown: what a peer that is not ours would do.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

/// A client that shows this chain, or nothing, and offers these protocols.
pub(crate) fn client(
    shown: Option<(Vec<CertificateDer<'static>>, KeyPair)>,
    protocols: &[&[u8]],
) -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match shown {
        Some((chain, key)) => {
            let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
            let key = ring::sign::any_supported_type(&key).unwrap();
            // Whether key and certificate belong together is not looked at: a thief has no key.
            let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub(crate) fn server_name() -> ServerName<'static> {
    cart().server_name().try_into().unwrap()
}

/// Handshakes of a process whose credentials somebody else keeps.
pub(crate) fn handshakes(current: Current, clock: SharedClock) -> Handshakes {
    Handshakes::new(&HandshakeConfig::default(), current, clock, &Telemetry::disabled())
}
