//! Our own broker in this process.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use broker::{Broker, BrokerConfig};
use runtime::{SystemClock, Tasks};
use telemetry::Telemetry;

use crate::backend::{Backend, Keeps, Restart, Restarted, StartError};

const NAME: &str = "embedded broker";
/// Time that it gets to end.
const GRACE: Duration = Duration::from_secs(20);

/// Our broker in a directory, until it is dropped.
#[derive(Debug, Clone)]
pub struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    address: SocketAddr,
    tasks: Mutex<Tasks>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).stop();
    }
}

impl Embedded {
    /// Starts it with its files in `directory`, on a free port.
    ///
    /// # Errors
    /// The files or the port cannot be used.
    pub fn start(directory: impl Into<PathBuf>) -> Result<Self, StartError> {
        let directory = directory.into();
        let tasks = Tasks::new();
        let address = start(&directory, ([127, 0, 0, 1], 0).into(), &tasks)?;
        Ok(Self(Arc::new(Inner { directory, address, tasks: Mutex::new(tasks) })))
    }

    /// It, as what is tried.
    #[must_use]
    pub fn backend(&self) -> Backend {
        Backend {
            // Ours takes less; then nobody waits long for the dead.
            session_timeout_ms: 1_500,
            restart: Some((Arc::<Inner>::clone(&self.0), Keeps::Acknowledged)),
            ..Backend::at(NAME, vec![self.0.address.to_string()])
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Ends it.
    pub async fn stop(&self) {
        self.0.tasks().drain(GRACE).await;
    }
}

impl Inner {
    fn tasks(&self) -> Tasks {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Restart for Inner {
    fn restart(&self) -> Restarted<'_> {
        Box::pin(async {
            self.tasks().drain(GRACE).await;
            let tasks = Tasks::new();
            start(&self.directory, self.address, &tasks)?;
            *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
            Ok(())
        })
    }
}

fn start(directory: &PathBuf, listen: SocketAddr, tasks: &Tasks) -> Result<SocketAddr, StartError> {
    let config = BrokerConfig { listen, partitions_default: 4, ..BrokerConfig::new(directory) };
    let clock = SystemClock::shared();
    let started = Broker::start(config, clock, &Telemetry::disabled(), tasks);
    let failed = |it| StartError { what: NAME.to_owned(), source: io::Error::other(it) };
    Ok(started.map_err(failed)?.address)
}
