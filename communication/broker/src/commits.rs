//! How far each group has processed: in memory, and in a log of its own that is synced before a
//! commit is acknowledged.
//!
//! The log is a history of commits with a whole snapshot now and then, so that old segments can
//! go; reading it from its beginning gives the last word on each partition.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use base::SharedClock;
use durable_log::{Append, AppendError, Log, LogConfig, OpenError, ReadError};
use serde::{Deserialize, Serialize};

use crate::topics::Floors;

/// Bytes of commits after which a snapshot is written.
const SNAPSHOT_EVERY_BYTES: usize = 4 << 20;
/// Entries of one append of a snapshot.
const SNAPSHOT_ENTRIES: usize = 10_000;
const SEGMENT_BYTES: u64 = 4 << 20;
/// Several snapshots fit into it, so the newest is always there.
const KEPT_BYTES: u64 = 32 << 20;
/// Longest metadata of a commit that is kept.
const METADATA_BYTES_MAX: usize = 4_096;

/// Offsets that a log can come to give out.
const OFFSETS_MAX: u64 = 1 << 60;
/// The format of a body that this program writes. A body that says none is a bare list of entries,
/// as the first programs wrote it.
const FORMAT: u32 = 1;

/// Why the commits of groups were not opened.
#[derive(Debug, thiserror::Error)]
pub enum CommitsError {
    /// Their log cannot be opened.
    #[error("their log cannot be opened")]
    Log(#[source] OpenError),
    /// Their log cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The directory of the log.
        path: PathBuf,
        /// What the log said.
        #[source]
        source: ReadError,
    },
    /// There are commits, and none of them is whole: every group would begin anew.
    #[error("nothing in {} is whole: {records} commits are lost; `skein log verify` says where", path.display())]
    Lost {
        /// The directory of the log.
        path: PathBuf,
        /// How many there were.
        records: u64,
    },
    /// A newer program wrote a commit.
    #[error("{} has commits of format {found}, this program knows {FORMAT}", path.display())]
    Format {
        /// The directory of the log.
        path: PathBuf,
        /// The format of the commit.
        found: u64,
    },
    /// It is whole and no commit.
    #[error("record {offset} of {} is no commit: {reason}", path.display())]
    Malformed {
        /// The directory of the log.
        path: PathBuf,
        /// Which record.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

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

/// What one append holds.
#[derive(Debug, Serialize, Deserialize)]
struct Body<E> {
    format: u32,
    entries: E,
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
    /// Reads the history. What is damaged of it is passed: an older commit of a group stands, or
    /// the next snapshot has a newer one.
    pub(crate) fn open(directory: &Path, clock: SharedClock) -> Result<Self, CommitsError> {
        let config = LogConfig {
            partitions: 1,
            segment_bytes: SEGMENT_BYTES,
            retention_bytes: Some(KEPT_BYTES),
            ..LogConfig::default()
        };
        let (log, _recovery) =
            Log::open(directory, config, clock.clone()).map_err(CommitsError::Log)?;
        let known = restore(&log, directory)?;
        Ok(Self { log, clock, known: Mutex::new(known) })
    }

    /// The highest offset that any group has committed, by topic and partition.
    pub(crate) fn highest(&self) -> Floors {
        let mut highest = Floors::new();
        for ((_, topic, partition), committed) in &self.known().entries {
            let (Ok(partition), Ok(offset)) =
                (u32::try_from(*partition), u64::try_from(committed.offset))
            else {
                continue;
            };
            // Nothing gives out so many: somebody wrote nonsense.
            if offset < OFFSETS_MAX {
                let known = highest.entry(topic.clone()).or_default().entry(partition).or_default();
                *known = offset.max(*known);
            }
        }
        highest
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
        let body = serde_json::to_vec(&Body { format: FORMAT, entries }).unwrap_or_default();
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

fn restore(log: &Log, directory: &Path) -> Result<Known, CommitsError> {
    let path = || directory.to_owned();
    let mut known = Known::default();
    let range = log.range(0);
    let (mut offset, mut lost) = (range.start, 0);
    while offset < range.end {
        let frames = log.read_past_gaps(0, offset, 1 << 20);
        let frames = frames.map_err(|source| CommitsError::Read { path: path(), source })?;
        if frames.is_empty() {
            lost += range.end - offset;
            break;
        }
        for frame in frames {
            lost += frame.base_offset - offset;
            offset = frame.base_offset + u64::from(frame.records);
            known.bytes += frame.body.len();
            let entries = read_body(&frame.body, frame.base_offset, directory)?;
            known.entries.extend(entries.into_iter().map(Entry::split));
        }
    }
    if lost > 0 && known.entries.is_empty() {
        return Err(CommitsError::Lost { path: path(), records: lost });
    }
    if lost > 0 {
        tracing::error!(
            path = %directory.display(),
            lost,
            "commits of groups are lost: a group may go on at an older one"
        );
    }
    Ok(known)
}

fn read_body(body: &[u8], offset: u64, directory: &Path) -> Result<Vec<Entry>, CommitsError> {
    let malformed = |error: serde_json::Error| CommitsError::Malformed {
        path: directory.to_owned(),
        offset,
        reason: error.to_string(),
    };
    if body.first() == Some(&b'[') {
        return serde_json::from_slice(body).map_err(malformed);
    }
    let body: Body<serde_json::Value> = serde_json::from_slice(body).map_err(malformed)?;
    if body.format != FORMAT {
        let found = u64::from(body.format);
        return Err(CommitsError::Format { path: directory.to_owned(), found });
    }
    serde_json::from_value(body.entries).map_err(malformed)
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

    /// A snapshot of three groups, and what came behind it, in segments of 4 MiB.
    async fn history(directory: &Path) -> BTreeMap<Key, Committed> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let commits = Commits::open(directory, clock.clone()).unwrap();
        let metadata = Some("x".repeat(4_000));
        for round in 0..75 {
            let entry = |offset: i64| {
                let group = format!("group {}", offset % 3);
                Entry::new(&group, "orders", 0, offset, metadata.clone())
            };
            let entries = (round * 40..(round + 1) * 40).map(entry);
            commits.keep(entries.collect()).await.unwrap();
        }
        commits.close().await;
        commits.known().entries.clone()
    }

    fn segments(directory: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).unwrap().map(|it| it.unwrap().path());
        let is_segment = |it: &PathBuf| it.to_string_lossy().contains("segment-");
        let mut segments: Vec<_> = entries.filter(is_segment).collect();
        segments.sort();
        segments
    }

    fn damage(path: &Path, from: usize, step: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        for byte in (from..bytes.len()).step_by(step) {
            bytes[byte] ^= 1;
        }
        std::fs::write(path, bytes).unwrap();
    }

    #[tokio::test]
    async fn damage_in_the_oldest_segment_forgets_no_newer_commit() {
        let directory = tempfile::tempdir().unwrap();
        let expected = history(directory.path()).await;
        let segments = segments(directory.path());
        assert!(segments.len() > 2, "{segments:?}");
        damage(&segments[0], 50_000, usize::MAX);
        damage(&segments[1], 5_000, 1_000);
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let commits = Commits::open(directory.path(), clock).unwrap();
        assert_eq!(commits.known().entries, expected);
        let floor = commits.highest()["orders"][&0];
        assert_eq!(floor, 2_999);
    }

    #[tokio::test]
    async fn without_one_whole_commit_it_refuses_to_start_and_names_the_place() {
        let directory = tempfile::tempdir().unwrap();
        history(directory.path()).await;
        for segment in segments(directory.path()) {
            damage(&segment, 4_200, 3_000);
        }
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let refused = Commits::open(directory.path(), clock).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, CommitsError::Lost { .. }), "{text}");
        assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
    }

    #[tokio::test]
    async fn the_commits_of_the_first_programs_are_read_and_unknown_ones_refused() {
        let path = Path::new("/commits");
        let first = br#"[{"g":"g","t":"orders","p":2,"o":7}]"#;
        let entries = read_body(first, 0, path).unwrap();
        assert_eq!((entries.len(), entries[0].partition, entries[0].offset), (1, 2, 7));
        let newer = read_body(br#"{"format":2,"entries":{}}"#, 0, path);
        assert!(matches!(newer, Err(CommitsError::Format { found: 2, .. })), "{newer:?}");
        let other = read_body(br#"[{"group":"g"}]"#, 9, path);
        assert!(matches!(other, Err(CommitsError::Malformed { offset: 9, .. })), "{other:?}");
    }
}
