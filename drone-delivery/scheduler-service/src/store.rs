//! The saga store: one file that Schedulers and Supervisors of a machine share.

use std::path::{Path, PathBuf};

use saga::MIGRATIONS;
use service_kit::{ServiceContext, StartError};
use store::{Store, StoreSettings};

/// Opens the file. Its tables are the saga engine's alone: what this service has to remember
/// stands in its sagas.
pub(crate) fn open(context: &ServiceContext, settings: StoreSettings) -> Result<Store, StartError> {
    let path = context.config.data.join("saga.db");
    Store::open(path, MIGRATIONS, settings, context.clock.clone(), &context.telemetry)
        .map_err(StartError::Store)
}

/// Where the instances that share the file exclude each other.
pub(crate) fn lock_directory(data: &Path) -> PathBuf {
    data.join("instances")
}
