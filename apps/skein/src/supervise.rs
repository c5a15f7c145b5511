//! Keeps a set of processes running: starts them stage by stage, restarts what dies, ends all in
//! order.
//!
//! A supervised process learns of our death by the end of its standard input, and one that does not
//! know us is killed by the kernel, so that no orphan keeps a port. It refuses to know what the processes do, and to run them in its own process: what
//! is killed with `kill -9` must be one role alone.

mod admission;
mod board;
pub mod control;
mod keeper;
pub mod lifeline;
pub mod lock;
mod logs;
mod orders;
pub mod ports;
mod probe;
mod restarts;
mod silence;
mod spec;
mod up;

use std::{path::PathBuf, time::Duration};

use runtime::{Shutdown, Tasks};
use tokio::{sync::watch, time::timeout};

use self::{
    board::Board,
    keeper::{Goal, Keeper, KeeperConfig},
};

pub use self::{
    admission::{Admission, Applicant},
    board::Witness,
    logs::{LogBounds, RotatingLog},
    orders::Orders,
    restarts::{Pause, RestartPolicy, Restarts},
    spec::{Lifeline, ProcessSpec, ProcessState, ProcessStatus, Readiness},
    up::{AUDIT, EndError, Running, SystemPlan, UpError, run, until_free},
};

/// How long a restart of several processes waits for one before it goes on with the next.
const RESTART_PATIENCE: Duration = Duration::from_secs(10);

/// Settings of a supervisor.
#[derive(Debug, Clone)]
pub struct SuperviseConfig {
    /// Folder of the log files, one set a process.
    pub logs: PathBuf,
    /// Bounds of each set.
    pub log_bounds: LogBounds,
    /// How restarts are paced.
    pub policy: RestartPolicy,
    /// Time between the request to end and the end by force.
    pub drain_deadline: Duration,
    /// How long a stage waits for the one below to be ready. Then it starts all the same: roles
    /// can wait for each other, and one that never comes up must not keep the others down.
    pub stage_patience: Duration,
    /// Time in which a process that cannot announce itself must answer; then it is ended, and that
    /// counts as its death.
    pub answer_deadline: Duration,
    /// How long a process that was ready may answer nothing before it is killed, which counts as its
    /// death; zero kills none. Asked is the admin port that it announced (`/livez`), or the health
    /// path of one that cannot announce itself. Only time in which we waited for it counts.
    pub silence_max: Duration,
    /// Is shown the statuses at every change.
    pub witness: Witness,
    /// Gives each process that has started its word.
    pub admission: Admission,
}

impl SuperviseConfig {
    /// Defaults: 5 log files of 20 MiB, 10 s to end, 10 s for a stage, 30 s for a first answer, 3 s of
    /// silence after it, no witness.
    #[must_use]
    pub fn new(logs: impl Into<PathBuf>) -> Self {
        Self {
            logs: logs.into(),
            log_bounds: LogBounds::default(),
            policy: RestartPolicy::default(),
            drain_deadline: Duration::from_secs(10),
            stage_patience: Duration::from_secs(10),
            answer_deadline: Duration::from_secs(30),
            silence_max: Duration::from_secs(3),
            witness: Witness::default(),
            admission: Admission::default(),
        }
    }
}

/// A handle on the running processes; clones share them.
#[derive(Debug, Clone)]
pub struct Supervisor {
    board: Board,
    goals: std::sync::Arc<Vec<(ProcessSpec, watch::Sender<Goal>)>>,
}

impl Supervisor {
    /// Starts keeping the processes running. When `tasks` are drained they are ended in order.
    #[must_use]
    pub fn start(config: SuperviseConfig, specs: Vec<ProcessSpec>, tasks: &Tasks) -> Self {
        let board = Board::new(&specs, config.witness);
        let keeper_config = KeeperConfig {
            logs: config.logs,
            log_bounds: config.log_bounds,
            policy: config.policy,
            drain_deadline: config.drain_deadline,
            answer_deadline: config.answer_deadline,
            silence_max: config.silence_max,
            admission: config.admission,
        };
        let mut goals = Vec::new();
        for (index, spec) in specs.into_iter().enumerate() {
            let (goal, watched) = watch::channel(Goal::Hold);
            let keeper = Keeper {
                spec: spec.clone(),
                index,
                board: board.clone(),
                config: keeper_config.clone(),
                goal: watched,
            };
            tasks.spawn("process keeper", |_| keeper.run());
            goals.push((spec, goal));
        }
        let supervisor = Self { board, goals: std::sync::Arc::new(goals) };
        let stages = supervisor.clone();
        let patience = config.stage_patience;
        tasks.spawn("process stages", move |shutdown| async move {
            stages.start_in_order(patience, &shutdown).await;
            shutdown.cancelled().await;
            stages.end_in_order().await;
        });
        supervisor
    }

