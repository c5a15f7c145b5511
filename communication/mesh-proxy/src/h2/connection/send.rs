//! What goes out, and what holders of streams take.

use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

use super::{Connection, OUT_BYTES_MAX, Standing};
use crate::{
    h1::Known,
    h2::{
        block::Response,
        frame::{self, HEADER_BYTES, PAYLOAD_BYTES, Reason, flag, kind},
        hpack,
        settings::{STREAM_WINDOW, Side},
        stream::{Reset, Stream},
    },
};

/// So much of a request whose answer is whole may come and be thrown away.
const SHORT_REST_BYTES: u64 = 16 << 10;

/// Whether something follows on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It does.
    More,
    /// This is the last.
    End,
}

impl Connection {
    /// Opens a stream with the fields that `write` appends; there must be room for it.
    pub(crate) fn request(
        &mut self,
        is_head_request: bool,
        then: Then,
        write: impl FnOnce(&mut BytesMut),
    ) -> u32 {
        let id = if self.last_ours == 0 { 1 } else { self.last_ours + 2 };
        self.last_ours = id;
        let begins_at = self.written + self.out.len() as u64;
        let stream = Stream { is_head_request, ..Stream::new(self.peer.window, begins_at) };
        self.streams.insert(id, stream);
        self.put_block(id, then, write);
        id
    }

