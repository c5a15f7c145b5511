//! What `submit` and `load` share while they send: a line on standard error now and then, and the wish to
//! stop, after which they still say what was sent.

use std::{io::IsTerminal as _, time::Duration};

use base::Code;
use skein::{Failure, Format, Output};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::keys;

/// Pause between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// Says how far a command is, to a person who waits.
#[derive(Debug)]
pub(crate) struct Progress {
    output: Output,
    ticks: Option<tokio::time::Interval>,
}

impl Progress {
    /// For whoever looks at standard error, or asked for it.
    pub(crate) fn new(output: Output, asked: bool) -> Self {
        let is_told = is_told(output.format, asked, std::io::stderr().is_terminal());
        let ticks = is_told.then(|| {
            let mut ticks = interval_at(Instant::now() + TELL_EVERY, TELL_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { output, ticks }
    }

    /// Waits until a line is due; for ever where nobody reads it. Cancel-safe: a line that was due stays so.
    pub(crate) async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Says a line.
    pub(crate) fn tell(&self, line: &str) {
        self.output.remark(line);
    }
}

/// Programs that read JSON are told nothing besides.
fn is_told(format: Format, asked: bool, terminal: bool) -> bool {
    format != Format::Json && (asked || terminal)
}

/// SIGINT as a wish: what runs comes to its end, and says what it did.
#[derive(Debug)]
pub(crate) struct Interrupt(Option<Signal>);

impl Interrupt {
    /// Watches from here on. Where that cannot be, the signal ends the process as it always does.
    pub(crate) fn watch() -> Self {
        Self(signal(SignalKind::interrupt()).ok())
    }

    /// Waits for the signal. Cancel-safe.
    pub(crate) async fn came(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// Whoever is not known is told so once, and not line by line.
pub(crate) fn unknown(detail: &str) -> Failure {
    let code = Code::Unauthenticated.as_str();
    Failure::new(code, "gateway answered 401").because(detail).next(keys::advice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_to_people_alone() {
        assert!(is_told(Format::Table, false, true));
        assert!(is_told(Format::Wide, true, false));
        assert!(!is_told(Format::Table, false, false));
        assert!(!is_told(Format::Json, true, true));
    }
}
