//! Moves carriers on: one timer for whatever is due first, one commit for all that is due.
//!
//! Every replica looks; none needs to lead, because a phase is read and written in one transaction.

use std::time::Duration;

use base::SharedClock;
use runtime::Shutdown;
use store::Store;
use tokio::time::{sleep, timeout};

use crate::{
    booking::{self, Depot},
    store as table,
};

/// Longest time between two looks: another replica may have made something due.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Shortest: what falls due meanwhile shares a commit.
const BATCH_EVERY: Duration = Duration::from_millis(20);
/// Carriers of one commit; the rest is in the next.
const BATCH_MAX: u32 = 256;

/// Works until the service stops.
pub(crate) async fn drive(store: Store, depot: Depot, clock: SharedClock, shutdown: Shutdown) {
    while !shutdown.is_cancelled() {
        let wait = look(&store, &depot, &clock).await;
        // Cancel-safe: waiting loses nothing, and one ring of the bell is remembered.
        let pause = async {
            sleep(BATCH_EVERY).await;
            timeout(wait, depot.bell.notified()).await.ok();
        };
        shutdown.or_cancel(pause).await;
    }
}

/// Moves on what is due, and gives the time until the next look.
async fn look(store: &Store, depot: &Depot, clock: &SharedClock) -> Duration {
    let next = match store.read(table::next_due).await {
        Ok(next) => next,
        Err(error) => {
            tracing::warn!(%error, "shipments were not read; will try again");
            return LOOK_EVERY;
        }
    };
    let Some(next) = next else { return LOOK_EVERY };
    let until_due = depot.clock.wall_of(next).saturating_since(clock.now());
    if until_due > Duration::ZERO {
        return until_due.min(LOOK_EVERY);
    }
    let mover = depot.clone();
    match store.write(move |it| booking::advance(it, &mover, BATCH_MAX)).await {
        Ok(_) => Duration::ZERO,
        Err(error) => {
            tracing::warn!(%error, "carriers were not moved on; will try again");
            LOOK_EVERY
        }
    }
}
