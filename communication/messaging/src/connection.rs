//! One connection to a broker: requests are pipelined, answers found by their number.

use std::{
    collections::BTreeMap,
    fmt,
    future::pending,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use identity::{Known, Over, Protocol};
use kafka_wire::{
    ApiKey, FRAME_HEAD_BYTES, Field, Reader, WireError, asked_in, frame_bytes, request_in,
};
use runtime::{Shutdown, Tasks};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::TcpStream,
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use crate::entrance::{Entered, EnteredStream, LogEntrance, LogTls};

/// Requests that may wait to be written. One more waits.
const PIPELINE: usize = 256;
/// Longest answer that is taken.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// A long answer is given memory in such steps as its bytes arrive.
const READ_BYTES: usize = 1 << 20;
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

/// A question that has no answer yet.
#[derive(Debug)]
struct Asked {
    reply: oneshot::Sender<Bytes>,
    at: Instant,
    /// An answer is due by then.
    due: Instant,
}

#[derive(Debug)]
struct State {
    asked: BTreeMap<i32, Asked>,
    /// When something came last.
    heard: Instant,
}

type Waiting = Mutex<State>;

impl State {
    /// Whether the other side is given up: an answer is overdue, and nothing has come since it was
    /// asked for, or for as long as an answer may take.
    fn is_given_up(&self, now: Instant, patience: Duration) -> bool {
        let overdue = |it: &Asked| it.due <= now && self.heard.max(it.at) + patience <= now;
        self.asked.values().any(overdue)
    }

    /// Whether somebody still waits for an answer.
    fn is_waited_for(&self) -> bool {
        self.asked.values().any(|it| !it.reply.is_closed())
    }
}

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client_id: Arc<str>,
    requests: mpsc::Sender<Bytes>,
    waiting: Arc<Waiting>,
    next: Arc<AtomicI32>,
    broken: Arc<AtomicBool>,
    /// How long an answer may take before the other side is given up.
    patience: Duration,
    /// Then another one takes its place: it ends with the identities that it was opened under, and what
    /// is under way is to end before.
    until: Option<Instant>,
}

impl Connection {
    /// Connects. Its tasks end when it breaks or the last handle is gone.
    pub(crate) async fn open(
        address: &str,
        client_id: &str,
        patience: Duration,
        entrance: &LogEntrance,
        tasks: &Tasks,
    ) -> Result<Self, CallError> {
        let not_sent = |why: &dyn fmt::Display| CallError::NotSent(format!("{address}: {why}"));
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let stream = connecting.map_err(|_| not_sent(&"no connection in time"))?;
        let stream = stream.map_err(|it| not_sent(&it))?;
        stream.set_nodelay(true).map_err(|it| not_sent(&it))?;
        let (requests, outgoing) = mpsc::channel(PIPELINE);
        let mut connection = Self {
            client_id: client_id.into(),
            requests,
            waiting: Arc::new(Mutex::new(State { asked: BTreeMap::new(), heard: Instant::now() })),
            next: Arc::default(),
            broken: Arc::default(),
            patience,
            until: None,
        };
        match entrance {
            LogEntrance::Foreign(foreign) => {
                let entering = foreign.enter(stream, address, client_id, patience);
                let Entered { stream, lifetime } =
                    Box::pin(entering).await.map_err(|it| not_sent(&it))?;
                // It would have to be said again by then: another connection says it.
                connection.until = lifetime.map(|it| Instant::now() + it * 3 / 4);
                match stream {
                    EnteredStream::Plain(stream) => {
                        connection.carry(stream.into_split(), outgoing, pending(), tasks);
                    }
                    EnteredStream::Tls(stream) => {
                        connection.carry(split(*stream), outgoing, pending(), tasks);
                    }
                }
            }
            LogEntrance::Identity(LogTls { handshakes, log }) => {
                // Boxed: a handshake is large, and every request may have to begin with one.
                let known = Box::pin(handshakes.connect(stream, log, Protocol::Kafka)).await;
                let Known { stream, peer, valid_for, .. } = known.map_err(|it| not_sent(&it))?;
                connection.until = Some(Instant::now() + valid_for * 3 / 4);
                let over = handshakes.clone().over(peer, valid_for);
                connection.carry(split(stream), outgoing, over, tasks);
            }
        }
        Ok(connection)
    }

