//! Requests over HTTP/2 to endpoints: one connection for each endpoint and worker, another only when
//! the endpoint's bound on streams is reached.

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use http_body::Frame;
use identity::Refusal;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    body::{BodyError, RequestBody, Upload},
    h2::{
        Bounds, Connection, End, Handle, Pings, Reason, Reset, Shared, Side, Then, Wire, poll_turn,
        put_request,
    },
    head::{RequestHead, ResponseHead},
    mesh::{
        Mesh,
        endpoint::{Endpoint, Target},
    },
    owned::Owner,
    upstream::{self, Connected},
};

/// Bounds on the head of an answer.
const ANSWER: Bounds = Bounds { bytes_max: 64 << 10, fields_max: 200 };
/// How an endpoint is asked whether it lives. Servers of gRPC end a connection that asks more often
/// than every five minutes while it sends nothing (gRFC A8), so that the second time is later.
const PINGS: Pings = Pings {
    after: Duration::from_secs(10),
    again: Duration::from_secs(310),
    wait: Duration::from_secs(3),
    only_in_use: true,
};
/// Connections to one endpoint; then requests wait for a stream.
const CONNECTIONS_MAX: usize = 8;

/// A connection under identities takes no further request so long before they end, or a tenth of their
/// time where that is less: what is under way then comes to its end.
const RETIRE_BEFORE: Duration = Duration::from_secs(10);
/// Longest wait to be let in where connecting has no bound: that of a handshake.
const LET_IN: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// No connection.
    Connect(io::Error),
    /// The endpoint has not processed it: `REFUSED_STREAM`, a GOAWAY below it (RFC 9113 8.7), or
    /// nothing of it was sent.
    Unprocessed,
    /// The connection or the stream ended after something was sent.
    Lost,
    /// What came back breaks the rules of HTTP/2.
    Malformed(&'static str),
    /// The client's own body broke.
    Upload(BodyError),
}

/// The HTTP/2 connections of one worker; a cheap handle. They end with the last one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    places: Mutex<HashMap<Arc<Target>, Arc<Place>>>,
    tasks: Owner,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
struct Place {
    links: Mutex<Vec<Arc<Shared>>>,
    /// A stream on one of them has ended.
    room: Arc<Notify>,
    /// One connects at a time; the others wait for what comes of it.
    turn: tokio::sync::Mutex<Option<Failed>>,
}

/// An attempt to connect that failed.
#[derive(Debug, Clone, Copy)]
struct Failed {
    at: Instant,
    kind: io::ErrorKind,
    refusal: Option<Refusal>,
}

impl Failed {
    fn of(error: &io::Error) -> Self {
        Self { at: Instant::now(), kind: error.kind(), refusal: upstream::refusal_of(error) }
    }

    /// The same for whoever waited for it.
    fn again(self) -> io::Error {
        self.refusal.map_or_else(|| self.kind.into(), upstream::refused)
    }
}

/// The head of an answer, with what the rest of it is read and sent by.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) head: ResponseHead,
    pub(crate) stream: Handle,
    pub(crate) sending: Sending,
}

impl Connections {
    /// Sends a request and answers the head of its response. Cancelled, it resets the stream.
    pub(crate) async fn send<B: RequestBody>(
        &self,
        mesh: &Mesh,
        endpoint: &Endpoint,
        connect_timeout: Duration,
        head: &RequestHead,
        upload: &mut Upload<B>,
    ) -> Result<Received, SendError> {
        let mut sending = Sending::of(upload).map_err(SendError::Upload)?;
        let place = Arc::clone(self.lock().entry(Arc::clone(endpoint.target())).or_default());
        let stream = self.open(&place, (mesh, endpoint), connect_timeout, head, &sending).await?;
        let answer = poll_fn(|context| {
            // Whoever reads the answer goes on sending; until then it is done here.
            if let Poll::Ready(Err(error)) = sending.poll(&stream, context, upload) {
                return Poll::Ready(Err(SendError::Upload(error)));
            }
            stream.poll_response(context).map_err(SendError::from)
        });
        let response = answer.await?;
        let (status, fields) = (response.status, response.fields.without_framing());
        let length = if stream.is_taken() { response.length.or(Some(0)) } else { response.length };
        Ok(Received { head: ResponseHead { status, fields, length }, stream, sending })
    }

