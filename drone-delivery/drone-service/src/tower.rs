//! What the parts of one process share: its copy of the fleet, the simulated clock, a bell.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use base::{SimulatedClock, Timestamp};
use store::{Reader, SqlError};
use tokio::sync::Notify;

use crate::{
    domain::{Airframe, Fleet, Known, Rules},
    store as table,
};

/// The shared part of one process; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Tower {
    pub(crate) rules: Rules,
    /// What a drone can do when nobody says otherwise.
    pub(crate) airframe: Airframe,
    pub(crate) clock: SimulatedClock,
    fleet: Arc<Mutex<Fleet>>,
    stale: Arc<AtomicBool>,
    leads: Arc<AtomicBool>,
    bell: Arc<Notify>,
}

impl Tower {
    /// A tower that knows these drones.
    pub(crate) fn new(
        rules: Rules,
        airframe: Airframe,
        clock: SimulatedClock,
        drones: Vec<Known>,
    ) -> Self {
        let mut fleet = Fleet::default();
        fleet.replace(drones, &rules);
        Self {
            rules,
            airframe,
            clock,
            fleet: Arc::new(Mutex::new(fleet)),
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

    /// Takes in what was changed since the last look, by whatever process.
    pub(crate) fn follow(&self, reader: &Reader<'_>) -> Result<(), SqlError> {
        let seen = self.fleet().seen();
        let newer = table::drones_changed_since(reader, seen)?;
        self.fleet().follow(newer, &self.rules);
        Ok(())
    }

    /// Forgets the copy and reads all of it.
    pub(crate) fn reload(&self, reader: &Reader<'_>) -> Result<(), SqlError> {
        let all = table::drones_changed_since(reader, 0)?;
        self.fleet().replace(all, &self.rules);
        Ok(())
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
