//! Takes alerts in, shows them, and sends them on.

use std::{path::Path, sync::Arc, time::Duration};

use base::{Random, SharedClock};
use runtime::{Shutdown, Tasks};
use store::{OpenError, ReadError, SqlError, Store, StoreSettings, WriteError};
use telemetry::Telemetry;
use tokio::{sync::Notify, time::sleep};

use super::{
    AlertGroup, AlertPlace, AlertRow, Raised, form, groups,
    rows::{self, DueAlert, MIGRATIONS, Of},
};
use crate::{
    config::{AlertConfig, ConfigError},
    post::Target,
    verdict::{Verdict, next_try, of_status},
};

/// Time between two looks for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Alerts of one call.
const ROUND_MAX: u32 = 64;
/// Alerts that are shown at a time.
pub const SHOWN_MAX: u32 = 1_000;

/// Why a desk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeskError {
    /// Its file cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Where alerts come together; a cheap clone.
#[derive(Debug, Clone)]
pub struct AlertDesk {
    store: Store,
    config: AlertConfig,
    target: Option<Target>,
    news: Arc<Notify>,
}

impl AlertDesk {
    /// Opens the file or makes it. Authorities that vouch for who takes alerts stand in a file of PEM,
    /// beside the machine's own list.
    ///
    /// # Errors
    /// The file or a setting cannot be used.
    pub fn open(
        path: &Path,
        config: AlertConfig,
        settings: StoreSettings,
        authorities: Option<&Path>,
        (clock, telemetry): (SharedClock, &Telemetry),
    ) -> Result<Self, OpenDeskError> {
        let target = match config.url.as_str() {
            "" => None,
            url => Some(Target::parse(url, "alerts.url", authorities)?),
        };
        let store = Store::open(path, MIGRATIONS, settings, clock, telemetry)?;
        Ok(Self { store, config, target, news: Arc::default() })
    }

    /// The tables, for forgetting.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Takes a word in; a message that comes again changes nothing.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn raise(&self, raised: Raised) -> Result<(), WriteError<SqlError>> {
        let is_pushed = self.target.is_some();
        self.store.write(move |it| rows::raise(it, &raised, is_pushed)).await?;
        self.news.notify_one();
        Ok(())
    }

    /// Alerts, those that need somebody most first, as many as are shown.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn list(&self, with_acknowledged: bool) -> Result<Vec<AlertRow>, ReadError> {
        self.page(with_acknowledged, None, SHOWN_MAX).await
    }

    /// A page of them: at most `limit` behind a place.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn page(
        &self,
        with_acknowledged: bool,
        after: Option<AlertPlace>,
        limit: u32,
    ) -> Result<Vec<AlertRow>, ReadError> {
        let limit = limit.min(SHOWN_MAX);
        self.store.read(move |it| rows::list(it, with_acknowledged, after.as_ref(), limit)).await
    }

    /// The same by their reasons.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn groups(&self, with_acknowledged: bool) -> Result<Vec<AlertGroup>, ReadError> {
        self.store.read(move |it| groups::list(it, with_acknowledged, SHOWN_MAX)).await
    }

    /// Somebody looks after every alert of a group. False when there is none.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn acknowledge_group(
        &self,
        id: &str,
        by: &str,
    ) -> Result<bool, WriteError<SqlError>> {
        let (id, by, is_pushed) = (id.to_owned(), by.to_owned(), self.target.is_some());
        let known = self
            .store
            .write(move |it| rows::acknowledge(it, Of::Group(&id), &by, is_pushed))
            .await?;
        self.news.notify_one();
        Ok(known)
    }

    /// Somebody looks after an alert; it stays with who said so first. False when there is none.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn acknowledge(&self, id: &str, by: &str) -> Result<bool, WriteError<SqlError>> {
        let (id, by, is_pushed) = (id.to_owned(), by.to_owned(), self.target.is_some());
        let known = self
            .store
            .write(move |it| rows::acknowledge(it, Of::Alert(&id), &by, is_pushed))
            .await?;
        self.news.notify_one();
        Ok(known)
    }

    /// Somebody acted on a delivery, and so looks after what was said about it.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn acknowledge_delivery(
        &self,
        delivery_id: &str,
        by: &str,
    ) -> Result<(), WriteError<SqlError>> {
        let (id, by, is_pushed) = (delivery_id.to_owned(), by.to_owned(), self.target.is_some());
        self.store.write(move |it| rows::acknowledge_delivery(it, &id, &by, is_pushed)).await?;
        self.news.notify_one();
        Ok(())
    }

    /// Starts to send alerts on, where there is somebody to send them to.
    pub fn start(&self, tasks: &Tasks) {
        if self.target.is_some() {
            let (desk, owner) = (self.clone(), tasks.clone());
            tasks.spawn("alerts", |shutdown| async move { desk.run(&owner, shutdown).await });
        }
    }

    async fn run(self, tasks: &Tasks, shutdown: Shutdown) {
        let mut random = runtime::random_from_os();
        while !shutdown.is_cancelled() {
            match self.round(tasks, &mut random).await {
                Ok(count) if count == ROUND_MAX as usize => {}
                Ok(_) => self.rest(&shutdown).await,
                Err(error) => {
                    tracing::debug!(%error, "no alert was sent on this time");
                    self.rest(&shutdown).await;
                }
            }
        }
    }

    async fn rest(&self, shutdown: &Shutdown) {
        let news = async {
            tokio::select! { () = self.news.notified() => {} () = sleep(LOOK_EVERY) => {} }
        };
        shutdown.or_cancel(news).await;
    }

    async fn round(
        &self,
        tasks: &Tasks,
        random: &mut Random,
    ) -> Result<usize, WriteError<SqlError>> {
        let Some(target) = &self.target else { return Ok(0) };
        let timeout = self.config.patience.timeout();
        let due = self.store.write(move |it| {
            let again_at = it.now() + timeout * 3;
            rows::take_due(it, again_at, ROUND_MAX)
        });
        let due = due.await?;
        if due.is_empty() {
            return Ok(0);
        }
        let post = form::post(due.iter().map(|it| &it.alert));
        let verdict = match target.post(&post, timeout, tasks).await {
            Ok(status) => of_status(status, false),
            Err(error) => Verdict::Later(error.to_string()),
        };
        let count = due.len();
        self.settle(due, verdict, random.unit()).await?;
        Ok(count)
    }

    async fn settle(
        &self,
        due: Vec<DueAlert>,
        verdict: Verdict,
        unit: f64,
    ) -> Result<(), WriteError<SqlError>> {
        let is_again = match &verdict {
            Verdict::Sent => false,
            Verdict::Later(why) => {
                tracing::warn!(why, "alerts were not taken; they are sent again");
                true
            }
            Verdict::Refused(why) | Verdict::Bounced(why) => {
                tracing::error!(why, "alerts were refused");
                false
            }
        };
        let patience = self.config.patience.clone();
        let written = self.store.write(move |transaction| {
            let now = transaction.now();
            for taken in &due {
                let next = || next_try(&patience, taken.attempts, taken.since, now, unit);
                let next = if is_again { next() } else { None };
                rows::settle(transaction, taken, next)?;
            }
            Ok(())
        });
        written.await
    }
}
