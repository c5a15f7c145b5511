//! Copying the log into the database, and what has to follow when the disk did not take the copy.
//!
//! `SQLite` notes how much of the log it has copied, and syncs the database only when that is all of it. A sync
//! that fails loses what was copied before and noted already: the kernel counts those pages as written, no later
//! sync tries them again, and no later copy does. The log still has them, until it is begun anew. So after such a
//! failure nobody here copies what is left and goes on: all pages are written into the log again first.
//! They come from the page cache, which keeps what it could not write until it needs the room: what was dropped from
//! it between the failure and the next copy is not mended.
//!
//! One at a time among all who share the file: a copy that began before another one failed would not know of it.
//! Nor would who opens the file later, to whom the kernel tells nothing. So whether copies can be trusted stands in a
//! file beside the database, locked by who copies, doubtful before a copy begins and sound when it has ended well:
//! who dies in between leaves no trust behind. It is not synced: after a power cut, and when nobody had the file
//! open, `SQLite` itself takes nothing for copied.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use rusqlite::Connection;

use crate::{
    connection::{TURN_LOOKS, Turn, suffixed},
    error::SqlError,
};

/// Length of what stands in the file, filled up with blanks: written in place, it finds room on a full disk.
const NOTE_BYTES: usize = 32;

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
    /// A copy failed, or did not end: what was noted as copied may be lost.
    Doubtful,
    /// All pages stand in the log again, behind what had been copied of it then.
    Rewritten {
        copied: i64,
    },
}

impl Trust {
    /// As it stands in the file, with the version of that in front.
    fn note(self) -> String {
        match self {
            Self::Sound => "1 sound".to_owned(),
            Self::Doubtful => "1 doubtful".to_owned(),
            Self::Rewritten { copied } => format!("1 rewritten {copied}"),
        }
    }

    /// What nobody here has written is no reason to trust anything.
    fn of(note: &str) -> Self {
        let note = note.trim_end();
        let copied = note.strip_prefix("1 rewritten ").and_then(|it| it.parse().ok());
        match (note, copied) {
            // The file is new: nobody has begun a copy.
            ("" | "1 sound", _) => Self::Sound,
            (_, Some(copied)) => Self::Rewritten { copied },
            (_, None) => Self::Doubtful,
        }
    }
}

/// Held by who copies in this process.
#[derive(Debug)]
pub(crate) struct Copying {
    note: File,
}

impl Copying {
    /// Opens what all who copy the log of the database at `path` share.
    pub(crate) fn beside(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let note = options.open(suffixed(path, "-copying"))?;
        // Who has the lock writes it himself.
        if let Some(_turn) = Turn::on(&note, 1)
            && note.metadata()?.len() == 0
        {
            write(&note, Trust::Sound)?;
        }
        Ok(Self { note })
    }

    /// Copies the log into the database, with all pages anew where an earlier copy failed.
    ///
    /// # Errors
    /// The disk failed, or somebody is in the way of a copy that has to be whole.
    pub(crate) fn copy(&mut self, connection: &Connection, how: Copy) -> Result<(), SqlError> {
        let looks = if how == Copy::Empty { TURN_LOOKS } else { 1 };
        let Some(_turn) = Turn::on(&self.note, looks) else { return Err(SqlError::Locked) };
        let trust = self.trust()?;
        let copied = if trust == Trust::Sound { 0 } else { progress(connection)?.copied };
        // Of a log that begins behind the last good sync all is copied anyway: nothing can be in doubt.
        if copied > 0 {
            return self.mend(connection, trust, copied);
        }
        self.set(Trust::Doubtful)?;
        let copied = checkpoint(connection, how);
        if !matches!(copied, Err(SqlError::Io { .. })) {
            self.set(Trust::Sound)?;
        }
        copied
    }

    /// Makes good of a log of which so much is noted as copied.
    fn mend(&self, connection: &Connection, trust: Trust, copied: i64) -> Result<(), SqlError> {
        if trust != (Trust::Rewritten { copied }) {
            tracing::warn!("a copy of the log failed: all pages are written anew");
            connection.execute_batch("VACUUM").map_err(SqlError::of)?;
        }
        self.set(Trust::Doubtful)?;
        let emptied = checkpoint(connection, Copy::Empty);
        match emptied {
            Ok(()) => self.set(Trust::Sound)?,
            // As much as somebody left room for was copied, and no sync has failed.
            Err(SqlError::Locked) => {
                let copied = progress(connection)?.copied;
                self.set(Trust::Rewritten { copied })?;
            }
            Err(_) => {}
        }
        emptied
    }

