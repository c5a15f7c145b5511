//! One run of a system in the foreground: lock, ports, processes, control, the end in order.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use base::SharedClock;
use runtime::Tasks;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::audit::AuditLog;

use super::{
    Admission, Orders, ProcessSpec, SuperviseConfig, Supervisor, Witness,
    control::{Desk, Door, DoorError},
    lifeline::{Farewell, WatchInput, farewell},
    lock::{DirectoryLock, LockError},
    ports::{self, Holder},
};

/// Where what people did is noted, below the data directory.
pub const AUDIT: &str = "audit/audit.log";
/// Time that the processes have to end.
const DRAIN: Duration = Duration::from_secs(30);
/// Time that the processes of a system whose `up` was killed have to end: they do when their pipe closes,
/// and drain first.
const ORPHANS_DRAIN: Duration = Duration::from_secs(15);
/// Pause between two looks whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
    #[error("port {port} is taken {holder}")]
    PortBusy {
        /// Which.
        port: u16,
        /// Who has it.
        holder: Holder,
    },
    /// Commands could not reach it.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// The directory cannot be used.
    #[error("the data directory cannot be used")]
    Io(#[from] io::Error),
}

/// Why a system ended although nobody asked for it.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// Its directory is not where it was; what it wrote last, nobody finds.
    #[error("the data directory was taken away while the system ran")]
    DirectoryLost,
    /// A wish to end would not have been heard.
    #[error("signals cannot be watched")]
    Signals(#[from] io::Error),
}

/// A system that runs.
#[derive(Debug)]
pub struct Running {
    supervisor: Supervisor,
    tasks: Tasks,
    down: mpsc::Receiver<()>,
    lock: DirectoryLock,
}

impl Running {
    /// A handle on the processes.
    #[must_use]
    pub fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    /// Waits for the wish to end, or the loss of the directory, then ends the processes in order; a second
    /// signal ends them at once.
    ///
    /// # Errors
    /// [`EndError`].
    pub async fn finish(mut self) -> Result<Farewell, EndError> {
        let why = tokio::select! {
            why = farewell(WatchInput::No) => Ok(why?),
            _ = self.down.recv() => Ok(Farewell::Terminated),
            // Who goes on takes in what is gone with the next restart of a process.
            () = self.lock.lost() => Err(EndError::DirectoryLost),
        };
        if let Err(error) = &why {
            tracing::error!(%error, "stops");
        }
        let drained = self.tasks.drain(DRAIN);
        tokio::select! {
            _drained = drained => {}
            again = farewell(WatchInput::No) => {
                again?;
                self.supervisor.kill();
                self.tasks.drain(Duration::from_secs(2)).await;
            }
        }
        why
    }
}

/// Waits until the ports are free of processes that a killed `up` of this directory has left, which
/// end by themselves.
///
/// # Errors
/// Somebody else has one, or they do not end.
pub async fn until_free(data: &Path, specs: &[ProcessSpec]) -> Result<(), UpError> {
    let deadline = Instant::now() + ORPHANS_DRAIN;
    for port in specs.iter().flat_map(|it| it.ports.values().copied()) {
        while !ports::is_free(port) {
            let holder = ports::holder(port);
            if !may_pass(data, &holder) || Instant::now() >= deadline {
                return Err(UpError::PortBusy { port, holder });
            }
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}

/// Whether who has a port is one of ours that ends by itself, or is gone already.
fn may_pass(data: &Path, holder: &Holder) -> bool {
    match holder {
        Holder::Process(it) => is_of(data, it.pid),
        // Ours that has ended between the two looks has no process any more.
        Holder::User(uid) => *uid == rustix::process::getuid().as_raw(),
        Holder::Nobody | Holder::Unknown => true,
    }
}

/// Whether a process was started for a data directory.
fn is_of(data: &Path, pid: u32) -> bool {
    ports::arguments_of(pid).iter().any(|it| Path::new(it) == data)
}

/// Starts a system. `prepare` runs once the directory is ours and before any process does: it
/// writes what the processes read at their start.
///
/// # Errors
/// [`UpError`]; nothing was started.
pub async fn run(
    plan: SystemPlan,
    prepare: impl FnOnce() -> io::Result<()>,
    clock: &SharedClock,
) -> Result<Running, UpError> {
    let lock = DirectoryLock::take(&plan.data, clock.now())?;
    until_free(&plan.data, &plan.specs).await?;
    let door = Door::open(&plan.data)?;
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
    door.answer(desk, &tasks);
    Ok(Running { supervisor, tasks, down, lock })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_belongs_to_another_user_is_not_waited_for() {
        let ours = rustix::process::getuid().as_raw();
        let data = Path::new("/d");
        assert!(!may_pass(data, &Holder::User(ours + 1)));
        assert!(may_pass(data, &Holder::User(ours)));
        assert!(may_pass(data, &Holder::Nobody));
    }
}
