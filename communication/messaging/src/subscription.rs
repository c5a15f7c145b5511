//! What a process subscribes to, and what it can do with a subscription that runs.

use std::{future::Future, num::NonZeroU32, time::Duration};

use base::Backoff;
use tokio::sync::watch;

use crate::{error::Failure, message::Delivered};

/// Processes messages.
pub trait Handler: Send + Sync + 'static {
    /// Processes one message. It may come again, so the work must bear that.
    ///
    /// Dropped when it has not ended five seconds after the process was told to end, after the group
    /// began to gather anew, or after this process was expelled from it: then the partition may be
    /// another's, and the message is processed there meanwhile. [`Delivered::stopping`] says when
    /// those five seconds begin; work that takes longer should end early then, as a passing failure.
    fn handle(&self, delivered: &Delivered) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Where a group that has committed nothing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest record that is kept.
    #[default]
    Earliest,
    /// At the end.
    Latest,
}

/// What is subscribed to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub(crate) topics: Vec<String>,
    /// None reads every partition and commits nothing.
    pub(crate) group: Option<String>,
    pub(crate) start: Start,
    pub(crate) lanes: usize,
    pub(crate) window: usize,
    pub(crate) attempts_max: NonZeroU32,
    pub(crate) backoff: Backoff,
}

impl Subscription {
    /// Topics, shared with the other members of a group. By default from the oldest record, 32
    /// messages at a time, 1,024 taken in and not finished, 5 attempts with waits of 0.2 s doubling
    /// to 30 s, then the dead letters.
    #[must_use]
    pub fn new(
        topics: impl IntoIterator<Item = impl Into<String>>,
        group: impl Into<String>,
    ) -> Self {
        Self { group: Some(group.into()), ..Self::tail(topics) }
    }

    /// Every partition of the topics, without a group.
    #[must_use]
    pub fn tail(topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            topics: topics.into_iter().map(Into::into).collect(),
            group: None,
            start: Start::Earliest,
            lanes: 32,
            window: 1_024,
            attempts_max: NonZeroU32::new(5).expect("five is not zero"),
            backoff: Backoff {
                initial: Duration::from_millis(200),
                factor: 2,
                cap: Duration::from_secs(30),
            },
        }
    }

    /// Begins at the end where nothing was committed.
    #[must_use]
    pub fn latest(self) -> Self {
        Self { start: Start::Latest, ..self }
    }

    /// So many messages at a time.
    #[must_use]
    pub fn lanes(self, lanes: usize) -> Self {
        Self { lanes: lanes.max(1), ..self }
    }

    /// So many messages taken in and not finished.
    #[must_use]
    pub fn window(self, window: usize) -> Self {
        Self { window: window.max(1), ..self }
    }

    /// So many attempts, the first included, before a message goes to the dead letters.
    #[must_use]
    pub fn attempts_max(self, attempts_max: NonZeroU32) -> Self {
        Self { attempts_max, ..self }
    }

    /// Waits between attempts.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// How it is named in logs and metrics.
    pub(crate) fn name(&self) -> String {
        self.group.clone().unwrap_or_else(|| "tail".to_owned())
    }
}

/// The topic of the messages that a group gave up.
#[must_use]
pub fn dead_letter_topic(topic: &str, group: &str) -> String {
    format!("{topic}.{group}.dead")
}

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Records that this process's partitions are behind; none before the first fetch.
    pub(crate) behind: Option<u64>,
}

/// A subscription that runs; a cheap clone.
#[derive(Debug, Clone)]
pub struct SubscriptionHandle {
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) progress: watch::Receiver<Progress>,
}

impl SubscriptionHandle {
    /// Takes nothing more in, until [`resume`](Self::resume); what was taken in goes on.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Records that this process's partitions are behind; none before the first fetch.
    #[must_use]
    pub fn behind(&self) -> Option<u64> {
        self.progress.borrow().behind
    }

    /// Waits until nothing is behind. Cancel-safe.
    pub async fn caught_up(&self) {
        let mut progress = self.progress.clone();
        // An error means that the subscription has ended: nothing will come.
        progress.wait_for(|it| it.behind == Some(0)).await.ok();
    }
}
