//! The body of a request as it comes in.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Reader, is_body};
use crate::{
    body::BodyError,
    downstream::Limits,
    h1::{BodyLength, Decoder, RequestLine},
    idle::Idle,
    stream::{READ_MORE_BYTES, poll_fill},
    upstream::h1::{Chunk, take_chunk},
};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Bytes of a body that nobody wanted that are read so that the connection can go on.
const DRAIN_BYTES_MAX: u64 = 64 << 10;

/// A body on its way in. It holds the reader and gives it back.
#[derive(Debug)]
pub(crate) struct Inbound {
    reader: Reader,
    rest: Rest,
    /// The client waits for a word before it sends.
    expects_continue: bool,
    bytes_max: u64,
    idle: Idle,
    is_broken: bool,
}

#[derive(Debug)]
enum Rest {
    Done,
    Length(u64),
    Chunked(Decoder),
}

impl Inbound {
    pub(super) fn new(reader: Reader, line: &RequestLine, limits: &Limits) -> Self {
        let rest = match line.body {
            BodyLength::Known(length) if length > 0 => Rest::Length(length),
            BodyLength::Chunked => Rest::Chunked(Decoder::new()),
            // A request never lasts until the close.
            BodyLength::None | BodyLength::Known(_) | BodyLength::UntilClose => Rest::Done,
        };
        Self {
            reader,
            rest,
            expects_continue: line.expects_continue && is_body(line.body),
            bytes_max: limits.body_bytes_max,
            idle: Idle::of(limits.body_idle_timeout),
            is_broken: false,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Done)
    }

    /// Whether what is left can be read, so that another request may follow.
    pub(super) const fn may_go_on(&self) -> bool {
        match self.rest {
            Rest::Done => true,
            // Who waits for a word that did not come sends either the body or the next request.
            _ if self.expects_continue || self.is_broken => false,
            Rest::Length(left) => left <= DRAIN_BYTES_MAX,
            Rest::Chunked(_) => true,
        }
    }

    /// Reads what is left of a body that nobody wanted; answers whether all of it came. Cancel-safe.
    pub(super) async fn drain(&mut self) -> bool {
        let mut left = DRAIN_BYTES_MAX;
        while !self.is_done() {
            let piece = std::future::poll_fn(|context| Pin::new(&mut *self).poll_frame(context));
            let Some(Ok(frame)) = piece.await else { return self.is_done() };
            let length = frame.data_ref().map_or(0, |it| it.len() as u64);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    }

    pub(super) fn into_reader(self) -> Reader {
        self.reader
    }

    /// What has come in, without waiting.
    fn take(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let received = &mut self.reader.received;
        while !received.is_empty() {
            match &mut self.rest {
                Rest::Done => return Ok(None),
                Rest::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(received.len());
                    *left -= here as u64;
                    let piece = received.split_to(here).freeze();
                    if *left == 0 {
                        self.rest = Rest::Done;
                    }
                    return Ok(Some(Frame::data(piece)));
                }
                Rest::Chunked(decoder) => match take_chunk(decoder, received)? {
                    Chunk::Piece(piece) => return Ok(Some(piece)),
                    Chunk::Ended(trailers) => {
                        self.rest = Rest::Done;
                        return Ok(trailers.map(Frame::trailers));
                    }
                    Chunk::Nothing => {}
                },
            }
        }
        Ok(None)
    }

    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), BodyError> {
        let length = frame.data_ref().map_or(0, |it| it.len() as u64);
        self.bytes_max = self.bytes_max.checked_sub(length).ok_or(BodyError::TooLong)?;
        self.idle.moved();
        Ok(())
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if this.is_broken {
                return Poll::Ready(None);
            }
            match this.take().and_then(|frame| match frame {
                Some(frame) => this.count(&frame).map(|()| Some(frame)),
                None => Ok(None),
            }) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if this.is_done() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => {
                    this.is_broken = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if this.expects_continue {
                this.expects_continue = false;
                this.is_broken = !this.reader.side.write_now(CONTINUE);
            }
            let Reader { side, received, .. } = &mut this.reader;
            let error = match poll_fill(side, context, received, READ_MORE_BYTES) {
                Poll::Ready(Ok(0)) => BodyError::Cut,
                Poll::Ready(Ok(_)) => continue,
                Poll::Ready(Err(error)) => BodyError::Io(error),
                Poll::Pending => {
                    ready!(this.idle.poll_over(context));
                    BodyError::TimedOut
                }
            };
            this.is_broken = true;
            return Poll::Ready(Some(Err(error)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Done => SizeHint::with_exact(0),
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Chunked(_) => SizeHint::default(),
        }
    }
}
