//! Handshakes: a connection goes in, a connection with a name at its other end comes out.
//!
//! Refusals are counted here, and within [bounds](crate::HandshakeConfig) alone anything is computed.

use std::{net::IpAddr, sync::Arc, time::Duration};

use base::SharedClock;
use rustls::pki_types::ServerName;
use telemetry::Telemetry;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    bounds::{Bounds, HandshakeConfig},
    certificate::Leaf,
    credentials::{Credentials, Entrance, Protocol},
    metrics::{HandshakeMetrics, Side},
    name::SpiffeId,
    read_ahead::{ReadAhead, TlsStream},
    refusal::Refusal,
    verify::PeerIdentity,
};

/// The credentials in force; `None` while there are none.
pub type Current = watch::Receiver<Option<Arc<Credentials>>>;

/// A connection with a name at its other end.
#[derive(Debug)]
pub struct Known<S> {
    /// What is said on it.
    pub stream: TlsStream<S>,
    /// Who is there.
    pub peer: PeerIdentity,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Both identities are good for so long; then the connection is to end, or it would outlive them.
    pub valid_for: Duration,
}

/// Who came in at an entrance where strangers are heard.
#[derive(Debug)]
pub enum Visitor<S> {
    /// It has shown who it is.
    Known(Known<S>),
    /// It has not yet. Our own certificate is good for so long.
    Stranger {
        /// What is said on it.
        stream: TlsStream<S>,
        /// How long our own identity is good for.
        valid_for: Duration,
    },
}

/// Both sides' handshakes under the credentials in force; a cheap handle.
#[derive(Debug, Clone)]
pub struct Handshakes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    current: Current,
    clock: SharedClock,
    bounds: Bounds,
    metrics: HandshakeMetrics,
}

impl Handshakes {
    /// Handshakes within bounds.
    #[must_use]
    pub fn new(
        config: &HandshakeConfig,
        current: Current,
        clock: SharedClock,
        telemetry: &Telemetry,
    ) -> Self {
        Self(Arc::new(Shared {
            current,
            bounds: Bounds::new(config, clock.clone()),
            clock,
            metrics: HandshakeMetrics::new(telemetry),
        }))
    }

