//! The tree as the checks see it: files that git knows or would know, with their text.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder that holds the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// Paths below `folder`, relative to the root, that git tracks or does not ignore.
pub(crate) fn files(folder: &str) -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--", folder])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "git ls-files failed");
    let listed = String::from_utf8(output.stdout).unwrap();
    let files: Vec<String> =
        listed.lines().filter(|it| root().join(it).is_file()).map(str::to_owned).collect();
    assert!(!files.is_empty(), "nothing stands below {folder}");
    files
}

/// The text of a file, or `None` when it is not text.
pub(crate) fn text(path: &str) -> Option<String> {
    fs::read_to_string(root().join(path)).ok()
}
