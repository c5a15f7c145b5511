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
    until_seen(what, within, move || {
        let probe = probe();
        async { probe.await.ok_or_else(String::new) }
    })
}

/// The same; what the probe saw last instead stands in the panic.
#[track_caller]
pub(crate) fn until_seen<T, F: Future<Output = Result<T, String>>>(
    what: impl Into<String>,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let deadline = Instant::now() + within;
    let what = format!("{} ({})", what.into(), std::panic::Location::caller());
    async move {
        loop {
            // On the heap: a probe may be large, and stands in every future that waits.
            match Box::pin(probe()).await {
                Ok(found) => return found,
                Err(seen) => {
                    assert!(Instant::now() < deadline, "within {within:?} never: {what} {seen}");
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}
