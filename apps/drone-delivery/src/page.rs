//! The token of the page, shown to its owner in a link.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use callers::ApiKey;
use dashboard::Asking;

use crate::{keys, roles::Role, settings::Settings, tokens};

const FILE: &str = "page.token";

/// Where it lies.
fn path(data: &Path) -> PathBuf {
    data.join(keys::FOLDER).join(FILE)
}

/// What opens the page; nothing where it asks nobody, or nothing was drawn yet.
pub(crate) fn token(settings: &Settings, data: &Path) -> Option<ApiKey> {
    match settings.dashboard.auth {
        Asking::Off => None,
        Asking::Required => tokens::read(data, FILE),
    }
}

/// Sees to it before anything runs that there is one.
pub(crate) fn prepare(settings: &Settings, data: &Path) -> io::Result<()> {
    match settings.dashboard.auth {
        Asking::Off => Ok(()),
        Asking::Required => tokens::prepare(data, FILE),
    }
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
