//! What comes in.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Connection, FAREWELL, Leaving, Partial, STREAM_MAX, Standing};
use crate::{
    h2::{
        block::Block,
        budget::Flood,
        frame::{self, FrameHeader, HEADER_BYTES, PAYLOAD_BYTES, Reason, flag, kind},
        settings::{Fatal, Side, WINDOW_MAX},
        stream::{Receiving, Reset, Stream},
    },
    head::INTERIM_ANSWERS_MAX,
};

/// Data up to this size is copied, so that the buffer that it came in can be used again.
const COPY_BYTES_MAX: usize = 4 << 10;

const PROTOCOL: Fatal = Fatal::of(Reason::PROTOCOL_ERROR);
const SIZE: Fatal = Fatal::of(Reason::FRAME_SIZE_ERROR);

impl From<Flood> for Fatal {
    fn from(flood: Flood) -> Self {
        Self::calm(flood.as_str())
    }
}

impl Connection {
    /// Takes all whole frames at the beginning of `input`; `now` is the time since some fixed moment.
    ///
    /// # Errors
    /// The connection is to end.
    pub(crate) fn receive(&mut self, input: &mut BytesMut, now: Duration) -> Result<(), Fatal> {
        while let Some(header) = FrameHeader::read(input) {
            if header.length > PAYLOAD_BYTES {
                return Err(SIZE);
            }
            let end = HEADER_BYTES + header.length;
            if input.len() < end {
                break;
            }
            if let Side::Server { .. } = self.side {
                self.budget.frame(header.kind, header.flags, header.length, now)?;
            }
            self.expect(&header)?;
            if header.kind == kind::DATA {
                let payload = take(input, end);
                self.data(&header, &payload)?;
            } else {
                self.frame(&header, &input[HEADER_BYTES..end])?;
                input.advance(end);
            }
        }
        Ok(())
    }

    /// Settings come first (RFC 9113 3.4), and a block of fields is one piece (4.3).
    fn expect(&self, header: &FrameHeader) -> Result<(), Fatal> {
        let is_continued = self.partial.is_some();
        let is_order = is_continued == (header.kind == kind::CONTINUATION)
            && (self.peer.has_spoken || header.kind == kind::SETTINGS);
        if is_order { Ok(()) } else { Err(PROTOCOL) }
    }

    fn frame(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        match header.kind {
            kind::HEADERS => self.headers(header, payload),
            kind::CONTINUATION => self.continuation(header, payload),
            kind::PRIORITY => self.priority(header, payload),
            kind::RST_STREAM => self.reset_by_peer(header, payload),
            kind::SETTINGS => self.settings(header, payload),
            kind::PING => self.pinged(header, payload),
            kind::GOAWAY => self.left(header, payload),
            kind::WINDOW_UPDATE => self.widened(header, payload),
            // We have said that we want none.
            kind::PUSH_PROMISE => Err(PROTOCOL),
            _ => Ok(()),
        }
    }

    /// Whether a stream that nobody holds was open once. What still comes on it was on its way; what
    /// comes on another one is an error.
    const fn was_open(&self, id: u32) -> bool {
        let is_number = id % 2 == 1;
        match (self.side, self.leaving) {
            // Those behind our last word were not looked at.
            (Side::Server { .. }, Leaving::Last(_)) => is_number,
            (Side::Server { .. }, _) => is_number && id <= self.last_theirs,
            (Side::Client, _) => is_number && id <= self.last_ours,
        }
    }

    /// The stream, unless it is over already.
    ///
    /// # Errors
    /// There never was one.
    fn held(&mut self, id: u32) -> Result<Option<&mut Stream>, Fatal> {
        let was_open = self.was_open(id);
        match self.streams.get_mut(&id) {
            None if !was_open => Err(PROTOCOL),
            stream => Ok(stream.filter(|it| it.reset.is_none())),
        }
    }