    /// Sends the head of an answer, or trailers; nothing where the stream is over.
    pub(crate) fn respond(&mut self, id: u32, then: Then, write: impl FnOnce(&mut BytesMut)) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.reset.is_none() && !stream.is_done {
            stream.is_answered = true;
            self.put_block(id, then, write);
        }
    }

    /// Tells a client that waits for a word that it may send its body.
    pub(crate) fn go_on(&mut self, id: u32) {
        let Some(stream) = self.streams.get(&id) else { return };
        if stream.reset.is_none() && !stream.is_answered {
            self.put_block(id, Then::More, |out| hpack::put_status(out, 100));
        }
    }

    /// Sends the end of a stream.
    pub(crate) fn trailers(&mut self, id: u32, trailers: &HeaderMap) {
        self.respond(id, Then::End, |out| {
            for (name, value) in trailers {
                let name = name.as_str().as_bytes();
                hpack::put_field(out, Known::Other, name, value.as_bytes());
            }
        });
    }

    fn put_block(&mut self, id: u32, then: Then, write: impl FnOnce(&mut BytesMut)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEADER_BYTES]);
        if self.peer.wants_small_table && !self.table_is_cleared {
            self.table_is_cleared = true;
            hpack::put_table_cleared(&mut self.out);
        }
        write(&mut self.out);
        let length = self.out.len() - start - HEADER_BYTES;
        let first = length.min(PAYLOAD_BYTES);
        let rest = self.out.split_off(start + HEADER_BYTES + first);
        let end = if then == Then::End { flag::END_STREAM } else { 0 };
        let whole = if rest.is_empty() { flag::END_HEADERS } else { 0 };
        let header = frame::header_bytes(first, kind::HEADERS, end | whole, id);
        self.out[start..start + HEADER_BYTES].copy_from_slice(&header);
        let mut pieces = rest.chunks(PAYLOAD_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            frame::put_header(&mut self.out, piece.len(), kind::CONTINUATION, flags, id);
            self.out.extend_from_slice(piece);
        }
        if then == Then::End
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.is_done = true;
        }
        self.wake_driver();
    }

    /// Sends data as far as windows and room allow; what has gone is gone from `data`. Ready when all
    /// has.
    pub(crate) fn poll_data(
        &mut self,
        id: u32,
        data: &mut Bytes,
        then: Then,
        context: &Context<'_>,
    ) -> Poll<Result<(), Reset>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(Reset::Lost)) };
        if let Some(reset) = stream.reset {
            return Poll::Ready(Err(reset));
        }
        let mut is_written = false;
        while !stream.is_done && (!data.is_empty() || then == Then::End) {
            let has_room = self.out.len() < OUT_BYTES_MAX;
            let window = stream.send_window.min(self.send_window).max(0);
            let window = usize::try_from(window).unwrap_or(usize::MAX);
            let size = data.len().min(PAYLOAD_BYTES).min(window);
            if !has_room || (size == 0 && !data.is_empty()) {
                stream.wait(context.waker());
                let waits_for_all = !has_room || stream.send_window > 0;
                if waits_for_all && !self.blocked.contains(&id) {
                    self.blocked.push(id);
                }
                if is_written {
                    self.wake_driver();
                }
                return Poll::Pending;
            }
            let is_last = then == Then::End && size == data.len();
            let flags = if is_last { flag::END_STREAM } else { 0 };
            frame::put_header(&mut self.out, size, kind::DATA, flags, id);
            self.out.extend_from_slice(&data[..size]);
            data.advance(size);
            let sent = i64::try_from(size).unwrap_or(i64::MAX);
            stream.send_window -= sent;
            self.send_window -= sent;
            stream.is_done = is_last;
            is_written = true;
        }
        if is_written {
            self.wake_driver();
        }
        Poll::Ready(Ok(()))
    }

    /// The head of an answer.
    pub(crate) fn poll_response(
        &mut self,
        id: u32,
        context: &Context<'_>,
    ) -> Poll<Result<Response, Reset>> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Err(Reset::Lost)) };
        if let Some(response) = stream.response.take() {
            return Poll::Ready(Ok(response));
        }
        if let Some(reset) = stream.reset {
            return Poll::Ready(Err(reset));
        }
        stream.wait(context.waker());
        Poll::Pending
    }

    /// The next piece of what the other end sends.
    pub(crate) fn poll_piece(
        &mut self,
        id: u32,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Reset>>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(Some(Err(Reset::Lost)));
        };
        if let Some(Reset::Ours(reason)) = stream.reset {
            // What it sent was wrong: none of it is taken for right.
            return Poll::Ready(Some(Err(Reset::Ours(reason))));
        }
        if let Some(piece) = stream.next_piece() {
            let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            stream.owed += bytes;
            if stream.owed >= STREAM_WINDOW / 2 && !stream.has_ended() {
                frame::put_window_update(&mut self.out, id, stream.owed);
                stream.window += i64::from(stream.owed);
                stream.owed = 0;
            }
            self.taken(bytes);
            if !self.out.is_empty() {
                self.wake_driver();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(trailers) = stream.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if stream.has_ended() {
            return Poll::Ready(None);
        }
        if let Some(reset) = stream.reset {
            return Poll::Ready(Some(Err(reset)));
        }
        stream.wait(context.waker());
        Poll::Pending
    }

    /// Whether all that the other end sends was taken, and it was right.
    pub(crate) fn is_taken(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|it| {
            let is_right = !matches!(it.reset, Some(Reset::Ours(_)));
            it.has_ended() && it.is_empty() && it.trailers.is_none() && is_right
        })
    }

    /// The length of what is still to be taken, where it is known.
    pub(crate) fn length_left(&self, id: u32) -> Option<u64> {
        let stream = self.streams.get(&id)?;
        let untaken = u64::from(stream.untaken());
        let to_come = match stream.length_left {
            // Trailers follow where the length was not said first.
            None if stream.has_ended() && stream.trailers.is_none() => Some(0),
            length_left => length_left,
        };
        to_come.map(|it| it + untaken)
    }

    /// Ready when the stream was reset.
    pub(crate) fn poll_reset(&mut self, id: u32, context: &Context<'_>) -> Poll<Reset> {
        let Some(stream) = self.streams.get_mut(&id) else { return Poll::Ready(Reset::Lost) };
        if let Some(reset) = stream.reset {
            return Poll::Ready(reset);
        }
        stream.wait(context.waker());
        Poll::Pending
    }

    /// Ends a stream that is not over.
    pub(crate) fn reset(&mut self, id: u32, reason: Reason) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let is_over = stream.has_ended() && stream.is_done;
        if !is_over && stream.reset.is_none() && self.theirs != Standing::Ended {
            stream.reset = Some(Reset::Ours(reason));
            frame::put_reset(&mut self.out, id, reason);
            self.wake_driver();
        }
    }

    /// Nobody holds the stream any more. One that is not over is reset.
    pub(crate) fn drop_stream(&mut self, id: u32) {
        let is_done = self.streams.get(&id).is_some_and(|it| it.is_done);
        // An answer that is whole needs no more of its request (RFC 9113 8.1). A short rest is on its way
        // already, and there are clients that take a reset behind the answer for the answer (curl 7.88).
        let is_answered = is_done && self.side != Side::Client;
        let is_short = |it: &Stream| it.length_left.is_some_and(|left| left <= SHORT_REST_BYTES);
        match is_answered {
            true if self.streams.get(&id).is_some_and(is_short) => {}
            true => self.reset(id, Reason::NO_ERROR),
            false => self.reset(id, Reason::CANCEL),
        }
        let Some(stream) = self.streams.remove(&id) else { return };
        self.taken(stream.untaken());
        if !self.out.is_empty() || self.is_over() {
            self.wake_driver();
        }
    }
}
