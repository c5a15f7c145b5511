//! Requests over HTTP/2 to endpoints: one connection for each endpoint and worker, another only when
//! the endpoint's bound on streams is reached.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::PollSender;

use crate::{
    body::{BodyError, RequestBody, Upload},
    h1::Known,
    head::{Fields, RequestHead, ResponseHead},
    mesh::endpoint::Endpoint,
    owned::Owner,
    stream::Corked,
    upstream,
};

/// Bytes that the endpoint may send on one stream before we have passed them on.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Pieces of a request's body that wait for the connection.
const PIECES_MAX: usize = 2;
/// Bytes of one stream that wait for the endpoint's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// How long a connection is silent before it is asked whether it lives, and how long it may think.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_WAIT: Duration = Duration::from_secs(3);
/// Connections to one endpoint; then requests wait for a stream.
const CONNECTIONS_MAX: usize = 8;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// No connection.
    Connect(io::Error),
    /// The endpoint has not processed it: `REFUSED_STREAM`, or a GOAWAY below it (RFC 9113 8.7).
    Unprocessed,
    /// The connection or the stream ended after something was sent.
    Lost,
    /// The client's own body broke.
    Upload(BodyError),
}

type Sender = http2::SendRequest<Outgoing>;

/// The HTTP/2 connections of one worker; a cheap handle. They end with the last one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    places: Mutex<HashMap<SocketAddr, Arc<Place>>>,
    tasks: Owner,
}

/// The connections to one endpoint.
#[derive(Debug, Default)]
struct Place {
    links: Mutex<Vec<Link>>,
    /// One connects at a time; the others wait for what comes of it.
    turn: tokio::sync::Mutex<Option<Failed>>,
}

/// An attempt to connect that failed.
#[derive(Debug, Clone, Copy)]
struct Failed {
    at: Instant,
    kind: io::ErrorKind,
}

/// One connection.
#[derive(Debug, Clone)]
struct Link {
    sender: Sender,
    streams: Arc<AtomicUsize>,
    /// Streams that the endpoint allows.
    streams_max: Arc<AtomicUsize>,
}

/// The head of an answer, with what the rest of it is read by.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) head: ResponseHead,
    pub(crate) body: Incoming,
    /// What is still to be sent.
    pub(crate) feed: Option<Feed>,
    pub(crate) slot: Slot,
}

/// A stream's place on its connection, until all of the answer was taken.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    /// Sends a request and answers the head of its response. Cancelled, it resets the stream.
    pub(crate) async fn send<B: RequestBody>(
        &self,
        endpoint: &Endpoint,
        connect_timeout: Duration,
        head: &RequestHead,
        upload: &mut Upload<B>,
    ) -> Result<Received, SendError> {
        let (mut sender, slot) = self.sender(endpoint, connect_timeout).await?;
        let (body, mut feed) = Outgoing::of(upload).map_err(SendError::Upload)?;
        let sending = sender.send_request(request(head, body));
        let mut sending = std::pin::pin!(sending);
        let answer = std::future::poll_fn(|context| {
            // Whoever reads the answer goes on feeding; until then it is done here.
            if let Some(feed) = &mut feed
                && let Poll::Ready(Err(error)) = feed.poll(context, upload)
            {
                return Poll::Ready(Err(SendError::Upload(error)));
            }
            sending.as_mut().poll(context).map_err(|error| classify(&error))
        });
        let (parts, body) = answer.await?.into_parts();
        let length = body.size_hint().exact();
        let head = ResponseHead {
            status: parts.status,
            fields: without_framing(&parts.headers),
            length: length.or_else(|| told(&parts.headers)),
        };
        Ok(Received { head, body, feed, slot })
    }

    /// A connection with room for a stream.
    async fn sender(
        &self,
        endpoint: &Endpoint,
        longest: Duration,
    ) -> Result<(Sender, Slot), SendError> {
        let place = Arc::clone(self.lock().entry(endpoint.address()).or_default());
        if let Some(ready) = place.ready() {
            return Ok(ready);
        }
        let began = Instant::now();
        let mut failed = place.turn.lock().await;
        if let Some(ready) = place.ready() {
            return Ok(ready);
        }
        // Whoever waited while it failed need not find out once more.
        if let Some(Failed { kind, .. }) = failed.filter(|it| it.at > began) {
            return Err(SendError::Connect(kind.into()));
        }
        match self.connect(endpoint, longest).await {
            Ok(link) => {
                *failed = None;
                let taken = link.take();
                place.lock().push(link);
                Ok(taken)
            }
            Err(error) => {
                *failed = Some(Failed { at: Instant::now(), kind: error.kind() });
                Err(SendError::Connect(error))
            }
        }
    }

    async fn connect(&self, endpoint: &Endpoint, longest: Duration) -> io::Result<Link> {
        let stream = upstream::connect(endpoint, longest).await?;
        let starter = self.0.tasks.starter("http2 to endpoint");
        let handshake = http2::Builder::new(starter.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_WAIT)
            .handshake(TokioIo::new(Corked::new(stream)));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        let address = endpoint.address();
        let streams_max = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let told = Arc::clone(&streams_max);
        let mut connection = Box::pin(connection);
        hyper::rt::Executor::execute(&starter, async move {
            let ended = std::future::poll_fn(|context| {
                let ended = connection.as_mut().poll(context);
                told.store(connection.current_max_send_streams(), Ordering::Relaxed);
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(%address, %error, "connection to endpoint ended");
            }
        });
        Ok(Link { sender, streams: Arc::default(), streams_max })
    }

    /// Forgets connections that ended, and those to endpoints that are no more.
    pub(crate) fn sweep(&self, is_known: impl Fn(SocketAddr) -> bool) {
        self.lock().retain(|address, place| {
            let mut links = place.lock();
            links.retain(|it| !it.sender.is_closed());
            // Who connects holds the place.
            (!links.is_empty() || Arc::strong_count(place) > 1) && is_known(*address)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Place>>> {
        // Whole entries alone are moved in and out.
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A connection with room; at the bound on connections any, where the request waits for a stream.
    fn ready(&self) -> Option<(Sender, Slot)> {
        let mut links = self.lock();
        links.retain(|it| !it.sender.is_closed());
        let with_room = links.iter().find(|it| it.has_room());
        let least = || links.iter().min_by_key(|it| it.streams.load(Ordering::Relaxed));
        let is_full = links.len() >= CONNECTIONS_MAX;
        with_room.or_else(|| if is_full { least() } else { None }).map(Link::take)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < self.streams_max.load(Ordering::Relaxed)
    }

    fn take(&self) -> (Sender, Slot) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), Slot(Arc::clone(&self.streams)))
    }
}

fn classify(error: &hyper::Error) -> SendError {
    if error.is_canceled() {
        return SendError::Unprocessed;
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            let is_refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let is_away = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return if is_refused || is_away { SendError::Unprocessed } else { SendError::Lost };
        }
        source = cause.source();
    }
    SendError::Lost
}

