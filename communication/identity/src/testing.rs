//! For tests: a server outside. It shows a certificate of an authority made for it alone, and a plain
//! server of this machine answers behind it.

use std::{io, net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use runtime::Tasks;
use rustls::{ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// The TLS end of a server outside, on a free port of the loopback interface.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    authority: String,
}

impl Front {
    /// Opens one that shows `name`, of the DNS or an address, and leads to `behind`.
    ///
    /// # Errors
    /// No port is free, or `name` cannot stand in a certificate.
    pub async fn open(name: &str, behind: SocketAddr, tasks: &Tasks) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, owner) = (listener.local_addr()?, tasks.clone());
        let (config, authority) = shown(name, address).map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tasks.spawn("front", |shutdown| async move {
            while let Some(Ok((stream, _))) = shutdown.or_cancel(listener.accept()).await {
                let acceptor = acceptor.clone();
                owner.spawn("front", |shutdown| async move {
                    // Whoever does not believe it goes away in the middle.
                    drop(shutdown.or_cancel(lead(acceptor, stream, behind)).await);
                });
            }
        });
        Ok(Self { address, authority })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who vouches for it, as PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

/// What it shows, and the certificate of its authority. Each authority has a name of its own: two of one
/// name would be taken for one whose signature is wrong.
fn shown(
    name: &str,
    address: SocketAddr,
) -> Result<(ServerConfig, String), Box<dyn std::error::Error + Send + Sync>> {
    let (root, own) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, format!("authority of {address}"));
    let authority = params.self_signed(&root)?;
    let issuer = Issuer::from_ca_cert_der(authority.der(), root)?;
    let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&own, &issuer)?;
    let key = PrivatePkcs8KeyDer::from(own.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    Ok((config, authority.pem()))
}

async fn lead(acceptor: TlsAcceptor, stream: TcpStream, behind: SocketAddr) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut behind = TcpStream::connect(behind).await?;
    copy_bidirectional(&mut stream, &mut behind).await.map(drop)
}
