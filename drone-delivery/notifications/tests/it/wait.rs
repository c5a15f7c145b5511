//! Waiting for a condition, with a deadline that names what did not come.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

const WITHIN: Duration = Duration::from_secs(20);

/// Asks `probe` until it has an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
