//! Tells companies what they wait for, and asks them how their tours go: one task for each, so that one
//! that is slow holds up no other.
//!
//! Every replica looks; none needs to lead, because news are read and written in one transaction.

use std::time::Duration;

use base::{SharedClock, Timestamp};
use runtime::Shutdown;
use store::{SqlError, Store, WriteError};
use tokio::time::sleep;

use super::{Change, Companies, NoAnswer, reading};
use crate::{
    booking::{
        Depot,
        outside::{self as booking, Errand},
    },
    domain::News,
    store::{self as table, outside as companies},
};

/// Deliveries of one look; the rest is in the next.
const LOOK_MAX: u32 = 64;

/// Deliveries in a row about which a company gives no answer before it is left alone until the next look.
const NO_ANSWERS_MAX: u32 = 3;

/// Looks after the deliveries of one company.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) store: Store,
    pub(crate) depot: Depot,
    pub(crate) clock: SharedClock,
    pub(crate) companies: Companies,
    pub(crate) carrier: String,
    /// Time between two questions about a delivery.
    pub(crate) every: Duration,
}

/// Why a look ended early.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the store failed: {0}")]
    Store(String),
}

impl From<WriteError<SqlError>> for LookError {
    fn from(error: WriteError<SqlError>) -> Self {
        Self::Store(error.to_string())
    }
}

impl Watch {
    /// Works until the service stops.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        while shutdown.or_cancel(sleep(self.every / 2)).await.is_some() {
            // Cancel-safe: what is written is written, and every call may be repeated.
            if let Some(Err(error)) = shutdown.or_cancel(self.look()).await {
                tracing::warn!(carrier = self.carrier, %error, "a company was not asked; will be again");
            }
        }
    }

    async fn look(&self) -> Result<(), LookError> {
        let (carrier, now) = (self.carrier.clone(), self.clock.now());
        let due = self.store.read(move |it| companies::due(it, &carrier, now, LOOK_MAX));
        let due = due.await.map_err(|it| LookError::Store(it.to_string()))?;
        let mut in_a_row = 0;
        for id in due {
            match self.go(id.clone()).await {
                Ok(()) => in_a_row = 0,
                Err(error @ LookError::Store(_)) => return Err(error),
                Err(LookError::NoAnswer(error)) => {
                    // The others have their turn before it.
                    self.put_off(id).await?;
                    in_a_row += 1;
                    if in_a_row == NO_ANSWERS_MAX {
                        return Err(error.into());
                    }
                    tracing::warn!(%error, "a company gave no answer about one delivery; will be asked again");
                }
            }
        }
        Ok(())
    }

    async fn put_off(&self, id: String) -> Result<(), LookError> {
        let next = self.clock.now() + self.every;
        let put_off = self.store.write(move |it| companies::call_at(it, &id, next));
        Ok(put_off.await?)
    }

    /// Does what is to be done about one delivery.
    async fn go(&self, id: String) -> Result<(), LookError> {
        let wanted = id.clone();
        let found = self.store.read(move |it| table::find(it, &wanted)).await;
        let found = found.map_err(|it| LookError::Store(it.to_string()))?;
        match booking::errand(found.as_ref(), &self.carrier) {
            Errand::Depart => {
                self.companies.depart(&self.carrier, &id).await?;
                let next = self.clock.now() + self.every;
                let told = self.store.write(move |it| booking::was_told(it, &id, next));
                Ok(told.await?)
            }
            Errand::Ask => {
                let said = self.companies.news(&self.carrier, &id).await?;
                self.hear(id, said).await
            }
            Errand::CallOff => {
                if self.companies.call_off(&self.carrier, &id, None).await? == Change::PickedUp {
                    tracing::warn!(
                        delivery = id,
                        carrier = self.carrier,
                        "a company keeps a package that nobody waits for"
                    );
                }
                self.forget(id).await
            }
            Errand::Nothing => self.forget(id).await,
        }
    }

    async fn forget(&self, id: String) -> Result<(), LookError> {
        let carrier = self.carrier.clone();
        let forgotten = self.store.write(move |it| companies::forget(it, &id, &carrier));
        Ok(forgotten.await?)
    }

    async fn hear(&self, id: String, said: Option<serde_json::Value>) -> Result<(), LookError> {
        let now = self.clock.now();
        let news = match said.map(|it| reading::news(&it)).transpose() {
            Ok(said) => said.map(|it| self.news(&it, now)),
            Err(faults) => {
                // What it says next may be readable; until then nothing is known.
                tracing::warn!(delivery = id, carrier = self.carrier, faults, "unreadable news");
                return self.put_off(id).await;
            }
        };
        let (depot, carrier, next) = (self.depot.clone(), self.carrier.clone(), now + self.every);
        let heard = self
            .store
            .write(move |it| booking::hear(it, &depot, (&id, &carrier), news.as_ref(), next));
        heard.await?;
        self.depot.bell.notify_one();
        Ok(())
    }

    fn news(&self, said: &reading::Said, now: Timestamp) -> News {
        News {
            number: said.number,
            phase: said.phase,
            position: said.position,
            // Not in the future: what follows would seem to come before it.
            at: self.depot.now(said.at.unwrap_or(now).min(now)),
            delivery_eta: said.delivery_eta.map(|it| self.depot.now(it)),
        }
    }
}
