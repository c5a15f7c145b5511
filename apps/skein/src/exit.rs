//! How a command ends: one number that scripts can rely on.

use std::process::ExitCode;

/// Exit code of a command. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// The operation or a check failed.
    Failed,
    /// The arguments make no sense; clap gives this one itself.
    Usage,
    /// What was asked for does not exist.
    NotFound,
    /// It did not come in time.
    TimedOut,
    /// Nobody answers.
    Unreachable,
    /// Some items failed, others did not.
    Partial,
    /// Files were judged, and something in them is wrong.
    Findings,
    /// Ended by SIGINT.
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::TimedOut => 4,
            Self::Unreachable => 5,
            Self::Partial => 10,
            Self::Findings => 79,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
