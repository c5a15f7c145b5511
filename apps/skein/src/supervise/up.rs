//! One run of a system in the foreground: lock, ports, processes, control, the end in order.

use std::{io, path::PathBuf, time::Duration};

use base::SharedClock;
use runtime::Tasks;
use tokio::sync::mpsc;

use crate::audit::AuditLog;

use super::{
    Admission, Orders, ProcessSpec, SuperviseConfig, Supervisor, Witness,
    control::{self, Desk},
    lifeline::{Farewell, WatchInput, farewell},
    lock::{DirectoryLock, LockError},
    ports::{self, PortHolder},
};

/// Where what people did is noted, below the data directory.
pub const AUDIT: &str = "audit/audit.log";
/// Time that the processes have to end.
const DRAIN: Duration = Duration::from_secs(30);

/// What is to run.
#[derive(Debug)]
pub struct SystemPlan {
    /// Where its files are.
    pub data: PathBuf,
    /// The processes.
    pub specs: Vec<ProcessSpec>,
    /// Is shown the statuses at every change.
    pub witness: Witness,
    /// How long a process that was ready may answer nothing before it is killed and started again;
    /// zero kills none.
    pub silence_max: Duration,
    /// Gives each process, and each command that asks, its word.
    pub admission: Admission,
    /// Carries out what a person has the authority do.
    pub orders: Orders,
}

/// Why a system did not run.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// Somebody else has the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A port is taken.
    #[error("port {port} is taken{}", holder.as_ref().map(|it| format!(" by {it}")).unwrap_or_default())]
    PortBusy {
        /// Which.
        port: u16,
        /// Who has it, when that can be seen.
        holder: Option<PortHolder>,
    },
    /// The directory or the socket cannot be used.
    #[error("the data directory cannot be used")]
    Io(#[from] io::Error),
}

/// A system that runs.
#[derive(Debug)]
pub struct Running {
    supervisor: Supervisor,
    tasks: Tasks,
    down: mpsc::Receiver<()>,
    _lock: DirectoryLock,
}

impl Running {
    /// A handle on the processes.
    #[must_use]
    pub fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    /// Waits for the wish to end, then ends the processes in order; a second signal ends them at
    /// once.
    ///
    /// # Errors
    /// Signals cannot be watched.
    pub async fn finish(mut self) -> io::Result<Farewell> {
        let why = tokio::select! {
            why = farewell(WatchInput::No) => why?,
            _ = self.down.recv() => Farewell::Terminated,
        };
        let drained = self.tasks.drain(DRAIN);
        tokio::select! {
            _drained = drained => {}
            again = farewell(WatchInput::No) => {
                again?;
                self.supervisor.kill();
                self.tasks.drain(Duration::from_secs(2)).await;
            }
        }
        Ok(why)
    }
}

/// Starts a system. `prepare` runs once the directory is ours and before any process does: it
/// writes what the processes read at their start.
///
/// # Errors
/// [`UpError`]; nothing was started.
pub fn run(
    plan: SystemPlan,
    prepare: impl FnOnce() -> io::Result<()>,
    clock: &SharedClock,
) -> Result<Running, UpError> {
    let lock = DirectoryLock::take(&plan.data, clock.now())?;
    let fixed = plan.specs.iter().flat_map(|it| it.ports.values());
    for port in fixed {
        if !ports::is_free(*port) {
            return Err(UpError::PortBusy { port: *port, holder: ports::holder(*port) });
        }
    }
    prepare()?;
    let tasks = Tasks::new();
    let config = SuperviseConfig {
        witness: plan.witness,
        silence_max: plan.silence_max,
        admission: plan.admission.clone(),
        ..SuperviseConfig::new(plan.data.join("logs"))
    };
    let supervisor = Supervisor::start(config, plan.specs, &tasks);
    // Holds one wish: a second says nothing new.
    let (wish, down) = mpsc::channel(1);
    let desk = Desk {
        supervisor: supervisor.clone(),
        down: wish,
        admission: plan.admission,
        orders: plan.orders,
        audit: AuditLog::at(plan.data.join(AUDIT), clock.clone()),
    };
    control::serve(&plan.data, desk, &tasks)?;
    Ok(Running { supervisor, tasks, down, _lock: lock })
}
