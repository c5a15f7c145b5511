//! A broker on a free port, in a directory of its own.

use std::time::Duration;

use broker::{BoundBroker, Broker, BrokerConfig};
use runtime::{SystemClock, Tasks};
use telemetry::Telemetry;
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) broker: BoundBroker,
    _tasks: Tasks,
    _directory: TempDir,
}

pub(crate) fn broker(set: impl FnOnce(&mut BrokerConfig)) -> Fixture {
    let directory = TempDir::new().unwrap();
    let mut config = BrokerConfig::new(directory.path());
    set(&mut config);
    let tasks = Tasks::new();
    let clock = SystemClock::shared();
    let broker = Broker::start(config, clock, &Telemetry::disabled(), &tasks).unwrap();
    Fixture { broker, _tasks: tasks, _directory: directory }
}
