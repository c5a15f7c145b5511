//! The log files of one process: the newest plus older ones, each bounded in size.
//!
//! `NAME.log` is written to, `NAME.log.1` is the one before, up to `NAME.log.4`. The writes go to
//! the page cache and are not synced: a log is for people, and a slow disk must not stop a role.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::folder;

/// Bounds of the logs of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// Bytes after which a file is closed and the next one is begun.
    pub file_bytes_max: u64,
    /// Files that are kept, the one that is written to included.
    pub files_max: u32,
}

impl Default for LogBounds {
    fn default() -> Self {
        Self { file_bytes_max: 20 << 20, files_max: 5 }
    }
}

/// A log that is written to.
#[derive(Debug)]
pub struct RotatingLog {
    path: PathBuf,
    bounds: LogBounds,
    file: Option<File>,
    written: u64,
}

impl RotatingLog {
    /// Continues the log at `path`, or begins it.
    ///
    /// # Errors
    /// The folder cannot be made or the file cannot be opened.
    pub fn open(path: PathBuf, bounds: LogBounds) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            folder::make_private(folder)?;
        }
        let mut log = Self { path, bounds, file: None, written: 0 };
        log.reopen()?;
        Ok(log)
    }

    /// Appends bytes. Full files are changed at a line end, so that no line is in two of them,
    /// unless one line is longer than a whole file.
    ///
    /// # Errors
    /// The disk refused them; they are lost.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.bounds.file_bytes_max.saturating_sub(self.written);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            if bytes.len() <= room {
                return self.put(bytes);
            }
            let line_end = bytes[..room].iter().rposition(|it| *it == b'\n').map(|it| it + 1);
            // A file that holds something may end before this line; an empty one must take some.
            let end = match line_end {
                Some(end) => end,
                None if self.written > 0 => 0,
                None => room.max(1),
            };
            self.put(&bytes[..end])?;
            bytes = &bytes[end..];
            self.rotate()?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        for number in (1..self.bounds.files_max).rev() {
            let from = if number == 1 { self.path.clone() } else { older(&self.path, number - 1) };
            match fs::rename(from, older(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.bounds.files_max <= 1 {
            fs::remove_file(&self.path)?;
        }
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.written = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }
}

/// The path of the log that was closed `number` rotations ago.
fn older(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(folder: &Path) -> Vec<(String, u64)> {
        let mut all: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|it| it.unwrap())
            .map(|it| (it.file_name().into_string().unwrap(), it.metadata().unwrap().len()))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn the_files_are_bounded_in_number_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = LogBounds { file_bytes_max: 100, files_max: 3 };
        let mut log = RotatingLog::open(folder.path().join("a.log"), bounds).unwrap();
        for number in 0..200 {
            log.append(format!("line {number:04}\n").as_bytes()).unwrap();
        }
        let sizes = sizes(folder.path());
        let names: Vec<&str> = sizes.iter().map(|it| it.0.as_str()).collect();
        assert_eq!(names, ["a.log", "a.log.1", "a.log.2"]);
        assert!(sizes.iter().all(|it| it.1 <= 100), "{sizes:?}");
        let newest = fs::read_to_string(folder.path().join("a.log")).unwrap();
        assert!(newest.ends_with("line 0199\n"));
    }

    #[test]
    fn no_line_is_cut_and_none_is_lost_while_files_change() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = LogBounds { file_bytes_max: 64, files_max: 50 };
        let mut log = RotatingLog::open(folder.path().join("a.log"), bounds).unwrap();
        let text: String = (0..100).map(|it| format!("line {it}\n")).collect();
        for piece in text.as_bytes().chunks(37) {
            log.append(piece).unwrap();
        }
        drop(log);
        let mut whole = String::new();
        for number in (1..50).rev() {
            whole.push_str(
                &fs::read_to_string(older(&folder.path().join("a.log"), number))
                    .unwrap_or_default(),
            );
        }
        whole.push_str(&fs::read_to_string(folder.path().join("a.log")).unwrap());
        assert_eq!(whole, text);
    }

    #[test]
    fn a_line_longer_than_a_file_is_cut_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let bounds = LogBounds { file_bytes_max: 10, files_max: 9 };
        let mut log = RotatingLog::open(folder.path().join("a.log"), bounds).unwrap();
        log.append(&[b'x'; 35]).unwrap();
        assert_eq!(sizes(folder.path()).iter().map(|it| it.1).sum::<u64>(), 35);
    }

    #[test]
    fn a_log_is_continued_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        for _ in 0..2 {
            let mut log = RotatingLog::open(path.clone(), LogBounds::default()).unwrap();
            log.append(b"line\n").unwrap();
        }
        assert_eq!(fs::read_to_string(path).unwrap(), "line\nline\n");
    }
}
