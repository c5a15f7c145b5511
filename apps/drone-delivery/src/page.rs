//! The token of the page: drawn once, kept below the data directory, shown to its owner in a link.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use callers::ApiKey;
use dashboard::Asking;
use identity::{read_state, write_state};
use skein::folder;

use crate::{keys, roles::Role, settings::Settings};

/// Where it lies.
fn path(data: &Path) -> PathBuf {
    data.join(keys::FOLDER).join("page.token")
}

/// What opens the page; nothing where it asks nobody, or nothing was drawn yet.
pub(crate) fn token(settings: &Settings, data: &Path) -> Option<ApiKey> {
    match settings.dashboard.auth {
        Asking::Off => None,
        Asking::Required => read_state(&path(data)).ok().flatten()?.trim().parse().ok(),
    }
}

/// Sees to it before anything runs that there is one.
pub(crate) fn prepare(settings: &Settings, data: &Path) -> io::Result<()> {
    if settings.dashboard.auth == Asking::Off || token(settings, data).is_some() {
        return Ok(());
    }
    folder::make_private(&data.join(keys::FOLDER))?;
    let drawn = ApiKey::draw().map_err(io::Error::other)?;
    write_state(&path(data), &format!("{}\n", drawn.reveal())).map_err(io::Error::other)
}

/// The link that opens it, to a person who looks; to a file, where the token lies.
pub(crate) fn link(settings: &Settings, data: &Path) -> String {
    let page = Role::Dashboard.address(settings);
    match token(settings, data) {
        Some(token) if io::stderr().is_terminal() => format!("http://{page}/?t={}", token.reveal()),
        Some(_) => format!("http://{page} (token in {})", path(data).display()),
        None => format!("http://{page}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn one_token_stays_and_is_its_owner_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (data, mut settings) = (folder.path(), Settings::default());
        assert_eq!(token(&settings, data), None);
        prepare(&settings, data).unwrap();
        let first = token(&settings, data).unwrap();
        prepare(&settings, data).unwrap();
        assert_eq!(token(&settings, data), Some(first));
        assert_eq!(fs::metadata(path(data)).unwrap().permissions().mode() & 0o777, 0o600);
        settings.dashboard.auth = Asking::Off;
        assert_eq!(token(&settings, data), None);
    }
}
