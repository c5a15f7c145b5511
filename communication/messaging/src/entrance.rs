//! How a log is entered: by an identity of ours, or as its own stock clients enter it.

use std::{fmt, io, time::Duration};

use bytes::{BufMut as _, BytesMut};
use identity::{Handshakes, PublicName, PublicTrust, SpiffeId, TlsStream};
use kafka_wire::{
    ApiKey, ErrorCode, Field, Reader, asked_in,
    messages::sasl::{
        self, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
        SaslHandshakeResponse,
    },
    request_in,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Longest answer to a login.
const LOGIN_BYTES_MAX: usize = 64 << 10;

/// How a log is entered.
#[derive(Debug, Clone)]
pub enum LogEntrance {
    /// One of ours, which asks who comes in.
    Identity(LogTls),
    /// Any other; in plain text and without a name where nothing is said.
    Foreign(ForeignLog),
}

/// How a log of ours is entered that asks who comes in, and shows who it is.
#[derive(Debug, Clone)]
pub struct LogTls {
    /// How this process shows who it is.
    pub handshakes: Handshakes,
    /// Who the log must prove to be.
    pub log: SpiffeId,
}

/// How another log is entered.
#[derive(Debug, Clone, Default)]
pub struct ForeignLog {
    /// By whom it proves the name that it is called by, inside TLS; in plain text without.
    pub trust: Option<PublicTrust>,
    /// Who this process says it is (SASL PLAIN, RFC 4616).
    pub login: Option<LogLogin>,
}

/// Why a log was not entered. Nothing of anybody's was sent.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The address is no name that a server could prove.
    #[error("nobody can prove that name")]
    Name,
    /// The other side did not prove who it is, or does not speak TLS.
    #[error("TLS failed: {0}")]
    Tls(identity::Refusal),
    /// The log does not take user names and secrets.
    #[error("the log takes no PLAIN ({error:?}), but: {offered}")]
    Mechanism {
        /// What it says.
        error: ErrorCode,
        /// What it takes.
        offered: String,
    },
    /// The log does not know the user, or the secret is another one.
    #[error("the log refuses this user ({error:?}): {why}")]
    Refused {
        /// What it says.
        error: ErrorCode,
        /// The same in its words.
        why: String,
    },
    /// It did not answer, or nothing that could be read.
    #[error("the login was not answered")]
    Unanswered(#[source] io::Error),
    /// All of that took too long.
    #[error("the log was not entered in time")]
    TimedOut,
}

/// A connection that has entered.
#[derive(Debug)]
pub struct Entered {
    /// What requests go over now.
    pub stream: EnteredStream,
    /// For how long, where the log says that (KIP-368).
    pub lifetime: Option<Duration>,
}

/// A connection in plain text or inside TLS.
#[derive(Debug)]
pub enum EnteredStream {
    /// In plain text.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl ForeignLog {
    /// Enters over a new connection to the broker at `address`, `host:port`, as `client_id`.
    ///
    /// # Errors
    /// [`EnterError`].
    pub async fn enter(
        &self,
        stream: TcpStream,
        address: &str,
        client_id: &str,
        within: Duration,
    ) -> Result<Entered, EnterError> {
        let entering = async {
            let mut stream = match &self.trust {
                None => EnteredStream::Plain(stream),
                Some(trust) => {
                    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                    let name = PublicName::of_host(host.trim_matches(['[', ']']));
                    let name = name.ok_or(EnterError::Name)?;
                    let entered = trust.connect_unnamed(stream, &name).await;
                    EnteredStream::Tls(Box::new(entered.map_err(EnterError::Tls)?))
                }
            };
            let lifetime = match (&self.login, &mut stream) {
                (None, _) => None,
                (Some(login), EnteredStream::Plain(it)) => login.log_in(it, client_id).await?,
                (Some(login), EnteredStream::Tls(it)) => login.log_in(it, client_id).await?,
            };
            Ok(Entered { stream, lifetime })
        };
        timeout(within, entering).await.map_err(|_| EnterError::TimedOut)?
    }
}

/// A user name and its secret. Neither has a NUL in it.
#[derive(Clone)]
pub struct LogLogin {
    /// Who.
    pub user: String,
    /// Never shown.
    pub secret: String,
}

impl LogLogin {
    /// Says who this process is. How long that holds, where it is told.
    async fn log_in(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        client_id: &str,
    ) -> Result<Option<Duration>, EnterError> {
        let chosen = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
        let chosen: SaslHandshakeResponse =
            ask(stream, ApiKey::SaslHandshake, 0, client_id, &chosen).await?;
        if chosen.error != ErrorCode::None {
            let offered = chosen.mechanisms.join(", ");
            return Err(EnterError::Mechanism { error: chosen.error, offered });
        }
        let said = SaslAuthenticateRequest { auth_bytes: self.said() };
        let said: SaslAuthenticateResponse =
            ask(stream, ApiKey::SaslAuthenticate, 1, client_id, &said).await?;
        if said.error != ErrorCode::None {
            let why = said.message.unwrap_or_default();
            return Err(EnterError::Refused { error: said.error, why });
        }
        let lifetime = u64::try_from(said.session_lifetime_ms).ok().filter(|it| *it > 0);
        Ok(lifetime.map(Duration::from_millis))
    }

    /// As the mechanism says it.
    pub(crate) fn said(&self) -> sasl::Secret {
        let mut said = BytesMut::with_capacity(2 + self.user.len() + self.secret.len());
        said.put_u8(0);
        said.put_slice(self.user.as_bytes());
        said.put_u8(0);
        said.put_slice(self.secret.as_bytes());
        sasl::Secret(said.freeze())
    }
}

/// One question and its answer, on a connection that carries nothing else yet.
async fn ask<Q: Field, A: Field>(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    api: ApiKey,
    number: i32,
    client_id: &str,
    question: &Q,
) -> Result<A, EnterError> {
    let version = asked_in(api);
    let asked = async {
        stream.write_all(&request_in(api, version, number, client_id, question)).await?;
        stream.flush().await?;
        let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
        if length > LOGIN_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
        }
        let mut frame = vec![0; length];
        stream.read_exact(&mut frame).await?;
        let unreadable = |it| io::Error::new(io::ErrorKind::InvalidData, it);
        let mut reader = Reader::new(frame.into());
        if reader.i32().map_err(unreadable)? != number {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it answers another question"));
        }
        let answer = A::read(&mut reader, version).map_err(unreadable)?;
        reader.end().map_err(unreadable)?;
        Ok(answer)
    };
    asked.await.map_err(EnterError::Unanswered)
}

impl fmt::Debug for LogLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LogLogin").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Default for LogEntrance {
    fn default() -> Self {
        Self::Foreign(ForeignLog::default())
    }
}

impl From<Option<LogTls>> for LogEntrance {
    fn from(tls: Option<LogTls>) -> Self {
        tls.map_or_else(Self::default, Self::Identity)
    }
}