    /// Resets a stream for what the other end did.
    fn error(&mut self, id: u32, reason: Reason) -> Result<(), Fatal> {
        frame::put_reset(&mut self.out, id, reason);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.end_with(Reset::Ours(reason));
        }
        match self.side {
            Side::Server { .. } => Ok(self.budget.erred()?),
            Side::Client => Ok(()),
        }
    }

    /// Something came for a stream that is over.
    fn stray(&mut self) -> Result<(), Fatal> {
        match self.side {
            Side::Server { .. } => Ok(self.budget.stray()?),
            Side::Client => Ok(()),
        }
    }

    fn data(&mut self, header: &FrameHeader, payload: &Bytes) -> Result<(), Fatal> {
        let total = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.window -= i64::from(total);
        if self.window < 0 {
            return Err(Fatal::of(Reason::FLOW_CONTROL_ERROR));
        }
        let within = frame::unpadded(header, payload).ok_or(PROTOCOL)?;
        let data = payload.slice(within);
        self.heard += 1;
        let Some(stream) = self.held(header.stream)? else {
            self.release(total);
            return self.stray();
        };
        let padding = total - u32::try_from(data.len()).unwrap_or(total);
        if let Err(reason) = stream.receive(data, total) {
            self.release(total);
            return self.error(header.stream, reason);
        }
        stream.owed += padding;
        stream.wake();
        match self.side {
            Side::Server { .. } => self.release(padding),
            // The answers of many share the connection: one that is not taken keeps no other from
            // coming. Each stream's own window bounds what is held.
            Side::Client => self.release(total),
        }
        if header.has(flag::END_STREAM) { self.ended(header.stream) } else { Ok(()) }
    }

    /// The other end has said all on a stream.
    fn ended(&mut self, id: u32) -> Result<(), Fatal> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.receiving = Receiving::Ended;
        if stream.length_left.is_some_and(|it| it > 0) {
            // Taken for whole, it would be another message than the one that was sent.
            return self.error(id, Reason::PROTOCOL_ERROR);
        }
        stream.wake();
        Ok(())
    }

    fn headers(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        let mut within = frame::unpadded(header, payload).ok_or(PROTOCOL)?;
        if header.has(flag::PRIORITY) {
            within.start += 5;
        }
        let block = payload.get(within).ok_or(SIZE)?;
        if header.stream.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        let (stream, is_last) = (header.stream, header.has(flag::END_STREAM));
        if header.has(flag::END_HEADERS) {
            return self.block(stream, is_last, block);
        }
        self.partial = Some(Partial { stream, is_last, bytes: block.to_vec() });
        Ok(())
    }

    fn continuation(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        let Some(partial) = &mut self.partial else { return Err(PROTOCOL) };
        if partial.stream != header.stream {
            return Err(PROTOCOL);
        }
        // As it comes it is shorter than what it says: past this nobody wants to know the rest.
        if partial.bytes.len() + payload.len() > self.head.bytes_max + PAYLOAD_BYTES {
            return Err(Fatal::calm("head_too_large"));
        }
        partial.bytes.extend_from_slice(payload);
        match self.partial.take_if(|_| header.has(flag::END_HEADERS)) {
            Some(whole) => self.block(whole.stream, whole.is_last, &whole.bytes),
            None => Ok(()),
        }
    }

    /// A whole block of fields. It is read in any case: the tables of both ends must agree.
    fn block(&mut self, id: u32, is_last: bool, bytes: &[u8]) -> Result<(), Fatal> {
        let block = Block::read(&mut self.decoder, bytes, self.head);
        let block = block.map_err(|_| Fatal::of(Reason::COMPRESSION_ERROR))?;
        self.heard += 1;
        if self.streams.contains_key(&id) {
            return self.later_block(id, is_last, block);
        }
        match self.side {
            Side::Server { streams_max } if id > self.last_theirs => {
                self.open(id, is_last, block, streams_max)
            }
            _ if self.was_open(id) => self.stray(),
            _ => Err(PROTOCOL),
        }
    }

    /// A request.
    fn open(
        &mut self,
        id: u32,
        is_last: bool,
        block: Block,
        streams_max: u32,
    ) -> Result<(), Fatal> {
        if matches!(self.leaving, Leaving::Last(_)) {
            return self.stray();
        }
        self.last_theirs = id;
        self.budget.opened();
        if self.streams.len() >= streams_max as usize {
            return self.error(id, Reason::REFUSED_STREAM);
        }
        let Ok(request) = block.into_request() else {
            return self.error(id, Reason::PROTOCOL_ERROR);
        };
        if is_last && request.length.is_some_and(|it| it > 0) {
            return self.error(id, Reason::PROTOCOL_ERROR);
        }
        let stream = Stream {
            receiving: if is_last { Receiving::Ended } else { Receiving::Body },
            length_left: request.length,
            ..Stream::new(self.peer.window, 0)
        };
        self.streams.insert(id, stream);
        self.opened.push_back((id, request));
        Ok(())
    }

    /// The head of an answer, or trailers.
    fn later_block(&mut self, id: u32, is_last: bool, block: Block) -> Result<(), Fatal> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        if stream.reset.is_some() {
            return Ok(());
        }
        if stream.has_ended() {
            return self.error(id, Reason::STREAM_CLOSED);
        }
        if stream.receiving == Receiving::Body {
            let trailers = block.into_trailers().ok().filter(|_| is_last);
            stream.trailers = trailers;
            let is_right = stream.trailers.is_some();
            return if is_right { self.ended(id) } else { self.error(id, Reason::PROTOCOL_ERROR) };
        }
        let Ok(response) = block.into_response() else {
            return self.error(id, Reason::PROTOCOL_ERROR);
        };
        if response.status.is_informational() {
            // Words on the way end no stream (RFC 9113 8.1), and there is no protocol to switch to
            // (8.6).
            stream.interim_answers += 1;
            let is_wrong = is_last
                || response.status == http::StatusCode::SWITCHING_PROTOCOLS
                || stream.interim_answers > INTERIM_ANSWERS_MAX;
            return if is_wrong { self.error(id, Reason::PROTOCOL_ERROR) } else { Ok(()) };
        }
        let promises_none = stream.is_head_request || matches!(response.status.as_u16(), 204 | 304);
        stream.length_left = response.length.filter(|_| !promises_none);
        stream.receiving = Receiving::Body;
        stream.response = Some(response);
        stream.wake();
        if is_last { self.ended(id) } else { Ok(()) }
    }

    fn priority(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        match (header.stream, payload.len()) {
            (0, _) => Err(PROTOCOL),
            (_, 5) => Ok(()),
            (id, _) if self.streams.contains_key(&id) => self.error(id, Reason::FRAME_SIZE_ERROR),
            _ => Err(SIZE),
        }
    }

    fn reset_by_peer(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        let reason = payload.try_into().map(u32::from_be_bytes).map_err(|_| SIZE)?;
        if let Some(stream) = self.held(header.stream)? {
            stream.end_with(Reset::Theirs(Reason(reason)));
        }
        Ok(())
    }

    fn settings(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream != 0 || (header.has(flag::ACK) && !self.peer.has_spoken) {
            return Err(PROTOCOL);
        }
        if header.has(flag::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(SIZE) };
        }
        let wider = self.peer.take(payload, self.side)?;
        for stream in self.streams.values_mut() {
            stream.send_window += wider;
            if stream.send_window > WINDOW_MAX {
                return Err(Fatal::of(Reason::FLOW_CONTROL_ERROR));
            }
            if wider > 0 {
                stream.wake();
            }
        }
        frame::put_settings_ack(&mut self.out);
        Ok(())
    }

    fn pinged(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        let opaque = <[u8; 8]>::try_from(payload).map_err(|_| SIZE)?;
        if header.stream != 0 {
            return Err(PROTOCOL);
        }
        if !header.has(flag::ACK) {
            frame::put_ping(&mut self.out, flag::ACK, opaque);
            return Ok(());
        }
        self.is_pinged = false;
        if opaque == FAREWELL && self.leaving == Leaving::Told {
            self.leaving = Leaving::Last(self.last_theirs);
            frame::put_go_away(&mut self.out, self.last_theirs, Reason::NO_ERROR);
        }
        Ok(())
    }

    fn left(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        if header.stream != 0 {
            return Err(PROTOCOL);
        }
        let last = frame::number(payload).filter(|_| payload.len() >= 8).ok_or(SIZE)?;
        self.theirs = self.theirs.max(Standing::Left);
        if self.side == Side::Client && last < STREAM_MAX {
            for (_, stream) in self.streams.range_mut(last + 1..) {
                stream.end_with(Reset::Unprocessed);
            }
        }
        Ok(())
    }

    fn widened(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), Fatal> {
        let more = frame::number(payload).filter(|_| payload.len() == 4).ok_or(SIZE)?;
        if header.stream == 0 {
            self.send_window += i64::from(more);
            return match self.send_window {
                _ if more == 0 => Err(PROTOCOL),
                window if window > WINDOW_MAX => Err(Fatal::of(Reason::FLOW_CONTROL_ERROR)),
                _ => {
                    self.unblock();
                    Ok(())
                }
            };
        }
        let Some(stream) = self.held(header.stream)? else { return Ok(()) };
        stream.send_window += i64::from(more);
        if more == 0 {
            return self.error(header.stream, Reason::PROTOCOL_ERROR);
        }
        if stream.send_window > WINDOW_MAX {
            return self.error(header.stream, Reason::FLOW_CONTROL_ERROR);
        }
        stream.wake();
        Ok(())
    }
}

/// The payload of the frame that ends at `end`.
fn take(input: &mut BytesMut, end: usize) -> Bytes {
    if end - HEADER_BYTES <= COPY_BYTES_MAX {
        let payload = Bytes::copy_from_slice(&input[HEADER_BYTES..end]);
        input.advance(end);
        return payload;
    }
    let mut frame = input.split_to(end).freeze();
    frame.advance(HEADER_BYTES);
    frame
}
