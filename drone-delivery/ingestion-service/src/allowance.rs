//! How much one owner may hold at a time: open deliveries, and bookings far ahead. Nobody can take the
//! whole fleet, now or for a day to come.
//!
//! It binds those who order for themselves. What is under way in this process counts with what the read
//! model has; each replica counts its own, so that as many more may slip through as replicas answer one
//! owner in the same moment. A bound for safety, not a tariff.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base::Timestamp;
use store::{ReadError, Store};

use crate::store::{self as table, Holding};

/// A pickup farther ahead is a booking: the drone that is promised for then is nobody else's then.
const BOOKED_AHEAD: Duration = Duration::from_secs(3_600);

/// The bound, and what is just being added.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    most: Holding,
    /// Owners with a request under way: no more than places in the stack.
    adding: Arc<Mutex<BTreeMap<String, Holding>>>,
}

/// Counts until it is dropped: by then the read model has the request, or there is none.
#[derive(Debug)]
pub(crate) struct Share {
    owner: String,
    one: Holding,
    adding: Arc<Mutex<BTreeMap<String, Holding>>>,
}

/// Why there is no room for one more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    /// As many as may be have not ended.
    #[error("one account has at most {most} deliveries that have not ended")]
    Open {
        /// So many.
        most: u64,
    },
    /// As many as may be are booked far ahead.
    #[error("one account books at most {most} pickups more than an hour ahead")]
    Booked {
        /// So many.
        most: u64,
    },
    /// What the owner holds is not known.
    #[error("the read model does not answer")]
    Unknown(#[source] ReadError),
}

/// Which pickups count as booked, at a time.
pub(crate) fn booked_from(now: Timestamp) -> Timestamp {
    now + BOOKED_AHEAD
}

impl Allowance {
    pub(crate) fn new(most: Holding) -> Self {
        Self { most, adding: Arc::default() }
    }

    /// Room for one more of this owner.
    ///
    /// # Errors
    /// [`ShareError`].
    pub(crate) async fn share(
        &self,
        store: &Store,
        owner: &str,
        pickup: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Share, ShareError> {
        let from = booked_from(now);
        let one = Holding { open: 1, booked: u64::from(pickup.is_some_and(|it| it > from)) };
        // First, so that two at once see each other.
        let (share, adding) = self.add(owner, one);
        let known = owner.to_owned();
        let held = store.read(move |reader| table::held(reader, &known, from)).await;
        let held = held.map_err(ShareError::Unknown)?;
        self.judge(
            Holding { open: held.open + adding.open, booked: held.booked + adding.booked },
            one,
        )?;
        Ok(share)
    }

    fn add(&self, owner: &str, one: Holding) -> (Share, Holding) {
        let mut all = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let adding = all.entry(owner.to_owned()).or_default();
        adding.open += one.open;
        adding.booked += one.booked;
        let share = Share { owner: owner.to_owned(), one, adding: Arc::clone(&self.adding) };
        (share, *adding)
    }

    const fn judge(&self, with: Holding, one: Holding) -> Result<(), ShareError> {
        if with.open > self.most.open {
            return Err(ShareError::Open { most: self.most.open });
        }
        if one.booked > 0 && with.booked > self.most.booked {
            return Err(ShareError::Booked { most: self.most.booked });
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(adding) = all.get_mut(&self.owner) {
            adding.open -= self.one.open;
            adding.booked -= self.one.booked;
            if *adding == Holding::default() {
                all.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base::ManualClock;
    use contracts::shipping::{Operation, RequestEvent, RequestEventKind};
    use store::{SqlError, StoreSettings, WriteError};
    use telemetry::Telemetry;

    use super::*;
    use crate::store::Accepted;

    struct Fixture {
        store: Store,
        allowance: Allowance,
        _directory: tempfile::TempDir,
    }

    const NOW_MS: i64 = 1_000_000;

    impl Fixture {
        fn new(open: u64, booked: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW_MS)));
            let (settings, quiet) = (StoreSettings::default(), Telemetry::disabled());
            let path = directory.path().join("ingestion.db");
            let store = Store::open(path, table::MIGRATIONS, settings, clock, &quiet).unwrap();
            let allowance = Allowance::new(Holding { open, booked });
            Self { store, allowance, _directory: directory }
        }

        async fn share(&self, owner: &str, ahead: Duration) -> Result<Share, &'static str> {
            let now = Timestamp::from_millis(NOW_MS);
            let share = self.allowance.share(&self.store, owner, Some(now + ahead), now).await;
            share.map_err(|error| match error {
                ShareError::Open { .. } => "open",
                ShareError::Booked { .. } => "booked",
                ShareError::Unknown(_) => "unknown",
            })
        }

        async fn accept(&self, id: &'static str, owner: &'static str, ahead: Duration) {
            let pickup_at = Some(Timestamp::from_millis(NOW_MS) + ahead);
            let row = Accepted { id, owner_id: owner, position: (0, 1), counts: true, pickup_at };
            let written: Result<(), WriteError<SqlError>> =
                self.store.write(move |it| table::accept(it, &row)).await;
            written.unwrap();
        }

        async fn fail(&self, id: &'static str) {
            let event = RequestEvent {
                delivery_id: id.to_owned(),
                kind: RequestEventKind::RequestFailed,
                operation: Operation::Delivery.as_str().to_owned(),
                operation_id: None,
                failed_step: None,
                reason: None,
                occurred_at: Timestamp::from_millis(NOW_MS),
            };
            let written: Result<(), WriteError<SqlError>> = self
                .store
                .write(move |it| {
                    table::fold(it, (id, None), event.occurred_at, |it| it.heard_of_request(&event))
                })
                .await;
            written.unwrap();
        }
    }

    const SOON: Duration = Duration::from_secs(60);
    const LATER: Duration = Duration::from_secs(7_200);

    #[tokio::test]
    async fn what_has_ended_makes_room_and_others_have_their_own() {
        let fixture = Fixture::new(2, 9);
        fixture.accept("d1", "ann", SOON).await;
        fixture.accept("d2", "ann", SOON).await;
        assert_eq!(fixture.share("ann", SOON).await.unwrap_err(), "open");
        assert!(fixture.share("ben", SOON).await.is_ok());
        fixture.fail("d1").await;
        assert!(fixture.share("ann", SOON).await.is_ok());
        // An event that comes before the acceptance is written ends it all the same.
        fixture.fail("d3").await;
        fixture.accept("d3", "ann", SOON).await;
        assert!(fixture.share("ann", SOON).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_under_way_counts_until_it_is_dropped() {
        let fixture = Fixture::new(2, 9);
        let (one, _two) = (fixture.share("ann", SOON).await, fixture.share("ann", SOON).await);
        assert_eq!(fixture.share("ann", SOON).await.unwrap_err(), "open");
        drop(one);
        drop(fixture.share("ann", SOON).await.unwrap());
        drop(_two);
        assert!(fixture.allowance.adding.lock().unwrap().is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn far_bookings_have_a_bound_of_their_own_and_leave_room_for_what_is_near() {
        let fixture = Fixture::new(9, 1);
        fixture.accept("d1", "ann", LATER).await;
        assert_eq!(fixture.share("ann", LATER).await.unwrap_err(), "booked");
        assert!(fixture.share("ann", SOON).await.is_ok());
    }
}
