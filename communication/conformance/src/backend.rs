//! A log that is tried: where it is, and what whoever started it can do with it.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use messaging::{EnteredStream, ForeignLog};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

use crate::judge::Stop;

/// Longest wait until a connection has entered.
const ENTER_WITHIN: Duration = Duration::from_secs(30);

/// What is left of a log when its process was ended and started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// What it acknowledged.
    Acknowledged,
    /// Nothing: it was told to keep everything in memory.
    Nothing,
}

/// Why a log did not start, for people.
#[derive(Debug, thiserror::Error)]
#[error("{what} did not start")]
pub struct StartError {
    /// Which.
    pub what: String,
    /// What happened.
    #[source]
    pub source: std::io::Error,
}

/// A restart under way.
pub(crate) type Restarted<'a> = Pin<Box<dyn Future<Output = Result<(), StartError>> + Send + 'a>>;

/// Ends a log without a word to anybody, and starts it again at the same address.
pub(crate) trait Restart: Send + Sync {
    fn restart(&self) -> Restarted<'_>;
}

/// A log that is tried.
#[derive(Clone)]
pub struct Backend {
    /// What it is called in the table.
    pub(crate) name: String,
    /// Addresses to begin with, `host:port`.
    pub(crate) bootstrap: Vec<String>,
    /// How it is entered: in plain text and without a name where nothing is said.
    pub(crate) entrance: ForeignLog,
    /// Shortest silence after which it may give a member up, in milliseconds.
    pub(crate) session_timeout_ms: u64,
    /// How it is started again, and what it keeps then; none where the suite cannot.
    pub(crate) restart: Option<(Arc<dyn Restart>, Keeps)>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, bootstrap, .. } = self;
        formatter.debug_struct("Backend").field("name", name).field("bootstrap", bootstrap).finish()
    }
}

impl Backend {
    /// A log that runs already, which the suite cannot start again.
    #[must_use]
    pub fn at(name: impl Into<String>, bootstrap: Vec<String>) -> Self {
        // Kafka's `group.min.session.timeout.ms`.
        Self {
            name: name.into(),
            bootstrap,
            entrance: ForeignLog::default(),
            session_timeout_ms: 6_000,
            restart: None,
        }
    }

    /// The same entered in another way.
    #[must_use]
    pub fn entered(self, entrance: ForeignLog) -> Self {
        Self { entrance, ..self }
    }

    /// A connection to one of its brokers that has entered.
    pub(crate) async fn enter(&self, address: &str) -> Result<Stream, Stop> {
        enter(&self.entrance, address).await
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn start_again(&self) -> Result<(), StartError> {
        match &self.restart {
            Some((restart, _)) => restart.restart().await,
            None => Ok(()),
        }
    }
}

/// What a client that is not ours talks over.
pub(crate) trait Carries: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Carries for S {}

/// One connection, in plain text or inside TLS.
pub(crate) type Stream = Box<dyn Carries>;

/// Connects to a broker and enters.
pub(crate) async fn enter(entrance: &ForeignLog, address: &str) -> Result<Stream, Stop> {
    let connecting = timeout(ENTER_WITHIN, TcpStream::connect(address)).await;
    let stream = connecting.map_err(|_| Stop(format!("{address}: no connection in time")))?;
    let stream = stream.map_err(|it| Stop(format!("{address}: {it}")))?;
    stream.set_nodelay(true)?;
    let entered = entrance.enter(stream, address, "conformance", ENTER_WITHIN).await;
    match entered.map_err(|it| Stop(format!("{address}: {it}")))?.stream {
        EnteredStream::Plain(stream) => Ok(Box::new(stream)),
        EnteredStream::Tls(stream) => Ok(stream),
    }
}
