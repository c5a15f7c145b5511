//! One exchange over an HTTP/1.1 connection to an endpoint.
//!
//! The request goes out and the answer comes in at the same time: an endpoint may answer before it
//! has read everything. Written as polls, because both directions and whoever reads the answer's
//! body share one task.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body::Frame;
use tokio::io::AsyncWrite as _;

use crate::{
    body::{BodyError, RequestBody, Upload},
    h1::{
        Asked, BodyLength, Decoder, Field, Known, Limits, Malformed, Step, hop::Upgrades, response,
        write,
    },
    head::{Fields, INTERIM_ANSWERS_MAX, RequestHead, ResponseHead},
    stream::{Outgoing, READ_BYTES, READ_MORE_BYTES, Stream, poll_fill},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The connection ended or failed before a whole head came in.
    #[error("the connection ended before an answer")]
    Lost(#[source] Option<io::Error>),
    /// What came is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    Malformed(&'static str),
    /// The body of the request broke.
    #[error("the body of the request broke")]
    Upload(#[source] BodyError),
}

/// How the request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length,
    Chunked,
}

/// A connection with a request on it.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: Stream,
    received: BytesMut,
    scanned: usize,
    list: Vec<Field>,
    outgoing: Outgoing,
    framing: Framing,
    asked: Asked,
    asked_upgrade: bool,
    /// All of the request has been handed to the connection.
    is_sent: bool,
    write_failed: Option<io::Error>,
    body: Incoming,
    persists: bool,
    interim_answers: u8,
    limits: Limits,
}

/// Where in the answer's body we are.
#[derive(Debug)]
enum Incoming {
    Done,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

/// Buffers of a connection that rests, for its next exchange.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    outgoing: BytesMut,
    list: Vec<Field>,
}

impl Exchange {
    /// Puts a request's head on a connection; nothing is sent yet.
    pub(crate) fn new<B: RequestBody>(
        stream: Stream,
        buffers: Buffers,
        head: &RequestHead,
        upload: &Upload<B>,
        limits: Limits,
    ) -> Self {
        let framing = match upload.length() {
            Some(0) => Framing::Nothing,
            Some(_) => Framing::Length,
            None => Framing::Chunked,
        };
        let mut small = buffers.outgoing;
        write_head(&mut small, head, framing, upload.length());
        let asked = match head.method {
            Method::HEAD => Asked::Head,
            Method::CONNECT => Asked::Connect,
            _ => Asked::Other,
        };
        Self {
            stream,
            received: BytesMut::new(),
            scanned: 0,
            list: buffers.list,
            outgoing: Outgoing::reusing(small),
            framing,
            asked,
            asked_upgrade: head.upgrade.is_some(),
            is_sent: false,
            write_failed: None,
            body: Incoming::Done,
            persists: false,
            interim_answers: 0,
            limits,
        }
    }

