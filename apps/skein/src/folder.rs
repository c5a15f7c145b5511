//! Folders that are ours alone.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt as _, path::Path};

/// Makes a folder, and those that it lies in, which only this user can open: what lies there says who sent
/// what to whom. One that is there keeps the rights that somebody gave it.
///
/// # Errors
/// The file system refuses.
pub fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt as _,
    };

    use super::*;

    #[test]
    fn what_is_made_is_ours_alone_and_what_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (data, logs) = (folder.path().join("data"), folder.path().join("data/logs"));
        make_private(&logs).unwrap();
        assert_eq!((mode(&data), mode(&logs)), (0o700, 0o700));
        fs::set_permissions(&data, Permissions::from_mode(0o750)).unwrap();
        make_private(&data).unwrap();
        assert_eq!(mode(&data), 0o750);
        fs::write(data.join("file"), "").unwrap();
        assert!(make_private(&data.join("file")).is_err());
    }
}
