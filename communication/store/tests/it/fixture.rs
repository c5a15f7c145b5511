//! A store in a directory of its own, with a clock that stands still.

use std::{path::Path, sync::Arc, time::Duration};

use base::{ManualClock, Timestamp};
use store::{Migration, Store, StoreSettings};
use telemetry::Telemetry;
use tempfile::TempDir;

/// Nothing here takes so long; a test that hangs fails instead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "counters",
    sql: "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value < 100)) STRICT;",
}];

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(StoreSettings::default())
    }

    pub(crate) fn with(settings: StoreSettings) -> Self {
        let directory = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)));
        let store = open(directory.path(), &clock, settings);
        Self { directory, clock, store }
    }

    /// Another handle on the same file, with threads of its own, as another process has them.
    pub(crate) fn other(&self) -> Store {
        open(self.directory.path(), &self.clock, StoreSettings::default())
    }
}

pub(crate) fn open(directory: &Path, clock: &Arc<ManualClock>, settings: StoreSettings) -> Store {
    let telemetry = Telemetry::disabled();
    Store::open(directory.join("test.db"), MIGRATIONS, settings, clock.clone(), &telemetry).unwrap()
}
