//! When the next request of a connection is due.
//!
//! The runtime's timers are right within a millisecond, ten times the latency that is measured
//! here. A thread that waits for a timer of the kernel drives the open loop instead.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use crate::{broken, tally::Window};

/// Requests that may be due on one connection and not sent; at 64 connections and 2,000 a second
/// these are 16 seconds. More is a failure of the whole measurement.
const DUE_MAX: usize = 512;

/// When the next request of one connection is due.
#[derive(Debug)]
pub(crate) enum Pace {
    /// As soon as the last one was answered, so many times.
    Closed { left: u64 },
    /// At fixed times, whether or not the last one was answered.
    Open(mpsc::Receiver<Instant>),
}

impl Pace {
    /// Waits until a request is due; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self, window: Window) -> Option<Instant> {
        match self {
            Self::Closed { left } => {
                *left = left.checked_sub(1)?;
                window.is_open().then(Instant::now)
            }
            Self::Open(due) => due.recv().await,
        }
    }
}

/// An open loop over so many connections: their paces, and what drives them until the end.
pub(crate) fn open(connections: usize) -> (Vec<Pace>, Driver) {
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..connections).map(|_| mpsc::channel(DUE_MAX)).unzip();
    (receivers.into_iter().map(Pace::Open).collect(), Driver { senders })
}

/// Says to one connection after the other that a request is due.
#[derive(Debug)]
pub(crate) struct Driver {
    senders: Vec<mpsc::Sender<Instant>>,
}

impl Driver {
    /// Drives until the end; blocks its thread.
    pub(crate) fn run(self, rate: u64, window: Window) -> io::Result<()> {
        let every = Duration::from_nanos(1_000_000_000 / rate.max(1));
        let timer = ticking(every)?;
        let mut due = Instant::now() + every;
        let mut senders = self.senders.iter().cycle();
        while due < window.ends {
            let mut ticks = [0; 8];
            rustix::io::read(&timer, &mut ticks)?;
            for _ in 0..u64::from_ne_bytes(ticks) {
                let Some(sender) = senders.next() else { return Ok(()) };
                // After a pause of this thread more ticks are counted than the window holds.
                if due >= window.ends {
                    return Ok(());
                }
                match sender.try_send(due) {
                    // Closed: the connection was given up and has counted its error.
                    Ok(()) | Err(TrySendError::Closed(_)) => {}
                    Err(TrySendError::Full(_)) => return Err(broken("the target is too slow")),
                }
                due += every;
            }
        }
        Ok(())
    }
}

fn ticking(every: Duration) -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let every = Timespec::try_from(every).map_err(|_| broken("an interval out of range"))?;
    let times = Itimerspec { it_interval: every, it_value: every };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(timer)
}
