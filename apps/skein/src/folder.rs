//! Folders that are ours alone, and the sockets in them.

use std::{
    fs::DirBuilder,
    io,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt as _},
    path::{Path, PathBuf},
};

/// Bytes of a socket's path (`sun_path` of unix(7), without the zero at its end).
pub const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A socket would stand where the system makes none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes, {} has {}",
    path.display(),
    path.as_os_str().len()
)]
pub struct SocketPathError {
    /// Where.
    pub path: PathBuf,
}

impl From<SocketPathError> for io::Error {
    fn from(error: SocketPathError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// The path of a socket in a folder.
///
/// # Errors
/// It is too long.
pub fn socket(folder: &Path, name: &str) -> Result<PathBuf, SocketPathError> {
    let path = folder.join(name);
    let fits = path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX;
    if fits { Ok(path) } else { Err(SocketPathError { path }) }
}

/// Makes a folder, and those that it lies in, which only this user can open: what lies there says who sent
/// what to whom. One that is there keeps the rights that somebody gave it.
///
/// # Errors
/// The file system refuses.
pub fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Lets nobody else open what this process and those that it starts make from now on, wherever that is: a
/// folder that was there may be open to others.
pub fn make_all_private() {
    let _before = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::{fs::PermissionsExt as _, net::UnixListener},
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

    #[test]
    fn the_longest_path_of_a_socket_is_the_kernel_s_and_a_longer_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let rest = SOCKET_PATH_BYTES_MAX - folder.path().as_os_str().len() - 1;
        let longest = socket(folder.path(), &"s".repeat(rest)).unwrap();
        UnixListener::bind(&longest).unwrap();
        let too_long = "s".repeat(rest + 1);
        UnixListener::bind(folder.path().join(&too_long)).unwrap_err();
        let said = socket(folder.path(), &too_long).unwrap_err().to_string();
        let expected = format!("at most {SOCKET_PATH_BYTES_MAX} bytes");
        assert!(said.contains(&expected) && said.contains(&too_long), "{said}");
    }
}
