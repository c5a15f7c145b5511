//! How far each group has processed: in memory, and in a log of its own that is synced before a
//! commit is acknowledged.
//!
//! The log is a history of commits with a whole snapshot now and then, so that old segments can
//! go. Each commit is numbered when it is handed to the log, and the highest number is the last word
//! on a partition: a snapshot that lands behind a newer commit overrules nothing. A snapshot is
//! written beside the answers, and in parts that the log takes whatever the names are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{SharedClock, Timestamp};
use durable_log::{Append, AppendError, Appended, Log, LogConfig, OpenError, ReadError};
use runtime::Shutdown;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use crate::topics::Floors;

/// Bytes of commits after which a snapshot is written.
const SNAPSHOT_EVERY_BYTES: usize = 4 << 20;
/// Bytes of one append; one longer entry is an append of its own, and fits.
const APPEND_BYTES: usize = 512 << 10;
const SEGMENT_BYTES: u64 = 4 << 20;
/// Two snapshots of the largest size and what comes between fit into it, so the newest is always there.
const KEPT_BYTES: u64 = 32 << 20;
/// Bytes of all commits as they are written. At the bound those of partitions that a group has not
/// committed before are refused.
const COMMITS_BYTES_MAX: usize = 8 << 20;
/// Longest metadata of a commit that is kept, by default as Kafka's `offset.metadata.max.bytes`.
pub(crate) const METADATA_BYTES_MAX: usize = 4_096;
/// A commit of a group that lives is written anew when it is as old.
const WRITTEN_ANEW: Duration = Duration::from_secs(86_400);
/// Wait after a snapshot that the log did not take.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

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

/// Why commits were not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("there are too many commits")]
    TooMany,
    #[error("their log did not take them")]
    Log(#[source] AppendError),
}

/// Where a group stands in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) metadata: Option<String>,
    /// Grows with each commit.
    number: u64,
    /// When it was committed, or its group was seen alive.
    time: Timestamp,
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
    /// The first programs wrote none: then the place in the log decides.
    #[serde(rename = "n", default)]
    number: u64,
    /// Milliseconds; the time of the record where there is none.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
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
    /// Bytes of the entries, as they are written.
    held: usize,
    /// Bytes that were written since the last snapshot.
    written: usize,
    /// The number of the commit that was handed in last.
    number: u64,
}

