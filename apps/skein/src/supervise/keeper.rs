//! Keeps one process running: starts it, reads what it says, starts it again when it dies, ends it.

use std::{io, path::PathBuf, pin::pin, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{
    admission::{Admission, Applicant},
    board::Board,
    logs::{LogBounds, RotatingLog},
    probe::{self, Found},
    restarts::{Pause, RestartPolicy, Restarts},
    silence,
    spec::{Lifeline, ProcessSpec, ProcessState, Readiness, ReadyLine},
};

/// Bytes of a line in which a process may say that it is ready; longer ones are log.
const READY_LINE_MAX: usize = 16 << 10;

/// What the keeper is to see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Not started yet.
    Hold,
    /// It runs. Another number than before: it is ended in order and started again.
    Run(u32),
    /// It ends in order.
    Drain,
    /// It ends at once.
    Kill,
}

/// What is the same for every process.
#[derive(Debug, Clone)]
pub(super) struct KeeperConfig {
    pub(super) logs: PathBuf,
    pub(super) log_bounds: LogBounds,
    pub(super) policy: RestartPolicy,
    /// Time between the request to end and the end by force.
    pub(super) drain_deadline: Duration,
    /// Time in which a process that cannot announce itself must answer.
    pub(super) answer_deadline: Duration,
    /// How long a process that was ready may answer nothing; zero is for ever.
    pub(super) silence_max: Duration,
    /// Gives the process its word once it runs.
    pub(super) admission: Admission,
}

pub(super) struct Keeper {
    pub(super) spec: ProcessSpec,
    pub(super) index: usize,
    pub(super) board: Board,
    pub(super) config: KeeperConfig,
    pub(super) goal: watch::Receiver<Goal>,
}

/// How far the end of a process has gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Nobody asked for it.
    No,
    /// It was asked to end, and has until then.
    Asked(Instant),
    /// It was killed.
    Forced,
}

impl Ending {
    /// Cancel-safe.
    async fn deadline(self) {
        match self {
            Self::Asked(until) => sleep_until(until).await,
            Self::No | Self::Forced => std::future::pending().await,
        }
    }
}

/// How a running process came to its end.
enum End {
    /// By itself.
    Died(String),
    /// Because the goal changed.
    Asked,
}

impl Keeper {
    pub(super) async fn run(mut self) {
        let mut restarts = Restarts::new(self.config.policy);
        let mut is_first = true;
        loop {
            let goal = *self.goal.borrow_and_update();
            match goal {
                Goal::Drain | Goal::Kill => break,
                Goal::Hold => {
                    // An error means that nobody is left who sets goals.
                    match self.goal.changed().await {
                        Ok(()) => continue,
                        Err(_) => break,
                    }
                }
                Goal::Run(_) if self.goal.has_changed().is_err() => break,
                Goal::Run(_) => {}
            }
            let started = Instant::now();
            let end = self.live(goal, is_first).await;
            is_first = false;
            if let End::Died(how) = end {
                self.pause(restarts.died(started.elapsed()), &how).await;
            }
        }
        self.set(ProcessState::Stopped);
    }

