//! One stream of a client, from its head to the last of its answer.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use base::Code;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use mesh_policy::path;

use super::Busy;
use crate::{
    body::{BodyError, Upload},
    closing::Closing,
    downstream::{Handler, Limits, Site},
    event_stream,
    h1::{
        Known,
        write::{is_authority, is_target},
    },
    h2::{Handle, Incoming, Reason, Request, Then, put_response},
    head::{Peer, RequestHead, Version},
    idle::{Idle, TAKEN_MIN},
    refusal::{Grpc, Refusal},
    reply::{Reply, ReplyBody, Source},
};

/// Answers a request. Ends at once when its stream was reset.
pub(super) async fn answer<H: Handler>(
    site: &Site<H>,
    peer: Peer,
    stream: Handle,
    request: Request,
    closing: Closing,
    _busy: Busy<'_>,
) {
    let mut working = pin!(work(site, peer, &stream, request, closing));
    poll_fn(|context| {
        // First what is there: it may end the stream in order.
        let worked = working.as_mut().poll(context);
        if worked.is_ready() || stream.poll_reset(context).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

async fn work<H: Handler>(
    site: &Site<H>,
    peer: Peer,
    stream: &Handle,
    request: Request,
    mut closing: Closing,
) {
    let is_head = request.method == Method::HEAD;
    let grpc = Grpc::of(request.fields.get(Known::ContentType));
    let expects_continue = request.fields.get(Known::Expect).is_some();
    let body = Bounded { expects_continue, ..Bounded::new(stream.incoming(), &site.limits) };
    let mut upload = Upload::new(body);
    let mut reply = match head(&site.limits, request) {
        Ok(head) => site.answer(head, peer, &mut upload).await,
        Err(refusal) => {
            site.counts.refused(refusal.code.as_str());
            refusal.reply_as(grpc, None)
        }
    };
    if reply.source == Source::Reset {
        return stream.reset(Reason::INTERNAL_ERROR);
    }
    if event_stream::is_one(&reply.head) {
        reply.body.ends.add(async move { closing.said().await });
    }
    send(stream, reply, &mut upload, is_head, site.limits.body_idle_timeout).await;
}

fn head(limits: &Limits, request: Request) -> Result<RequestHead, Refusal> {
    let invalid = |detail: &'static str| Refusal::new(Code::InvalidRequest, detail);
    if request.is_too_large {
        return Err(Refusal::new(Code::HeadTooLarge, "the head is too large"));
    }
    if request.path.len() > limits.target_bytes_max {
        return Err(Refusal::new(Code::TargetTooLong, "the request target is too long"));
    }
    if request.method == Method::CONNECT {
        let status = Some(StatusCode::NOT_IMPLEMENTED);
        return Err(Refusal { status, ..invalid("this proxy makes no tunnels") });
    }
    if !is_target(&request.path) {
        return Err(invalid("the request target has a character that it may not have"));
    }
    let authority = authority(&request).map_err(invalid)?;
    let end = request.path.iter().position(|it| *it == b'?').unwrap_or(request.path.len());
    let target = if request.path == "*" && request.method == Method::OPTIONS {
        request.path
    } else {
        let normal = path::read(&request.path[..end], limits.slashes);
        let normal = normal.map_err(|it| Refusal::new(Code::InvalidRequest, it.to_string()))?;
        if normal.as_bytes() == &request.path[..end] {
            request.path
        } else {
            Bytes::from([normal.as_bytes(), &request.path[end..]].concat())
        }
    };
    let mut head = RequestHead::new(request.method, Version::Http2, authority, target);
    head.fields = request.fields.without_framing();
    Ok(head)
}

/// Two words on one thing must agree (RFC 9113 8.3.1).
fn authority(request: &Request) -> Result<Bytes, &'static str> {
    let mut hosts = request.fields.iter().filter(|it| it.0 == Known::Host).map(|it| it.2);
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err("there is more than one Host field");
    }
    let authority = match (&request.authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err("the Host field and the authority name different hosts");
        }
        (Some(authority), _) => authority.clone(),
        (None, Some(host)) => Bytes::copy_from_slice(host),
        (None, None) => return Err("there is no authority"),
    };
    if is_authority(&authority) { Ok(authority) } else { Err("the authority is no host") }
}

/// Sends an answer; the rest of its request goes on being taken meanwhile.
async fn send(
    stream: &Handle,
    reply: Reply,
    upload: &mut Upload<Bounded>,
    is_head: bool,
    patience: Duration,
) {
    let Reply { head, mut body, .. } = reply;
    // To HEAD and in a 304 a length says what GET would give, and 0 that nobody said; 204 never says
    // one (RFC 9110 8.6).
    let has_none = is_head || head.status == StatusCode::NOT_MODIFIED;
    let length = match head.length {
        _ if head.status == StatusCode::NO_CONTENT => None,
        Some(0) if has_none => None,
        length => length,
    };
    let has_none = has_none || head.status == StatusCode::NO_CONTENT;
    let mut then = if body.is_done() { Then::End } else { Then::More };
    stream.respond(then, |out| put_response(out, head.status, &head.fields, length));
    let mut idle = Idle::of(body.idle);
    while then == Then::More {
        let piece = poll_fn(|context| poll_piece(&mut body, upload, &mut idle, context)).await;
        let mut data = match piece.map(|it| it.map(Frame::into_data)) {
            // Behind such a head nobody expects any.
            Some(Ok(Ok(_))) if has_none => Bytes::new(),
            Some(Ok(Ok(data))) => data,
            Some(Ok(Err(frame))) => {
                return stream.trailers(&frame.into_trailers().unwrap_or_default());
            }
            Some(Err(_)) => return stream.reset(Reason::INTERNAL_ERROR),
            None => {
                then = Then::End;
                Bytes::new()
            }
        };
        if body.is_done() {
            then = Then::End;
        }
        if !data.is_empty() || then == Then::End {
            let (mut slow, mut mark) = (Idle::of(patience), data.len());
            let sending = poll_fn(|context| {
                let sent = stream.poll_data(&mut data, then, context);
                if sent.is_ready() {
                    return sent.map(Some);
                }
                if (mark - data.len()) as u64 >= TAKEN_MIN {
                    mark = data.len();
                    slow.moved();
                }
                slow.poll_over(context).map(|()| None)
            });
            match sending.await {
                Some(Ok(())) => {}
                Some(Err(_)) => return,
                // Who takes so little for so long holds what others need.
                None => return stream.reset(Reason::CANCEL),
            }
        }
    }
}

/// The next piece, in its time.
fn poll_piece(
    body: &mut ReplyBody,
    upload: &mut Upload<Bounded>,
    idle: &mut Idle,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    let piece = body.poll_piece(context, upload);
    if piece.is_ready() {
        idle.moved();
        return piece;
    }
    idle.poll_over(context).map(|()| Some(Err(BodyError::TimedOut)))
}

/// A request's body within its bounds.
#[derive(Debug)]
struct Bounded {
    body: Incoming,
    /// The client waits for a word before it sends.
    expects_continue: bool,
    bytes_left: u64,
    idle: Idle,
}

impl Bounded {
    const fn new(body: Incoming, limits: &Limits) -> Self {
        Self {
            body,
            expects_continue: false,
            bytes_left: limits.body_bytes_max,
            idle: Idle::of(limits.body_idle_timeout),
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
            if std::mem::take(&mut this.expects_continue) {
                this.body.go_on();
            }
            return this.idle.poll_over(context).map(|()| Some(Err(BodyError::TimedOut)));
        };
        this.idle.moved();
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
