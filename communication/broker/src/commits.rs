//! How far each group has processed: in memory, and in a log of its own that is synced before a
//! commit is acknowledged.
//!
//! The log is a history of commits with a whole snapshot now and then, so that old segments can
//! go; reading it from its beginning gives the last word on each partition.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use base::SharedClock;
use durable_log::{Append, AppendError, Log, LogConfig, OpenError};
use serde::{Deserialize, Serialize};

/// Bytes of commits after which a snapshot is written.
const SNAPSHOT_EVERY_BYTES: usize = 4 << 20;
/// Entries of one append of a snapshot.
const SNAPSHOT_ENTRIES: usize = 10_000;
const SEGMENT_BYTES: u64 = 4 << 20;
/// Several snapshots fit into it, so the newest is always there.
const KEPT_BYTES: u64 = 32 << 20;
/// Longest metadata of a commit that is kept.
const METADATA_BYTES_MAX: usize = 4_096;

/// Where a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) metadata: Option<String>,
}

/// One commit as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "g")]
    pub(crate) group: String,
    #[serde(rename = "t")]
    pub(crate) topic: String,
    #[serde(rename = "p")]
    pub(crate) partition: i32,
    #[serde(rename = "o")]
    pub(crate) offset: i64,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<String>,
}

type Key = (String, String, i32);

#[derive(Debug, Default)]
struct Known {
    entries: BTreeMap<Key, Committed>,
    /// Bytes since the last snapshot.
    bytes: usize,
}

/// Every group's commits.
#[derive(Debug)]
pub(crate) struct Commits {
    log: Log,
    clock: SharedClock,
    known: Mutex<Known>,
}

impl Commits {
    pub(crate) fn open(directory: &Path, clock: SharedClock) -> Result<Self, OpenError> {
        let config = LogConfig {
            partitions: 1,
            segment_bytes: SEGMENT_BYTES,
            retention_bytes: Some(KEPT_BYTES),
            ..LogConfig::default()
        };
        let (log, _recovery) = Log::open(directory, config, clock.clone())?;
        let mut known = Known::default();
        let range = log.range(0);
        let mut offset = range.start;
        while offset < range.end {
            let frames = match log.read(0, offset, 1 << 20) {
                Ok(frames) if !frames.is_empty() => frames,
                Ok(_) => break,
                Err(error) => {
                    tracing::error!(%error, offset, "commits of groups cannot be read");
                    break;
                }
            };
            for frame in frames {
                offset = frame.base_offset + u64::from(frame.records);
                known.bytes += frame.body.len();
                let entries: Vec<Entry> = serde_json::from_slice(&frame.body).unwrap_or_default();
                known.entries.extend(entries.into_iter().map(Entry::split));
            }
        }
        Ok(Self { log, clock, known: Mutex::new(known) })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a group stands.
    pub(crate) fn find(&self, group: &str, topic: &str, partition: i32) -> Option<Committed> {
        self.known().entries.get(&(group.to_owned(), topic.to_owned(), partition)).cloned()
    }

    /// Keeps commits; they are durable when this returns.
    pub(crate) async fn keep(&self, entries: Vec<Entry>) -> Result<(), AppendError> {
        let written = self.append(&entries).await?;
        let due = {
            let mut known = self.known();
            known.bytes += written;
            known.entries.extend(entries.into_iter().map(Entry::split));
            known.bytes >= SNAPSHOT_EVERY_BYTES
        };
        if due {
            self.snapshot().await?;
        }
        Ok(())
    }

    async fn snapshot(&self) -> Result<(), AppendError> {
        let all: Vec<Entry> = {
            let mut known = self.known();
            known.bytes = 0;
            known.entries.iter().map(|(key, it)| Entry::join(key, it)).collect()
        };
        for part in all.chunks(SNAPSHOT_ENTRIES) {
            self.append(part).await?;
        }
        if let Err(error) = self.log.enforce_retention() {
            tracing::warn!(%error, "old commits of groups could not be retired");
        }
        Ok(())
    }

    async fn append(&self, entries: &[Entry]) -> Result<usize, AppendError> {
        // Text and numbers always serialize.
        let body = serde_json::to_vec(entries).unwrap_or_default();
        let bytes = body.len();
        let time = self.clock.now();
        let append = Append { partition: 0, records: 1, time, body: body.into() };
        self.log.append(append).await?;
        Ok(bytes)
    }

    pub(crate) async fn close(&self) {
        self.log.close().await;
    }
}

impl Entry {
    /// A commit as a client asks for it.
    pub(crate) fn new(
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: Option<String>,
    ) -> Self {
        let metadata = metadata.filter(|it| !it.is_empty() && it.len() <= METADATA_BYTES_MAX);
        Self { group: group.to_owned(), topic: topic.to_owned(), partition, offset, metadata }
    }

    fn split(self) -> (Key, Committed) {
        let Self { group, topic, partition, offset, metadata } = self;
        ((group, topic, partition), Committed { offset, metadata })
    }

    fn join(key: &Key, committed: &Committed) -> Self {
        let (group, topic, partition) = key.clone();
        let Committed { offset, metadata } = committed.clone();
        Self { group, topic, partition, offset, metadata }
    }
}

#[cfg(test)]
mod tests {
    use base::{ManualClock, Timestamp};
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_last_commit_survives_any_number_of_snapshots() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let open = || Commits::open(directory.path(), clock.clone()).unwrap();
        let commits = open();
        let metadata = Some("x".repeat(4_000));
        for offset in 0..3_000 {
            let partition = i32::try_from(offset % 7).unwrap();
            let entry = Entry::new("g", "orders", partition, offset, metadata.clone());
            commits.keep(vec![entry]).await.unwrap();
        }
        commits.close().await;
        let again = open();
        for partition in 0..7 {
            let last = 2_999 - (2_999 - i64::from(partition)) % 7;
            assert_eq!(again.find("g", "orders", partition).map(|it| it.offset), Some(last));
        }
        assert_eq!(again.find("g", "orders", 7), None);
    }
}
