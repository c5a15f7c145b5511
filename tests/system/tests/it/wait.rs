//! Waiting for a condition, with a deadline that names what did not come.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// Asks `probe` until it has an answer. Panics with `what` when the deadline passes.
#[track_caller]
pub(crate) fn until<T, F: Future<Output = Option<T>>>(
    what: impl Into<String>,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let deadline = Instant::now() + within;
    let what = format!("{} ({})", what.into(), std::panic::Location::caller());
    async move {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            assert!(Instant::now() < deadline, "within {within:?} never: {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}
