//! Servers outside: each proves its name by an authority that this machine believes.
//!
//! They are nobody of ours. We show them nothing, and what they are called gives them no right here.
//! TLS 1.2 is spoken with those that know nothing newer. A service of ours is never called so: it shows an
//! identity ([`Handshakes`](crate::Handshakes)).

mod pinned;

use std::{
    borrow::Cow,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, crypto::ring, pki_types::ServerName,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::{
    credentials::Protocol,
    judge::refusal_in,
    pem,
    presented::PublicCertificate,
    read_ahead::{ReadAhead, TlsStream},
    refusal::Refusal,
};
use pinned::Pinned;

/// What a server outside must prove to be called: a name of the DNS, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicName(ServerName<'static>);

impl PublicName {
    /// The host of an address, without brackets and port; none where it is no name that could be proved.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        ServerName::try_from(host.to_owned()).ok().map(Self)
    }

    /// The name or the address.
    pub(crate) fn host(&self) -> Cow<'_, str> {
        self.0.to_str()
    }
}

/// As an address says it.
impl fmt::Display for PublicName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "https://{}", self.0.to_str())
    }
}

/// Why nobody outside can be believed.
#[derive(Debug, thiserror::Error)]
pub enum PublicTrustError {
    /// The file of further authorities cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It holds something else than certificates of authorities, or nothing.
    #[error("{} holds no certificates of authorities as PEM", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
    },
    /// The machine has no list, and no file was named.
    #[error("this machine has no list of authorities, and no file with any is named")]
    Nobody,
}

/// The authorities whose word counts about servers outside; a cheap handle.
#[derive(Debug, Clone)]
pub struct PublicTrust {
    http: Arc<ClientConfig>,
    /// For protocols without a name in the handshake.
    unnamed: Arc<ClientConfig>,
}

impl PublicTrust {
    /// The machine's own list, and beside it those of a file, as PEM. What of the list cannot be read is
    /// not believed; the rest is. Blocks while it reads.
    ///
    /// # Errors
    /// The file cannot be used, or there is no authority at all.
    pub fn load(more: Option<&Path>) -> Result<Self, PublicTrustError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = more {
            let not_pem = || PublicTrustError::NotPem { path: path.to_owned() };
            let text = fs::read_to_string(path)
                .map_err(|source| PublicTrustError::Io { path: path.to_owned(), source })?;
            let named = pem::certificates(&text).filter(|it| !it.is_empty()).ok_or_else(not_pem)?;
            for certificate in named {
                roots.add(certificate).map_err(|_| not_pem())?;
            }
        }
        if roots.is_empty() {
            return Err(PublicTrustError::Nobody);
        }
        Ok(Self::of(builder().with_root_certificates(roots).with_no_client_auth()))
    }

    /// Whoever shows this very certificate and has its key, whatever name is asked for: for programs that
    /// have it from its owner.
    #[must_use]
    pub fn only(certificate: &PublicCertificate) -> Self {
        let pinned = Arc::new(Pinned::to(certificate.own().clone()));
        let config = builder().dangerous().with_custom_certificate_verifier(pinned);
        Self::of(config.with_no_client_auth())
    }

    fn of(unnamed: ClientConfig) -> Self {
        let mut http = unnamed.clone();
        http.alpn_protocols = vec![Protocol::Http1.alpn().to_vec()];
        Self { http: Arc::new(http), unnamed: Arc::new(unnamed) }
    }

    /// Opens TLS to whoever proves this name, for HTTP/1. Dropped, it closes the connection; how long it
    /// may take is its caller's to say.
    ///
    /// # Errors
    /// Why we do not talk to it.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: &PublicName,
    ) -> Result<TlsStream<S>, Refusal> {
        enter(&self.http, stream, name).await
    }

    /// The same for a protocol that says no name of its own in the handshake, as Kafka's.
    ///
    /// # Errors
    /// Why we do not talk to it.
    pub async fn connect_unnamed<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        name: &PublicName,
    ) -> Result<TlsStream<S>, Refusal> {
        enter(&self.unnamed, stream, name).await
    }
}

async fn enter<S: AsyncRead + AsyncWrite + Unpin>(
    config: &Arc<ClientConfig>,
    stream: S,
    name: &PublicName,
) -> Result<TlsStream<S>, Refusal> {
    let (connector, stream) = (TlsConnector::from(Arc::clone(config)), ReadAhead::of(stream));
    let connected = connector.connect(name.0.clone(), stream).await;
    connected.map(Into::into).map_err(|it| refusal_in(&it))
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has ciphers of each version")
}

#[cfg(test)]
mod tests {
    use runtime::Tasks;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::testing::Front;

    /// Says a word to a server that shows `shown`, and must be `asked`, and gives what came back.
    async fn say(shown: &str, asked: &str, believed: bool) -> Result<String, Refusal> {
        let (tasks, folder) = (Tasks::new(), tempfile::tempdir().unwrap());
        let echo = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = echo.local_addr().unwrap();
        tasks.spawn("echo", |shutdown| async move {
            while let Some(Ok((mut stream, _))) = shutdown.or_cancel(echo.accept()).await {
                let mut word = [0; 4];
                if stream.read_exact(&mut word).await.is_ok() {
                    stream.write_all(&word).await.unwrap();
                }
            }
        });
        let front = Front::open(shown, address, &tasks).await.unwrap();
        let other = Front::open(shown, address, &tasks).await.unwrap();
        let path = folder.path().join("authorities.pem");
        fs::write(&path, if believed { front.authority() } else { other.authority() }).unwrap();
        let trust = PublicTrust::load(Some(&path)).unwrap();
        let stream = TcpStream::connect(front.address()).await.unwrap();
        let mut stream = trust.connect(stream, &PublicName::of_host(asked).unwrap()).await?;
        stream.write_all(b"word").await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        tasks.stop();
        Ok(String::from_utf8_lossy(&word).into_owned())
    }

    #[tokio::test]
    async fn a_server_outside_is_talked_to_when_somebody_believed_vouches_for_its_name() {
        for name in ["carrier.example", "127.0.0.1"] {
            assert_eq!(say(name, name, true).await.as_deref(), Ok("word"), "{name}");
        }
        let other = say("carrier.example", "other.example", true).await;
        assert_eq!(other, Err(Refusal::WrongService));
        let stranger = say("carrier.example", "carrier.example", false).await;
        assert_eq!(stranger, Err(Refusal::UnknownIssuer));
    }

    #[test]
    fn a_file_without_authorities_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorities.pem");
        let missing = PublicTrust::load(Some(&path)).unwrap_err();
        assert!(matches!(missing, PublicTrustError::Io { .. }), "{missing}");
        for text in
            ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            fs::write(&path, text).unwrap();
            let refused = PublicTrust::load(Some(&path)).unwrap_err();
            assert!(refused.to_string().contains("authorities.pem holds no"), "{text}: {refused}");
        }
    }

    #[test]
    fn what_nobody_can_prove_is_no_name() {
        assert_eq!(PublicName::of_host("a.example").unwrap().to_string(), "https://a.example");
        assert!(PublicName::of_host("::1").is_some());
        for host in ["", "a b", "a..b", "-"] {
            assert_eq!(PublicName::of_host(host), None, "{host}");
        }
    }
}
