//! What a client may make an HTTP/2 connection do for nothing.
//!
//! It walks the headers of frames as they are read (RFC 9113 4.1) and counts those that cost us work
//! and the client next to none. The library behind bounds some of them; PING and SETTINGS none does.
//! It knows no clock and no socket, and keeps a few numbers however long the connection lasts.

use std::time::Duration;

/// Length of a frame's header (RFC 9113 4.1).
const HEADER_BYTES: usize = 9;
/// Length of the client's preface (RFC 9113 3.4).
const PREFACE_BYTES: u32 = 24;
/// Time after which counting begins anew. Over the border between two windows twice the bound fits.
const WINDOW: Duration = Duration::from_secs(10);
/// PING, SETTINGS, PRIORITY and unknown frames of each kind in a window.
const CONTROL_MAX: u32 = 10_000;
/// Streams that the client resets in a window, unless it lets more than twice as many live
/// (CVE-2023-44487): a client that gives up on some of its requests is no attacker.
const RESETS_MAX: u32 = 500;
/// DATA frames without data and without the end of a stream, in a window.
const EMPTY_DATA_MAX: u32 = 2_000;
/// A padded frame that is shorter counts as empty, whatever is in it: hardly anybody pads.
const PADDED_BYTES_MAX: u32 = 256;
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
    /// It made us reset streams (CVE-2025-8671). The library counts these; they look like others.
    MadeYouReset,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameBudget {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come in.
    header_bytes: usize,
    /// Bytes that are skipped before the next header.
    skip: u32,
    window_start: Duration,
    window: Window,
    continuations: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Window {
    streams: u32,
    resets: u32,
    empty_data: u32,
    pings: u32,
    settings: u32,
    priorities: u32,
    updates: u32,
    unknown: u32,
    bytes_sent: u64,
}

impl Default for FrameBudget {
    fn default() -> Self {
        Self {
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            skip: PREFACE_BYTES,
            window_start: Duration::ZERO,
            window: Window::default(),
            continuations: 0,
        }
    }
}

impl FrameBudget {
    /// Bytes were sent to the client; what it may say about its windows grows with them.
    pub const fn sent(&mut self, bytes: usize) {
        self.window.bytes_sent = self.window.bytes_sent.saturating_add(bytes as u64);
    }

    /// Bytes came in, in pieces of any size, the preface first; `now` is the time since some fixed
    /// moment.
    ///
    /// # Errors
    /// A bound was passed: the connection is to end.
    pub fn received(&mut self, mut bytes: &[u8], now: Duration) -> Result<(), Flood> {
        if now.saturating_sub(self.window_start) >= WINDOW {
            self.window_start = now;
            self.window = Window::default();
        }
        loop {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip = self.skip.saturating_sub(u32::try_from(skipped).unwrap_or(u32::MAX));
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = bytes.len().min(HEADER_BYTES - self.header_bytes);
            self.header[self.header_bytes..][..taken].copy_from_slice(&bytes[..taken]);
            self.header_bytes += taken;
            bytes = &bytes[taken..];
            if self.header_bytes == HEADER_BYTES {
                self.header_bytes = 0;
                self.count()?;
            }
        }
    }

    /// What the client did most of that the library bounds as well, more tightly.
    #[must_use]
    pub const fn suspect(&self) -> Flood {
        if self.continuations > 0 {
            Flood::Continuation
        } else if self.window.empty_data > self.window.streams {
            Flood::EmptyData
        } else if self.window.resets > self.window.streams / 2 {
            Flood::RapidReset
        } else {
            Flood::MadeYouReset
        }
    }

    /// Counts the frame whose header is there.
    fn count(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = length;
        self.continuations = if kind == CONTINUATION { self.continuations + 1 } else { 0 };
        let window = &mut self.window;
        let (counter, bound, flood) = match kind {
            DATA => {
                let is_small = length == 0 || (flags & PADDED != 0 && length <= PADDED_BYTES_MAX);
                if !is_small || flags & END_STREAM != 0 {
                    return Ok(());
                }
                (&mut window.empty_data, EMPTY_DATA_MAX, Flood::EmptyData)
            }
            HEADERS => {
                window.streams = window.streams.saturating_add(1);
                return Ok(());
            }
            RST_STREAM => {
                let bound = RESETS_MAX.max(window.streams / 2);
                (&mut window.resets, bound, Flood::RapidReset)
            }
            WINDOW_UPDATE => {
                let earned = window.bytes_sent / BYTES_PER_UPDATE;
                let bound = CONTROL_MAX
                    .saturating_add(u32::try_from(earned).unwrap_or(u32::MAX))
                    .saturating_add(window.streams.saturating_mul(4));
                (&mut window.updates, bound, Flood::WindowUpdate)
            }
            CONTINUATION => {
                return if self.continuations > CONTINUATIONS_MAX {
                    Err(Flood::Continuation)
                } else {
                    Ok(())
                };
            }
            PRIORITY => (&mut window.priorities, CONTROL_MAX, Flood::Priority),
            SETTINGS => (&mut window.settings, CONTROL_MAX, Flood::Settings),
            PING => (&mut window.pings, CONTROL_MAX, Flood::Ping),
            _ => (&mut window.unknown, CONTROL_MAX, Flood::Unknown),
        };
        *counter = counter.saturating_add(1);
        if *counter > bound { Err(flood) } else { Ok(()) }
    }
}

// Kinds and flags of frames: RFC 9113 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

#[cfg(test)]
mod tests;
