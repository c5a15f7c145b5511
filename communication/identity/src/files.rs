//! The authority's one file: its owner's alone, replaced as a whole, on stable storage before anybody
//! acts on it.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Owner reads and writes, nobody else.
const MODE: u32 = 0o600;
/// A state has a few kilobytes; a full deny list has half a megabyte.
const STATE_BYTES_MAX: u64 = 4 << 20;

/// Why the file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Others may read the keys in it.
    #[error("{} has mode {mode:o}: others could read the keys in it; it has to be {MODE:o}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is larger than any state.
    #[error("{} has {bytes} bytes: that is no authority's state", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// The system refuses.
    #[error("{} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The state in the file; `None` where there is no file.
///
/// # Errors
/// It cannot be read, or others could.
pub fn read_state(path: &Path) -> Result<Option<String>, FileError> {
    let at = |source| FileError::Io { path: path.to_owned(), source };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Open { path: path.to_owned(), mode });
    }
    if metadata.len() > STATE_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned(), bytes: metadata.len() });
    }
    fs::read_to_string(path).map(Some).map_err(at)
}

/// Puts a state in the place of the one that is there.
///
/// # Errors
/// The system refuses; the old one is still there.
pub fn write_state(path: &Path, state: &str) -> Result<(), FileError> {
    replace(path, state).map_err(|source| FileError::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, state: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&new)?;
    // One that was left by a crash keeps its mode when it is opened again.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.write_all(state.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The new name is in the directory, which has to be on disk as well.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_its_owner_s_alone_and_comes_back_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authority.json");
        assert_eq!(read_state(&path).unwrap(), None);
        // A left-over that everybody can read does not stay so.
        fs::write(path.with_extension("new"), "old").unwrap();
        for state in ["one", "two"] {
            write_state(&path, state).unwrap();
            assert_eq!(read_state(&path).unwrap().as_deref(), Some(state));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        }
    }

    #[test]
    fn a_state_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authority.json");
        write_state(&path, "keys").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let refused = read_state(&path).unwrap_err();
        assert!(matches!(refused, FileError::Open { mode: 0o640, .. }), "{refused}");
    }

    #[test]
    fn a_file_that_is_no_state_is_not_read_into_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authority.json");
        write_state(&path, "").unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(STATE_BYTES_MAX + 1).unwrap();
        assert!(matches!(read_state(&path), Err(FileError::TooLarge { .. })));
    }
}
