//! Why a log was not opened, an append not acknowledged, a read not served.

use std::{io, ops::Range, path::PathBuf};

/// Whether an operation failed for want of space.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or the directory cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A segment has a format that this program does not know.
    #[error("{} has log format {found}, this program knows {known}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The version that this program reads and writes.
        known: u32,
    },
    /// A segment is missing its header, and it cannot be told what was in it.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The log was made with another number of partitions.
    #[error("the log has {found} partitions, {wanted} are asked for")]
    Partitions {
        /// In the files.
        found: u32,
        /// In the settings.
        wanted: u32,
    },
    /// The settings make no log.
    #[error("{0}")]
    Settings(&'static str),
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No space is left. Not appended; the same may succeed later.
    #[error("no space is left for the log")]
    Full,
    /// Too much waits already. Not appended; the same may succeed later.
    #[error("too many appends are waiting")]
    Overloaded,
    /// The disk failed. Nobody knows whether the record will be found after a crash; it is not
    /// shown to readers, and the next append goes to another file.
    #[error("the disk failed: {message}")]
    Failed {
        /// What the system said.
        message: String,
    },
    /// It is longer than a log takes.
    #[error("an append holds at most {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// There is no such partition, or the append has no records.
    #[error("there is no such partition, or nothing to append")]
    Invalid,
    /// It was to stand behind an append that failed. Not appended; the same may succeed behind that.
    #[error("an append before it failed")]
    Outlived,
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a read was not served.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset was retired, or is not there yet.
    #[error("the offset is outside {} to {}", range.start, range.end)]
    OutOfRange {
        /// What is kept.
        range: Range<u64>,
    },
    /// There is no such partition.
    #[error("there is no such partition")]
    NoPartition,
    /// A file cannot be read.
    #[error("a segment cannot be read")]
    Io(#[source] io::Error),
    /// These offsets were given out, and their records are not whole any more. What stands before
    /// and behind them is: go on at their end.
    #[error("the records {} to {} are lost", lost.start, lost.end)]
    Lost {
        /// The whole gap, the asked offset in it.
        lost: Range<u64>,
    },
}