    /// Lets a peer in that shows who it is. Dropped, it closes the connection.
    ///
    /// # Errors
    /// Why it is not let in; counted.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        from: IpAddr,
        entrance: Entrance,
    ) -> Result<Known<S>, Refusal> {
        let accepted = self.try_accept(stream, from, entrance).await.and_then(|it| match it {
            Visitor::Known(known) => Ok(known),
            Visitor::Stranger { .. } => Err(Refusal::NoCertificate),
        });
        accepted.inspect_err(|refusal| self.0.metrics.refused(Side::Accept, *refusal))
    }

    /// The same at an entrance where strangers may be heard: they are to say who they are before
    /// anything else. Dropped, it closes the connection.
    ///
    /// # Errors
    /// Why it is not let in; counted.
    pub async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        from: IpAddr,
        entrance: Entrance,
    ) -> Result<Visitor<S>, Refusal> {
        let accepted = self.try_accept(stream, from, entrance).await;
        accepted.inspect_err(|refusal| self.0.metrics.refused(Side::Accept, *refusal))
    }

    async fn try_accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        from: IpAddr,
        entrance: Entrance,
    ) -> Result<Visitor<S>, Refusal> {
        let mut place = self.0.bounds.enter(from)?;
        let credentials = self.credentials()?;
        let acceptor = TlsAcceptor::from(credentials.accepting(entrance));
        let begun = Instant::now();
        let stream = place.hold(Box::pin(acceptor.accept(ReadAhead::of(stream)))).await?;
        // Whether one may be missing was decided in the handshake.
        let is_stranger = stream.get_ref().1.peer_certificates().is_none_or(<[_]>::is_empty);
        let visitor = if is_stranger {
            let (_, until) = credentials.identity().validity();
            let valid_for = until.saturating_since(self.0.clock.now());
            Visitor::Stranger { stream: stream.into(), valid_for }
        } else {
            Visitor::Known(self.known(stream.into(), entrance.protocols(), &credentials)?)
        };
        self.0.metrics.duration.with(&[Side::Accept.as_str()]).observe_duration(begun.elapsed());
        Ok(visitor)
    }

    /// Opens a connection to a service, and to no other. Dropped, it closes the connection.
    ///
    /// The service may still refuse us once this has ended well: in TLS 1.3 it judges last.
    ///
    /// # Errors
    /// Why we do not talk to it; counted.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        service: &SpiffeId,
        protocol: Protocol,
    ) -> Result<Known<S>, Refusal> {
        let connected = self.try_connect(stream, service, protocol).await;
        connected.inspect_err(|refusal| self.0.metrics.refused(Side::Connect, *refusal))
    }

    async fn try_connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        service: &SpiffeId,
        protocol: Protocol,
    ) -> Result<Known<S>, Refusal> {
        let name =
            ServerName::try_from(service.server_name()).map_err(|_| Refusal::MalformedName)?;
        let credentials = self.credentials()?;
        let connector = TlsConnector::from(credentials.connecting(protocol));
        let begun = Instant::now();
        let stream =
            self.0.bounds.in_time(Box::pin(connector.connect(name, ReadAhead::of(stream)))).await?;
        let known = self.known(stream.into(), &[protocol], &credentials)?;
        self.0.metrics.duration.with(&[Side::Connect.as_str()]).observe_duration(begun.elapsed());
        Ok(known)
    }

    /// Counts that a peer refused us after its handshake had come to a good end: in TLS 1.3 it judges
    /// last, and what it says comes with the first bytes.
    pub fn refused_after_all(&self) {
        self.0.metrics.refused(Side::Connect, Refusal::PeerRefused);
    }

    /// Who we are now; nobody while there are no credentials.
    #[must_use]
    pub fn identity(&self) -> Option<SpiffeId> {
        self.0.current.borrow().as_ref().map(|it| it.identity().id().clone())
    }

    /// What we show and whom we believe now; nothing while we are closed.
    #[must_use]
    pub fn shown(&self) -> Option<Arc<Credentials>> {
        self.credentials().ok()
    }

    /// The credentials in force, to be watched.
    #[must_use]
    pub fn current(&self) -> Current {
        self.0.current.clone()
    }

    /// Who is there. The chain was judged in the handshake; here its name is read.
    fn known<S>(
        &self,
        stream: TlsStream<S>,
        protocols: &[Protocol],
        credentials: &Credentials,
    ) -> Result<Known<S>, Refusal> {
        let (_, connection) = stream.get_ref();
        // A peer that offers no protocol at all is not refused by the library.
        let spoken = connection.alpn_protocol();
        let protocol = protocols.iter().find(|it| spoken == Some(it.alpn()));
        let protocol = *protocol.ok_or(Refusal::WrongProtocol)?;
        let own = connection.peer_certificates().and_then(|it| it.first());
        let leaf = Leaf::read(own.ok_or(Refusal::NoCertificate)?)?;
        let (_, ours) = credentials.identity().validity();
        let valid_for = ours.min(leaf.not_after).saturating_since(self.0.clock.now());
        let peer = PeerIdentity { id: leaf.id, serial: leaf.serial, not_after: leaf.not_after };
        Ok(Known { stream, peer, protocol, valid_for })
    }

    /// The credentials in force, while their time lasts.
    fn credentials(&self) -> Result<Arc<Credentials>, Refusal> {
        let current = self.0.current.borrow().clone().ok_or(Refusal::NoIdentity)?;
        let (_, not_after) = current.identity().validity();
        if self.0.clock.now() < not_after { Ok(current) } else { Err(Refusal::NoIdentity) }
    }
}