    /// A stream on a connection with room for it; where all are full, it waits.
    async fn open(
        &self,
        place: &Place,
        whither: (&Mesh, &Endpoint),
        longest: Duration,
        head: &RequestHead,
        body: &Sending,
    ) -> Result<Handle, SendError> {
        loop {
            // Heard from here on: room may come between the look and the wait.
            let room = place.room.notified();
            match place.open(head, body) {
                Opened::Stream(stream) => return Ok(stream),
                Opened::Full => room.await,
                Opened::Nowhere => self.connect_in_turn(place, whither, longest).await?,
            }
        }
    }

    /// Makes a connection, unless somebody else does so meanwhile.
    async fn connect_in_turn(
        &self,
        place: &Place,
        whither: (&Mesh, &Endpoint),
        longest: Duration,
    ) -> Result<(), SendError> {
        let began = Instant::now();
        let mut failed = place.turn.lock().await;
        if place.has_room() {
            return Ok(());
        }
        // Whoever waited while it failed need not find out once more.
        if let Some(failed) = failed.filter(|it| it.at > began) {
            return Err(SendError::Connect(failed.again()));
        }
        match self.connect(place, whither, longest).await {
            Ok(connection) => {
                *failed = None;
                place.lock().push(connection);
                Ok(())
            }
            Err(error) => {
                *failed = Some(Failed::of(&error));
                Err(SendError::Connect(error))
            }
        }
    }

    async fn connect(
        &self,
        place: &Place,
        (mesh, endpoint): (&Mesh, &Endpoint),
        longest: Duration,
    ) -> io::Result<Arc<Shared>> {
        let began = Instant::now();
        let connected = upstream::connect(mesh, endpoint, identity::Protocol::Http2, longest);
        let Connected { stream, valid_for } = connected.await?;
        let room = Arc::clone(&place.room);
        let shared = Shared::new(Connection::new(Side::Client, ANSWER), room);
        let mut wire = Wire::new(stream, BytesMut::new(), PINGS);
        if valid_for.is_some() {
            let left = longest.saturating_sub(began.elapsed());
            let left = if longest.is_zero() { LET_IN } else { left };
            if let Err(error) = within(left, let_in(&shared, &mut wire)).await {
                let is_refusal = upstream::refusal_of(&error).is_some();
                mesh.handshakes().filter(|_| is_refusal).inspect(|it| it.refused_after_all());
                return Err(error);
            }
        }
        let retire_at =
            valid_for.map(|it| Instant::now() + it - it.div_f32(10.0).min(RETIRE_BEFORE));
        let (driven, address) = (Arc::clone(&shared), endpoint.address());
        self.0.tasks.start("http2 to endpoint", async move {
            let ended = drive(&driven, wire, retire_at).await;
            driven.lock().end(None);
            driven.tell_room();
            tracing::debug!(%address, error = %ended, "connection to endpoint ended");
        });
        Ok(shared)
    }

