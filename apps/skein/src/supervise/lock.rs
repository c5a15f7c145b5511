//! One system per data directory: a file lock that names its holder and dies with it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use base::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::folder;

const FILE_NAME: &str = "lock";
/// Pause between two looks whether the directory is still ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who holds a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}

/// Why the directory was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the data directory is in use{}", holder.as_ref().map(|it| format!(" by process {} since {}", it.pid, it.since)).unwrap_or_default())]
    Held {
        /// Who, when the file says so.
        holder: Option<Holder>,
    },
    /// The file cannot be made or read.
    #[error("{} cannot be locked", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The lock; dropping it, or the death of its process, gives the directory free.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
    path: PathBuf,
}

impl DirectoryLock {
    /// Takes the directory for this process.
    ///
    /// # Errors
    /// [`LockError`]: another process has it, or the file system refuses.
    pub fn take(directory: &Path, since: Timestamp) -> Result<Self, LockError> {
        let path = directory.join(FILE_NAME);
        let io = |source| LockError::Io { path: path.clone(), source };
        folder::make_private(directory).map_err(io)?;
        let mut file = open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { holder: read(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let holder = Holder { pid: std::process::id(), since };
        // Written after the lock was taken: whoever reads it names the true holder or an old one.
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        file.write_all(&serde_json::to_vec(&holder).unwrap_or_default()).map_err(io)?;
        Ok(Self { file, path })
    }

    /// Waits until the directory, or the lock in it, is not where it was: it was removed, moved away, or
    /// put there anew, and what is written from then on nobody will find. Looked at every second.
    /// Cancel-safe.
    pub async fn lost(&self) {
        while self.is_held() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the file that we hold is the one that others find.
    fn is_held(&self) -> bool {
        let same = |ours: &fs::Metadata, theirs: &fs::Metadata| {
            (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
        };
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(ours), Ok(theirs)) => same(&ours, &theirs),
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
            // Nothing was seen: out of descriptors or memory, or a slow file system.
            (Err(_), _) | (_, Err(_)) => true,
        }
    }
}

/// Who holds the directory now; `None` when nobody does, or it does not exist.
#[must_use]
pub fn holder(directory: &Path) -> Option<Holder> {
    let mut file =
        OpenOptions::new().read(true).write(true).open(directory.join(FILE_NAME)).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            // The holder may not have written its name yet.
            Some(read(&mut file).unwrap_or(Holder { pid: 0, since: Timestamp::from_millis(0) }))
        }
        _ => None,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let since = Timestamp::from_millis(1_000);
        let lock = DirectoryLock::take(folder.path(), since).unwrap();
        let refused = DirectoryLock::take(folder.path(), since).unwrap_err();
        let text = refused.to_string();
        assert!(text.contains(&std::process::id().to_string()), "{text}");
        assert_eq!(holder(folder.path()).unwrap().pid, std::process::id());
        drop(lock);
        assert_eq!(holder(folder.path()), None);
        DirectoryLock::take(folder.path(), since).unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_was_taken_away_or_put_there_anew_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (data, away) = (folder.path().join("data"), folder.path().join("away"));
        let since = Timestamp::from_millis(1_000);
        let lock = DirectoryLock::take(&data, since).unwrap();
        assert!(lock.is_held());
        fs::rename(&data, &away).unwrap();
        lock.lost().await;
        fs::rename(&away, &data).unwrap();
        assert!(lock.is_held());
        fs::remove_dir_all(&data).unwrap();
        lock.lost().await;
        // Another system may have taken the place.
        let _other = DirectoryLock::take(&data, since).unwrap();
        lock.lost().await;
    }

    #[test]
    fn a_directory_that_does_not_exist_has_no_holder() {
        assert_eq!(holder(Path::new("/nowhere/at/all")), None);
    }
}
