//! Copying the log into the database, and what has to follow when the disk did not take the copy.
//!
//! `SQLite` notes how much of the log it has copied, and syncs the database only when that is all of it. A sync
//! that fails loses what was copied before and noted already: the kernel counts those pages as written, no later
//! sync tries them again, and no later copy does. The log still has them, until it is begun anew. So after such a
//! failure nobody here copies what is left and goes on: all pages are written into the log again first.
//!
//! One at a time in a process: a copy that began before another one failed would not know of it.

use rusqlite::Connection;

use crate::error::SqlError;

/// How far a copy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// As far as it gets without anybody waiting for it.
    Passive,
    /// All, so that the log is begun anew by the next commit.
    Restart,
    /// All, and the log is emptied.
    Empty,
}

/// Whether what was copied is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Sound,
    /// A copy failed: what was noted as copied may be lost.
    Doubtful,
    /// All pages stand in the log again, behind what had been copied of it then.
    Rewritten {
        copied: i64,
    },
}

/// Held by who copies.
#[derive(Debug)]
pub(crate) struct Copying {
    trust: Trust,
}

impl Copying {
    pub(crate) const fn new() -> Self {
        Self { trust: Trust::Sound }
    }

    /// Copies the log into the database, with all pages anew where an earlier copy failed.
    ///
    /// # Errors
    /// The disk failed, or somebody is in the way of a copy that has to be whole.
    pub(crate) fn copy(&mut self, connection: &Connection, how: Copy) -> Result<(), SqlError> {
        if self.trust != Trust::Sound {
            return self.mend(connection);
        }
        let copied = checkpoint(connection, how);
        if let Err(SqlError::Io { .. }) = copied {
            self.trust = Trust::Doubtful;
        }
        copied
    }

    fn mend(&mut self, connection: &Connection) -> Result<(), SqlError> {
        let copied = progress(connection)?.copied;
        // Of a log that begins behind the last good sync all is copied anyway.
        if copied > 0 && self.trust != (Trust::Rewritten { copied }) {
            tracing::warn!("a copy of the log failed: all pages are written anew");
            connection.execute_batch("VACUUM").map_err(SqlError::of)?;
            let copied = progress(connection)?.copied;
            self.trust = Trust::Rewritten { copied };
        }
        match checkpoint(connection, Copy::Empty) {
            Ok(()) => self.trust = Trust::Sound,
            Err(SqlError::Locked) => {
                // As much as somebody left room for was copied, and no sync has failed.
                if let Trust::Rewritten { .. } = self.trust {
                    let copied = progress(connection)?.copied;
                    self.trust = Trust::Rewritten { copied };
                }
                return Err(SqlError::Locked);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// That somebody is in the way is said in the answer, not as an error.
fn checkpoint(connection: &Connection, how: Copy) -> Result<(), SqlError> {
    let sql = match how {
        Copy::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
        Copy::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Copy::Empty => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    let busy: i64 = connection.query_row(sql, [], |row| row.get(0)).map_err(SqlError::of)?;
    if busy == 0 { Ok(()) } else { Err(SqlError::Locked) }
}

/// What the log holds, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Those of commits.
    pub(crate) committed: i64,
    /// Those that were copied into the database.
    pub(crate) copied: i64,
}

/// Asks, and changes nothing.
pub(crate) fn progress(connection: &Connection) -> Result<Progress, SqlError> {
    connection
        .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
            Ok(Progress { committed: row.get(1)?, copied: row.get(2)? })
        })
        .map_err(SqlError::of)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::connection::Opener;

    struct Held {
        _directory: TempDir,
        opener: Opener,
        writer: Connection,
        reader: Connection,
    }

    /// A file whose log holds a row, and a reader that holds the log.
    fn held() -> Held {
        let directory = tempfile::tempdir().unwrap();
        let opener = Opener { path: directory.path().join("a.db"), log_bytes_max: 1 << 20 };
        let (writer, patience) = opener.writer().unwrap();
        patience.set(Duration::ZERO);
        writer.execute_batch("CREATE TABLE a (b); INSERT INTO a VALUES (1)").unwrap();
        let reader = opener.reader().unwrap();
        reader.execute_batch("BEGIN; SELECT * FROM a").unwrap();
        Held { _directory: directory, opener, writer, reader }
    }

    #[test]
    fn a_log_that_a_reader_holds_is_not_taken_for_copied() {
        let held = held();
        held.writer.execute_batch("INSERT INTO a VALUES (2)").unwrap();
        let mut copying = Copying::new();
        assert_eq!(copying.copy(&held.writer, Copy::Empty), Err(SqlError::Locked));
        held.reader.execute_batch("COMMIT").unwrap();
        copying.copy(&held.writer, Copy::Empty).unwrap();
        assert_eq!(held.opener.log_bytes(), 0);
    }

    #[test]
    fn after_a_failed_copy_all_pages_go_through_the_log_once_more() {
        let Held { _directory, opener, writer, reader } = held();
        let mut copying = Copying::new();
        copying.copy(&writer, Copy::Passive).unwrap();
        let all = progress(&writer).unwrap();
        assert_eq!(all.copied, all.committed);

        // The reader is in the way of the end, so that what was written anew can be seen.
        copying.trust = Trust::Doubtful;
        assert_eq!(copying.copy(&writer, Copy::Passive), Err(SqlError::Locked));
        let pages: i64 = writer.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let anew = progress(&writer).unwrap();
        assert!(anew.committed >= pages, "{anew:?} of {pages} pages");
        assert_eq!(copying.copy(&writer, Copy::Passive), Err(SqlError::Locked));
        assert_eq!(progress(&writer).unwrap(), anew, "once is enough");
        reader.execute_batch("COMMIT").unwrap();
        copying.copy(&writer, Copy::Passive).unwrap();
        assert_eq!((copying.trust, opener.log_bytes()), (Trust::Sound, 0));
    }
}
