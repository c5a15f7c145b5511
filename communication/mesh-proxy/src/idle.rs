//! How long something may stand still.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes of an answer that a client takes within its time, where so many wait for it: a byte now and then
/// would hold an endpoint for ever. At the 10 s that are usual it is 1.6 KB/s.
pub(crate) const TAKEN_MIN: u64 = 16 << 10;

/// Bounds a wait that begins anew whenever something moves. What never waits makes no timer.
#[derive(Debug)]
pub(crate) struct Idle {
    longest: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl Idle {
    /// May wait so long; zero is for ever.
    pub(crate) const fn of(longest: Duration) -> Self {
        Self { longest, timer: None, is_waiting: false }
    }

    /// It moved.
    pub(crate) const fn moved(&mut self) {
        self.is_waiting = false;
    }

    /// To be asked while nothing moves: ready when it took too long.
    pub(crate) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.longest.is_zero() {
            return Poll::Pending;
        }
        let end = || Instant::now() + self.longest;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end())));
        if !std::mem::replace(&mut self.is_waiting, true) {
            timer.as_mut().reset(end());
        }
        timer.as_mut().poll(context)
    }
}
