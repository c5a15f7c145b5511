//! One HTTP/2 connection of a client. Framing is hyper's; bounds are ours.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use base::Code;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_policy::path;
use runtime::Tasks;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{Handler, Limits, Peer, Site, accept::Closing, doors::Place};
use crate::{
    body::{BodyError, Upload},
    head::{RequestHead, Version},
    refusal::Refusal,
    reply::{Reply, ReplyBody, Source},
    stream::Stream,
    upstream::h2::{Carried, without_framing},
};

/// Bytes that a client may send on one stream before they are passed on.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that a client reset before they were looked at (rapid reset, CVE-2023-44487); then GOAWAY.
const PENDING_RESETS_MAX: usize = 50;
/// Streams that we reset for the client's errors (MadeYouReset, CVE-2025-8671); then GOAWAY.
const LOCAL_RESETS_MAX: usize = 200;

/// Streams of a connection as tasks of its owner.
#[derive(Clone)]
struct OnTasks(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for OnTasks {
    fn execute(&self, stream: F) {
        self.0.spawn("http stream", move |_| stream);
    }
}

pub(super) async fn serve<H: Handler>(
    site: Arc<Site<H>>,
    stream: Stream,
    received: BytesMut,
    peer: Peer,
    place: Place,
    mut closing: Closing,
    tasks: Tasks,
) {
    place.busy();
    let limits = site.limits;
    let answering = Arc::clone(&site);
    let service = service_fn(move |request| {
        let site = Arc::clone(&answering);
        async move { Ok::<_, Infallible>(answer(&site, peer, request).await) }
    });
    let connection = http2::Builder::new(OnTasks(tasks))
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(std::time::Duration::from_secs(20))
        .keep_alive_timeout(std::time::Duration::from_secs(10))
        .serve_connection(TokioIo::new(Rewound { received, stream }), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.said() => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.drain, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        site.counts.ended("http2_error");
        tracing::debug!(listener = site.name, %error, "connection ended early");
    }
}

async fn answer<H: Handler>(
    site: &Site<H>,
    peer: Peer,
    request: Request<Incoming>,
) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let body = Bounded::new(Carried(body), &site.limits);
    let mut upload = Upload::new(body);
    let reply = match head(&site.limits, parts) {
        Ok(head) => site.handler.handle(head, peer, &mut upload).await,
        Err(refusal) => {
            site.counts.refused(refusal.code.as_str());
            refusal.reply(None)
        }
    };
    respond(reply, upload)
}

fn head(limits: &Limits, parts: http::request::Parts) -> Result<RequestHead, Refusal> {
    let invalid = |detail: &'static str| Refusal::new(Code::InvalidRequest, detail);
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    if target.len() > limits.target_bytes_max {
        return Err(Refusal::new(Code::TargetTooLong, "the request target is too long"));
    }
    if parts.headers.len() > limits.fields_max {
        return Err(Refusal::new(Code::HeadTooLarge, "there are too many header fields"));
    }
    if parts.method == http::Method::CONNECT {
        let status = Some(StatusCode::NOT_IMPLEMENTED);
        return Err(Refusal { status, ..invalid("this proxy makes no tunnels") });
    }
    let host = parts.headers.get(http::header::HOST).map(http::HeaderValue::as_bytes);
    let authority = parts.uri.authority().map(|it| it.as_str().as_bytes());
    // Two words on one thing must agree (RFC 9113 8.3.1).
    let authority = match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(invalid("the Host field and the authority name different hosts"));
        }
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
        (None, None) => return Err(invalid("there is no authority")),
    };
    if parts.headers.get_all(http::header::HOST).iter().count() > 1 {
        return Err(invalid("there is more than one Host field"));
    }
    let end = target.find('?').unwrap_or(target.len());
    let normal = path::read(&target.as_bytes()[..end], limits.slashes);
    let normal = normal.map_err(|it| Refusal::new(Code::InvalidRequest, it.to_string()))?;
    let target = Bytes::from([normal.as_bytes(), &target.as_bytes()[end..]].concat());
    let authority = Bytes::copy_from_slice(authority);
    let mut head = RequestHead::new(parts.method, Version::Http2, authority, target);
    head.fields = without_framing(&parts.headers);
    Ok(head)
}

fn respond<B>(reply: Reply, upload: Upload<B>) -> Response<Answer<B>> {
    let mut response = Response::new(Answer {
        length: reply.head.length,
        idle: None,
        body: reply.body,
        upload,
        is_reset: reply.source == Source::Reset,
    });
    *response.status_mut() = reply.head.status;
    *response.headers_mut() = reply.head.fields.to_map();
    if let Some(length) = reply.head.length {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    response
}

/// An answer's body, with the rest of its request, which goes on being sent meanwhile.
struct Answer<B = Bounded> {
    body: ReplyBody,
    upload: Upload<B>,
    length: Option<u64>,
    idle: Option<Pin<Box<Sleep>>>,
    is_reset: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.is_reset {
            return Poll::Ready(Some(Err(BodyError::Cut)));
        }
        let piece = this.body.poll_piece(context, &mut this.upload);
        if piece.is_ready() {
            this.idle = None;
            return piece;
        }
        if this.body.idle.is_zero() {
            return Poll::Pending;
        }
        let end = Instant::now() + this.body.idle;
        let idle = this.idle.get_or_insert_with(|| Box::pin(sleep_until(end)));
        ready!(idle.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_reset && self.body.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A request's body within its bounds.
#[derive(Debug)]
struct Bounded {
    body: Carried,
    bytes_left: u64,
    idle: std::time::Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Bounded {
    const fn new(body: Carried, limits: &Limits) -> Self {
        Self {
            body,
            bytes_left: limits.body_bytes_max,
            idle: limits.body_idle_timeout,
            timer: None,
        }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            if this.idle.is_zero() {
                return Poll::Pending;
            }
            let end = Instant::now() + this.idle;
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            ready!(timer.as_mut().poll(context));
            return Poll::Ready(Some(Err(BodyError::TimedOut)));
        };
        this.timer = None;
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |it| it.len() as u64),
            Some(Err(_)) | None => 0,
        };
        match this.bytes_left.checked_sub(length) {
            Some(left) => this.bytes_left = left,
            None => return Poll::Ready(Some(Err(BodyError::TooLong))),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection from which some bytes have been read already.
#[derive(Debug)]
struct Rewound {
    received: BytesMut,
    stream: Stream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let here = self.received.len().min(buffer.remaining());
        buffer.put_slice(&self.received[..here]);
        self.received.advance(here);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
