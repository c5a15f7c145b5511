//! One HTTP/2 connection of a client. Framing is hyper's; bounds are ours.

mod budget;
mod wire;

use std::{
    error::Error as _,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use base::Code;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_policy::path;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

pub use self::budget::{Flood, FrameBudget};
use self::wire::{Watched, Wire};
use super::{Handler, Limits, Site, doors::Place};
use crate::{
    body::{BodyError, Upload},
    closing::Closing,
    h1::write,
    head::{Peer, RequestHead, Version},
    owned::Owner,
    refusal::{Grpc, Refusal},
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
/// Bytes of one answer that wait for the client's window.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// How long a connection is silent before it is asked whether it lives, and how long it may think.
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_WAIT: Duration = Duration::from_secs(10);

pub(super) async fn serve<H: Handler>(
    site: Arc<Site<H>>,
    stream: Stream,
    received: BytesMut,
    peer: Peer,
    place: Place,
    mut closing: Closing,
) {
    let limits = site.limits;
    let place = Arc::new(place);
    let load = Arc::new(Load { place: Arc::clone(&place), streams: AtomicUsize::new(0) });
    let answering = Arc::clone(&site);
    let service = service_fn(move |request| {
        let (site, busy) = (Arc::clone(&answering), Busy::new(&load));
        async move { answer(&site, peer, request, busy).await }
    });
    let streams = Owner::default();
    let (wire, watched) = Wire::new(stream, received);
    let connection = http2::Builder::new(streams.starter("http2 stream"))
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_WAIT)
        .serve_connection(TokioIo::new(wire), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async {
            tokio::select! {
                () = closing.said() => {}
                () = place.told_to_go() => site.counts.ended("gave_way"),
            }
        } => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.drain, connection).await.unwrap_or_else(|_| {
                site.counts.ended("drain_timeout");
                Ok(())
            })
        }
    };
    if let Err(error) = ended {
        let reason = watched.flood().map(Flood::as_str).or_else(|| reason_of(&error, &watched));
        if let Some(reason) = reason {
            site.counts.ended(reason);
        }
        tracing::debug!(listener = site.name, %error, reason, "connection ended early");
    }
}

/// The streams of a connection: without one it waits, and may have to give way.
#[derive(Debug)]
struct Load {
    place: Arc<Place>,
    streams: AtomicUsize,
}

/// One stream, from its head to the last of its answer.
#[derive(Debug)]
struct Busy(Arc<Load>);

impl Busy {
    fn new(load: &Arc<Load>) -> Self {
        if load.streams.fetch_add(1, Ordering::Relaxed) == 0 {
            load.place.busy();
        }
        Self(Arc::clone(load))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.place.waiting();
        }
    }
}

/// Why we ended a connection that failed; `None` where the client did.
fn reason_of(error: &hyper::Error, wire: &Watched) -> Option<&'static str> {
    if error.is_timeout() {
        return Some("no_pong");
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            return match error.reason() {
                // A bound of the library, which does not say which one.
                Some(h2::Reason::ENHANCE_YOUR_CALM) if error.is_library() => {
                    Some(wire.suspect().as_str())
                }
                _ => error.is_library().then_some("http2_error"),
            };
        }
        source = cause.source();
    }
    None
}

async fn answer<H: Handler>(
    site: &Site<H>,
    peer: Peer,
    request: Request<Incoming>,
    busy: Busy,
) -> Result<Response<Answer>, io::Error> {
    let (parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let grpc = Grpc::of(parts.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes));
    let body = Bounded::new(Carried(body), &site.limits);
    let mut upload = Upload::new(body);
    let reply = match head(&site.limits, parts) {
        Ok(head) => site.handler.handle(head, peer, &mut upload).await,
        Err(refusal) => {
            site.counts.refused(refusal.code.as_str());
            refusal.reply_as(grpc, None)
        }
    };
    if reply.source == Source::Reset {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(respond(reply, upload, is_head, busy))
}

fn head(limits: &Limits, parts: http::request::Parts) -> Result<RequestHead, Refusal> {
    let invalid = |detail: &'static str| Refusal::new(Code::InvalidRequest, detail);
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    if target.len() > limits.target_bytes_max {
        return Err(Refusal::new(Code::TargetTooLong, "the request target is too long"));
    }
    // The library takes what HTTP/1 does not: what is good must not hang on how it came.
    if !write::is_target(target.as_bytes()) {
        return Err(invalid("the request target has a byte that must be encoded"));
    }
    if parts.headers.len() > limits.fields_max {
        return Err(Refusal::new(Code::HeadTooLarge, "there are too many header fields"));
    }
    if parts.method == Method::CONNECT {
        let status = Some(StatusCode::NOT_IMPLEMENTED);
        return Err(Refusal { status, ..invalid("this proxy makes no tunnels") });
    }
    let host = parts.headers.get(http::header::HOST).map(HeaderValue::as_bytes);
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
    let target = if target == "*" {
        Bytes::from_static(b"*")
    } else {
        let normal = path::read(&target.as_bytes()[..end], limits.slashes);
        let normal = normal.map_err(|it| Refusal::new(Code::InvalidRequest, it.to_string()))?;
        Bytes::from([normal.as_bytes(), &target.as_bytes()[end..]].concat())
    };
    let authority = Bytes::copy_from_slice(authority);
    let mut head = RequestHead::new(parts.method, Version::Http2, authority, target);
    head.fields = without_framing(&parts.headers);
    Ok(head)
}

fn respond(reply: Reply, upload: Upload<Bounded>, is_head: bool, busy: Busy) -> Response<Answer> {
    let status = reply.head.status;
    // To HEAD and in a 304 a length says what GET would give, and 0 that nobody said; 204 never says
    // one (RFC 9110 8.6).
    let has_none = is_head || status == StatusCode::NOT_MODIFIED;
    let length = match reply.head.length {
        _ if status == StatusCode::NO_CONTENT => None,
        Some(0) if has_none => None,
        length => length,
    };
    let mut response =
        Response::new(Answer { idle: None, body: reply.body, upload, length, _busy: busy });
    *response.status_mut() = status;
    *response.headers_mut() = reply.head.fields.to_map();
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

/// An answer's body, with the rest of its request, which goes on being sent meanwhile.
struct Answer {
    body: ReplyBody,
    upload: Upload<Bounded>,
    length: Option<u64>,
    idle: Option<Pin<Box<Sleep>>>,
    _busy: Busy,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
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
        self.body.is_done()
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
    idle: Duration,
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
