//! The bounds on what a client may make an HTTP/2 connection do.

use std::{collections::BTreeMap, time::Duration};

use mesh_proxy::{Flood, FrameBudget};

/// Frames that one input stands for: enough to pass every bound, few enough to be quick.
const FRAMES_MAX: u32 = 40_000;
/// The window of the bounds.
const WINDOW: Duration = Duration::from_secs(10);

/// A history of one connection, made of the data: frames, each so many times, bytes that were sent
/// to it, time that went by. What passes keeps every bound, and what is cut has passed the one that is
/// named.
pub(crate) fn h2_budget(data: &[u8]) {
    let mut budget = FrameBudget::default();
    let mut counts = Counts::default();
    let mut now = Duration::ZERO;
    let mut frames = 0;
    for event in data.chunks_exact(4) {
        let &[what, one, two, three] = event else { continue };
        match what {
            0xFE => now += Duration::from_millis(u64::from(one) * 100),
            0xFF => {
                let bytes = usize::from(one) * usize::from(two) * usize::from(three);
                budget.sent(bytes);
                counts.sent += bytes as u64;
            }
            kind => {
                for _ in 0..(u32::from(three) * u32::from(three)).max(1) {
                    frames += 1;
                    if frames > FRAMES_MAX {
                        return;
                    }
                    counts.begin_window(now);
                    if kind == 1 {
                        budget.opened();
                    }
                    let verdict = budget.frame(kind, one, usize::from(two), now);
                    assert_eq!(verdict.err(), counts.count(kind, one, two), "{kind} {one} {two}");
                    if verdict.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// What the client did in this window, counted frame by frame.
#[derive(Default)]
struct Counts {
    since: Duration,
    frames: BTreeMap<&'static str, u64>,
    streams: u64,
    sent: u64,
    /// Of the block of fields that has not ended.
    continuations: u64,
}

impl Counts {
    fn begin_window(&mut self, now: Duration) {
        if now - self.since >= WINDOW {
            *self = Self { since: now, continuations: self.continuations, ..Self::default() };
        }
    }

    /// Which bound the frame passes, by `docs/operations.md`.
    fn count(&mut self, kind: u8, flags: u8, length: u8) -> Option<Flood> {
        self.continuations = if kind == 9 { self.continuations + 1 } else { 0 };
        let (flood, bound) = match kind {
            0 if flags & 1 != 0 => return None,
            0 if length != 0 && flags & 8 == 0 => return None,
            0 => (Flood::EmptyData, 2_000),
            1 => {
                self.streams += 1;
                return None;
            }
            2 => (Flood::Priority, 10_000),
            3 => (Flood::RapidReset, 500.max(self.streams / 2)),
            4 => (Flood::Settings, 10_000),
            6 => (Flood::Ping, 10_000),
            8 => (Flood::WindowUpdate, 10_000 + self.sent / 64 + self.streams * 4),
            9 => return (self.continuations > 64).then_some(Flood::Continuation),
            _ => (Flood::Unknown, 10_000),
        };
        let counted = self.frames.entry(flood.as_str()).or_default();
        *counted += 1;
        (*counted > bound).then_some(flood)
    }
}
