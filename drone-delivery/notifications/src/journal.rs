//! The file of what customers were told: one JSON line each, bounded in size and number.
//!
//! `NAME` is written to, `NAME.1` is the one before, up to `NAME.4`. Replicas of the role write to
//! the same files, and so do the lanes of one process: whoever appends holds the lock beside them,
//! because a file must not change its name between the look at its size and the write.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;

/// Bytes after which the next file is begun.
const FILE_BYTES_MAX: u64 = 20 << 20;
/// Files that are kept, the one that is written to included.
const FILES_MAX: u32 = 5;

/// Appends lines; a cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    path: PathBuf,
    file_bytes_max: u64,
    files_max: u32,
}

impl Journal {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, file_bytes_max: FILE_BYTES_MAX, files_max: FILES_MAX }
    }

    /// Appends a line. Dropping the future does not take it back.
    ///
    /// # Errors
    /// The disk refused it.
    pub(crate) async fn append<T: Serialize>(&self, line: &T) -> io::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let journal = self.clone();
        let appended = tokio::task::spawn_blocking(move || journal.put(text.as_bytes()));
        appended.await.map_err(io::Error::other)?
    }

    fn put(&self, line: &[u8]) -> io::Result<()> {
        let lock = File::create(beside(&self.path, "lock"))?;
        lock.lock()?;
        let length = match fs::metadata(&self.path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if length > 0 && length + line.len() as u64 > self.file_bytes_max {
            self.rotate()?;
        }
        // The lock ends with its file, whichever way this function ends.
        OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(line)
    }

    fn rotate(&self) -> io::Result<()> {
        for number in (1..self.files_max).rev() {
            let from = match number {
                1 => self.path.clone(),
                _ => beside(&self.path, &(number - 1).to_string()),
            };
            match fs::rename(from, beside(&self.path, &number.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{end}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::task::JoinSet;

    use super::*;

    const NAME: &str = "told.jsonl";
    const SMALL: u64 = 1_000;

    fn journal(folder: &Path) -> Journal {
        Journal { file_bytes_max: SMALL, ..Journal::new(folder.join(NAME)) }
    }

    /// The files without the lock, oldest first.
    fn files(folder: &Path) -> Vec<String> {
        let path = folder.join(NAME);
        let older = (1..1_000).rev().map(|it| beside(&path, &it.to_string()));
        older.chain([path.clone()]).filter_map(|it| fs::read_to_string(it).ok()).collect()
    }

    #[tokio::test]
    async fn the_files_are_bounded_in_number_and_size_and_keep_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..2_000 {
            journal(folder.path()).append(&number).await.unwrap();
        }
        let files = files(folder.path());
        assert_eq!(files.len(), FILES_MAX as usize);
        assert!(files.iter().all(|it| it.len() as u64 <= SMALL));
        let lines: Vec<u32> = files.concat().lines().map(|it| it.parse().unwrap()).collect();
        let first = 2_000 - u32::try_from(lines.len()).unwrap();
        assert_eq!(lines, (first..2_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn writers_at_once_lose_no_line_and_cut_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut writers = JoinSet::new();
        for number in 0..200_u32 {
            // Nearly every line begins a file, and none is old enough to go.
            let path = folder.path().join(NAME);
            let journal = Journal { path, file_bytes_max: 8, files_max: 300 };
            writers.spawn(async move { journal.append(&number).await.unwrap() });
        }
        let _all: Vec<()> = writers.join_all().await;
        let files = files(folder.path());
        let lines: BTreeSet<u32> = files.concat().lines().map(|it| it.parse().unwrap()).collect();
        assert_eq!(lines, (0..200).collect());
    }
}
