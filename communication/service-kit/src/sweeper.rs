//! Forgets what the built-in tables of a store need no longer, now and then.

use std::time::Duration;

use runtime::Shutdown;
use store::{Retention, Store};
use tokio::time::sleep;

use crate::context::ServiceContext;

/// Time between two sweeps; each deletes until nothing is left to delete.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Starts the sweeper of a store.
pub fn start_sweeper(context: &ServiceContext, store: &Store) {
    let store = store.clone();
    context.tasks.spawn("sweeper", |shutdown| sweep(store, shutdown));
}

async fn sweep(store: Store, shutdown: Shutdown) {
    while shutdown.or_cancel(sleep(SWEEP_EVERY)).await.is_some() {
        loop {
            match store.write(|it| it.sweep(&Retention::default())).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "nothing was swept this time");
                    break;
                }
            }
        }
    }
}
