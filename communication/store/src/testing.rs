//! What work costs on the disk: frames of the write-ahead log, by table and index. For tests.
//!
//! A commit writes each page that it touched whole, so its cost is the number of pages. That number
//! depends on the statements and the rows alone: it is the same on every machine, where bytes in a
//! second are not.

use std::{
    collections::BTreeMap,
    fmt, fs,
    ops::AddAssign,
    path::{Path, PathBuf},
};

use crate::{error::ReadError, settings::StoreSettings, store::Store};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Pages of no table: those that wait to be used again.
const FREE: &str = "(free)";

/// Settings under which the log is never copied away, so that it can be counted.
#[must_use]
pub fn uncopied() -> StoreSettings {
    StoreSettings { checkpoint_bytes: u64::MAX, log_bytes_max: 1 << 40, ..StoreSettings::default() }
}

/// Counts what is written to one database, look by look.
#[derive(Debug)]
pub struct FrameCount {
    log: PathBuf,
    /// Bytes of the log that were counted.
    seen: usize,
}

/// What was written between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Transactions, each with a sync.
    pub commits: u64,
    /// Pages, by the table or index that they belong to now.
    pub frames: BTreeMap<String, u64>,
}

impl Written {
    /// Pages of all tables and indexes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.frames.values().sum()
    }
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.commits += other.commits;
        for (name, frames) in other.frames {
            *self.frames.entry(name).or_default() += frames;
        }
    }
}

impl FrameCount {
    /// Counts the log of the database at `path`, from its beginning.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self { log: PathBuf::from(log), seen: HEADER_BYTES }
    }

    /// What was committed since the last look. A page that one table has given up and another taken in
    /// between is counted for the other.
    ///
    /// # Errors
    /// The database cannot be read.
    ///
    /// # Panics
    /// The log cannot be read, or was begun anew: the store was not opened as [`uncopied`].
    pub async fn look(&mut self, store: &Store) -> Result<Written, ReadError> {
        let bytes = fs::read(&self.log).expect("the log can be read");
        assert!(bytes.len() >= self.seen, "the log was begun anew");
        let word = |at: usize| {
            bytes.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_be_bytes)
        };
        let frame_bytes = FRAME_HEADER_BYTES + word(8) as usize;
        let pages = store.read(|reader| {
            let sql = "SELECT pageno, name FROM dbstat";
            reader.query_all(sql, &[], |row| Ok((row.get::<u32>(0)?, row.get::<String>(1)?)))
        });
        let pages: BTreeMap<_, _> = pages.await?.into_iter().collect();
        let mut written = Written::default();
        while self.seen + frame_bytes <= bytes.len() {
            let name = pages.get(&word(self.seen)).map_or(FREE, String::as_str);
            *written.frames.entry(name.to_owned()).or_default() += 1;
            // The last page of a transaction says how long the database is then.
            written.commits += u64::from(word(self.seen + 4) != 0);
            self.seen += frame_bytes;
        }
        Ok(written)
    }
}

/// Commits of a service under load: as many pieces of work end in each as begin, once it is warm.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Commits until it is warm.
    pub warm_up: u64,
    /// Commits that are counted then.
    pub counted: u64,
    /// Pieces of work that begin in each.
    pub begun: u64,
}

impl Load {
    /// What a round for each commit wrote to the database at `path`: until as much ends as begins, tables
    /// are shorter than they will be.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn cost(
        self,
        (store, path): (&Store, &Path),
        mut round: impl AsyncFnMut(u64),
    ) -> Result<Cost, ReadError> {
        let (mut count, mut written) = (FrameCount::of(path), Written::default());
        for number in 0..self.warm_up {
            round(number).await;
        }
        count.look(store).await?;
        for number in self.warm_up..self.warm_up + self.counted {
            round(number).await;
            written += count.look(store).await?;
        }
        Ok(Cost { written, of: self.counted * self.begun })
    }
}

/// What so many pieces of work wrote.
#[derive(Debug, Clone)]
pub struct Cost {
    /// All of them together.
    pub written: Written,
    /// How many.
    pub of: u64,
}

impl Cost {
    /// Refuses more pages for each piece of work than that, in hundredths, and shows where they went.
    ///
    /// # Panics
    /// It is more.
    #[track_caller]
    #[expect(clippy::print_stdout, reason = "a test that is asked shows what it counted")]
    pub fn check(&self, hundredths_max: u64) {
        println!("{self}");
        assert!(
            self.hundredths(self.written.total()) <= hundredths_max,
            "more than {hundredths_max}: {self}"
        );
    }

    /// Hundredths of pages for each piece of work.
    fn hundredths(&self, frames: u64) -> u64 {
        frames * 100 / self.of.max(1)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, commits) = (self.written.total(), self.written.commits);
        write!(
            formatter,
            "hundredths of a page for each of {}, in {commits} commits: {}",
            self.of,
            self.hundredths(total)
        )?;
        let mut by_size: Vec<_> = self.written.frames.iter().collect();
        by_size.sort_by_key(|it| std::cmp::Reverse(it.1));
        let mut each = by_size.into_iter();
        each.try_for_each(|(name, frames)| {
            write!(formatter, "\n  {:6} {name}", self.hundredths(*frames))
        })
    }
}

/// Numbers of the messages that the relay takes out in its next commit: those of the commits before.
///
/// # Errors
/// The database cannot be read.
pub async fn said(store: &Store) -> Result<Vec<i64>, ReadError> {
    let waiting = store.read(|reader| reader.outbox(0, u32::MAX)).await?;
    Ok(waiting.into_iter().map(|it| it.0).collect())
}