    fn trust(&self) -> Result<Trust, SqlError> {
        let mut note = [0; NOTE_BYTES];
        let read = self.note.read_at(&mut note, 0).map_err(|it| failed(&it))?;
        Ok(std::str::from_utf8(&note[..read]).map_or(Trust::Doubtful, Trust::of))
    }

    fn set(&self, trust: Trust) -> Result<(), SqlError> {
        write(&self.note, trust).map_err(|it| failed(&it))
    }
}

fn write(note: &File, trust: Trust) -> io::Result<()> {
    let text = trust.note();
    note.write_all_at(format!("{text:NOTE_BYTES$}").as_bytes(), 0)
}

fn failed(error: &io::Error) -> SqlError {
    SqlError::Io { message: format!("the note of copies: {error}") }
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
        let mut copying = Copying::beside(&held.opener.path).unwrap();
        assert_eq!(copying.copy(&held.writer, Copy::Empty), Err(SqlError::Locked));
        held.reader.execute_batch("COMMIT").unwrap();
        copying.copy(&held.writer, Copy::Empty).unwrap();
        assert_eq!(held.opener.log_bytes(), 0);
    }

    #[test]
    fn after_a_failed_copy_all_pages_go_through_the_log_once_more() {
        let Held { _directory, opener, writer, reader } = held();
        // Two of those who share the file: what one of them saw, the other mends.
        let mut saw = Copying::beside(&opener.path).unwrap();
        let mut copying = Copying::beside(&opener.path).unwrap();
        saw.copy(&writer, Copy::Passive).unwrap();
        let all = progress(&writer).unwrap();
        assert_eq!(all.copied, all.committed);

        // The reader is in the way of the end, so that what was written anew can be seen.
        saw.set(Trust::Doubtful).unwrap();
        assert_eq!(copying.copy(&writer, Copy::Passive), Err(SqlError::Locked));
        let pages: i64 = writer.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        let anew = progress(&writer).unwrap();
        assert!(anew.committed >= pages, "{anew:?} of {pages} pages");
        assert_eq!(saw.copy(&writer, Copy::Passive), Err(SqlError::Locked));
        assert_eq!(progress(&writer).unwrap(), anew, "once is enough");
        reader.execute_batch("COMMIT").unwrap();
        copying.copy(&writer, Copy::Passive).unwrap();
        assert_eq!((saw.trust(), opener.log_bytes()), (Ok(Trust::Sound), 0));
    }

    #[test]
    fn who_copies_is_alone_and_what_he_leaves_open_is_doubtful() {
        let Held { _directory, opener, writer, reader: _ } = held();
        let mut copying = Copying::beside(&opener.path).unwrap();
        let other = Copying::beside(&opener.path).unwrap();
        let turn = Turn::on(&other.note, 1).unwrap();
        assert_eq!(copying.copy(&writer, Copy::Passive), Err(SqlError::Locked));
        assert_eq!(progress(&writer).unwrap().copied, 0);
        drop(turn);
        // It cannot write: the copy fails as on a disk that does not.
        let failed = copying.copy(&opener.reader().unwrap(), Copy::Passive);
        assert!(matches!(failed, Err(SqlError::Io { .. })), "{failed:?}");
        assert_eq!(other.trust(), Ok(Trust::Doubtful));
    }

    #[test]
    fn a_log_of_which_nothing_was_copied_is_not_in_doubt_and_nobody_waits_for_its_end() {
        let Held { _directory, opener, writer, reader: _reader } = held();
        let mut copying = Copying::beside(&opener.path).unwrap();
        copying.set(Trust::Doubtful).unwrap();
        let before = progress(&writer).unwrap();
        copying.copy(&writer, Copy::Passive).unwrap();
        let copied = Progress { copied: before.committed, ..before };
        assert_eq!((copying.trust(), progress(&writer)), (Ok(Trust::Sound), Ok(copied)));
    }

    #[test]
    fn what_nobody_has_written_is_not_trusted() {
        for trust in [Trust::Sound, Trust::Doubtful, Trust::Rewritten { copied: 7 }] {
            assert_eq!(Trust::of(&trust.note()), trust);
        }
        assert_eq!(Trust::of(""), Trust::Sound);
        for note in ["\0\0", "2 sound", "1 rewritten", "1 rewritten x", "1 soundly"] {
            assert_eq!(Trust::of(note), Trust::Doubtful, "{note:?}");
        }
    }
}
