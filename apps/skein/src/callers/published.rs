//! Keys that issuers publish at an address: looked at again and again, the last good ones believed for as
//! long as the policy says, and nobody's after that.
//!
//! Each address has a task of its own, so that a slow issuer delays no other. It refuses to follow a
//! redirect, and to look anew because a token names a key that is not known: strangers would choose when.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{Backoff, Monotonic, SharedClock};
use callers::Signers;
use identity::PublicTrust;
use mesh_policy::edge_access::PublishedKeys;
use runtime::{Tasks, random_from_os};
use service_kit::{Call, Client, ServiceAddresses};
use telemetry::{CounterFamily, Telemetry};
use tokio::time::sleep;

use crate::failure::chain;

/// A set of as many keys as may be has less.
const SET_BYTES_MAX: usize = 256 << 10;
/// Waits after a look that gave nothing; never longer than between two good ones.
const AGAIN: Backoff =
    Backoff { initial: Duration::from_secs(2), factor: 2, cap: Duration::from_secs(60) };
/// What the issuer is called in calls.
const ISSUER: &str = "issuer";

/// The addresses that are followed.
#[derive(Debug)]
pub(super) struct Publications {
    surroundings: Surroundings,
    followed: BTreeMap<PublishedKeys, Publication>,
    /// Whose word counts about issuers; read once, for the first that has to prove its name.
    trust: Option<PublicTrust>,
}

/// What a look needs.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// A file of authorities that vouch for servers outside, beside the machine's own list.
    pub(super) authorities: Option<PathBuf>,
    pub(super) clock: SharedClock,
    pub(super) telemetry: Telemetry,
    pub(super) tasks: Tasks,
}

#[derive(Debug)]
struct Publication {
    kept: Arc<Mutex<Kept>>,
    /// Of this address alone: they end when nobody names it any more.
    tasks: Tasks,
}

/// What an address has said.
#[derive(Debug, Default)]
struct Kept {
    good: Option<(Signers, Monotonic)>,
    /// Whether whoever asks next hears something new.
    is_news: bool,
    /// Why the last look gave nothing.
    trouble: Option<String>,
    /// Whether somebody has heard that.
    is_told: bool,
}

impl Kept {
    fn take(&mut self, looked: Result<Signers, LookError>, now: Monotonic) {
        match looked {
            Ok(signers) => {
                self.good = Some((signers, now));
                self.is_news = true;
                self.trouble = None;
            }
            Err(error) => self.fail(chain(&error)),
        }
    }

    fn fail(&mut self, trouble: String) {
        (self.trouble, self.is_told) = (Some(trouble), false);
    }

    /// What nobody has heard yet.
    fn untold(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.is_told, true) { None } else { self.trouble.clone() }
    }

    /// Drops what is too old to be believed. Whether it says something else than when it was last asked.
    fn news(&mut self, stale_max: Duration, now: Monotonic) -> bool {
        if self.good.as_ref().is_some_and(|(_, at)| now.saturating_since(*at) > stale_max) {
            self.good = None;
            self.fail("its last good keys are too old to be believed".to_owned());
            self.is_news = true;
        }
        std::mem::take(&mut self.is_news)
    }
}

