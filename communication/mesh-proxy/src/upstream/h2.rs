//! Requests over HTTP/2 to endpoints: one connection for each endpoint and worker, another only when
//! the endpoint's bound on streams is reached.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::mpsc;

use crate::{
    body::{BodyError, RequestBody, Upload},
    h1::Known,
    head::{Fields, RequestHead, ResponseHead},
    mesh::endpoint::Endpoint,
    reply::ReplyBody,
    upstream,
};

/// Bytes that the endpoint may send on one stream before we have passed them on.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Pieces of a request's body that wait for the connection.
const PIECES_MAX: usize = 2;
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

/// The HTTP/2 connections of one worker; a cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<HashMap<SocketAddr, Vec<Sender>>>>);

impl Connections {
    /// Sends a request and answers the head of its response.
    pub(crate) async fn send<B: RequestBody>(
        &self,
        endpoint: &Endpoint,
        connect_timeout: Duration,
        head: &RequestHead,
        upload: &mut Upload<B>,
    ) -> Result<(ResponseHead, ReplyBody), SendError> {
        let mut sender = self.sender(endpoint, connect_timeout).await?;
        let (body, mut feed) = Outgoing::of(upload);
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
        Ok((head, ReplyBody::http2(body, feed)))
    }

    /// A connection with room for a stream.
    async fn sender(&self, endpoint: &Endpoint, longest: Duration) -> Result<Sender, SendError> {
        let address = endpoint.address();
        if let Some(sender) = self.ready(address) {
            return Ok(sender);
        }
        let stream = upstream::connect(endpoint, longest).await.map_err(SendError::Connect)?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_WAIT)
            .handshake(TokioIo::new(stream));
        let failed = |it: hyper::Error| SendError::Connect(io::Error::other(it));
        let (sender, connection) = handshake.await.map_err(failed)?;
        // It ends with its last sender; it holds nothing that a drain must save.
        hyper::rt::Executor::execute(&TokioExecutor::new(), async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "connection to endpoint ended");
            }
        });
        let mut all = self.lock();
        let known = all.entry(address).or_default();
        known.retain(|it| !it.is_closed());
        if known.len() < CONNECTIONS_MAX {
            known.push(sender.clone());
        }
        Ok(sender)
    }

    fn ready(&self, address: SocketAddr) -> Option<Sender> {
        let mut all = self.lock();
        let known = all.get_mut(&address)?;
        known.retain(|it| !it.is_closed());
        let full = known.len() >= CONNECTIONS_MAX;
        known.iter().find(|it| it.is_ready() || full).cloned()
    }

    /// Forgets connections that ended, and those to endpoints that are no more.
    pub(crate) fn sweep(&self, is_known: impl Fn(SocketAddr) -> bool) {
        self.lock().retain(|address, senders| {
            senders.retain(|it| !it.is_closed());
            !senders.is_empty() && is_known(*address)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<Sender>>> {
        // Whole entries alone are moved in and out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    Fed { pieces: mpsc::Receiver<Frame<Bytes>>, length: Option<u64> },
}

/// The other end of a body that is fed piece by piece.
#[derive(Debug)]
pub(crate) struct Feed {
    pieces: Option<mpsc::Sender<Frame<Bytes>>>,
    waiting: Option<Frame<Bytes>>,
}

impl Outgoing {
    /// A body that is there goes along as it is; another is fed.
    fn of<B: RequestBody>(upload: &mut Upload<B>) -> (Self, Option<Feed>) {
        if upload.is_done() {
            return (Self::Once(None), None);
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut waiting = None;
        if let Poll::Ready(Some(Ok(frame))) = upload.poll_piece(&mut context) {
            match frame.into_data() {
                Ok(data) if upload.is_done() => return (Self::Once(Some(data)), None),
                Ok(data) => waiting = Some(Frame::data(data)),
                Err(frame) => waiting = Some(frame),
            }
        }
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let feed = Feed { pieces: Some(sender), waiting };
        (Self::Fed { pieces, length: upload.length() }, Some(feed))
    }
}

impl Feed {
    /// Hands on what can be handed on now. Ready when all of it has been, or the body broke: then the
    /// stream is reset, since the end was never said.
    pub(crate) fn poll<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Result<(), BodyError>> {
        while let Some(sender) = &self.pieces {
            if self.waiting.is_none() {
                match ready!(upload.poll_piece(context)) {
                    Some(Ok(frame)) => self.waiting = Some(frame),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    None => {
                        self.pieces = None;
                        continue;
                    }
                }
            }
            let mut reserving = std::pin::pin!(sender.reserve());
            match ready!(reserving.as_mut().poll(context)) {
                Ok(place) => {
                    if let Some(frame) = self.waiting.take() {
                        place.send(frame);
                    }
                }
                // The stream has ended: nobody wants the rest.
                Err(_) => break,
            }
        }
        self.pieces = None;
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
            Self::Fed { pieces, length } => {
                let piece = ready!(pieces.poll_recv(context));
                let data = piece.as_ref().and_then(Frame::data_ref);
                if let (Some(left), Some(data)) = (length.as_mut(), data) {
                    *left = left.saturating_sub(data.len() as u64);
                }
                match (piece, length) {
                    (Some(piece), _) => Poll::Ready(Some(Ok(piece))),
                    (None, Some(left)) if *left > 0 => Poll::Ready(Some(Err(BodyError::Cut))),
                    (None, _) => Poll::Ready(None),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Once(None) | Self::Fed { length: Some(0), .. })
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
        Poll::Ready(frame.map(|it| it.map_err(|error| BodyError::Other(Box::new(error)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
