//! The tables: what is to be said, what became of each try, and whom nobody may write to again.
//!
//! No row holds an address. Whom a message went to is kept as a code over the address, with a key
//! that never leaves the file: enough to know it again, too little to read it.

mod rows;

use base::{SharedClock, Timestamp};
use serde::Serialize;
use store::{OpenError, ReadError, Store, StoreSettings, Transaction, WriteError};
use telemetry::Telemetry;

use crate::{
    config::Patience,
    notice::{Channel, Notice},
    signature::{hex, hmac},
    verdict::{Verdict, next_try},
};

pub(crate) use self::rows::Due;
use self::rows::MIGRATIONS;

/// Messages that may wait; more are not taken in, so that they wait in the log.
const WAITING_MAX: u64 = 100_000;
/// Messages of one round of a channel.
pub(crate) const ROUND_MAX: u32 = 32;
/// Messages of one delivery that are shown.
const SHOWN_MAX: u32 = 200;
/// Messages that one transaction forgets.
const SLICE: u32 = 500;

/// What became of a message on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It will be tried, or tried again.
    Waiting,
    /// It was taken.
    Sent,
    /// Its address does not exist, or refuses us.
    Bounced,
    /// It was refused, or the time was up.
    GivenUp,
    /// There is no address for it.
    Unaddressed,
    /// Its reader wants no more of them, or an earlier one bounced.
    Suppressed,
}

impl State {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Waiting, "waiting"),
        (Self::Sent, "sent"),
        (Self::Bounced, "bounced"),
        (Self::GivenUp, "given-up"),
        (Self::Unaddressed, "unaddressed"),
        (Self::Suppressed, "suppressed"),
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|it| it.0 == self).map_or("", |it| it.1)
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|it| it.1 == word).map(|it| it.0)
    }
}

/// A message on a channel, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Which text.
    pub template: String,
    /// By which way.
    pub channel: Channel,
    /// What became of it.
    pub state: State,
    /// Tries so far.
    pub attempts: u32,
    /// Why it was not taken, without an address.
    pub outcome: Option<String>,
    /// When it happened.
    pub occurred_at: Timestamp,
}

/// Why a notice was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Too many wait.
    #[error("{WAITING_MAX} messages wait already")]
    Full,
    /// The tables failed.
    #[error(transparent)]
    Sql(#[from] store::SqlError),
}

/// What is to be said. A cheap clone.
#[derive(Debug, Clone)]
pub struct Outbox {
    store: Store,
    /// Of the codes over addresses and of the links that end them.
    key: [u8; 32],
}