    /// Forgets connections that ended, and those to endpoints that are no more.
    pub(crate) fn sweep(&self, is_known: impl Fn(&Target) -> bool) {
        self.lock().retain(|target, place| {
            let mut links = place.lock();
            if !is_known(target) {
                links.iter().for_each(|it| it.lock().retire());
            }
            links.retain(|it| it.lock().is_open());
            // Who connects holds the place.
            !links.is_empty() || Arc::strong_count(place) > 1
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Target>, Arc<Place>>> {
        // Whole entries alone are moved in and out.
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the endpoint has said its settings. Only then has it let us in: under TLS 1.3 the one
/// that accepts judges last, and what was sent before could not be told from what it has processed.
async fn let_in(shared: &Shared, wire: &mut Wire) -> io::Result<()> {
    poll_fn(|context| {
        if let Poll::Ready(end) = poll_turn(wire, shared, context, |_| {}) {
            tracing::debug!(error = %end, "endpoint does not let us in");
            return Poll::Ready(Err(upstream::refused(Refusal::PeerRefused)));
        }
        if shared.lock().has_settings() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

async fn within(longest: Duration, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(longest, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Moves the bytes of a connection until it ends. From `retire_at` on it takes no further request, so
/// that those under way are over before the identities that it was opened under.
async fn drive(shared: &Shared, mut wire: Wire, retire_at: Option<Instant>) -> End {
    let mut retiring = retire_at.map(|it| Box::pin(sleep_until(it)));
    poll_fn(|context| {
        if retiring.as_mut().is_some_and(|it| it.as_mut().poll(context).is_ready()) {
            retiring = None;
            shared.lock().retire();
            shared.tell_room();
        }
        let had_room = {
            let mut connection = shared.lock();
            connection.drive(None);
            connection.has_room()
        };
        if let Poll::Ready(end) = poll_turn(&mut wire, shared, context, |_| {}) {
            return Poll::Ready(end);
        }
        let mut connection = shared.lock();
        if !had_room && connection.has_room() {
            // It takes more streams than it said before.
            shared.tell_room();
        }
        if connection.is_over() {
            return Poll::Ready(End::Over);
        }
        connection.drive(Some(context.waker()));
        Poll::Pending
    })
    .await
}

enum Opened {
    Stream(Handle),
    /// Every connection is full, and there may be no other.
    Full,
    /// There is to be another connection.
    Nowhere,
}

impl Place {
    fn open(&self, head: &RequestHead, body: &Sending) -> Opened {
        let mut links = self.lock();
        links.retain(|it| it.lock().is_open());
        let is_head = head.method == Method::HEAD;
        let then = if body.is_ended { Then::End } else { Then::More };
        let opened = links.iter().find_map(|link| {
            Handle::open(link, is_head, then, |out| put_request(out, head, body.length))
        });
        match opened {
            Some(stream) => Opened::Stream(stream),
            None if links.len() >= CONNECTIONS_MAX => Opened::Full,
            None => Opened::Nowhere,
        }
    }

    fn has_room(&self) -> bool {
        self.lock().iter().any(|it| it.lock().has_room())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Reset> for SendError {
    fn from(reset: Reset) -> Self {
        match reset {
            Reset::Unprocessed | Reset::Theirs(Reason::REFUSED_STREAM) => Self::Unprocessed,
            Reset::Theirs(_) | Reset::Lost => Self::Lost,
            Reset::Ours(_) => Self::Malformed("it breaks the rules of HTTP/2"),
        }
    }
}

/// A request's body on its way onto a stream.
#[derive(Debug)]
pub(crate) struct Sending {
    length: Option<u64>,
    waiting: Bytes,
    trailers: Option<HeaderMap>,
    /// Nothing follows what waits.
    is_last: bool,
    /// The stream has seen the end, or nobody wants it.
    is_ended: bool,
}

impl Sending {
    /// What is there of a body already.
    fn of<B: RequestBody>(upload: &mut Upload<B>) -> Result<Self, BodyError> {
        let length = upload.length();
        let mut sending =
            Self { length, waiting: Bytes::new(), trailers: None, is_last: false, is_ended: false };
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(taken) = sending.poll_take(&mut context, upload) {
            taken?;
            sending.is_ended =
                sending.is_last && sending.waiting.is_empty() && sending.trailers.is_none();
        }
        Ok(sending)
    }

    /// Takes the next piece. Ready when there is one, or the end.
    fn poll_take<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Result<(), BodyError>> {
        if upload.is_done() {
            self.is_last = true;
            return Poll::Ready(Ok(()));
        }
        match ready!(upload.poll_piece(context)).transpose()?.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.waiting = data;
                self.is_last = upload.is_done();
            }
            Some(Err(frame)) => {
                self.trailers = frame.into_trailers().ok();
                self.is_last = true;
            }
            None => self.is_last = true,
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what can be sent now. Ready when all of it has been, or the body broke: then the stream
    /// gets no end, and is reset once nobody holds it.
    pub(crate) fn poll<B: RequestBody>(
        &mut self,
        stream: &Handle,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Result<(), BodyError>> {
        while !self.is_ended {
            if self.waiting.is_empty() && !self.is_last {
                let taken = ready!(self.poll_take(context, upload));
                if taken.is_err() {
                    self.is_ended = true;
                    return Poll::Ready(taken);
                }
            }
            let is_end = self.is_last && self.trailers.is_none();
            let then = if is_end { Then::End } else { Then::More };
            let sent = ready!(stream.poll_data(&mut self.waiting, then, context));
            if let (true, Some(trailers)) = (self.is_last, self.trailers.take()) {
                stream.trailers(&trailers);
            }
            // Of a stream that has ended nobody wants the rest.
            self.is_ended = self.is_last || sent.is_err();
        }
        Poll::Ready(Ok(()))
    }
}
