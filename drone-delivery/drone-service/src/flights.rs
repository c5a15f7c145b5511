//! The one process of the role that moves drones on, and how the others take over.
//!
//! A lease says who leads; each batch renews it in the same transaction, so that a leader that was
//! paused for longer than its lease changes nothing when it wakes. Each drone is written only if it
//! is as it was read. There is one timer, for whatever is due first, not one for each drone; what
//! is due at the same time is one commit. Everybody, leader or not, reads what others changed.

use std::time::Duration;

use base::{Monotonic, SharedClock};
use runtime::Shutdown;
use store::{Lease, SqlError, Store};

use crate::{
    booking::{self, Moved},
    metrics::FleetMetrics,
    tower::Tower,
};

/// Name of the lease.
const LEASE: &str = "flights";
/// How long it lasts without a renewal, and the time between two.
const LEASE_FOR: Duration = Duration::from_secs(3);
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Time between two looks at what other processes changed.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// Shortest time between two batches: what falls due meanwhile shares a commit.
const BATCH_EVERY: Duration = Duration::from_millis(10);
/// Drones of one batch; the rest is in the next.
const BATCH_MAX: usize = 1_024;
/// Time between two looks at whose place has moved, and how many are told then.
const TELL_EVERY: Duration = Duration::from_secs(1);
const TELL_MAX: usize = 256;

/// Moves the fleet on while this process leads.
#[derive(Debug)]
pub(crate) struct Flights {
    pub(crate) store: Store,
    pub(crate) tower: Tower,
    pub(crate) clock: SharedClock,
    /// This process among the replicas of the role.
    pub(crate) instance: String,
    pub(crate) metrics: FleetMetrics,
}

/// What this process knows about the lease.
#[derive(Debug, Clone, Copy)]
enum Lead {
    /// It leads, under this epoch; the lease was renewed then.
    Ours { epoch: u64, renewed: Monotonic },
    /// Somebody else does; worth asking again then.
    Theirs { ask_at: Monotonic },
}

/// What came of a batch.
enum Batch {
    Moved(Moved),
    LeaseLost,
}

