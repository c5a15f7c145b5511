//! The file of API keys of one edge: changed by one command at a time, as a whole, its owner's alone.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use callers::{KeyFile, ReadKeysError};
use identity::{FileError, read_state, write_state};

use crate::folder;

/// The file of an edge's keys.
#[derive(Debug, Clone)]
pub struct KeyStore(PathBuf);

/// Why keys were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in it is no file of keys.
    #[error("{} cannot be used", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadKeysError,
    },
    /// The folder, or the lock beside the file, cannot be had.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl KeyStore {
    /// At this path; there need be none yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The keys; none where there is no file.
    ///
    /// # Errors
    /// [`KeyStoreError`].
    pub fn read(&self) -> Result<KeyFile, KeyStoreError> {
        let Some(text) = read_state(&self.0)? else { return Ok(KeyFile::default()) };
        let form = |source| KeyStoreError::Form { path: self.0.clone(), source };
        KeyFile::read(&text).map_err(form)
    }

    /// Changes the keys; whoever else changes them waits. On stable storage when it returns.
    ///
    /// # Errors
    /// [`KeyStoreError`]; then nothing is changed. What `change` refuses is the inner result.
    pub fn change<T, E>(
        &self,
        change: impl FnOnce(&mut KeyFile) -> Result<T, E>,
    ) -> Result<Result<T, E>, KeyStoreError> {
        let beside = self.0.with_extension("lock");
        let io = |source| KeyStoreError::Io { path: beside.clone(), source };
        if let Some(folder) = self.0.parent().filter(|it| !it.as_os_str().is_empty()) {
            folder::make_private(folder).map_err(io)?;
        }
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&beside);
        let lock = lock.map_err(io)?;
        lock.lock().map_err(io)?;
        let before = self.read()?;
        let mut file = before.clone();
        let changed = change(&mut file);
        if changed.is_ok() && file != before {
            write_state(&self.0, &file.text())?;
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fs, os::unix::fs::PermissionsExt as _, thread};

    use base::Timestamp;
    use callers::{Grant, TooManyKeysError};

    use super::*;

    fn draw(store: &KeyStore) -> Result<(), TooManyKeysError> {
        let grant =
            Grant { principal: "ann".parse().unwrap(), roles: Vec::new(), expires_at: None };
        store.change(|it| it.create(grant, Timestamp::from_millis(0)).map(drop)).unwrap()
    }

    #[test]
    fn keys_that_are_drawn_at_once_are_all_kept_and_others_cannot_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::at(folder.path().join("edge/keys.json"));
        assert!(store.read().unwrap().keys().is_empty());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| draw(&store).unwrap());
            }
        });
        assert_eq!(store.read().unwrap().keys().len(), 8);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(store.path()), mode(store.path().parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::at(folder.path().join("keys.json"));
        draw(&store).unwrap();
        fs::write(store.path(), "{\"version\": 7, \"keys\": []}").unwrap();
        let changed = store.change(|_| Ok::<(), Infallible>(()));
        assert!(matches!(changed, Err(KeyStoreError::Form { .. })), "{changed:?}");
        assert!(fs::read_to_string(store.path()).unwrap().contains('7'));
    }
}
