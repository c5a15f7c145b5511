//! The last good text of each file of policy, on disk.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::folder::make_private;

/// Where they are kept. Many processes that read the same files keep the same texts, each renamed into its
/// place whole. Not synced: one that is lost with the power is as one that never was.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    folder: PathBuf,
}

impl Kept {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What is kept of the file at this path.
    pub(super) fn text(&self, path: &Path) -> Option<String> {
        fs::read_to_string(self.place(path)).ok()
    }

    /// Keeps a text, unless it is kept already. That it cannot be kept harms nobody now.
    pub(super) fn keep(&self, path: &Path, text: &str) {
        if self.text(path).as_deref() == Some(text) {
            return;
        }
        if let Err(error) = self.try_keep(path, text) {
            tracing::warn!(path = %path.display(), %error, "the last good state of a file is not kept");
        }
    }

    fn try_keep(&self, path: &Path, text: &str) -> io::Result<()> {
        make_private(&self.folder)?;
        let place = self.place(path);
        // Of its own process, so that no two write one draft.
        let draft = place.with_extension(std::process::id().to_string());
        fs::write(&draft, text)?;
        fs::rename(&draft, &place)
    }

    /// By a digest of the path, which may be longer than a name can be.
    fn place(&self, path: &Path) -> PathBuf {
        let mut name = String::new();
        for byte in &Sha256::digest(path.as_os_str().as_encoded_bytes())[..16] {
            // Writing to a text cannot fail.
            let _written = write!(name, "{byte:02x}");
        }
        self.folder.join(name + ".yaml")
    }
}