/// Why a look gave no keys.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the issuer does not answer")]
    Unanswered(#[source] service_kit::CallError),
    #[error("the issuer answers {0}")]
    Status(u16),
    #[error("it answers with {0} bytes, and {SET_BYTES_MAX} may be")]
    TooLong(usize),
    #[error("what it answers is no text")]
    NoText(#[source] std::str::Utf8Error),
    #[error("what it answers is no set of keys")]
    Unreadable(#[source] callers::ReadSignersError),
}

impl LookError {
    /// The word in the metric.
    const fn word(&self) -> &'static str {
        match self {
            Self::Unanswered(_) => "unanswered",
            Self::Status(_) => "status",
            Self::TooLong(_) => "too_long",
            Self::NoText(_) | Self::Unreadable(_) => "unreadable",
        }
    }
}

impl Publications {
    pub(super) const fn new(surroundings: Surroundings) -> Self {
        Self { surroundings, followed: BTreeMap::new(), trust: None }
    }

    /// Follows these addresses and no other. Whether one says something new, and what went wrong.
    pub(super) fn follow(&mut self, wanted: &[&PublishedKeys]) -> (bool, Vec<String>) {
        self.followed.retain(|told, publication| {
            let stays = wanted.contains(&told);
            if !stays {
                publication.tasks.stop();
            }
            stays
        });
        let (mut changed, mut troubles) = (false, Vec::new());
        for told in wanted {
            if !self.followed.contains_key(*told) {
                troubles.extend(self.begin(told));
            }
            let mut kept = lock(&self.followed[*told].kept);
            changed |= kept.news(told.stale_max, self.surroundings.clock.monotonic());
            troubles.extend(kept.untold().map(|it| format!("{}: {it}", told.url)));
        }
        (changed, troubles)
    }

    /// Why the last look at it gave nothing.
    pub(super) fn trouble(&self, told: &PublishedKeys) -> Option<String> {
        let trouble = lock(&self.followed.get(told)?.kept).trouble.clone()?;
        Some(format!("{}: {trouble}", told.url))
    }

    /// Begins to follow an address. Why nobody can be believed there, if that is so.
    fn begin(&mut self, told: &PublishedKeys) -> Option<String> {
        let mut trouble = None;
        if self.trust.is_none() && told.url.starts_with("https://") {
            match PublicTrust::load(self.surroundings.authorities.as_deref()) {
                Ok(trust) => self.trust = Some(trust),
                Err(error) => trouble = Some(format!("{}: {}", told.url, chain(&error))),
            }
        }
        let publication = begin(told, self.trust.clone(), &self.surroundings);
        self.followed.insert(told.clone(), publication);
        trouble
    }

    /// Who signs by what stands there; nobody where nothing good does.
    pub(super) fn signers(&self, told: &PublishedKeys) -> Option<Signers> {
        lock(&self.followed.get(told)?.kept).good.as_ref().map(|(signers, _)| signers.clone())
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks from now on until its tasks end.
fn begin(
    told: &PublishedKeys,
    trust: Option<PublicTrust>,
    surroundings: &Surroundings,
) -> Publication {
    let Surroundings { clock, telemetry, tasks, .. } = surroundings;
    let kept = Arc::<Mutex<Kept>>::default();
    let publication = Publication { kept: Arc::clone(&kept), tasks: tasks.child() };
    let looks = looks(telemetry);
    let (told, clock) = (told.clone(), clock.clone());
    let client = client(&told, trust);
    publication.tasks.spawn("published keys", |shutdown| async move {
        let mut random = random_from_os();
        let mut failures = 0;
        loop {
            let Some(looked) = shutdown.or_cancel(look(&client, &told)).await else { return };
            let word = looked.as_ref().map_or_else(LookError::word, |_| "good");
            looks.with(&[word]).inc();
            failures = if looked.is_ok() { 0 } else { failures + 1 };
            lock(&kept).take(looked, clock.monotonic());
            // The second half of each wait is drawn: many edges do not ask at one moment.
            let whole = match failures {
                0 => told.refresh,
                again => AGAIN.ceiling(again).min(told.refresh),
            };
            let wait = whole.mul_f64(0.5 + random.unit() / 2.0);
            if shutdown.or_cancel(sleep(wait)).await.is_none() {
                return;
            }
        }
    });
    publication
}

fn looks(telemetry: &Telemetry) -> CounterFamily {
    telemetry.metrics().counter(
        "mesh_signer_looks_total",
        "Looks at keys that issuers publish, by what came of them.",
        &["outcome"],
    )
}

fn client(told: &PublishedKeys, trust: Option<PublicTrust>) -> Client {
    let issuer = ServiceAddresses::new().with(ISSUER, &*told.url);
    // What the mesh counts of its calls is not told of these: they are no edge of ours.
    Client::believing(issuer, told.timeout, Telemetry::disabled(), trust)
}

/// Asks once. An answer without an end is one that does not come in time.
async fn look(client: &Client, told: &PublishedKeys) -> Result<Signers, LookError> {
    let rest = told.url.split_once("://").map_or(&*told.url, |(_, rest)| rest);
    let path = rest.find('/').map_or("/", |it| &rest[it..]).to_owned();
    let reply = client.call(Call::get(ISSUER, path)).await.map_err(LookError::Unanswered)?;
    if reply.status != http::StatusCode::OK {
        return Err(LookError::Status(reply.status.as_u16()));
    }
    if reply.body.len() > SET_BYTES_MAX {
        return Err(LookError::TooLong(reply.body.len()));
    }
    let text = str::from_utf8(&reply.body).map_err(LookError::NoText)?;
    Signers::read(text).map_err(LookError::Unreadable)
}

#[cfg(test)]
mod tests;
