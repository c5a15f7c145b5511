//! Connections to the file, and the lock that the writers of several processes share.
//!
//! `SQLite`'s own waiting backs off to 100 ms and lets the process that just committed take the
//! lock again first. Here a waiter asks every quarter of a millisecond, and stands in the turn: a
//! second file lock that a process must take before it may wait for the writer's lock and gives
//! back when it has it. A process that commits in a loop thus queues behind one that waits.
//!
//! The database file itself is never opened outside `SQLite` while the process uses it: closing
//! any descriptor of it would drop the process's POSIX locks.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use rusqlite::{Connection, MAIN_DB, OpenFlags, config::DbConfig, hooks::Wal};

use crate::error::SqlError;

/// Between two looks at a lock that another process holds.
const LOOK_AGAIN: Duration = Duration::from_micros(250);
/// How long a process stands in the turn before it goes for the writer's lock without it: a
/// process that was stopped inside the turn must not stop the others.
pub(crate) const TURN_LOOKS: u32 = 400;
/// Statements that a connection keeps prepared. One service has some dozens; past it the least
/// recently used is prepared anew.
const STATEMENTS_KEPT: usize = 256;

/// Opens connections with the settings that durability rests on.
#[derive(Debug, Clone)]
pub(crate) struct Opener {
    pub(crate) path: PathBuf,
    /// The log is cut back to this size, in bytes, when it is begun anew.
    pub(crate) log_bytes_max: u64,
}

/// How long a connection waits for locks; shared with its busy handler.
#[derive(Debug, Clone)]
pub(crate) struct Patience(Arc<AtomicU32>);

impl Patience {
    pub(crate) fn set(&self, wait: Duration) {
        let looks = wait.as_micros() / LOOK_AGAIN.as_micros();
        self.0.store(u32::try_from(looks).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// Size of a page of a database that is made new, in bytes. A commit writes each page that it touched whole,
/// and nearly all of ours touch a row here and a row there: with 4,096, `SQLite`'s own choice, the same
/// work writes 2.2 times the bytes at the same CPU. Tables without row numbers keep up to 231 bytes of
/// a row in their tree then, others 989; what is longer takes further pages.
const PAGE_BYTES: u32 = 1_024;
/// Before each page of the log.
const FRAME_HEADER_BYTES: u64 = 24;

impl Opener {
    /// Size of the write-ahead log, in bytes; 0 when there is none.
    #[cfg(test)]
    pub(crate) fn log_bytes(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |it| it.len())
    }

    /// Where the write-ahead log is.
    pub(crate) fn log(&self) -> PathBuf {
        suffixed(&self.path, "-wal")
    }

    /// A connection that writes, and the handle that says how long it waits.
    pub(crate) fn writer(&self) -> Result<(Connection, Patience), SqlError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection =
            Connection::open_with_flags(&self.path, flags).map_err(SqlError::of)?;
        let patience = wait_evenly(&mut connection)?;
        keep_plans(&connection)?;
        // The last to close would copy the rest of the log and remove it, whatever was lost before.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(SqlError::of)?;
        // A file that cannot be opened for writing is opened for reading, without a word.
        if connection.is_readonly(MAIN_DB).map_err(SqlError::of)? {
            return Err(SqlError::Io { message: "the file can only be read".to_owned() });
        }
        // Before the first table: it is fixed then.
        pragma(&connection, &format!("page_size = {PAGE_BYTES}"))?;
        pragma(&connection, "journal_mode = WAL")?;
        // Every commit syncs the log before it is seen. NORMAL would sync at checkpoints only.
        pragma(&connection, "synchronous = FULL")?;
        pragma(&connection, "foreign_keys = ON")?;
        // Copying the log into the database belongs to a thread that nobody waits for.
        pragma(&connection, "wal_autocheckpoint = 0")?;
        pragma(&connection, &format!("journal_size_limit = {}", self.log_bytes_max))?;
        // What a savepoint would take back is kept as pages, in a file from 64 KiB on: a group changes
        // more than that, and what its writes hold is bounded by it.
        pragma(&connection, "temp_store = MEMORY")?;
        Ok((connection, patience))
    }

    /// The connection that writes for a process, and how long the log is by it.
    pub(crate) fn metered_writer(&self) -> Result<(Connection, Patience, LogMeter), SqlError> {
        let (mut connection, patience) = self.writer()?;
        let meter = LogMeter::on(&mut connection).map_err(SqlError::of)?;
        Ok((connection, patience, meter))
    }

    /// A connection that cannot write.
    pub(crate) fn reader(&self) -> Result<Connection, SqlError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_EXRESCODE;
        let mut connection =
            Connection::open_with_flags(&self.path, flags).map_err(SqlError::of)?;
        wait_evenly(&mut connection)?.set(Duration::from_secs(1));
        keep_plans(&connection)?;
        pragma(&connection, "query_only = ON")?;
        Ok(connection)
    }
}

/// How long the log is that has to be copied, as a connection learns with each of its commits.
///
/// The file tells nothing: it keeps its length when the log is begun anew in it.
#[derive(Debug)]
pub(crate) struct LogMeter {
    /// Pages of the log.
    pages: Arc<AtomicU32>,
    /// Bytes of one with its header.
    page_bytes: u64,
    /// Pages up to which somebody was told to copy them.
    told: u32,
}

