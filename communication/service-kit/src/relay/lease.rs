//! The lease of the one relay that works on a file: renewed beside the work, which ends with it.

use std::time::Duration;

use store::{Lease, SqlError, Store, Transaction};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

const NAME: &str = "outbox";
/// A relay that died is followed after so long.
const LASTS: Duration = Duration::from_secs(4);
/// Time between two renewals, and between two looks whether the lease is free.
pub(super) const RENEWED: Duration = Duration::from_secs(1);

/// A lease that was taken.
#[derive(Debug)]
pub(super) struct Held {
    store: Store,
    owner: String,
    epoch: u64,
    /// It is ours until then, unless it is renewed.
    until: watch::Sender<Instant>,
}

/// The lease, for a transaction that counts only under it.
#[derive(Debug)]
pub(super) struct Claim {
    owner: String,
    epoch: u64,
}

impl Claim {
    pub(super) fn holds(&self, transaction: &Transaction<'_>) -> Result<bool, SqlError> {
        transaction.holds_lease(NAME, &self.owner, self.epoch)
    }
}

impl Held {
    /// Takes the lease if it is free.
    pub(super) async fn take(store: &Store, owner: &str) -> Option<Self> {
        let asked = Instant::now();
        let name = owner.to_owned();
        match store.write(move |it| it.take_lease(NAME, &name, LASTS)).await {
            Ok(Lease::Taken { epoch }) => {
                let (store, owner) = (store.clone(), owner.to_owned());
                Some(Self { store, owner, epoch, until: watch::Sender::new(asked + LASTS) })
            }
            Ok(Lease::Held { .. }) => None,
            Err(error) => {
                tracing::debug!(%error, "the relay's lease cannot be taken");
                None
            }
        }
    }

    /// What a transaction asks whether it is still ours.
    pub(super) fn claim(&self) -> Claim {
        Claim { owner: self.owner.clone(), epoch: self.epoch }
    }

    /// Until when it is ours at the least.
    pub(super) fn until(&self) -> Instant {
        *self.until.borrow()
    }

    /// Waits for the next renewal. Cancel-safe.
    pub(super) async fn renewed(&self) {
        let mut until = self.until.subscribe();
        // The sender is ours: it lives as long as this waits.
        drop(until.changed().await);
    }

    /// Renews the lease until it is lost.
    pub(super) async fn keep(&self) {
        loop {
            sleep(RENEWED).await;
            // Counted from before the question, so that we believe no longer in it than the store.
            let asked = Instant::now();
            let (owner, epoch) = (self.owner.clone(), self.epoch);
            let renewal = self.store.write(move |it| it.renew_lease(NAME, &owner, epoch, LASTS));
            match tokio::time::timeout_at(self.until(), renewal).await {
                Ok(Ok(true)) => drop(self.until.send_replace(asked + LASTS)),
                Ok(Ok(false)) => return,
                Ok(Err(error)) if self.until() <= Instant::now() => {
                    tracing::warn!(%error, "the relay's lease was lost");
                    return;
                }
                Ok(Err(error)) => tracing::debug!(%error, "the relay's lease was not renewed"),
                Err(_) => {
                    tracing::warn!("the relay's lease was lost: no renewal in time");
                    return;
                }
            }
        }
    }

    /// Gives the lease back.
    pub(super) async fn release(self) {
        let (owner, epoch) = (self.owner, self.epoch);
        if let Err(error) = self.store.write(move |it| it.release_lease(NAME, &owner, epoch)).await
        {
            tracing::debug!(%error, "the relay's lease ends by itself");
        }
    }
}
