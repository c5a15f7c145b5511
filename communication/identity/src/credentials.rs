//! What a process shows of itself and whom it believes, as TLS settings: TLS 1.3 alone, both sides
//! show a certificate, nothing is resumed.
//!
//! A session that could be resumed would outlive the identity that it was opened under. Connections
//! between proxies are few and long, so a whole handshake for each costs next to nothing.

use std::sync::Arc;

use base::{SharedClock, Timestamp};
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    version::TLS13,
};
use tokio::sync::watch;

use crate::{
    bundle::{SignedBundle, Trust},
    certificate::{Leaf, Serial, serial_of},
    judge::{Judge, Strangers},
    name::SpiffeId,
};

/// What is spoken inside a connection; both sides must name the same (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/2: every call between proxies, also what was HTTP/1 before.
    Http2,
    /// HTTP/1: what changes into another protocol on its connection.
    Http1,
    /// The log's protocol.
    Kafka,
    /// Bytes that a proxy passes on as they are.
    Opaque,
    /// What proxies and instances say to the control plane.
    Control,
}

impl Protocol {
    /// Every one of them.
    pub const ALL: [Self; 5] = [Self::Http2, Self::Http1, Self::Kafka, Self::Opaque, Self::Control];

    /// Its name in the handshake. Those of HTTP are registered with IANA, the others are ours.
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 => b"h2",
            Self::Http1 => b"http/1.1",
            Self::Kafka => b"skein-log/1",
            Self::Opaque => b"skein-bytes/1",
            Self::Control => b"skein-control/1",
        }
    }
}

/// What may be spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entrance {
    /// The door of a service: HTTP of both versions, and bytes.
    Service,
    /// The log.
    Log,
    /// The log, where those are heard as well who show no certificate and name no protocol: stock
    /// clients, which say by a password who they are.
    LogOfOthers,
    /// The control plane.
    Control,
}

impl Entrance {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Service, Self::Log, Self::LogOfOthers, Self::Control];

    /// What is spoken there, what is liked best first.
    #[must_use]
    pub const fn protocols(self) -> &'static [Protocol] {
        match self {
            Self::Service => &[Protocol::Http2, Protocol::Http1, Protocol::Opaque],
            Self::Log | Self::LogOfOthers => &[Protocol::Kafka],
            Self::Control => &[Protocol::Control],
        }
    }

    const fn strangers(self) -> Strangers {
        match self {
            Self::LogOfOthers => Strangers::Heard,
            Self::Service | Self::Log | Self::Control => Strangers::Refused,
        }
    }
}

/// The identity of this process. Its key was made here and is written nowhere.
pub struct Identity {
    leaf: Leaf,
    chain: Vec<CertificateDer<'static>>,
    key: rcgen::KeyPair,
}

/// Why what the authority sent is no identity of this process.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain has no certificate of a service in front.
    #[error("the authority sent no certificate of a service")]
    Malformed,
    /// Key and certificate do not belong together, or the key is not taken.
    #[error("the certificate is not for the key of this process")]
    Key(#[source] rustls::Error),
}

impl Identity {
    /// Puts key and certificates together.
    ///
    /// # Errors
    /// The first certificate is not one of a service.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: rcgen::KeyPair,
    ) -> Result<Self, IdentityError> {
        let own = chain.first().ok_or(IdentityError::Malformed)?;
        let leaf = Leaf::read(own).map_err(|_| IdentityError::Malformed)?;
        Ok(Self { leaf, chain, key })
    }

    /// Who this is.
    #[must_use]
    pub const fn id(&self) -> &SpiffeId {
        &self.leaf.id
    }

    /// The number of its certificate.
    #[must_use]
    pub const fn serial(&self) -> &Serial {
        &self.leaf.serial
    }

    /// The number of the issuer that signed it.
    #[must_use]
    pub fn issuer(&self) -> Option<Serial> {
        self.chain.get(1).and_then(|it| serial_of(it).ok())
    }

    /// From when until when it is that.
    #[must_use]
    pub const fn validity(&self) -> (Timestamp, Timestamp) {
        (self.leaf.not_before, self.leaf.not_after)
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(crate) const fn key(&self) -> &rcgen::KeyPair {
        &self.key
    }
}

impl std::fmt::Debug for Identity {
    // The key never gets into a log.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Identity").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}

/// An identity, whom it trusts, and the TLS settings that follow from both.
#[derive(Debug)]
pub struct Credentials {
    identity: Arc<Identity>,
    trust: Arc<Trust>,
    /// One for each entrance, in their order.
    accepting: Vec<Arc<ServerConfig>>,
    connecting: [Arc<ClientConfig>; Protocol::ALL.len()],
    /// Where the keeper of these hears what was carried here.
    carried: Option<Carried>,
}

/// A bundle that was carried here and that nobody has judged yet; of several the last.
pub(crate) type Carried = watch::Sender<Option<Arc<SignedBundle>>>;

impl Credentials {
    /// Makes the settings.
    ///
    /// # Errors
    /// Key and certificate do not belong together.
    pub fn new(
        identity: Arc<Identity>,
        trust: Arc<Trust>,
        clock: SharedClock,
    ) -> Result<Self, IdentityError> {
        let judge = Arc::new(Judge::new(Arc::clone(&trust), clock));
        let provider = Arc::new(ring::default_provider());
        let accept = |entrance: Entrance| {
            let judge = Arc::new(judge.with(entrance.strangers()));
            let mut config = accepting(&identity, &provider, judge)?;
            let protocols = entrance.protocols().iter();
            config.alpn_protocols = protocols.map(|it| it.alpn().to_vec()).collect();
            Ok(Arc::new(config))
        };
        let accepting: Result<Vec<_>, rustls::Error> =
            Entrance::ALL.into_iter().map(accept).collect();
        let accepting = accepting.map_err(IdentityError::Key)?;
        let connecting = connecting(&identity, &provider, &judge).map_err(IdentityError::Key)?;
        Ok(Self {
            identity,
            trust,
            accepting,
            connecting: Protocol::ALL.map(|it| {
                let mut config = connecting.clone();
                config.alpn_protocols = vec![it.alpn().to_vec()];
                Arc::new(config)
            }),
            carried: None,
        })
    }

    /// The same, kept by somebody who hears what is carried here.
    pub(crate) fn kept(self, carried: Carried) -> Self {
        Self { carried: Some(carried), ..self }
    }

    /// Gives whom to trust to whoever keeps these, as somebody carried it here. It is taken where an anchor that
    /// is trusted signed it and it is newer; else it is counted, and what is trusted stays.
    pub fn offer(&self, signed: SignedBundle) {
        if let Some(carried) = &self.carried {
            carried.send_replace(Some(Arc::new(signed)));
        }
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Whom it trusts.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    pub(crate) fn accepting(&self, entrance: Entrance) -> Arc<ServerConfig> {
        Arc::clone(&self.accepting[entrance as usize])
    }

    pub(crate) fn connecting(&self, protocol: Protocol) -> Arc<ClientConfig> {
        Arc::clone(&self.connecting[protocol as usize])
    }
}

fn accepting(
    identity: &Identity,
    provider: &Arc<CryptoProvider>,
    judge: Arc<Judge>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(judge)
        .with_single_cert(identity.chain.clone(), private_key(identity))?;
    // No ticket, no session: nothing can be resumed.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

fn connecting(
    identity: &Identity,
    provider: &Arc<CryptoProvider>,
    judge: &Arc<Judge>,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = Arc::clone(judge);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(identity.chain.clone(), private_key(identity))?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn private_key(identity: &Identity) -> rustls::pki_types::PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(identity.key.serialize_der()).into()
}
