//! A file that says what holds now, for whoever watches it.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// One such file, written by one process.
#[derive(Debug)]
pub(crate) struct PublishedFile {
    path: PathBuf,
    /// What stands in it.
    last: Mutex<Option<String>>,
}

impl PublishedFile {
    /// Not written yet.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::new(None) }
    }

    /// Writes what holds now, unless it stands there already. Renamed into place: a reader finds the
    /// old or the new, never half. Not synced: after a power cut nothing runs.
    pub(crate) fn write(&self, text: String) -> io::Result<()> {
        // Held while it is written, so that an older one never follows a newer.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&text) {
            return Ok(());
        }
        let mut draft = self.path.clone().into_os_string();
        draft.push(".new");
        fs::write(&draft, &text)?;
        fs::rename(&draft, &self.path)?;
        *last = Some(text);
        Ok(())
    }
}