/// Every group's commits; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Commits {
    log: Log,
    clock: SharedClock,
    known: Arc<Mutex<Known>>,
    /// A snapshot is due.
    due: Arc<Notify>,
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Takes commits that are in the log. What is newer stands.
    fn take(&mut self, entries: Vec<Entry>, time: Timestamp) {
        for entry in entries {
            let bytes = entry.bytes();
            let (key, committed) = entry.split(time);
            self.number = self.number.max(committed.number);
            match self.entries.get(&key) {
                Some(known) if known.number > committed.number => continue,
                Some(known) => self.held -= Entry::join(&key, known).bytes(),
                None => {}
            }
            self.held += bytes;
            self.entries.insert(key, committed);
        }
    }

    fn snapshot_is_due(&self) -> bool {
        self.written >= SNAPSHOT_EVERY_BYTES.max(self.held)
    }
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
        let known = Arc::new(Mutex::new(restore(&log, directory)?));
        Ok(Self { log, clock, known, due: Arc::default() })
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

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Where a group stands.
    pub(crate) fn find(&self, group: &str, topic: &str, partition: i32) -> Option<Committed> {
        let key = (group.to_owned(), topic.to_owned(), partition);
        self.known().entries.get(&key).filter(|it| it.offset >= 0).cloned()
    }

    /// Groups that have committed something.
    pub(crate) fn groups(&self) -> BTreeSet<String> {
        let known = self.known();
        let there = known.entries.iter().filter(|it| it.1.offset >= 0);
        there.map(|it| it.0.0.clone()).collect()
    }

    /// Forgets the commits of those groups, topics and partitions. What says so is itself a commit, of
    /// no offset, until it is old: a snapshot under way must not bring the former back.
    pub(crate) async fn clear(
        &self,
        which: impl Fn(&str, &str, i32) -> bool,
    ) -> Result<(), KeepError> {
        let entries: Vec<Entry> = {
            let known = self.known();
            let there = known.entries.iter().filter(|it| it.1.offset >= 0).map(|it| it.0);
            let cleared = there.filter(|(group, topic, partition)| which(group, topic, *partition));
            cleared.map(|(group, topic, it)| Entry::new(group, topic, *it, -1, None)).collect()
        };
        self.keep(entries).await
    }

    /// Keeps commits; they are durable when this returns, and count for all who ask.
    pub(crate) async fn keep(&self, entries: Vec<Entry>) -> Result<(), KeepError> {
        let pending = self.hand_in(entries)?;
        self.acknowledged(pending).await.map_err(KeepError::Log)
    }

    /// Numbers commits and hands them to the log, in one step, so that the numbers are its order.
    fn hand_in(&self, mut entries: Vec<Entry>) -> Result<Vec<Ending>, KeepError> {
        let now = self.clock.now();
        let mut known = self.known();
        let is_new = |it: &&Entry| !known.entries.contains_key(&it.key());
        let more: usize = entries.iter().filter(is_new).map(Entry::bytes).sum();
        if more > 0 && known.held + more > COMMITS_BYTES_MAX {
            return Err(KeepError::TooMany);
        }
        for entry in &mut entries {
            known.number += 1;
            (entry.number, entry.time) = (known.number, Some(now.as_millis()));
        }
        self.enqueue(entries, now).map_err(KeepError::Log)
    }

    /// Hands entries to the log in parts that it takes; each counts when its part is there.
    fn enqueue(&self, entries: Vec<Entry>, now: Timestamp) -> Result<Vec<Ending>, AppendError> {
        let mut pending = Vec::new();
        for part in parts(entries) {
            // Text and numbers always serialize.
            let written = Body { format: FORMAT, entries: &part };
            let body = serde_json::to_vec(&written).unwrap_or_default();
            let (bytes, known, due) = (body.len(), Arc::clone(&self.known), Arc::clone(&self.due));
            let (reply, ending) = oneshot::channel();
            // On the log's own thread and in its order.
            let done = move |ended: Result<Appended, AppendError>| {
                if ended.is_ok() {
                    let mut known = lock(&known);
                    known.written += bytes;
                    known.take(part, now);
                    if known.snapshot_is_due() {
                        due.notify_one();
                    }
                }
                // Whoever asked may have gone.
                reply.send(ended.map(|_| ())).ok();
            };
            let append = Append { partition: 0, records: 1, time: now, body: body.into() };
            self.log.enqueue_then(append, None, done)?;
            pending.push(ending);
        }
        Ok(pending)
    }

    async fn acknowledged(&self, pending: Vec<Ending>) -> Result<(), AppendError> {
        for ending in pending {
            ending.await.unwrap_or(Err(AppendError::Closed))?;
        }
        Ok(())
    }

    /// Writes snapshots when they are due, until the broker stops.
    pub(crate) async fn watch(&self, shutdown: Shutdown) {
        while shutdown.or_cancel(self.due.notified()).await.is_some() {
            while let Err(error) = self.snapshot().await {
                tracing::warn!(%error, "no snapshot of the commits of groups; will try again");
                if shutdown.or_cancel(tokio::time::sleep(AGAIN_AFTER)).await.is_none() {
                    return;
                }
            }
        }
    }

    async fn snapshot(&self) -> Result<(), AppendError> {
        let all: Vec<Entry> = {
            let mut known = self.known();
            known.written = 0;
            known.entries.iter().map(|(key, it)| Entry::join(key, it)).collect()
        };
        for part in parts(all) {
            let pending = self.enqueue(part, self.clock.now())?;
            self.acknowledged(pending).await?;
        }
        // What was written is the snapshot itself.
        self.known().written = 0;
        if let Err(error) = self.log.enforce_retention() {
            tracing::warn!(%error, "old commits of groups could not be retired");
        }
        Ok(())
    }

    /// Forgets what groups committed that have no members, so long ago. What groups with members
    /// have committed stays, and is written anew now and then, so that a start knows it too.
    pub(crate) async fn forget(&self, kept: Duration, alive: &BTreeSet<String>) {
        let now = self.clock.now();
        let mut anew = Vec::new();
        {
            let mut known = self.known();
            let Known { entries, held, .. } = &mut *known;
            let before = entries.len();
            entries.retain(|key, it| {
                let age = now.saturating_since(it.time);
                if alive.contains(&key.0) && it.offset >= 0 {
                    if age >= WRITTEN_ANEW.min(kept / 2) {
                        // Under its own number: a newer commit overrules it.
                        anew.push(Entry { time: Some(now.as_millis()), ..Entry::join(key, it) });
                    }
                    return true;
                }
                let stays = age < kept;
                if !stays {
                    *held -= Entry::join(key, it).bytes();
                }
                stays
            });
            let forgotten = before - entries.len();
            if forgotten > 0 {
                tracing::info!(forgotten, "commits of groups that are gone are forgotten");
            }
        }
        let written = match self.enqueue(anew, now) {
            Ok(pending) => self.acknowledged(pending).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::debug!(%error, "commits of living groups are written anew later");
        }
    }

    pub(crate) async fn close(&self) {
        self.log.close().await;
    }
}

/// How an append of commits ends.
type Ending = oneshot::Receiver<Result<(), AppendError>>;

