//! An answer as it goes out.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, Bytes};
use http::{Method, StatusCode};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    body::{RequestBody, Upload},
    h1::write as wire,
    head::Version,
    idle::TAKEN_MIN,
    reply::{Reply, ReplyBody},
    stream::{COPY_BYTES_MAX, Outgoing, WriteSide},
};

/// How the answer's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Nothing,
    /// Its length is told.
    Length,
    /// In chunks.
    Chunked,
    /// It ends with the connection: for HTTP/1.0.
    UntilClose,
}

/// What a step of writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Done,
    Failed,
}

/// How long an answer may stand still.
#[derive(Debug)]
pub(super) struct Patience {
    /// Longest wait for a piece; zero for ever.
    piece: Duration,
    /// Longest wait for the client to take some; zero for ever.
    client: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// What is waited for: since so many bytes went out, whether for the client.
    since: Option<(u64, bool)>,
}

impl Patience {
    /// `idle` is what the answer's origin is given, and its client with it, so that nobody holds it
    /// longer; `client` is for answers whose origin has no bound.
    pub(super) const fn new(idle: Duration, client: Duration) -> Self {
        let client = if idle.is_zero() { client } else { idle };
        Self { piece: idle, client, timer: None, since: None }
    }

    /// To be asked when the answer waits; ready when it has waited too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, outgoing: &Outgoing) -> Poll<Step> {
        let is_clients = !outgoing.is_empty();
        let longest = if is_clients { self.client } else { self.piece };
        if longest.is_zero() {
            return Poll::Pending;
        }
        let least = if is_clients { TAKEN_MIN } else { 1 };
        let waits_on = self.since.is_some_and(|(written, of_client)| {
            of_client == is_clients && outgoing.written - written < least
        });
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(longest)));
        if !waits_on {
            self.since = Some((outgoing.written, is_clients));
            timer.as_mut().reset(Instant::now() + longest);
        }
        timer.as_mut().poll(context).map(|()| Step::Failed)
    }
}

/// Puts the answer's head out.
pub(super) fn head(
    outgoing: &mut Outgoing,
    reply: &mut Reply,
    asked: &Method,
    version: Version,
    persists: bool,
) -> Framing {
    let head = &reply.head;
    let status = head.status;
    let has_none = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let framing = if has_none || asked == Method::HEAD {
        Framing::Nothing
    } else if head.length.is_some() {
        Framing::Length
    } else if version == Version::Http10 {
        Framing::UntilClose
    } else {
        Framing::Chunked
    };
    let out = &mut outgoing.small;
    // Once, with what of the body will be copied behind it.
    let copied = head.length.and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
    out.reserve(256 + head.fields.bytes_about() + copied.min(COPY_BYTES_MAX));
    wire::status_line(out, status.as_u16());
    head.fields.write(out);
    match (framing, head.length) {
        (Framing::Chunked, _) => wire::field(out, b"transfer-encoding", b"chunked"),
        // To HEAD it says what GET would give; 204 never says one (RFC 9110 8.6).
        (Framing::Nothing, Some(0)) => {}
        (Framing::Nothing | Framing::Length, Some(length)) if status != StatusCode::NO_CONTENT => {
            wire::number_field(out, b"content-length", length);
        }
        (Framing::Nothing | Framing::Length | Framing::UntilClose, _) => {}
    }
    match (persists && framing != Framing::UntilClose, version) {
        (false, _) => wire::field(out, b"connection", b"close"),
        (true, Version::Http10) => wire::field(out, b"connection", b"keep-alive"),
        (true, Version::Http11 | Version::Http2) => {}
    }
    out.put_slice(wire::END);
    framing
}

/// Puts the head of a change of protocol out.
pub(super) fn switching(outgoing: &mut Outgoing, reply: &mut Reply) {
    let out = &mut outgoing.small;
    wire::status_line(out, 101);
    reply.head.fields.write(out);
    wire::field(out, b"connection", b"upgrade");
    out.put_slice(wire::END);
}

/// An answer's body on its way out.
#[derive(Debug)]
pub(super) struct Writing {
    framing: Framing,
    /// Bytes that were told and are still to come.
    left: u64,
    is_ended: bool,
    /// What was told or begun cannot be kept.
    is_broken: bool,
}

impl Writing {
    /// `length` is what the head told.
    pub(super) fn new(framing: Framing, length: Option<u64>) -> Self {
        let is_ended = framing == Framing::Nothing;
        Self { framing, left: length.unwrap_or(0), is_ended, is_broken: false }
    }

    /// Gathers what is there and writes it. The head goes out with the first piece where that is
    /// there already, and alone where it is not.
    pub(super) fn poll_step<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        outgoing: &mut Outgoing,
        side: &mut WriteSide,
        body: &mut ReplyBody,
        upload: &mut Upload<B>,
    ) -> Poll<Step> {
        while outgoing.has_room() && !self.is_ended && !self.is_broken {
            match body.poll_piece(context, upload) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.put(outgoing, frame);
                    // Known to be the last: no further look.
                    self.is_ended |=
                        self.framing == Framing::Length && self.left == 0 && body.is_done();
                }
                Poll::Ready(None) => self.end(outgoing, None),
                // What came before still goes out; then the connection is cut, so that the client knows.
                Poll::Ready(Some(Err(_))) => self.is_broken = true,
                Poll::Pending if outgoing.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        match std::task::ready!(outgoing.poll_write(side, context)) {
            Ok(()) if self.is_broken => Poll::Ready(Step::Failed),
            Ok(()) if self.is_ended => Poll::Ready(Step::Done),
            Ok(()) => Poll::Ready(Step::More),
            Err(_) => Poll::Ready(Step::Failed),
        }
    }

    fn put(&mut self, outgoing: &mut Outgoing, frame: Frame<Bytes>) {
        match (frame.into_data(), self.framing) {
            (Ok(data), _) if data.is_empty() => {}
            (Ok(data), Framing::Chunked) => outgoing.push_chunk(data),
            (Ok(data), Framing::Length) => match self.left.checked_sub(data.len() as u64) {
                Some(left) => {
                    self.left = left;
                    outgoing.push(data);
                }
                // More than was told would be read as the next answer.
                None => self.is_broken = true,
            },
            (Ok(data), Framing::UntilClose | Framing::Nothing) => outgoing.push(data),
            (Err(frame), _) => self.end(outgoing, frame.into_trailers().ok().as_ref()),
        }
    }

    fn end(&mut self, outgoing: &mut Outgoing, trailers: Option<&http::HeaderMap>) {
        if self.framing == Framing::Chunked {
            outgoing.push_end(trailers);
        }
        // Less than was told would take the next answer for the rest.
        self.is_broken |= self.framing == Framing::Length && self.left > 0;
        self.is_ended = true;
    }
}
