//! The file of a branch: for its owner alone, in nobody's place, whole or not there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{Exit, Failure, Output, Table};

/// A file that waits for what it is to hold: it is made first, so that nothing is made that has no place.
#[derive(Debug)]
pub(super) struct BranchFile {
    path: PathBuf,
    file: File,
    is_whole: bool,
}

impl BranchFile {
    /// Makes it, empty.
    ///
    /// # Errors
    /// It is there already, or the system refuses.
    pub(super) fn open(path: PathBuf) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|it| unusable(&path, &it))?;
        Ok(Self { path, file, is_whole: false })
    }

    /// Puts into it what the authority made, and shows what that is, without the key.
    ///
    /// # Errors
    /// The answer has no branch, or the system refuses: then the file is gone again.
    pub(super) fn fill(mut self, answer: &Value, output: Output) -> Result<Exit, Failure> {
        let state = answer["state"].as_str().ok_or_else(|| {
            Failure::new("internal", "the authority answered with something else than a branch")
        })?;
        self.write(state).map_err(|it| unusable(&self.path, &it))?;
        self.is_whole = true;
        let mut made = answer["made"].clone();
        made["file"] = Value::from(self.path.display().to_string());
        let mut table = Table::new(&["BRANCH", "NUMBER", "ISSUES UNTIL", "FILE"]);
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        let cells = [text(&made["issuer"]), text(&made["until"]), text(&made["file"])];
        let [issuer, until, file] = cells;
        table.row([made["branch"].to_string(), issuer, until, file]);
        output.result(&made, &table);
        output.remark(
            "carry it over, `skein authority --branch FILE` there, and remove it: it has a key",
        );
        Ok(Exit::Done)
    }

    fn write(&mut self, state: &str) -> io::Result<()> {
        self.file.write_all(state.as_bytes())?;
        self.file.sync_all()?;
        let folder = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for BranchFile {
    fn drop(&mut self) {
        if !self.is_whole {
            // It has nothing that anybody needs; an empty one in the way is all that can be left.
            let _left = fs::remove_file(&self.path);
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    let why = match error.kind() {
        io::ErrorKind::AlreadyExists => "it is there already, and is not replaced".to_owned(),
        _ => error.to_string(),
    };
    Failure::new("no_branch_file", "the file of the branch cannot be written")
        .because(why)
        .at(path.display())
}

/// What a person is to know of branches.
pub(super) fn remarks(standing: &Value) -> Vec<String> {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let mut remarks = Vec::new();
    if let Some(number) = standing["branch"].as_u64() {
        let until = text(&standing["issuer"]["not_after"]);
        remarks.push(format!(
            "this is branch {number}: bring a newer file of the first authority before {until}; what \
             is replaced or denied there is heard by a control plane"
        ));
    }
    for branch in standing["branches"].as_array().into_iter().flatten() {
        let (number, issuer, until) =
            (&branch["branch"], text(&branch["issuer"]), text(&branch["until"]));
        remarks.push(format!("branch {number} (number {issuer}) issues until {until}"));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_is_there_is_not_replaced_and_one_that_was_not_filled_is_not_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("second.json");
        drop(BranchFile::open(path.clone()).unwrap());
        assert!(!path.exists());
        let refused = BranchFile::open(path.clone()).unwrap().fill(&json!({}), Output::default());
        assert!(refused.is_err() && !path.exists());
        let answer = json!({"state": "keys", "made": {"branch": 3}});
        BranchFile::open(path.clone()).unwrap().fill(&answer, Output::default()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "keys");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = BranchFile::open(path.clone()).unwrap_err();
        assert!(refused.to_string().contains("not replaced"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "keys");
    }
}