fn request(head: &RequestHead, body: Outgoing) -> Request<Outgoing> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    let authority = http::uri::Authority::from_maybe_shared(head.authority.clone()).ok();
    let path = PathAndQuery::from_maybe_shared(head.target().clone()).ok();
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = authority.or_else(|| Some(http::uri::Authority::from_static("localhost")));
    uri.path_and_query = path.or_else(|| Some(PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.headers_mut() = head.fields.to_map();
    request
}

fn told(headers: &http::HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Fields of a message that came over HTTP/2, without what every writer says itself.
pub(crate) fn without_framing(headers: &http::HeaderMap) -> Fields {
    let mut fields = Fields::from_map(headers);
    fields.retain(|known, _, value| match known {
        Known::Te => value == b"trailers",
        Known::Host | Known::ContentLength | Known::Expect => false,
        known => !known.is_hop_by_hop(),
    });
    fields
}

/// A request's body on its way into a connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Once(Option<Bytes>),
    Fed { pieces: mpsc::Receiver<Piece>, length: Option<u64>, is_ended: bool },
}

/// A piece of a request's body. The end is said, so that a feed that was dropped is no end.
#[derive(Debug)]
pub(crate) struct Piece {
    frame: Option<Frame<Bytes>>,
    is_last: bool,
}

/// The other end of a body that is fed piece by piece. Dropped before the end, it resets the stream.
#[derive(Debug)]
pub(crate) struct Feed {
    pieces: PollSender<Piece>,
    waiting: Option<Piece>,
    is_ended: bool,
}

impl Outgoing {
    /// A body that is there goes along as it is; another is fed.
    fn of<B: RequestBody>(upload: &mut Upload<B>) -> Result<(Self, Option<Feed>), BodyError> {
        if upload.is_done() {
            return Ok((Self::Once(None), None));
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut waiting = None;
        match upload.poll_piece(&mut context) {
            Poll::Ready(Some(frame)) => match frame?.into_data() {
                Ok(data) if upload.is_done() => return Ok((Self::Once(Some(data)), None)),
                Ok(data) => {
                    waiting = Some(Piece { frame: Some(Frame::data(data)), is_last: false })
                }
                Err(frame) => waiting = Some(Piece { frame: Some(frame), is_last: true }),
            },
            Poll::Ready(None) => return Ok((Self::Once(None), None)),
            Poll::Pending => {}
        }
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let feed = Feed { pieces: PollSender::new(sender), waiting, is_ended: false };
        Ok((Self::Fed { pieces, length: upload.length(), is_ended: false }, Some(feed)))
    }
}

impl Feed {
    /// Hands on what can be handed on now. Ready when all of it has been, or the body broke.
    pub(crate) fn poll<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Result<(), BodyError>> {
        while !self.is_ended {
            if self.waiting.is_none() {
                let frame = ready!(upload.poll_piece(context)).transpose()?;
                let is_last = upload.is_done() || frame.as_ref().is_none_or(Frame::is_trailers);
                self.waiting = Some(Piece { frame, is_last });
            }
            if ready!(self.pieces.poll_reserve(context)).is_err() {
                // The stream has ended: nobody wants the rest.
                self.is_ended = true;
                break;
            }
            if let Some(piece) = self.waiting.take() {
                self.is_ended = piece.is_last;
                // There is a place, so it is taken.
                let _sent = self.pieces.send_item(piece);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Once(bytes) => Poll::Ready(bytes.take().map(|it| Ok(Frame::data(it)))),
            Self::Fed { is_ended: true, .. } => Poll::Ready(None),
            Self::Fed { pieces, is_ended, .. } => match ready!(pieces.poll_recv(context)) {
                Some(Piece { frame, is_last }) => {
                    *is_ended = is_last;
                    Poll::Ready(frame.map(Ok))
                }
                None => Poll::Ready(Some(Err(BodyError::Cut))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Once(None) | Self::Fed { is_ended: true, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Once(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Fed { length: Some(length), .. } => SizeHint::with_exact(*length),
            Self::Fed { length: None, .. } => SizeHint::default(),
        }
    }
}

/// A body that hyper carries, with our errors.
#[derive(Debug)]
pub(crate) struct Carried(pub(crate) Incoming);

impl Body for Carried {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(frame.map(|it| it.map_err(|error| BodyError::Io(io::Error::other(error)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