    /// One row a process, in the order in which they were given.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessStatus> {
        self.board.rows()
    }

    /// Waits until the statuses satisfy `enough`; gives them. Cancel-safe.
    pub async fn until(&self, enough: impl Fn(&[ProcessStatus]) -> bool) -> Vec<ProcessStatus> {
        self.board.until(enough).await
    }

    /// Waits until every process is ready, or one keeps dying. Cancel-safe.
    pub async fn settled(&self) -> Vec<ProcessStatus> {
        let is_settled = |it: &[ProcessStatus]| {
            it.iter().all(|it| it.state == ProcessState::Ready)
                || it.iter().any(|it| it.state == ProcessState::CrashLoop)
        };
        self.until(is_settled).await
    }

    /// Ends the processes of a role, of one version of it, or one, and starts each again at once; the next one is
    /// ended when that is ready or dead, or after a while, so that a role with replicas goes on.
    /// Gives the instances; none when nothing has that name.
    pub async fn restart(&self, name: &str) -> Vec<String> {
        let mut restarted = Vec::new();
        for (index, (spec, goal)) in self.goals.iter().enumerate() {
            if !spec.is_called(name) {
                continue;
            }
            let before = self.processes().get(index).map_or(0, |it| it.restarts);
            let is_asked = goal.send_if_modified(|it| match it {
                Goal::Run(number) => {
                    *it = Goal::Run(number.wrapping_add(1));
                    true
                }
                Goal::Hold | Goal::Drain | Goal::Kill => false,
            });
            if is_asked {
                let is_up =
                    |it: &ProcessStatus| it.restarts > before && it.state != ProcessState::Starting;
                let up = self.until(|all| all.get(index).is_none_or(is_up));
                // Whether it came up in time or not: its row says so.
                let _rows = timeout(RESTART_PATIENCE, up).await;
                restarted.push(spec.instance.clone());
            }
        }
        restarted
    }

    /// Ends everything at once.
    pub fn kill(&self) {
        for (_, goal) in self.goals.iter() {
            goal.send_replace(Goal::Kill);
        }
    }

    fn stages(&self) -> Vec<u32> {
        let mut stages: Vec<u32> = self.goals.iter().map(|it| it.0.stage).collect();
        stages.sort_unstable();
        stages.dedup();
        stages
    }

    async fn start_in_order(&self, patience: Duration, shutdown: &Shutdown) {
        for stage in self.stages() {
            self.set_stage(stage, |it| if it == Goal::Hold { Goal::Run(0) } else { it });
            let ready = self.stage_is(stage, ProcessState::Ready);
            // Whether it came in time or not, the next stage starts.
            if shutdown.or_cancel(timeout(patience, ready)).await.is_none() {
                return;
            }
        }
    }

    async fn end_in_order(&self) {
        for stage in self.stages().into_iter().rev() {
            self.set_stage(stage, |it| if it == Goal::Kill { it } else { Goal::Drain });
            self.stage_is(stage, ProcessState::Stopped).await;
        }
    }

    fn set_stage(&self, stage: u32, change: impl Fn(Goal) -> Goal) {
        for (_, goal) in self.goals.iter().filter(|it| it.0.stage == stage) {
            goal.send_modify(|it| *it = change(*it));
        }
    }

    async fn stage_is(&self, stage: u32, state: ProcessState) {
        let is_there = |all: &[ProcessStatus]| {
            let pairs = all.iter().zip(self.goals.iter());
            pairs.filter(|(_, goal)| goal.0.stage == stage).all(|(it, _)| it.state == state)
        };
        self.until(is_there).await;
    }
}

#[cfg(test)]
mod tests;