    /// Carries what is asked and answered, until it breaks or may stand no longer.
    fn carry(
        &self,
        halves: (impl AsyncRead + Unpin + Send + 'static, impl AsyncWrite + Unpin + Send + 'static),
        outgoing: mpsc::Receiver<Bytes>,
        over: impl Future<Output = Over> + Send + 'static,
        tasks: &Tasks,
    ) {
        let (waiting, broken) = (Arc::clone(&self.waiting), Arc::clone(&self.broken));
        let patience = self.patience;
        tasks.spawn("log connection", move |shutdown| async move {
            let ended = tokio::select! {
                ended = run(halves, outgoing, &waiting, patience, shutdown) => ended,
                over = over => Err(io::Error::other(over.as_str())),
            };
            broken.store(true, Ordering::Release);
            // Whoever waits learns by this that no answer will come.
            lock(&waiting).asked.clear();
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the log broke");
            }
        });
    }

    /// Whether another connection should take its place.
    pub(crate) fn is_over(&self) -> bool {
        self.is_broken() || self.until.is_some_and(|it| it <= Instant::now())
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire) || self.requests.is_closed()
    }

    /// Asks, and waits for the answer. Dropping it leaves the question with the broker.
    pub(crate) async fn call<Q: Field, A: Field>(
        &self,
        api: ApiKey,
        question: &Q,
        within: Duration,
    ) -> Result<A, CallError> {
        self.call_in(api, asked_in(api), question, within).await
    }

    /// The same in another version than usual.
    pub(crate) async fn call_in<Q: Field, A: Field>(
        &self,
        api: ApiKey,
        version: i16,
        question: &Q,
        within: Duration,
    ) -> Result<A, CallError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = request_in(api, version, id, &self.client_id, question);
        let (reply, answer) = oneshot::channel();
        let at = Instant::now();
        // It stays there when nobody waits any more: a peer that is gone is known by what it owes.
        let asked = Asked { reply, at, due: at + within.max(self.patience) };
        lock(&self.waiting).asked.insert(id, asked);
        if self.is_broken() {
            lock(&self.waiting).asked.remove(&id);
            return Err(CallError::NotSent("the connection is broken".to_owned()));
        }
        let asked = async {
            if self.requests.send(frame).await.is_err() {
                return Err(CallError::NotSent("the connection is broken".to_owned()));
            }
            answer.await.map_err(|_| CallError::NoAnswer("the connection broke".to_owned()))
        };
        let bytes = match timeout(within, asked).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(CallError::NoAnswer("no answer in time".to_owned())),
        };
        let mut reader = Reader::new(bytes);
        let read = A::read(&mut reader, version).and_then(|it| reader.end().map(|()| it));
        read.map_err(|error| CallError::NoAnswer(error.to_string()))
    }
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, State> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(
    (reading, writing): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    outgoing: mpsc::Receiver<Bytes>,
    waiting: &Waiting,
    patience: Duration,
    shutdown: Shutdown,
) -> io::Result<()> {
    let both = async {
        tokio::select! {
            read = take_in(reading, waiting) => read,
            written = write_out(writing, outgoing) => written,
            () = watch(waiting, patience) => Err(io::ErrorKind::TimedOut.into()),
        }
    };
    // At the end of the process the last commits and farewells still get through: the connection
    // goes when the process stops and nobody has waited for an answer for a moment.
    let linger = async {
        shutdown.cancelled().await;
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            tokio::time::sleep(QUIET_LOOK).await;
            quiet = if lock(waiting).is_waited_for() { 0 } else { quiet + 1 };
        }
    };
    tokio::select! {
        ended = both => ended,
        () = linger => Ok(()),
    }
}

/// Ends when the other side owes an answer for too long: a host that lost its power resets nothing,
/// and the system would go on sending for a quarter of an hour.
async fn watch(waiting: &Waiting, patience: Duration) {
    let look = (patience / 8).max(QUIET_LOOK);
    loop {
        tokio::time::sleep(look).await;
        if lock(waiting).is_given_up(Instant::now(), patience) {
            return;
        }
    }
}

async fn write_out(
    mut stream: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    while let Some(frame) = outgoing.recv().await {
        stream.write_all(&frame).await?;
    }
    Ok(())
}

async fn take_in(mut stream: impl AsyncRead + Unpin, waiting: &Waiting) -> io::Result<()> {
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
            // In large steps, or a long answer is copied at each doubling; never all that is claimed.
            buffer.reserve((bytes - buffer.len()).min(READ_BYTES));
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut frame = buffer.split_to(bytes).freeze();
        let mut reader = Reader::new(frame.split_off(FRAME_HEAD_BYTES));
        let id = reader.i32().map_err(malformed)?;
        let rest = reader.left();
        let body = reader.take(rest).map_err(malformed)?;
        let mut state = lock(waiting);
        state.heard = Instant::now();
        if let Some(asked) = state.asked.remove(&id) {
            // Whoever asked may have given up.
            asked.reply.send(body).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn given_up(heard: u64, asked: u64, within: u64, now: u64) -> bool {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let (reply, _) = oneshot::channel();
        let due = at(asked) + Duration::from_secs(within).max(PATIENCE);
        let asked = BTreeMap::from([(1, Asked { reply, at: at(asked), due })]);
        State { asked, heard: at(heard) }.is_given_up(at(now), PATIENCE)
    }

    #[test]
    fn a_peer_is_given_up_when_it_owes_an_answer_and_says_nothing_else() {
        assert!(!given_up(0, 10, 2, 14), "an answer may still come");
        assert!(given_up(0, 10, 2, 15));
        assert!(!given_up(0, 10, 15, 24), "a long poll is no silence");
        assert!(given_up(0, 10, 15, 25));
        assert!(!given_up(14, 10, 2, 18), "it is slow, and lives");
        assert!(given_up(14, 10, 2, 19));
    }
}