/// What the log needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogCare {
    /// Nothing.
    Nothing,
    /// To be copied into the database, some time soon.
    Copying,
    /// To be begun anew, before anything else: copying alone does not keep it short.
    Restarting,
}

impl LogMeter {
    fn on(connection: &mut Connection) -> rusqlite::Result<Self> {
        let page_bytes: u32 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = Arc::<AtomicU32>::default();
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages| {
            seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, page_bytes: u64::from(page_bytes) + FRAME_HEADER_BYTES, told: 0 })
    }

    /// What the log needs after a commit, if it is copied each `copied_bytes` and has `bytes_max` at the
    /// most. What needs copying is said once.
    pub(crate) fn care(&mut self, copied_bytes: u64, bytes_max: u64) -> LogCare {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.told {
            // Begun anew: all of it was copied before.
            self.told = 0;
        }
        if u64::from(pages) * self.page_bytes >= bytes_max {
            self.told = pages;
            LogCare::Restarting
        } else if u64::from(pages - self.told) * self.page_bytes >= copied_bytes {
            self.told = pages;
            LogCare::Copying
        } else {
            LogCare::Nothing
        }
    }
}

fn wait_evenly(connection: &mut Connection) -> Result<Patience, SqlError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    let patience = Patience(Arc::new(AtomicU32::new(0)));
    patience.set(Duration::from_secs(1));
    let looks_max = patience.clone();
    connection
        .busy_handler(Some(move |looks: i32| {
            let more = u32::try_from(looks).unwrap_or(0) < looks_max.0.load(Ordering::Relaxed);
            if more {
                pause();
            }
            more
        }))
        .map_err(SqlError::of)?;
    Ok(patience)
}

/// Plans a statement once, by its text alone. Else each value that is bound where a table has a partial index, and
/// each bound LIMIT, lets it be parsed and planned anew: the value might imply the condition of the index. So
/// a condition of an index stands in a statement as it does in the index, and not as a parameter.
fn keep_plans(connection: &Connection) -> Result<(), SqlError> {
    let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
    kept.map(drop).map_err(SqlError::of)
}

/// Runs a pragma and drops what it answers; its effect is what the tests ask for.
fn pragma(connection: &Connection, text: &str) -> Result<(), SqlError> {
    let mut statement = connection.prepare(&format!("PRAGMA {text}")).map_err(SqlError::of)?;
    let mut rows = statement.raw_query();
    while rows.next().map_err(SqlError::of)?.is_some() {}
    Ok(())
}

fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "only threads that the store owns come here, never one of the runtime"
    )]
    thread::sleep(LOOK_AGAIN);
}

/// The place where a process waits to be next.
#[derive(Debug)]
pub(crate) struct Turnstile {
    file: File,
}

/// Holding the turn; dropping gives it back.
#[derive(Debug)]
pub(crate) struct Turn<'t>(&'t File);

impl<'t> Turn<'t> {
    /// Waits for the lock on a file for so many looks; `None` when it did not come.
    pub(crate) fn on(file: &'t File, looks: u32) -> Option<Self> {
        for look in 0..looks {
            if look > 0 {
                pause();
            }
            if file.try_lock().is_ok() {
                return Some(Self(file));
            }
        }
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // A failure leaves the turn to the process's end; the others go on without it.
        drop(self.0.unlock());
    }
}

impl Turnstile {
    /// Opens the turn of the database at `path`: a file beside it that stays empty.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(suffixed(path, "-turn"))?;
        Ok(Self { file })
    }

    /// Waits for the turn for a bounded time; `None` when it did not come.
    pub(crate) fn enter(&self) -> Option<Turn<'_>> {
        Turn::on(&self.file, TURN_LOOKS)
    }

    /// As [`enter`](Self::enter), for a process that starts and may wait `wait`.
    pub(crate) fn enter_for(&self, wait: Duration) -> Option<Turn<'_>> {
        let looks = wait.as_micros() / LOOK_AGAIN.as_micros();
        Turn::on(&self.file, u32::try_from(looks).unwrap_or(u32::MAX))
    }
}

/// `path` with `suffix` after its file name.
pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that holds `path`.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Creates the directory and makes each name on the way to it durable.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = directory(path);
    create_directory(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    sync_directory(above)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_statement_is_planned_once_whatever_values_it_gets() {
        let directory = tempfile::tempdir().unwrap();
        let opener = Opener { path: directory.path().join("a.db"), log_bytes_max: 1 << 20 };
        let (writer, _patience) = opener.writer().unwrap();
        writer
            .execute_batch(
                "CREATE TABLE rows (id INTEGER PRIMARY KEY, owner TEXT) STRICT;
                 CREATE INDEX rows_owner ON rows (owner) WHERE owner IS NOT NULL;",
            )
            .unwrap();
        for connection in [&writer, &opener.reader().unwrap()] {
            for sql in [
                "SELECT id FROM rows WHERE id = ?1 AND owner > ?2",
                "SELECT id FROM rows WHERE id > ?1 ORDER BY id LIMIT ?2",
            ] {
                let mut statement = connection.prepare(sql).unwrap();
                for number in 0..10 {
                    assert!(!statement.exists([number, number + 1]).unwrap());
                }
                assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "{sql}");
            }
        }
    }
}