impl Outbox {
    /// Opens the file or makes it. `secret` becomes the key of a file that has none yet.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn open(
        path: &std::path::Path,
        settings: StoreSettings,
        clock: SharedClock,
        telemetry: &Telemetry,
        secret: [u8; 32],
    ) -> Result<Self, OpenError> {
        let store = Store::open(path, MIGRATIONS, settings, clock, telemetry)?;
        let kept = store.write(move |it| rows::key(it, &secret)).await;
        let key = kept.map_err(|it| OpenError::Io {
            path: path.to_owned(),
            source: std::io::Error::other(it.to_string()),
        })?;
        Ok(Self { store, key })
    }

    /// The tables, for health and for forgetting.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Takes a notice in for these channels. Again, it changes nothing.
    ///
    /// # Errors
    /// [`OutboxError::Full`], or the tables failed.
    pub async fn put(
        &self,
        notice: Notice,
        channels: Vec<Channel>,
    ) -> Result<(), WriteError<OutboxError>> {
        let key = self.key;
        let written = self.store.write(move |transaction| {
            if rows::waiting(transaction)? >= WAITING_MAX {
                return Err(OutboxError::Full);
            }
            for channel in channels {
                let token = token(&key, &notice.id, channel);
                rows::insert(transaction, &notice, channel, &token)?;
            }
            Ok(())
        });
        written.await
    }

    /// Takes what is due on a channel, for as long as a try lasts: who takes it is the only one to try it, and
    /// when that one dies, it is due again. Counted before it is sent: a crash is no free try.
    pub(crate) async fn take_due(
        &self,
        channel: Channel,
        patience: &Patience,
    ) -> Result<Vec<Due>, WriteError<store::SqlError>> {
        let lasts = patience.timeout() * 3;
        self.store
            .write(move |it| {
                let again_at = it.now() + lasts;
                rows::take_due(it, channel, again_at, ROUND_MAX)
            })
            .await
    }

    /// Writes down what became of a try. `to` is the address that it went to.
    pub(crate) async fn settle(
        &self,
        due: &Due,
        to: Option<&str>,
        outcome: Outcome,
        patience: &Patience,
        unit: f64,
    ) -> Result<State, WriteError<store::SqlError>> {
        let recipient = to.map(|it| self.code(due.channel, it));
        let (due, patience) = (due.clone(), patience.clone());
        let written = self.store.write(move |transaction| {
            let (state, text) = match outcome {
                Outcome::Tried(Verdict::Sent) => (State::Sent, None),
                Outcome::Tried(Verdict::Bounced(why)) => (State::Bounced, Some(why)),
                Outcome::Tried(Verdict::Refused(why)) => (State::GivenUp, Some(why)),
                Outcome::Tried(Verdict::Later(why)) => (State::Waiting, Some(why)),
                Outcome::Unaddressed => (State::Unaddressed, None),
                Outcome::Suppressed => (State::Suppressed, None),
            };
            let now = transaction.now();
            let next = match state {
                State::Waiting => next_try(&patience, due.attempts, due.since, now, unit),
                _ => None,
            };
            // No next try: the time is up.
            let state =
                if state == State::Waiting && next.is_none() { State::GivenUp } else { state };
            if let (State::Bounced, Some(recipient)) = (state, &recipient) {
                rows::suppress(transaction, recipient, "bounced")?;
            }
            let (text, recipient) = (text.as_deref(), recipient.as_deref());
            rows::settle(transaction, due.sequence, state, next, text, recipient)?;
            Ok::<_, store::SqlError>(state)
        });
        written.await
    }

    /// Whether nobody may write to this address any more.
    pub(crate) async fn is_suppressed(
        &self,
        channel: Channel,
        address: &str,
    ) -> Result<bool, ReadError> {
        let code = self.code(channel, address);
        self.store.read(move |it| rows::is_suppressed(it, &code)).await
    }

    /// The reader of the message with this token wants no more of them. Of an unknown token nothing
    /// comes; whoever guesses learns nothing.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn unsubscribe(&self, token: &str) -> Result<(), WriteError<store::SqlError>> {
        let token = token.to_owned();
        let written =
            self.store.write(move |transaction| match rows::recipient(transaction, &token)? {
                Some(recipient) => rows::suppress(transaction, &recipient, "unsubscribed"),
                None => Ok(()),
            });
        written.await
    }

    /// What was said about a delivery, oldest first.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn entries(&self, delivery_id: &str) -> Result<Vec<Entry>, ReadError> {
        let id = delivery_id.to_owned();
        self.store.read(move |it| rows::entries(it, &id, SHOWN_MAX)).await
    }

    /// A code by which an address is known again.
    fn code(&self, channel: Channel, address: &str) -> Vec<u8> {
        let address = address.trim().to_lowercase();
        hmac(&self.key, &[channel.as_str().as_bytes(), b"\0", address.as_bytes()]).to_vec()
    }
}

/// What became of a message that was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was tried.
    Tried(Verdict),
    /// There is no address.
    Unaddressed,
    /// Its reader wants none.
    Suppressed,
}

/// Names the message in a link that ends them; nobody else can make it up.
fn token(key: &[u8; 32], id: &str, channel: Channel) -> String {
    let code = hmac(key, &[b"unsubscribe\0", channel.as_str().as_bytes(), b"\0", id.as_bytes()]);
    hex(&code[..16])
}

/// Forgets messages that happened before `before`, a slice at a time. Those that still wait are
/// past their deadline by then.
///
/// # Errors
/// The tables failed.
pub fn forget_old(
    transaction: &mut Transaction<'_>,
    before: Timestamp,
) -> Result<u64, store::SqlError> {
    rows::forget(transaction, before, SLICE)
}
