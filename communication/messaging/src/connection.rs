//! One connection to a broker: requests are pipelined, answers found by their number.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kafka_wire::{ApiKey, FRAME_HEAD_BYTES, Field, Reader, WireError, frame_bytes, request};
use runtime::{Shutdown, Tasks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Requests that may wait to be written. One more waits.
const PIPELINE: usize = 256;
/// Longest answer that is taken.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// A stopping process looks so often, so many times in a row, whether anybody waits.
const QUIET_LOOK: Duration = Duration::from_millis(25);
const QUIET_LOOKS: u32 = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing was sent.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It was sent, or may have been.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

type Waiting = Mutex<BTreeMap<i32, oneshot::Sender<Bytes>>>;

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client_id: Arc<str>,
    requests: mpsc::Sender<Bytes>,
    waiting: Arc<Waiting>,
    next: Arc<AtomicI32>,
    broken: Arc<AtomicBool>,
}

impl Connection {
    /// Connects. Its tasks end when it breaks or the last handle is gone.
    pub(crate) async fn open(
        address: &str,
        client_id: &str,
        tasks: &Tasks,
    ) -> Result<Self, CallError> {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(CallError::NotSent(format!("{address}: {error}"))),
            Err(_) => return Err(CallError::NotSent(format!("{address}: no connection in time"))),
        };
        stream.set_nodelay(true).map_err(|it| CallError::NotSent(it.to_string()))?;
        let (reading, writing) = stream.into_split();
        let (requests, outgoing) = mpsc::channel(PIPELINE);
        let connection = Self {
            client_id: client_id.into(),
            requests,
            waiting: Arc::default(),
            next: Arc::default(),
            broken: Arc::default(),
        };
        let (waiting, broken) = (Arc::clone(&connection.waiting), Arc::clone(&connection.broken));
        tasks.spawn("log connection", |shutdown| async move {
            let ended = run(reading, writing, outgoing, &waiting, shutdown).await;
            broken.store(true, Ordering::Release);
            // Whoever waits learns by this that no answer will come.
            waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the log broke");
            }
        });
        Ok(connection)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire) || self.requests.is_closed()
    }

    /// Asks, and waits for the answer. Dropping it leaves the question with the broker.
    pub(crate) async fn call<Q: Field, A: Field>(
        &self,
        api: ApiKey,
        question: &Q,
        within: Duration,
    ) -> Result<A, CallError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = request(api, id, &self.client_id, question);
        let (reply, answer) = oneshot::channel();
        self.waiting().insert(id, reply);
        if self.is_broken() {
            self.waiting().remove(&id);
            return Err(CallError::NotSent("the connection is broken".to_owned()));
        }
        let asked = async {
            if self.requests.send(frame).await.is_err() {
                return Err(CallError::NotSent("the connection is broken".to_owned()));
            }
            answer.await.map_err(|_| CallError::NoAnswer("the connection broke".to_owned()))
        };
        let answered = timeout(within, asked).await;
        self.waiting().remove(&id);
        let bytes = match answered {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(CallError::NoAnswer("no answer in time".to_owned())),
        };
        let mut reader = Reader::new(bytes);
        let version = if api == ApiKey::ApiVersions { 0 } else { api.latest() };
        let read = A::read(&mut reader, version).and_then(|it| reader.end().map(|()| it));
        read.map_err(|error| CallError::NoAnswer(error.to_string()))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<i32, oneshot::Sender<Bytes>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(
    reading: OwnedReadHalf,
    writing: OwnedWriteHalf,
    outgoing: mpsc::Receiver<Bytes>,
    waiting: &Waiting,
    shutdown: Shutdown,
) -> io::Result<()> {
    let both = async {
        tokio::select! {
            read = take_in(reading, waiting) => read,
            written = write_out(writing, outgoing) => written,
        }
    };
    // At the end of the process the last commits and farewells still get through: the connection
    // goes when the process stops and nobody has waited for an answer for a moment.
    let linger = async {
        shutdown.cancelled().await;
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            tokio::time::sleep(QUIET_LOOK).await;
            let silent = waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            quiet = if silent { quiet + 1 } else { 0 };
        }
    };
    tokio::select! {
        ended = both => ended,
        () = linger => Ok(()),
    }
}

async fn write_out(
    mut stream: OwnedWriteHalf,
    mut outgoing: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(frame) = outgoing.recv().await {
        stream.write_all(&frame).await?;
    }
    Ok(())
}

async fn take_in(mut stream: OwnedReadHalf, waiting: &Waiting) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(16 << 10);
    loop {
        while buffer.len() < FRAME_HEAD_BYTES {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = [buffer[0], buffer[1], buffer[2], buffer[3]];
        let malformed = |error: WireError| io::Error::new(io::ErrorKind::InvalidData, error);
        let bytes = FRAME_HEAD_BYTES + frame_bytes(head, FRAME_BYTES_MAX).map_err(malformed)?;
        while buffer.len() < bytes {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut frame = buffer.split_to(bytes).freeze();
        let mut reader = Reader::new(frame.split_off(FRAME_HEAD_BYTES));
        let id = reader.i32().map_err(malformed)?;
        let rest = reader.left();
        let body = reader.take(rest).map_err(malformed)?;
        let asked = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(asked) = asked {
            // Whoever asked may have given up.
            asked.send(body).ok();
        }
    }
}