/// Entries in parts of so many bytes.
fn parts(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut parts: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = usize::MAX;
    for entry in entries {
        let more = entry.bytes();
        if bytes.saturating_add(more) > APPEND_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        parts.last_mut().into_iter().for_each(|it| it.push(entry.clone()));
    }
    parts
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
            known.written += frame.body.len();
            let entries = read_body(&frame.body, frame.base_offset, directory)?;
            known.take(entries, frame.time);
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
        let metadata = metadata.filter(|it| !it.is_empty());
        let (group, topic) = (group.to_owned(), topic.to_owned());
        Self { group, topic, partition, offset, metadata, number: 0, time: None }
    }

    fn key(&self) -> Key {
        (self.group.clone(), self.topic.clone(), self.partition)
    }

    /// How long it is when it is written, its number and its time as long as they get.
    fn bytes(&self) -> usize {
        let longest = Self { number: u64::MAX, time: Some(i64::MAX), ..self.clone() };
        serde_json::to_vec(&longest).map_or(0, |it| it.len())
    }

    fn split(self, written: Timestamp) -> (Key, Committed) {
        let Self { group, topic, partition, offset, metadata, number, time } = self;
        let time = time.map_or(written, Timestamp::from_millis);
        ((group, topic, partition), Committed { offset, metadata, number, time })
    }

    fn join(key: &Key, committed: &Committed) -> Self {
        let (group, topic, partition) = key.clone();
        let Committed { offset, metadata, number, time } = committed.clone();
        let time = Some(time.as_millis());
        Self { group, topic, partition, offset, metadata, number, time }
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

    fn entry(group: &str, partition: i32, offset: i64) -> Entry {
        Entry::new(group, "orders", partition, offset, Some("x".repeat(400)))
    }

    #[tokio::test]
    async fn a_snapshot_overrules_no_commit_that_was_under_way() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let commits = Commits::open(directory.path(), clock.clone()).unwrap();
        for offset in 0..200 {
            commits.keep(vec![entry("g", 0, offset * 2)]).await.unwrap();
            // Handed in, and not in memory yet: a snapshot is taken before it is.
            let pending = commits.hand_in(vec![entry("g", 0, offset * 2 + 1)]).unwrap();
            commits.snapshot().await.unwrap();
            commits.acknowledged(pending).await.unwrap();
        }
        commits.close().await;
        let again = Commits::open(directory.path(), clock).unwrap();
        assert_eq!(again.find("g", "orders", 0).map(|it| it.offset), Some(399));
    }

    #[tokio::test]
    async fn commits_of_long_names_are_kept_over_a_snapshot_and_a_restart_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let commits = Commits::open(directory.path(), clock.clone()).unwrap();
        commits.keep(vec![entry("ours", 0, 7)]).await.unwrap();
        let mut refused = 0;
        for group in 0..60 {
            let name = format!("{group:0350}");
            let entries = (0..1_000).map(|it| entry(&name, it, 1)).collect();
            refused += usize::from(commits.keep(entries).await.is_err());
        }
        assert!(refused > 0, "they have no bound");
        // Who has committed goes on.
        commits.keep(vec![entry("ours", 0, 8)]).await.unwrap();
        commits.snapshot().await.unwrap();
        let before = commits.known().entries.clone();
        commits.close().await;
        let again = Commits::open(directory.path(), clock).unwrap();
        assert_eq!(again.find("ours", "orders", 0).map(|it| it.offset), Some(8));
        assert_eq!(again.known().entries, before);
    }

    #[tokio::test]
    async fn what_a_group_without_members_committed_is_forgotten_after_its_time() {
        const DAY: Duration = Duration::from_secs(86_400);
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let commits = Commits::open(directory.path(), clock.clone()).unwrap();
        let alive = BTreeSet::from(["alive".to_owned()]);
        commits.keep(vec![entry("alive", 0, 1), entry("gone", 0, 1)]).await.unwrap();
        for _ in 0..6 {
            clock.advance(DAY);
            commits.forget(DAY * 7, &alive).await;
        }
        assert!(commits.find("gone", "orders", 0).is_some(), "its time is not over");
        for _ in 0..2 {
            clock.advance(DAY);
            commits.forget(DAY * 7, &alive).await;
        }
        assert_eq!(commits.find("gone", "orders", 0), None);
        commits.close().await;
        // A start does not know yet who lives; what lived until now is not old.
        let again = Commits::open(directory.path(), clock).unwrap();
        again.forget(DAY * 7, &BTreeSet::new()).await;
        assert_eq!(again.find("alive", "orders", 0).map(|it| it.offset), Some(1));
        assert_eq!(again.find("gone", "orders", 0), None);
        let held: usize =
            again.known().entries.iter().map(|it| Entry::join(it.0, it.1).bytes()).sum();
        assert_eq!(again.known().held, held);
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
