//! How a scenario judges: what it found against what was promised.

use std::{fmt::Debug, future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// How long a scenario waits for something that is promised to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// Why a scenario stopped before its end: the promise does not hold, and how that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop(pub(crate) String);

/// How a scenario ended.
pub(crate) type Judged = Result<(), Stop>;

/// An error that a scenario did not ask for is the reason why the promise does not hold.
impl<E: std::error::Error> From<E> for Stop {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Something that is promised.
pub(crate) fn holds(condition: bool, otherwise: impl Into<String>) -> Judged {
    if condition { Ok(()) } else { Err(Stop(otherwise.into())) }
}

/// What was found is what was promised.
#[expect(clippy::needless_pass_by_value, reason = "both are made for this comparison")]
pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: T, promised: T) -> Judged {
    let said = || format!("{what}: found {}, promised {}", short(&found), short(&promised));
    if found == promised { Ok(()) } else { Err(Stop(said())) }
}

/// A value in words that fit into a table.
pub(crate) fn short(value: &impl Debug) -> String {
    const LONGEST: usize = 160;
    let text = format!("{value:?}");
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Waits for what is promised to come.
pub(crate) async fn eventually<F: Future<Output = Result<bool, Stop>>>(
    what: &str,
    look: impl Fn() -> F,
) -> Judged {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        match seen {
            Ok(true) => return Ok(()),
            late if Instant::now() >= deadline => {
                let why = late.err().map(|it| format!(": {}", it.0)).unwrap_or_default();
                let seconds = PATIENCE.as_secs();
                return Err(Stop(format!("not within {seconds} s: {what}{why}")));
            }
            _ => sleep(LOOK).await,
        }
    }
}

/// The same for what needs no question.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) -> Judged {
    eventually(what, || async { Ok(condition()) }).await
}
