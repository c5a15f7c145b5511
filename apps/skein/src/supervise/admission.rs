//! How a process comes to be known: by a word that it alone is told once it runs.
//!
//! The word travels by the pipe that holds the process, or over the control socket, whose other end the
//! kernel names: arguments and environment can be read by every process of the same user.

use std::{fmt, sync::Arc};

/// Who is to be told a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applicant<'a> {
    /// The supervised process; `None` for a command of a person.
    pub instance: Option<&'a str>,
    /// Its process id.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// Gives each applicant its word, or none. It is asked while a process starts, so it is short.
#[derive(Clone)]
pub struct Admission(Arc<Give>);

type Give = dyn Fn(Applicant<'_>) -> Option<String> + Send + Sync;

impl Admission {
    /// Calls a function.
    #[must_use]
    pub fn new(give: impl Fn(Applicant<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(give))
    }

    pub(super) fn word(&self, applicant: Applicant<'_>) -> Option<String> {
        self.0(applicant)
    }
}

/// Nobody is told anything.
impl Default for Admission {
    fn default() -> Self {
        Self::new(|_| None)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Admission")
    }
}
