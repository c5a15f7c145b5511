//! One connection as a machine: bytes in, bytes out.

mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    task::Waker,
};

use bytes::{Buf as _, BytesMut};
pub(crate) use send::Then;

use super::{
    block::{Bounds, Request},
    budget::FrameBudget,
    frame::{self, Reason},
    hpack::Decoder,
    settings::{self, CONNECTION_WINDOW, FIRST_WINDOW, Peer, Side},
    stream::{Reset, Stream},
};

/// Bytes that wait to go out; data waits until there are fewer.
pub(super) const OUT_BYTES_MAX: usize = 64 << 10;
/// Past so many, in answers to what the other end says, it is not heard any more.
const DEAF_BYTES: usize = 4 * OUT_BYTES_MAX;
/// The largest number of a stream.
const STREAM_MAX: u32 = 0x7fff_ffff;
/// What the PING between the two steps of a farewell says.
const FAREWELL: [u8; 8] = *b"farewell";

/// How far we have come in saying good-bye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// Not at all.
    Staying,
    /// The other end knows; what it has sent meanwhile is still taken.
    Told,
    /// Streams up to this one are served, later ones are not looked at.
    Last(u32),
}

/// What the other end is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Open,
    /// It has said good-bye.
    Left,
    /// The connection is gone.
    Ended,
}

/// A block of fields that is not all there.
#[derive(Debug)]
struct Partial {
    stream: u32,
    is_last: bool,
    bytes: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    side: Side,
    head: Bounds,
    peer: Peer,
    decoder: Decoder,
    streams: BTreeMap<u32, Stream>,
    /// Requests that came in and nobody has taken up.
    opened: VecDeque<(u32, Request)>,
    partial: Option<Partial>,
    /// Bytes that wait to go out.
    out: BytesMut,
    /// Bytes that have gone out.
    written: u64,
    /// Bytes that we may send on all streams together, and the other end.
    send_window: i64,
    window: i64,
    owed: u32,
    /// The latest stream that the other end, and that we have opened.
    last_theirs: u32,
    last_ours: u32,
    leaving: Leaving,
    theirs: Standing,
    table_is_cleared: bool,
    budget: FrameBudget,
    /// Streams that wait for room or for the window of the connection.
    blocked: Vec<u32>,
    /// Who moves the bytes.
    driver: Option<Waker>,
    /// Heads and data that came in.
    heard: u64,
    /// A PING of ours that was not answered.
    is_pinged: bool,
}

impl Connection {
    /// A connection whose first words wait to go out. A server expects what stands behind the preface.
    pub(crate) fn new(side: Side, head: Bounds) -> Self {
        let mut out = BytesMut::new();
        settings::put_ours(&mut out, side, head);
        Self {
            side,
            head,
            peer: Peer::new(),
            decoder: Decoder::default(),
            streams: BTreeMap::new(),
            opened: VecDeque::new(),
            partial: None,
            out,
            written: 0,
            send_window: i64::from(FIRST_WINDOW),
            window: i64::from(CONNECTION_WINDOW),
            owed: 0,
            last_theirs: 0,
            last_ours: 0,
            leaving: Leaving::Staying,
            theirs: Standing::Open,
            table_is_cleared: false,
            budget: FrameBudget::default(),
            blocked: Vec::new(),
            driver: None,
            heard: 0,
            is_pinged: false,
        }
    }

    /// The next request that came in.
    pub(crate) fn next_opened(&mut self) -> Option<(u32, Request)> {
        self.opened.pop_front()
    }

    /// Streams that somebody holds.
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether the other end has said its settings.
    pub(crate) const fn has_settings(&self) -> bool {
        self.peer.has_spoken
    }

    /// Whether a stream can be opened now.
    pub(crate) fn has_room(&self) -> bool {
        self.is_open() && self.streams.len() < self.peer.streams_max as usize
    }

    /// Whether streams can be opened now or later.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.theirs, Standing::Open) && self.last_ours < STREAM_MAX - 2
    }

    /// Opens no further stream: it ends with those that are open.
    pub(crate) fn retire(&mut self) {
        self.theirs = self.theirs.max(Standing::Left);
        self.wake_driver();
    }

    /// Begins to say good-bye: new streams of the other end are still taken until it knows.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Leaving::Staying {
            self.leaving = Leaving::Told;
            frame::put_go_away(&mut self.out, STREAM_MAX, Reason::NO_ERROR);
            frame::put_ping(&mut self.out, 0, FAREWELL);
        }
    }

    /// Whether good-byes are said and nothing is open any more.
    pub(crate) fn is_over(&self) -> bool {
        let is_left = self.theirs == Standing::Left;
        (matches!(self.leaving, Leaving::Last(_)) || is_left)
            && self.streams.is_empty()
            && self.out.is_empty()
    }

    /// The connection is gone, or is to go with a last word to the other end.
    pub(crate) fn end(&mut self, word: Option<Reason>) {
        if let Some(reason) = word {
            frame::put_go_away(&mut self.out, self.last_theirs, reason);
        }
        self.theirs = Standing::Ended;
        let written = self.written;
        for stream in self.streams.values_mut() {
            // Of what has not begun to go out, the other end can know nothing.
            let is_unseen = stream.begins_at >= written && self.side == Side::Client;
            stream.end_with(if is_unseen { Reset::Unprocessed } else { Reset::Lost });
        }
    }

    /// What waits to go out.
    pub(crate) fn out(&self) -> &[u8] {
        &self.out
    }

    /// So many bytes of it went out.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        let was_full = self.out.len() >= OUT_BYTES_MAX;
        self.out.advance(bytes);
        self.written += bytes as u64;
        self.budget.sent(bytes);
        if self.out.is_empty() && self.streams.is_empty() {
            // A connection that is quiet holds no buffer.
            self.out = BytesMut::new();
        }
        if was_full && self.out.len() < OUT_BYTES_MAX {
            self.unblock();
        }
    }

    /// Whether the other end is to be heard now: not while it does not read what we say.
    pub(crate) fn listens(&self) -> bool {
        self.out.len() < DEAF_BYTES
    }

    /// Heads and data that came in so far.
    pub(crate) const fn heard(&self) -> u64 {
        self.heard
    }

    /// Asks whether the other end lives.
    pub(crate) fn ping(&mut self) {
        self.is_pinged = true;
        frame::put_ping(&mut self.out, 0, *b"alive?  ");
    }

    /// Whether it has not answered that.
    pub(crate) const fn is_pinged(&self) -> bool {
        self.is_pinged
    }

    /// Who is to be woken when there is something to write; nobody while they look anyway.
    pub(crate) fn drive(&mut self, waker: Option<&Waker>) {
        self.driver = waker.cloned();
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn unblock(&mut self) {
        for id in std::mem::take(&mut self.blocked) {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.wake();
            }
        }
    }

    /// Bytes were taken by whoever holds the stream.
    fn taken(&mut self, bytes: u32) {
        if self.side != Side::Client {
            self.release(bytes);
        }
    }

    /// The other end may send as many bytes again.
    fn release(&mut self, bytes: u32) {
        self.owed += bytes;
        if self.owed >= CONNECTION_WINDOW / 2 {
            frame::put_window_update(&mut self.out, 0, self.owed);
            self.window += i64::from(self.owed);
            self.owed = 0;
        }
    }
}
