//! Forgets what a service need not know any longer, now and then: rows of the built-in tables of a
//! store, and rows of its own tables that are old enough.
//!
//! A sweep goes on until nothing is left to delete, in slices of one transaction each: it must not
//! hold up the writes, and it must not fall behind them.

use std::time::Duration;

use base::Timestamp;
use runtime::Shutdown;
use store::{Retention, SqlError, Store, Transaction, WriteError};
use tokio::time::sleep;

use crate::context::ServiceContext;

/// Time between two sweeps; each deletes until nothing is left to delete.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;

/// Deletes rows from before a time, a bounded number, and says how many.
pub type ForgetSlice = fn(&mut Transaction<'_>, Timestamp) -> Result<u64, SqlError>;

/// Starts the sweeper of a store's built-in tables.
pub fn start_sweeper(context: &ServiceContext, store: &Store) {
    let store = store.clone();
    context.tasks.spawn("sweeper", |shutdown| sweep(store, shutdown));
}

/// Starts to forget rows of the service's own tables, `kept_days` after the time that `slice` goes by.
pub fn start_forgetting(
    context: &ServiceContext,
    store: &Store,
    what: &'static str,
    kept_days: u32,
    slice: ForgetSlice,
) {
    let store = store.clone();
    context.tasks.spawn("forgetting", move |shutdown| async move {
        while shutdown.or_cancel(sleep(SWEEP_EVERY)).await.is_some() {
            match forget(&store, kept_days, slice).await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(what, rows, "forgotten"),
                Err(error) => tracing::warn!(what, %error, "not forgotten; will try again"),
            }
        }
    });
}

/// Forgets slice after slice, until one finds nothing. Gives how many rows.
///
/// # Errors
/// What kept a slice from being forgotten; those before it are.
pub async fn forget(
    store: &Store,
    kept_days: u32,
    slice: ForgetSlice,
) -> Result<u64, WriteError<SqlError>> {
    let mut forgotten = 0;
    loop {
        let rows = store.write(move |transaction| {
            let kept_ms = i64::from(kept_days).saturating_mul(DAY_MS);
            let before = transaction.now().as_millis().saturating_sub(kept_ms);
            slice(transaction, Timestamp::from_millis(before))
        });
        match rows.await? {
            0 => return Ok(forgotten),
            rows => forgotten += rows,
        }
    }
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
