//! Where deliveries in flight are: the latest wins, kept in memory and written down now and then.
//!
//! Positions come many times a second and are worth nothing a second later. Writing each would cost
//! more than the rest of the service; so the newest of each delivery is written in one batch.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use contracts::Location;
use runtime::Shutdown;
use store::{SqlError, Store};

use crate::store as table;

/// Time between two batches.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// Deliveries of one batch; a position past it waits for its delivery's next one.
const DELIVERIES_MAX: usize = 4_096;

/// The newest positions that have not been written down.
#[derive(Debug, Default)]
pub(crate) struct Positions(Mutex<BTreeMap<String, Location>>);

impl Positions {
    /// Takes a position in.
    pub(crate) fn note(&self, delivery: String, location: Location) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() < DELIVERIES_MAX || newest.contains_key(&delivery) {
            newest.insert(delivery, location);
        }
    }

    /// The newest that is not written down yet.
    pub(crate) fn newest(&self, delivery: &str) -> Option<Location> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(delivery).copied()
    }

    fn take(&self) -> BTreeMap<String, Location> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes batches until the service stops. A batch that cannot be written is dropped: newer
    /// positions are on their way.
    pub(crate) async fn write_down(&self, store: &Store, shutdown: Shutdown) {
        while shutdown.or_cancel(tokio::time::sleep(FLUSH_EVERY)).await.is_some() {
            let batch = self.take();
            if batch.is_empty() {
                continue;
            }
            let written = store.write(move |transaction| {
                for (delivery, location) in &batch {
                    table::keep_position(transaction, delivery, location)?;
                }
                Ok::<_, SqlError>(())
            });
            if let Err(error) = written.await {
                tracing::debug!(%error, "positions were not written down");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_position_of_a_delivery_wins_and_the_number_is_bounded() {
        let positions = Positions::default();
        positions.note("d".to_owned(), Location::new(1.0, 1.0));
        positions.note("d".to_owned(), Location::new(2.0, 2.0));
        assert_eq!(positions.newest("d"), Some(Location::new(2.0, 2.0)));
        for number in 0..DELIVERIES_MAX * 2 {
            positions.note(number.to_string(), Location::new(0.0, 0.0));
        }
        assert_eq!(positions.take().len(), DELIVERIES_MAX);
        assert_eq!(positions.newest("d"), None);
    }
}
