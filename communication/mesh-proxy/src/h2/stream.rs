//! One stream: what came in and was not taken, what may go out, how it ended.

use std::{collections::VecDeque, task::Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::{block::Response, frame::Reason, settings::STREAM_WINDOW};

/// Data below this is gathered.
const SMALL_BYTES: usize = 512;

/// How a stream ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The other end said so.
    Theirs(Reason),
    /// We did, for what it sent.
    Ours(Reason),
    /// Its connection is gone; the other end may have seen it.
    Lost,
    /// Its connection is gone, and the other end has certainly not looked at it.
    Unprocessed,
}

/// How much the other end has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Nothing.
    Head,
    /// Its head.
    Body,
    /// All.
    Ended,
}

/// A stream, while somebody holds it.
#[derive(Debug)]
pub(super) struct Stream {
    /// Who waits for anything that happens to it.
    pub(super) waker: Option<Waker>,
    pub(super) reset: Option<Reset>,

    /// The head of an answer that was not taken yet.
    pub(super) response: Option<Response>,
    pub(super) receiving: Receiving,
    /// Answers that came before the answer.
    pub(super) interim_answers: u8,
    /// Data that was not taken yet.
    pub(super) pieces: VecDeque<Bytes>,
    /// Small data behind them, gathered: by itself each would cost more than it holds.
    pub(super) small: BytesMut,
    pub(super) trailers: Option<HeaderMap>,
    /// Bytes that are to come by the length that was said.
    pub(super) length_left: Option<u64>,
    /// It is a HEAD request: its answer's length promises nothing.
    pub(super) is_head_request: bool,
    /// Bytes that the other end may send.
    pub(super) window: i64,
    /// Bytes that were taken and that the other end may send again once it is told.
    pub(super) owed: u32,

    /// Bytes that we may send.
    pub(super) send_window: i64,
    /// The head of the answer has gone out.
    pub(super) is_answered: bool,
    /// We have said all.
    pub(super) is_done: bool,
    /// Where its head stands among all that goes out.
    pub(super) begins_at: u64,
}

impl Stream {
    pub(super) fn new(send_window: u32, begins_at: u64) -> Self {
        Self {
            waker: None,
            reset: None,
            response: None,
            receiving: Receiving::Head,
            interim_answers: 0,
            pieces: VecDeque::new(),
            small: BytesMut::new(),
            trailers: None,
            length_left: None,
            is_head_request: false,
            window: i64::from(STREAM_WINDOW),
            owed: 0,
            send_window: i64::from(send_window),
            is_answered: false,
            is_done: false,
            begins_at,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.receiving == Receiving::Ended
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn end_with(&mut self, reset: Reset) {
        self.reset.get_or_insert(reset);
        self.wake();
    }

    pub(super) fn wait(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Takes data that came in a frame of `total` bytes with its padding.
    ///
    /// # Errors
    /// What the other end did wrong.
    pub(super) fn receive(&mut self, data: Bytes, total: u32) -> Result<(), Reason> {
        match self.receiving {
            Receiving::Head => return Err(Reason::PROTOCOL_ERROR),
            Receiving::Body => {}
            Receiving::Ended => return Err(Reason::STREAM_CLOSED),
        }
        if self.window < i64::from(total) {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        let length = data.len() as u64;
        if self.length_left.is_some_and(|it| it < length) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.window -= i64::from(total);
        self.length_left = self.length_left.map(|it| it - length);
        if data.len() < SMALL_BYTES {
            self.small.extend_from_slice(&data);
        } else {
            self.gather();
            self.pieces.push_back(data);
        }
        Ok(())
    }

    fn gather(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.small).freeze());
        }
    }

    /// The next data that was not taken.
    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.gather();
        }
        self.pieces.pop_front()
    }

    /// Whether all of it was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.small.is_empty()
    }

    /// Bytes of data that were not taken.
    pub(super) fn untaken(&self) -> u32 {
        let bytes = self.small.len() + self.pieces.iter().map(Bytes::len).sum::<usize>();
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}