impl Flights {
    /// Works until the service stops; then gives the lease back, so that nobody waits for it.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let mut lead = Lead::Theirs { ask_at: Monotonic::default() };
        let mut told = Monotonic::default();
        while !shutdown.is_cancelled() {
            self.follow().await;
            lead = self.seek(lead).await;
            let is_ours = matches!(lead, Lead::Ours { .. });
            self.tower.set_leads(is_ours);
            if is_ours {
                lead = self.advance(lead).await;
            }
            told = self.tell(lead, told).await;
            self.report(lead);
            // Cancel-safe: waiting loses nothing, and one ring of the bell is remembered.
            shutdown.or_cancel(self.pause(lead)).await;
        }
        self.tower.set_leads(false);
        if let Lead::Ours { epoch, .. } = lead {
            self.resign(epoch).await;
        }
    }

    /// Reads what was changed since the last look.
    async fn follow(&self) {
        let (tower, stale) = (self.tower.clone(), self.tower.take_stale());
        let wall = self.clock.now();
        let read = self.store.read(move |reader| {
            if stale { tower.reload(reader, wall) } else { tower.follow(reader, wall) }
        });
        if let Err(error) = read.await {
            tracing::warn!(%error, "the fleet was not read; will try again");
            if stale {
                self.tower.mark_stale();
            }
        }
    }

    /// Asks for the lease, or renews it when that is due.
    async fn seek(&self, lead: Lead) -> Lead {
        let now = self.clock.monotonic();
        match lead {
            Lead::Ours { renewed, .. } if now < renewed + RENEW_EVERY => lead,
            Lead::Theirs { ask_at } if now < ask_at => lead,
            Lead::Ours { epoch, .. } => self.advance_batch(epoch, Vec::new()).await,
            Lead::Theirs { .. } => self.ask(now).await,
        }
    }

    async fn ask(&self, now: Monotonic) -> Lead {
        let owner = self.instance.clone();
        let asked = self.store.write(move |it| it.take_lease(LEASE, &owner, LEASE_FOR));
        match asked.await {
            Ok(Lease::Taken { epoch }) => {
                tracing::info!(epoch, "this process moves the fleet from now on");
                Lead::Ours { epoch, renewed: now }
            }
            Ok(Lease::Held { left, .. }) => Lead::Theirs { ask_at: now + left.min(RENEW_EVERY) },
            Err(error) => {
                tracing::warn!(%error, "the lease of the fleet was not asked for; will try again");
                Lead::Theirs { ask_at: now + RENEW_EVERY }
            }
        }
    }

    /// Moves on what is due, until nothing is.
    async fn advance(&self, mut lead: Lead) -> Lead {
        while let Lead::Ours { epoch, .. } = lead {
            let now = self.tower.now(self.clock.now());
            let due = self.tower.fleet().due(now, BATCH_MAX);
            let full = due.len() == BATCH_MAX;
            if due.is_empty() {
                break;
            }
            lead = self.advance_batch(epoch, due).await;
            if !full {
                break;
            }
        }
        lead
    }

    /// Moves one batch on and renews the lease with it; an empty batch only renews.
    async fn advance_batch(&self, epoch: u64, due: Vec<String>) -> Lead {
        let (tower, owner, asked) = (self.tower.clone(), self.instance.clone(), due.len());
        let renewed = self.clock.monotonic();
        let written = self.store.write(move |transaction| {
            if !transaction.renew_lease(LEASE, &owner, epoch, LEASE_FOR)? {
                return Ok(Batch::LeaseLost);
            }
            Ok::<_, SqlError>(Batch::Moved(booking::advance(transaction, &tower, &due)?))
        });
        match written.await {
            Ok(Batch::Moved(moved)) => {
                // Some were changed by somebody else meanwhile: their rows are read at once.
                if moved.drones.len() < asked {
                    self.tower.ring();
                }
                self.note(moved);
                Lead::Ours { epoch, renewed }
            }
            Ok(Batch::LeaseLost) => {
                tracing::warn!(epoch, "another process moves the fleet now");
                Lead::Theirs { ask_at: renewed }
            }
            Err(error) => {
                tracing::warn!(%error, "drones were not moved on; will try again");
                self.tower.mark_stale();
                Lead::Theirs { ask_at: renewed + BATCH_EVERY }
            }
        }
    }

    fn note(&self, moved: Moved) {
        self.metrics.moves.add(u64::try_from(moved.drones.len()).unwrap_or(0));
        for (phase, seconds) in moved.missed {
            self.metrics.missed(phase, seconds);
        }
        for known in moved.drones {
            self.tower.note(known);
        }
    }

    /// Tells customers whose places have moved, once in a while and so many at a time.
    async fn tell(&self, lead: Lead, told: Monotonic) -> Monotonic {
        let now = self.clock.monotonic();
        if !matches!(lead, Lead::Ours { .. }) || now < told + TELL_EVERY {
            return told;
        }
        let simulated = self.tower.now(self.clock.now());
        let moved = self.tower.fleet().moved(simulated, TELL_MAX);
        if moved.is_empty() {
            return now;
        }
        let ids: Vec<_> = moved.iter().map(|it| it.order.delivery_id.clone()).collect();
        let tower = self.tower.clone();
        let written = self.store.write(move |it| booking::tell(it, &tower, &ids));
        if let Err(error) = written.await {
            tracing::warn!(%error, "customers were not told that the plan moved; will try again");
            self.tower.mark_stale();
        }
        now
    }

    fn report(&self, lead: Lead) {
        let (waiting, flying) = {
            let fleet = self.tower.fleet();
            (fleet.waiting(), fleet.airborne())
        };
        self.metrics.report(waiting, flying, matches!(lead, Lead::Ours { .. }));
    }

    /// Waits until something may be due, here or because another process changed it.
    async fn pause(&self, lead: Lead) {
        tokio::time::sleep(BATCH_EVERY).await;
        let next = match lead {
            Lead::Ours { .. } => self.tower.fleet().next_due(),
            Lead::Theirs { .. } => None,
        };
        let now = self.clock.now();
        let until_due = next.map(|it| self.tower.clock.wall_of(it).saturating_since(now));
        let wait = until_due.unwrap_or(FOLLOW_EVERY).min(FOLLOW_EVERY);
        // Either way the loop goes on; a ring only makes it sooner.
        tokio::time::timeout(wait, self.tower.rung()).await.ok();
    }

    async fn resign(&self, epoch: u64) {
        let owner = self.instance.clone();
        let released = self.store.write(move |it| it.release_lease(LEASE, &owner, epoch));
        if let Err(error) = released.await {
            tracing::warn!(%error, "the lease of the fleet was not given back; it will run out");
        }
    }
}

#[cfg(test)]
mod tests;
