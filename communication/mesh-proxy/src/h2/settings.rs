//! What the two ends tell each other at the beginning, and how a connection fails.

use bytes::BytesMut;

use super::{
    block::Bounds,
    frame::{self, Reason},
};

/// Bytes that the other end may send on one stream before they are taken.
pub(super) const STREAM_WINDOW: u32 = 256 << 10;
/// The same for all streams of a connection together.
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;
/// A window of an end that has said nothing yet (RFC 9113 6.9.2).
pub(super) const FIRST_WINDOW: u32 = 65_535;
/// No window is larger (RFC 9113 6.9.1).
pub(super) const WINDOW_MAX: i64 = 0x7fff_ffff;
/// Streams that we open before the other end has said how many it takes.
const FIRST_STREAMS: u32 = 100;

const TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const STREAMS_MAX: u16 = 3;
const INITIAL_WINDOW: u16 = 4;
const FRAME_SIZE: u16 = 5;
const HEAD_SIZE: u16 = 6;

/// Which end we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// We answer. So many streams may be open at a time.
    Server { streams_max: u32 },
    /// We ask.
    Client,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HTTP/2: {word} (code {})", reason.0)]
pub(crate) struct Fatal {
    /// What the other end is told.
    pub(crate) reason: Reason,
    /// The word in metrics.
    pub(crate) word: &'static str,
}

impl Fatal {
    /// The other end broke the protocol.
    pub(crate) const fn of(reason: Reason) -> Self {
        Self { reason, word: "http2_error" }
    }

    /// It has not said its settings in time, which come first.
    pub(crate) const fn late() -> Self {
        Self { reason: Reason::SETTINGS_TIMEOUT, word: "head_timeout" }
    }

    /// It does too much of something.
    pub(crate) const fn calm(word: &'static str) -> Self {
        Self { reason: Reason::ENHANCE_YOUR_CALM, word }
    }
}

/// Writes what we say first, behind the preface of a client.
pub(super) fn put_ours(out: &mut BytesMut, side: Side, head: Bounds) {
    let head_max = u32::try_from(head.bytes_max).unwrap_or(u32::MAX);
    let common = [(INITIAL_WINDOW, STREAM_WINDOW), (HEAD_SIZE, head_max)];
    match side {
        Side::Server { streams_max } => {
            frame::put_settings(out, &[(STREAMS_MAX, streams_max), common[0], common[1]]);
        }
        Side::Client => {
            out.extend_from_slice(frame::PREFACE);
            frame::put_settings(out, &[(ENABLE_PUSH, 0), common[0], common[1]]);
        }
    }
    frame::put_window_update(out, 0, CONNECTION_WINDOW - FIRST_WINDOW);
}

/// What the other end has said.
#[derive(Debug)]
pub(super) struct Peer {
    /// Streams that it takes at a time.
    pub(super) streams_max: u32,
    /// Window of each new stream.
    pub(super) window: u32,
    /// It has a smaller table than ours would be.
    pub(super) wants_small_table: bool,
    /// It has said something.
    pub(super) has_spoken: bool,
}

impl Peer {
    pub(super) const fn new() -> Self {
        Self {
            streams_max: FIRST_STREAMS,
            window: FIRST_WINDOW,
            wants_small_table: false,
            has_spoken: false,
        }
    }

    /// Takes what it says; answers by how much the window of each stream changes.
    pub(super) fn take(&mut self, payload: &[u8], side: Side) -> Result<i64, Fatal> {
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Fatal::of(Reason::FRAME_SIZE_ERROR));
        }
        if !self.has_spoken {
            // Who does not bound it takes any number.
            self.streams_max = u32::MAX;
            self.has_spoken = true;
        }
        let before = i64::from(self.window);
        for [name_high, name_low, value @ ..] in settings {
            let name = u16::from_be_bytes([*name_high, *name_low]);
            let value = u32::from_be_bytes(*value);
            match name {
                TABLE_SIZE => self.wants_small_table |= value < 4_096,
                ENABLE_PUSH if value > 1 || (value == 1 && side == Side::Client) => {
                    return Err(Fatal::of(Reason::PROTOCOL_ERROR));
                }
                STREAMS_MAX => self.streams_max = value,
                INITIAL_WINDOW if i64::from(value) > WINDOW_MAX => {
                    return Err(Fatal::of(Reason::FLOW_CONTROL_ERROR));
                }
                INITIAL_WINDOW => self.window = value,
                FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                    return Err(Fatal::of(Reason::PROTOCOL_ERROR));
                }
                // We send frames of the least size, and heads that others sent us; what is unknown is
                // passed over (RFC 9113 6.5.2).
                _ => {}
            }
        }
        Ok(i64::from(self.window) - before)
    }
}
