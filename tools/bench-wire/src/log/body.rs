//! The message of every case: 1 KiB with its time and its number, so that whoever gets it can say how
//! long it took and whether one is missing.

use std::{io, time::Duration};

use tokio::time::Instant;

use crate::{
    broken,
    tally::{Tally, Window},
};

/// Bytes of a message.
pub(super) const BYTES: usize = 1_024;
/// Bytes of time and number.
const HEAD: usize = 16;

/// Makes messages, numbered from 1; times count from a moment that subscribers know.
#[derive(Debug, Clone)]
pub(super) struct Bodies {
    began: Instant,
    number: u64,
    bytes: [u8; BYTES],
}

impl Bodies {
    pub(super) fn new(began: Instant) -> Self {
        let mut bytes = [0; BYTES];
        for (at, byte) in (0_u8..=250).cycle().zip(&mut bytes) {
            *byte = at;
        }
        Self { began, number: 0, bytes: bytes.map(|it| it.rotate_left(3)) }
    }

    /// The next message, due then.
    pub(super) fn next(&mut self, due: Instant) -> &[u8; BYTES] {
        self.number += 1;
        let nanos = due.saturating_duration_since(self.began).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.bytes[..8].copy_from_slice(&nanos.to_be_bytes());
        self.bytes[8..HEAD].copy_from_slice(&self.number.to_be_bytes());
        &self.bytes
    }
}

/// Checks what comes to one subscriber: whole, each once, in order.
#[derive(Debug)]
pub(super) struct Check {
    began: Instant,
    last: u64,
    tally: Tally,
    window: Window,
}

impl Check {
    pub(super) fn new(began: Instant, window: Window) -> Self {
        Self { began, last: 0, tally: Tally::new(window), window }
    }

    /// Counts a message.
    pub(super) fn take(&mut self, body: &[u8]) -> io::Result<()> {
        let of = |at: usize| body.get(at..at + 8).and_then(|it| it.try_into().ok());
        let (Some(nanos), Some(number), BYTES) = (of(0), of(8), body.len()) else {
            return Err(broken(format!("a message of {} bytes", body.len())));
        };
        let number = u64::from_be_bytes(number);
        if number != self.last + 1 {
            return Err(broken(format!("message {number} came behind {}", self.last)));
        }
        self.last = number;
        // What comes after the end came too late to count.
        if self.window.is_open() {
            self.tally.verified(self.began + Duration::from_nanos(u64::from_be_bytes(nanos)));
        }
        Ok(())
    }

    /// What was counted, with why it ended where that was not the end of the window.
    pub(super) fn end(mut self, ended: io::Result<()>) -> Tally {
        if let Err(reason) = ended {
            self.tally.failed(&reason.to_string());
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_missing_doubled_or_cut_is_an_error() {
        let began = Instant::now();
        let window = Window::starting_now(Duration::ZERO, Duration::from_secs(60));
        let mut bodies = Bodies::new(began);
        let [one, two, three] = [(); 3].map(|()| *bodies.next(Instant::now()));
        let mut check = Check::new(began, window);
        check.take(&one).unwrap();
        assert!(check.take(&one).is_err(), "doubled");
        assert!(check.take(&three).is_err(), "missing");
        assert!(check.take(&two[..BYTES - 1]).is_err(), "cut");
        check.take(&two).unwrap();
        assert_eq!(check.end(Ok(())).counts(), (2, 0));
    }
}
