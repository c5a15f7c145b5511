//! Tokens of operators: each drawn once, kept below the data directory for its owner alone.

use std::{io, path::Path};

use callers::ApiKey;
use identity::{read_state, write_state};
use skein::folder;

use crate::keys;

/// Shown by whoever changes something at a port of operators: the commands of this program do.
pub(crate) const OPERATORS: &str = "operators.token";

/// The token of a file; nothing where none was drawn yet.
pub(crate) fn read(data: &Path, file: &str) -> Option<ApiKey> {
    read_state(&data.join(keys::FOLDER).join(file)).ok().flatten()?.trim().parse().ok()
}

/// Sees to it that there is one.
pub(crate) fn prepare(data: &Path, file: &str) -> io::Result<()> {
    if read(data, file).is_some() {
        return Ok(());
    }
    let folder = data.join(keys::FOLDER);
    folder::make_private(&folder)?;
    let drawn = ApiKey::draw().map_err(io::Error::other)?;
    write_state(&folder.join(file), &format!("{}\n", drawn.reveal())).map_err(io::Error::other)
}
