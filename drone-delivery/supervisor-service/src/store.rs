//! The saga store: the Schedulers' file. The Supervisor has no other state.

use std::path::{Path, PathBuf};

use saga::MIGRATIONS;
use service_kit::{ServiceContext, StartError};
use store::{Store, StoreSettings};

/// Where the Schedulers of this machine keep their sagas, unless the settings say otherwise.
pub(crate) fn default_path(data: &Path) -> PathBuf {
    data.parent().unwrap_or(data).join("scheduler").join("saga.db")
}

/// Opens the file.
pub(crate) fn open(
    context: &ServiceContext,
    path: &Path,
    settings: StoreSettings,
) -> Result<Store, StartError> {
    Store::open(path, MIGRATIONS, settings, context.clock.clone(), &context.telemetry)
        .map_err(StartError::Store)
}

/// Where the instances that share the file exclude each other.
pub(crate) fn lock_directory(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).join("instances")
}
