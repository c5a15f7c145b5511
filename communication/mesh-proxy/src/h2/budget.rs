//! What a client may make an HTTP/2 connection do for nothing.
//!
//! It sees the header of each frame (RFC 9113 4.1) and counts those that cost us work and the client
//! next to none. It knows no clock and no socket, and keeps a few numbers however long the connection
//! lasts.

use std::time::Duration;

use super::frame::{flag, kind};

/// Time after which counting begins anew. Over the border between two windows twice the bound fits.
const WINDOW: Duration = Duration::from_secs(10);
/// PING, SETTINGS, PRIORITY and unknown frames of each kind in a window.
const CONTROL_MAX: u32 = 10_000;
/// Streams that the client resets in a window, unless it lets more than twice as many live
/// (CVE-2023-44487): a client that gives up on some of its requests is no attacker.
const RESETS_MAX: u32 = 500;
/// Streams that we reset for the client's errors in a window (CVE-2025-8671).
const ERRORS_MAX: u32 = 200;
/// Fields and data for streams that are over, in a window, and how many more for each stream that was
/// opened: when we reset one, what the client had sent already is on its way.
const STRAYS_MAX: u32 = 2_000;
const STRAYS_PER_STREAM: u32 = 64;
/// DATA frames without data and without the end of a stream, in a window.
const EMPTY_DATA_MAX: u32 = 2_000;
/// A padded frame that is shorter counts as empty, whatever is in it: hardly anybody pads.
const PADDED_BYTES_MAX: usize = 256;
/// CONTINUATION frames of one block of fields (CVE-2024-27316); the largest block that we take fits
/// two of them.
const CONTINUATIONS_MAX: u32 = 64;
/// Bytes that we sent for which a client may widen a window once, beyond what is free.
const BYTES_PER_UPDATE: u64 = 64;

/// What a client did too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// It opened streams and reset them.
    RapidReset,
    /// It made us reset streams (CVE-2025-8671).
    MadeYouReset,
    /// It sent on streams that were over.
    Stray,
    /// A block of fields that does not end.
    Continuation,
    /// DATA frames without data.
    EmptyData,
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// PRIORITY.
    Priority,
    /// WINDOW_UPDATE out of proportion to what it was sent.
    WindowUpdate,
    /// Frames of kinds that nobody knows.
    Unknown,
}

impl Flood {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset_flood",
            Self::MadeYouReset => "made_you_reset_flood",
            Self::Stray => "closed_stream_flood",
            Self::Continuation => "continuation_flood",
            Self::EmptyData => "empty_data_flood",
            Self::Ping => "ping_flood",
            Self::Settings => "settings_flood",
            Self::Priority => "priority_flood",
            Self::WindowUpdate => "window_update_flood",
            Self::Unknown => "unknown_frame_flood",
        }
    }
}

/// The frames of one connection, counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrameBudget {
    window_start: Duration,
    window: Window,
    continuations: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Window {
    streams: u32,
    resets: u32,
    errors: u32,
    strays: u32,
    empty_data: u32,
    pings: u32,
    settings: u32,
    priorities: u32,
    updates: u32,
    unknown: u32,
    bytes_sent: u64,
}

impl FrameBudget {
    /// Bytes were sent to the client; what it may say about its windows grows with them.
    pub const fn sent(&mut self, bytes: usize) {
        self.window.bytes_sent = self.window.bytes_sent.saturating_add(bytes as u64);
    }

    /// The header of a frame came in; `now` is the time since some fixed moment.
    ///
    /// # Errors
    /// A bound was passed: the connection is to end.
    pub fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        length: usize,
        now: Duration,
    ) -> Result<(), Flood> {
        if now.saturating_sub(self.window_start) >= WINDOW {
            self.window_start = now;
            self.window = Window::default();
        }
        self.continuations = if kind == kind::CONTINUATION { self.continuations + 1 } else { 0 };
        let window = &mut self.window;
        let (counter, bound, flood) = match kind {
            kind::DATA => {
                let is_padded = flags & flag::PADDED != 0;
                let is_small = length == 0 || (is_padded && length <= PADDED_BYTES_MAX);
                if !is_small || flags & flag::END_STREAM != 0 {
                    return Ok(());
                }
                (&mut window.empty_data, EMPTY_DATA_MAX, Flood::EmptyData)
            }
            kind::HEADERS => return Ok(()),
            kind::RST_STREAM => {
                let bound = RESETS_MAX.max(window.streams / 2);
                (&mut window.resets, bound, Flood::RapidReset)
            }
            kind::WINDOW_UPDATE => {
                let earned = window.bytes_sent / BYTES_PER_UPDATE;
                let bound = CONTROL_MAX
                    .saturating_add(u32::try_from(earned).unwrap_or(u32::MAX))
                    .saturating_add(window.streams.saturating_mul(4));
                (&mut window.updates, bound, Flood::WindowUpdate)
            }
            kind::CONTINUATION if self.continuations <= CONTINUATIONS_MAX => return Ok(()),
            kind::CONTINUATION => return Err(Flood::Continuation),
            kind::PRIORITY => (&mut window.priorities, CONTROL_MAX, Flood::Priority),
            kind::SETTINGS => (&mut window.settings, CONTROL_MAX, Flood::Settings),
            kind::PING => (&mut window.pings, CONTROL_MAX, Flood::Ping),
            _ => (&mut window.unknown, CONTROL_MAX, Flood::Unknown),
        };
        *counter = counter.saturating_add(1);
        if *counter > bound { Err(flood) } else { Ok(()) }
    }

    /// A stream was opened.
    pub const fn opened(&mut self) {
        self.window.streams = self.window.streams.saturating_add(1);
    }

    /// Fields or data came on a stream that is over.
    ///
    /// # Errors
    /// A bound was passed: the connection is to end.
    pub const fn stray(&mut self) -> Result<(), Flood> {
        let window = &mut self.window;
        window.strays = window.strays.saturating_add(1);
        let earned = window.streams.saturating_mul(STRAYS_PER_STREAM);
        if window.strays > STRAYS_MAX.saturating_add(earned) { Err(Flood::Stray) } else { Ok(()) }
    }

    /// A stream had to be reset for an error of the client's.
    ///
    /// # Errors
    /// A bound was passed: the connection is to end.
    pub const fn erred(&mut self) -> Result<(), Flood> {
        self.window.errors = self.window.errors.saturating_add(1);
        if self.window.errors > ERRORS_MAX { Err(Flood::MadeYouReset) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