    /// Sends, and answers the head of the final response. Cancel-safe, but a cancelled exchange
    /// leaves its connection of no further use.
    pub(crate) fn poll_head<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Result<ResponseHead, ExchangeError>> {
        self.poll_send(context, upload)?;
        loop {
            if let Some(head) = self.parse()? {
                return Poll::Ready(Ok(head));
            }
            match ready!(poll_fill(&mut self.stream, context, &mut self.received, READ_BYTES)) {
                Ok(0) => return Poll::Ready(Err(ExchangeError::Lost(self.write_failed.take()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(ExchangeError::Lost(Some(error)))),
            }
        }
    }

    /// A whole head, past interim answers.
    fn parse(&mut self) -> Result<Option<ResponseHead>, ExchangeError> {
        loop {
            let buffer = &self.received;
            let parsed =
                response(buffer, &mut self.scanned, &self.limits, self.asked, &mut self.list);
            let Some(line) = parsed.map_err(|it| ExchangeError::Malformed(it.reason()))? else {
                return Ok(None);
            };
            self.scanned = 0;
            let block = self.received.split_to(line.length).freeze();
            // 101 ends the HTTP part; the other interim answers say nothing that is needed.
            if (100..200).contains(&line.status) && line.status != 101 {
                self.interim_answers += 1;
                if self.interim_answers > INTERIM_ANSWERS_MAX {
                    return Err(ExchangeError::Malformed("interim answers that do not end"));
                }
                continue;
            }
            if line.status == 101 && !self.asked_upgrade {
                return Err(ExchangeError::Malformed("a change of protocol that nobody asked for"));
            }
            self.persists = line.persists;
            let length = match line.body {
                BodyLength::None => Some(0),
                BodyLength::Known(length) => Some(length),
                BodyLength::Chunked | BodyLength::UntilClose => None,
            };
            self.body = match line.body {
                BodyLength::None | BodyLength::Known(0) => Incoming::Done,
                BodyLength::Known(length) => Incoming::Length(length),
                BodyLength::Chunked => Incoming::Chunked(Decoder::new()),
                BodyLength::UntilClose => Incoming::UntilClose,
            };
            let status = StatusCode::from_u16(line.status)
                .map_err(|_| ExchangeError::Malformed("no such status"))?;
            // What a HEAD or a 304 says about the length is news about the resource, not framing.
            let told = self.list.iter().find(|it| it.known == Known::ContentLength);
            let told = told.and_then(|it| std::str::from_utf8(it.value.of_bytes(&block)).ok());
            let told = told.and_then(|it| it.parse().ok());
            let upgrades = if line.status == 101 { Upgrades::HandedOn } else { Upgrades::Removed };
            let fields = Fields::forwarded(block, &self.list, upgrades);
            return Ok(Some(ResponseHead { status, fields, length: told.or(length) }));
        }
    }

    /// Sends what can be sent now. A failed write is remembered: the answer may be there all the same.
    fn poll_send<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Result<(), ExchangeError> {
        while self.write_failed.is_none() {
            while !self.is_sent && self.outgoing.has_room() {
                match upload.poll_piece(context) {
                    Poll::Ready(Some(Ok(frame))) => self.put(frame),
                    Poll::Ready(Some(Err(error))) => return Err(ExchangeError::Upload(error)),
                    Poll::Ready(None) => self.end(),
                    Poll::Pending => break,
                }
                self.is_sent |= upload.is_done() && self.framing != Framing::Chunked;
            }
            if self.outgoing.is_empty() {
                break;
            }
            match self.outgoing.poll_write(&mut self.stream, context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.write_failed = Some(error),
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Whether bytes have gone out; before that nothing can have been processed.
    pub(crate) const fn has_begun(&self) -> bool {
        self.outgoing.written > 0
    }

    fn put(&mut self, frame: Frame<Bytes>) {
        match (frame.into_data(), self.framing) {
            (Ok(data), _) if data.is_empty() => {}
            (Ok(data), Framing::Chunked) => self.outgoing.push_chunk(data),
            (Ok(data), _) => self.outgoing.push(data),
            (Err(frame), Framing::Chunked) => {
                self.outgoing.push_end(frame.into_trailers().ok().as_ref());
                self.is_sent = true;
            }
            // Without chunks there is no place for trailers.
            (Err(_), _) => {}
        }
    }

    fn end(&mut self) {
        if self.framing == Framing::Chunked && !self.is_sent {
            self.outgoing.push_end(None);
        }
        self.is_sent = true;
    }

    /// The next piece of the answer's body; goes on sending meanwhile.
    pub(crate) fn poll_piece<B: RequestBody>(
        &mut self,
        context: &mut Context<'_>,
        upload: &mut Upload<B>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Whether the rest of the request can be sent no longer matters to the answer: the endpoint is
        // told that it will not come, and what it says then is handed on.
        if self.poll_send(context, upload).is_err() {
            self.write_failed = Some(io::ErrorKind::BrokenPipe.into());
            let _told = Pin::new(&mut self.stream).poll_shutdown(context);
        }
        loop {
            if matches!(self.body, Incoming::Done) {
                return Poll::Ready(None);
            }
            if let Some(piece) = self.take_piece().transpose() {
                return Poll::Ready(Some(piece));
            }
            if matches!(self.body, Incoming::Done) {
                return Poll::Ready(None);
            }
            let room = if matches!(self.body, Incoming::Length(left) if left < 4_096) {
                READ_BYTES
            } else {
                READ_MORE_BYTES
            };
            let is_open_ended = matches!(self.body, Incoming::UntilClose);
            match ready!(poll_fill(&mut self.stream, context, &mut self.received, room)) {
                Ok(0) if is_open_ended => self.body = Incoming::Done,
                Ok(0) => return Poll::Ready(Some(Err(BodyError::Cut))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(BodyError::Io(error)))),
            }
        }
    }

    fn take_piece(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let taken = take(&mut self.body, &mut self.received)?;
        if matches!(self.body, Incoming::Length(0)) {
            self.body = Incoming::Done;
        }
        Ok(taken)
    }

    /// Whether all of the answer has been taken.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.body, Incoming::Done)
    }

    /// The connection, when another request may go over it.
    pub(crate) fn into_idle(self) -> Option<(Stream, Buffers)> {
        let is_clean = self.is_done()
            && self.is_sent
            && self.persists
            && self.outgoing.is_empty()
            && self.write_failed.is_none()
            && self.received.is_empty();
        is_clean.then(|| {
            let Outgoing { small, .. } = self.outgoing;
            (self.stream, Buffers { outgoing: small, list: self.list })
        })
    }

    /// The connection with what was read beyond the head, after `101 Switching Protocols`.
    pub(crate) fn into_upgraded(self) -> (Stream, BytesMut) {
        (self.stream, self.received)
    }
}

/// What of a body has come in.
fn take(body: &mut Incoming, received: &mut BytesMut) -> Result<Option<Frame<Bytes>>, BodyError> {
    loop {
        if received.is_empty() {
            return Ok(None);
        }
        match body {
            Incoming::Done => return Ok(None),
            Incoming::UntilClose => return Ok(Some(Frame::data(received.split().freeze()))),
            Incoming::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(received.len());
                *left -= here as u64;
                return Ok(Some(Frame::data(received.split_to(here).freeze())));
            }
            Incoming::Chunked(decoder) => match take_chunk(decoder, received)? {
                Chunk::Piece(piece) => return Ok(Some(piece)),
                Chunk::Ended(trailers) => {
                    *body = Incoming::Done;
                    return Ok(trailers.map(Frame::trailers));
                }
                Chunk::Nothing => {}
            },
        }
    }
}

/// What a step of a chunked body gave.
#[derive(Debug)]
pub(crate) enum Chunk {
    Piece(Frame<Bytes>),
    Ended(Option<http::HeaderMap>),
    Nothing,
}

/// One step of a chunked body over the bytes that have come in.
pub(crate) fn take_chunk(
    decoder: &mut Decoder,
    received: &mut BytesMut,
) -> Result<Chunk, BodyError> {
    let malformed = |it: Malformed| BodyError::Malformed(it.reason());
    match decoder.step(received).map_err(malformed)? {
        Step::Data { skip, length } => {
            bytes::Buf::advance(received, skip);
            Ok(Chunk::Piece(Frame::data(received.split_to(length).freeze())))
        }
        Step::More { consumed } => {
            bytes::Buf::advance(received, consumed);
            Ok(Chunk::Nothing)
        }
        Step::End { consumed } => {
            bytes::Buf::advance(received, consumed);
            let (bytes, parsed) = decoder.trailers();
            let fields = || Fields::all(Bytes::copy_from_slice(bytes), parsed).to_map();
            Ok(Chunk::Ended((!parsed.is_empty()).then(fields)))
        }
    }
}

fn write_head(out: &mut BytesMut, head: &RequestHead, framing: Framing, length: Option<u64>) {
    out.reserve(256 + head.target().len() + head.fields.bytes_about());
    write::request_line(out, head.method.as_str().as_bytes(), head.target());
    write::field(out, b"host", &head.authority);
    head.fields.write(out);
    match (framing, length) {
        (Framing::Chunked, _) => write::field(out, b"transfer-encoding", b"chunked"),
        (Framing::Length, Some(length)) => write::number_field(out, b"content-length", length),
        // A method that usually has a body says that this one has none.
        (Framing::Nothing | Framing::Length, _) => {
            if matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
                write::number_field(out, b"content-length", 0);
            }
        }
    }
    if let Some(protocol) = &head.upgrade {
        write::field(out, b"connection", b"upgrade");
        write::field(out, b"upgrade", protocol);
    } else if head.fields.get(Known::Te).is_some() {
        // RFC 9110 10.1.4: who sends TE lists it.
        write::field(out, b"connection", b"te");
    }
    out.put_slice(write::END);
}