    /// One life of the process.
    async fn live(&mut self, goal: Goal, is_first: bool) -> End {
        self.board.update(self.index, |it| {
            it.state = ProcessState::Starting;
            it.restarts += u32::from(!is_first);
        });
        let path = self.config.logs.join(format!("{}.log", self.spec.instance));
        let started = RotatingLog::open(path, self.config.log_bounds)
            .and_then(|log| Ok((log, self.start()?)));
        let (log, mut child) = match started {
            Ok(started) => started,
            Err(error) => return End::Died(format!("cannot be started: {error}")),
        };
        self.board.update(self.index, |it| it.pid = child.id());
        self.admit(&mut child).await;
        let end = self.watch(goal, child, log).await;
        self.board.update(self.index, |it| {
            it.pid = None;
            // What it drew is anybody's again.
            it.ports.clone_from(&self.spec.ports);
        });
        end
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.spec.program)
            .args(&self.spec.arguments)
            .envs(&self.spec.environment)
            .stdin(match self.spec.lifeline {
                // Its word is written to it and nothing else: the process ends when it closes,
                // whatever closed it.
                Lifeline::Pipe => Stdio::piped(),
                Lifeline::Signal => Stdio::null(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches us alone; we end the others in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    /// Reads and waits until the process has ended and its pipes are empty.
    async fn watch(&mut self, goal: Goal, mut child: Child, log: RotatingLog) -> End {
        let group = Group { pid: child.id(), lifeline: self.spec.lifeline };
        let mut output = Output::of(&mut child, self.spec.readiness == Readiness::Announced);
        // Closed when this function returns, or when we die: the process ends with us.
        let _lifeline = child.stdin.take();
        let mut log = Log { log, is_broken: false };
        let (mut wanted, mut kill) = (self.goal.clone(), self.goal.clone());
        let mut found = pin!(probe::find(&self.spec.readiness, self.config.answer_deadline));
        let Self { board, index, spec, config, .. } = &*self;
        let fallen = silence::fallen(board, *index, &spec.readiness, config.silence_max);
        let mut fallen = pin!(fallen);
        let (mut is_unknown, mut was_silent) = (true, false);
        let mut ending = Ending::No;
        let ended = loop {
            // Cancel-safe: every branch loses nothing when another one wins.
            tokio::select! {
                ended = child.wait() => break ended,
                Some(said) = output.next() => match said {
                    Said::Log(bytes) => log.append(&bytes, &self.spec.instance),
                    Said::Ready(line) => self.note_ready(Some(line)),
                },
                found = &mut found, if is_unknown && ending == Ending::No => {
                    is_unknown = false;
                    match found {
                        Found::Usable => self.note_ready(None),
                        Found::Silent => {
                            was_silent = true;
                            ending = self.ask_to_end(group);
                        }
                    }
                }
                () = &mut fallen, if ending == Ending::No => {
                    warn!(instance = self.spec.instance, "does not answer, killed");
                    was_silent = true;
                    ending = Ending::Forced;
                    group.force(&mut child);
                }
                () = changed_from(&mut wanted, goal), if ending == Ending::No => {
                    self.set(ProcessState::Stopping);
                    ending = self.ask_to_end(group);
                }
                () = killed(&mut kill), if ending != Ending::Forced => {
                    ending = Ending::Forced;
                    group.force(&mut child);
                }
                () = ending.deadline(), if ending != Ending::Forced => {
                    warn!(instance = self.spec.instance, "did not end in time, killed");
                    ending = Ending::Forced;
                    group.force(&mut child);
                }
            }
        };
        group.force_the_rest();
        let end = match ended {
            _ if was_silent => End::Died("did not answer in time".to_owned()),
            _ if ending != Ending::No => End::Asked,
            Ok(status) => End::Died(status.to_string()),
            Err(error) => End::Died(format!("cannot be waited for: {error}")),
        };
        if matches!(end, End::Died(_)) {
            // Before its last words are read: nobody is to be sent to a dead process.
            self.set(ProcessState::Waiting);
        }
        output.drain_into(&mut log, &self.spec.instance).await;
        end
    }

    /// Tells the process its word. A pipe that is new has room for it.
    async fn admit(&self, child: &mut Child) {
        let (Some(pid), Some(pipe)) = (child.id(), child.stdin.as_mut()) else { return };
        let uid = rustix::process::getuid().as_raw();
        let applicant = Applicant { instance: Some(&self.spec.instance), pid, uid };
        if let Some(word) = self.config.admission.word(applicant) {
            // That it is gone already is seen where it is waited for.
            let _gone = pipe.write_all(format!("{word}\n").as_bytes()).await;
        }
    }

    fn ask_to_end(&self, group: Group) -> Ending {
        group.signal(Signal::TERM);
        Ending::Asked(Instant::now() + self.config.drain_deadline)
    }

    async fn pause(&mut self, pause: Pause, how: &str) {
        let wait_ms = pause.wait.as_millis();
        let state = if pause.is_loop { ProcessState::CrashLoop } else { ProcessState::Waiting };
        warn!(instance = self.spec.instance, how, %wait_ms, state = state.as_str(), "process died");
        self.board.update(self.index, |it| {
            it.state = state;
            it.last_end = Some(how.to_owned());
        });
        // A new goal ends the pause: `restart` starts a crash loop at once.
        tokio::select! {
            () = sleep(pause.wait) => {}
            _changed = self.goal.changed() => {}
        }
    }

    fn note_ready(&self, line: Option<ReadyLine>) {
        info!(instance = self.spec.instance, "ready");
        self.board.update(self.index, |row| {
            if row.state != ProcessState::Starting {
                return;
            }
            row.state = ProcessState::Ready;
            row.last_end = None;
            if let Some(line) = line {
                row.ports.extend(line.ports);
                row.version = line.version.unwrap_or_else(|| row.version.clone());
            }
        });
    }

    fn set(&self, state: ProcessState) {
        self.board.update(self.index, |it| it.state = state);
    }
}

/// A log that may be refused by the disk; that is said once, not at every line.
struct Log {
    log: RotatingLog,
    is_broken: bool,
}

impl Log {
    fn append(&mut self, bytes: &[u8], instance: &str) {
        match self.log.append(bytes) {
            Ok(()) => self.is_broken = false,
            Err(error) if !self.is_broken => {
                self.is_broken = true;
                warn!(instance, %error, "log lines are lost");
            }
            Err(_) => {}
        }
    }
}

/// What came out of a process.
enum Said {
    Log(Vec<u8>),
    Ready(ReadyLine),
}

/// Both outputs of a process.
struct Output {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The beginning of a line on standard output, while a ready line is awaited.
    line: Vec<u8>,
    awaits_ready: bool,
}

impl Output {
    fn of(child: &mut Child, awaits_ready: bool) -> Self {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self { stdout, stderr, line: Vec::new(), awaits_ready }
    }

    /// The next piece of either output; `None` when both are closed. Cancel-safe.
    async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.take_line() {
                return Some(said);
            }
            tokio::select! {
                Some(bytes) = read(&mut self.stdout) => {
                    if !self.awaits_ready {
                        return Some(Said::Log(bytes));
                    }
                    self.line.extend_from_slice(&bytes);
                }
                Some(bytes) = read(&mut self.stderr) => return Some(Said::Log(bytes)),
                else => return None,
            }
        }
    }

    /// The first whole line that waits, or all that waits when it cannot become a ready line.
    fn take_line(&mut self) -> Option<Said> {
        let end = self.line.iter().position(|it| *it == b'\n').map(|it| it + 1);
        let is_hopeless = !self.awaits_ready || self.line.len() > READY_LINE_MAX;
        let all = (is_hopeless && !self.line.is_empty()).then_some(self.line.len());
        let rest = self.line.split_off(end.or(all)?);
        let line = std::mem::replace(&mut self.line, rest);
        if !self.awaits_ready {
            return Some(Said::Log(line));
        }
        Some(match ReadyLine::read(&line) {
            Some(ready) => {
                self.awaits_ready = false;
                Said::Ready(ready)
            }
            None => Said::Log(line),
        })
    }

    /// Writes what is left in the pipes of a dead process. A grandchild that holds them open must
    /// not hold us.
    async fn drain_into(mut self, log: &mut Log, instance: &str) {
        const PATIENCE: Duration = Duration::from_millis(100);
        self.awaits_ready = false;
        while let Ok(Some(Said::Log(bytes))) = timeout(PATIENCE, self.next()).await {
            log.append(&bytes, instance);
        }
    }
}

/// Some bytes; `None` once the pipe is closed. Cancel-safe.
async fn read<R: AsyncRead + Unpin>(pipe: &mut Option<R>) -> Option<Vec<u8>> {
    let open = pipe.as_mut()?;
    let mut bytes = vec![0; 8 << 10];
    match open.read(&mut bytes).await {
        Ok(length) if length > 0 => {
            bytes.truncate(length);
            Some(bytes)
        }
        _ => {
            *pipe = None;
            None
        }
    }
}

/// Waits until the goal is another one; the end of whoever sets goals means [`Goal::Drain`].
/// Cancel-safe.
async fn changed_from(goal: &mut watch::Receiver<Goal>, from: Goal) {
    // An error means that the other end is gone, which is a change as well.
    let _gone = goal.wait_for(|it| *it != from).await;
}

async fn killed(goal: &mut watch::Receiver<Goal>) {
    if goal.wait_for(|it| *it == Goal::Kill).await.is_err() {
        std::future::pending().await
    }
}

/// A process, and whatever it started when that is ours to end.
#[derive(Debug, Clone, Copy)]
struct Group {
    pid: Option<u32>,
    lifeline: Lifeline,
}

impl Group {
    fn signal(self, signal: Signal) {
        let Some(pid) = self.pid.and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw)
        else {
            return;
        };
        // A process that is gone already has done what it was asked.
        let _gone = match self.lifeline {
            Lifeline::Pipe => kill_process(pid, signal),
            Lifeline::Signal => kill_process_group(pid, signal),
        };
    }

    fn force(self, child: &mut Child) {
        // A process that is gone already has done what it was asked.
        let _gone = child.start_kill();
        self.force_the_rest();
    }

    /// Kills what a process that knows nothing of us has started: a wrapper that was killed leaves
    /// the program behind that has the port.
    fn force_the_rest(self) {
        if self.lifeline == Lifeline::Signal {
            self.signal(Signal::KILL);
        }
    }
}
