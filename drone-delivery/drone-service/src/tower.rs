//! What the parts of one process share: its copy of the fleet, the simulated clock, a bell.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use base::{SimulatedClock, Timestamp};
use fleet_rules::{Airframe, Rules};
use store::{Reader, SqlError, Transaction};
use tokio::sync::Notify;

use crate::{
    domain::{Booked, Choice, Fleet, Known, Order, PlanRules, Refusal},
    store as table,
};

/// The shared part of one process; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Tower {
    pub(crate) rules: Arc<Rules>,
    pub(crate) plan: PlanRules,
    /// What a drone can do when nobody says otherwise.
    pub(crate) airframe: Airframe,
    pub(crate) clock: SimulatedClock,
    fleet: Arc<Mutex<Fleet>>,
    stale: Arc<AtomicBool>,
    leads: Arc<AtomicBool>,
    bell: Arc<Notify>,
}

impl Tower {
    /// A tower that knows nothing yet.
    pub(crate) fn new(
        rules: Rules,
        plan: PlanRules,
        airframe: Airframe,
        clock: SimulatedClock,
    ) -> Self {
        Self {
            rules: Arc::new(rules),
            plan,
            airframe,
            clock,
            fleet: Arc::new(Mutex::new(Fleet::new(plan))),
            stale: Arc::default(),
            leads: Arc::default(),
            bell: Arc::default(),
        }
    }

    /// Simulated time.
    pub(crate) fn now(&self, wall: Timestamp) -> Timestamp {
        self.clock.at(wall)
    }

    /// The copy of the fleet. A panic elsewhere cannot leave it half-changed in a way that matters:
    /// the rows decide.
    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in one drone as it was committed.
    pub(crate) fn note(&self, known: Known) {
        self.fleet().note(known, &self.rules);
    }

    /// Takes in what was changed since the last look, by whatever process. Inside a transaction that
    /// writes, the copy is exact from here on until the transaction itself writes.
    pub(crate) fn follow(&self, reader: &Reader<'_>, wall: Timestamp) -> Result<(), SqlError> {
        let seen = self.fleet().seen();
        let newer = self.changes_since(reader, seen)?;
        self.fleet().follow(newer, self.now(wall), &self.rules);
        Ok(())
    }

    /// Forgets the copy and reads all of it.
    pub(crate) fn reload(&self, reader: &Reader<'_>, wall: Timestamp) -> Result<(), SqlError> {
        let all = self.changes_since(reader, 0)?;
        self.fleet().replace(all, self.now(wall), &self.rules);
        Ok(())
    }

    fn changes_since(
        &self,
        reader: &Reader<'_>,
        seen: u64,
    ) -> Result<(Vec<Known>, Vec<Booked>), SqlError> {
        let bookings = table::booked_changed_since(reader, seen, &self.clock)?;
        Ok((table::drones_changed_since(reader, seen)?, bookings))
    }

    /// Makes the copy exact for a decision in this transaction, and gives the simulated time.
    pub(crate) fn attend(&self, transaction: &Transaction<'_>) -> Result<Timestamp, SqlError> {
        let wall = transaction.now();
        if self.take_stale() {
            self.reload(transaction, wall)?;
        } else {
            self.follow(transaction, wall)?;
        }
        Ok(self.now(wall))
    }

    /// Which drone flies an order, and when.
    pub(crate) fn choose(
        &self,
        order: &Order,
        now: Timestamp,
    ) -> Result<(String, Choice), Refusal> {
        self.fleet().choose(order, now, &self.rules)
    }

    /// A commit failed after the copy may have taken in what it would have made: read all again.
    pub(crate) fn mark_stale(&self) {
        self.stale.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether the copy must be read again; asked once for each mark.
    pub(crate) fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::AcqRel)
    }

    /// Whether this process is the one that moves drones on.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    pub(crate) fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Release);
    }

    /// Something changed that may be due at once.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits for the bell. Cancel-safe: one ring is remembered.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}
