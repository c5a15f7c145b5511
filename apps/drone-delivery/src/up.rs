//! Starting, watching and stopping the system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use base::SharedClock;
use identity::Order;
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use skein::{
    Exit, Failure, Format, Output, Table,
    commands::{Admins, Process},
    failure, folder,
    supervise::{
        self, Admission, EndError, Orders, ProcessState, ProcessStatus, Running, SystemPlan,
        UpError, Witness,
        control::{self, Answer, Ask, ControlError, DoorError, ask},
        lifeline::Farewell,
        lock::{self, LockError},
        ports::{self, Holder},
    },
};
use telemetry::Telemetry;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    addresses::loopback,
    certificates,
    cli::UpArguments,
    endpoints::EndpointsFile,
    identities::{self, Authority, Surroundings},
    instances::bearers,
    introduction::{Invocation, Ports, introduce, quoted, table},
    keys,
    layered::Layered,
    mesh, page,
    plan::Plan,
    processes::ProcessesFile,
    roles::Role,
    settings::{Settings, Tls},
    tokens,
};

/// Pause between two questions whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for the end of a system: its stages drain one after the other.
const DOWN_WITHIN: Duration = Duration::from_secs(60);
/// Time that the authority has to end what it answers.
const AUTHORITY_DRAIN: Duration = Duration::from_secs(2);
/// What lets faults be planted in a system that runs without: its settings are those of its start.
const FAULTS_HINT: &str = "drone-delivery down && drone-delivery up --enable-faults";
/// What gives processes and commands one token again, whose file was removed or replaced meanwhile.
const TOKEN_HINT: &str = "drone-delivery down && drone-delivery up";
/// The log of a detached `up`, and the size at which it is begun anew.
const LOG: &str = "up.log";
const LOG_BYTES_MAX: u64 = 20 << 20;

/// Starts the system; without `--detach` it stays until the end.
pub(crate) async fn up(
    data: &Path,
    arguments: &UpArguments,
    output: Output,
) -> Result<Exit, Failure> {
    folder::make_all_private();
    named_in_text(data)?;
    let layered = Layered::gather(&arguments.settings, std::env::vars())?;
    let invocation = Invocation::of(data);
    if let Some(why) = layered.mute {
        output.remark(&format!("every process of this machine may call every service: {why}"));
    }
    // Before anything starts: each process would find it by itself, and say so in a log of its own.
    for remark in mesh::check(&layered.settings)? {
        output.remark(&remark);
    }
    certificates::check(&layered.settings)?;
    let named = data;
    let data = std::path::absolute(named).map_err(|it| no_directory(named, &it))?;
    let program = std::env::current_exe().map_err(|it| no_directory(&data, &it))?;
    let plan = Plan::of(&layered.settings, &data, &program)
        .map_err(|it| Failure::new("no_port", "there is no free port").because(it))?;
    let may_start = may_start(&plan, &layered.settings, &data).await;
    may_start.map_err(|it| up_failure(&it, &data))?;
    if arguments.detach {
        return detach(&invocation, named, arguments, &layered.settings, output).await;
    }
    let clock = SystemClock::shared();
    start_logs(&clock);
    let authority = Tasks::new();
    let running = start(&plan, &layered.settings, &data, &clock, &authority)
        .await
        .map_err(|it| up_failure(&it, &data))?;
    let supervisor = running.supervisor();
    // The end may be asked for before everything is ready.
    let introduced = async {
        let patience = Duration::from_secs(arguments.timeout);
        // What is not ready by then shows as such.
        let settled = timeout(patience, supervisor.settled()).await;
        let processes = settled.unwrap_or_else(|_| supervisor.processes());
        introduce(&processes, &layered.settings, &invocation, output);
        std::future::pending().await
    };
    let why = tokio::select! {
        why = introduced => why,
        why = running.finish() => why,
    };
    // Last: until they end, processes renew what they show.
    authority.drain(AUTHORITY_DRAIN).await;
    match why.map_err(|it| end_failure(&it, &data))? {
        Farewell::Interrupted => Ok(Exit::Interrupted),
        Farewell::Orphaned | Farewell::Terminated => Ok(Exit::Done),
    }
}

/// The words that processes are started with, and their settings, name the directory as text.
fn named_in_text(data: &Path) -> Result<(), Failure> {
    let whole = std::path::absolute(data).map_err(|it| no_directory(data, &it))?;
    if whole.to_str().is_some() {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::InvalidInput, "its path is not UTF-8");
    Err(no_directory(&whole, &error).next("another --data"))
}

/// Refuses what can be refused before anything is made: that leaves no directory that was not there.
async fn may_start(plan: &Plan, settings: &Settings, data: &Path) -> Result<(), UpError> {
    let of_authority = (settings.tls == Tls::Strict).then_some(identities::SOCKET);
    for socket in [control::SOCKET].into_iter().chain(of_authority) {
        folder::socket(data, socket).map_err(DoorError::Path)?;
    }
    // In one that is there a killed `up` may have left processes: whoever has locked it waits for them.
    if data.exists() { Ok(()) } else { supervise::until_free(data, &plan.specs).await }
}

async fn start(
    plan: &Plan,
    settings: &Settings,
    data: &Path,
    clock: &SharedClock,
    tasks: &Tasks,
) -> Result<Running, UpError> {
    let endpoints = Arc::new(EndpointsFile::new(data, plan.instances.clone()));
    let processes = Arc::new(ProcessesFile::new(data, plan.instances.clone()));
    let seen = (endpoints.clone(), processes.clone());
    let witness = Witness::new(move |rows| {
        // What stands there stays; the next change is written again.
        if let Err(error) = seen.0.write(rows) {
            tracing::warn!(%error, "the list of endpoints cannot be written");
        }
        if let Err(error) = seen.1.write(rows) {
            tracing::warn!(%error, "the list of processes cannot be written");
        }
    });
    let keeping = (Box::new(settings.clone()), data.to_owned(), clock.clone());
    tasks.spawn("certificate", |shutdown| {
        let (settings, data, clock) = keeping;
        certificates::keep(settings, data, clock, shutdown)
    });
    let authority = Authority::default();
    let (admission, orders) = match settings.tls {
        Tls::Off => (Admission::default(), Orders::default()),
        Tls::Strict => (authority.admission(bearers(&plan.instances)), authority.orders()),
    };
    let system = SystemPlan {
        data: data.to_owned(),
        specs: plan.specs.clone(),
        witness,
        silence_max: Duration::from_millis(settings.silence_max_ms),
        admission,
        orders,
    };
    let write = || {
        settings.write(data).map_err(io::Error::other)?;
        plan.write()?;
        keys::prepare(settings, data, clock.now())?;
        certificates::prepare(settings, data, clock.now())?;
        page::prepare(settings, data)?;
        tokens::prepare(data, tokens::OPERATORS)?;
        if settings.tls == Tls::Strict {
            let telemetry = &Telemetry::disabled();
            authority
                .open(settings.identity_life_s, &Surroundings { data, clock, telemetry, tasks })?;
        }
        // Nothing runs yet.
        endpoints.write(&[])?;
        processes.write(&[])
    };
    supervise::run(system, write, clock).await
}

fn start_logs(clock: &SharedClock) {
    let config = telemetry::logs::LogConfig {
        format: telemetry::logs::LogFormat::Text,
        // What is well shows in the table; here only what is not.
        level: tracing::level_filters::LevelFilter::WARN,
        service: "up".to_owned(),
        instance: "up".to_owned(),
    };
    // A subscriber that is there already writes the same lines.
    let _installed = telemetry::logs::init(config, clock.clone());
}

fn no_directory(data: &Path, error: &io::Error) -> Failure {
    Failure::new("bad_directory", "the data directory cannot be used")
        .at(data.display())
        .because(error)
}

fn up_failure(error: &UpError, data: &Path) -> Failure {
    match error {
        UpError::Lock(LockError::Held { .. }) => Failure::new("in_use", error.to_string())
            .at(data.display())
            .next("drone-delivery down, or another --data"),
        UpError::PortBusy { port, holder } => Failure::new("port_busy", error.to_string())
            .at(format!("127.0.0.1:{port}"))
            .next(instead_of(holder)),
        UpError::Door(DoorError::Path(_)) => Failure::new("path_too_long", error.to_string())
            .at(data.display())
            .next("another --data, whose path is shorter"),
        UpError::Lock(LockError::Io { .. }) | UpError::Door(_) | UpError::Io(_) => {
            Failure::new("bad_directory", failure::chain(error)).at(data.display())
        }
    }
}

fn end_failure(error: &EndError, data: &Path) -> Failure {
    match error {
        EndError::DirectoryLost => Failure::new("directory_lost", error.to_string())
            .at(data.display())
            .next("drone-delivery up, once it is back; what is gone with it is lost"),
        EndError::Signals(_) => Failure::new("no_signals", failure::chain(error)),
    }
}

/// What to do about who has a port. A process of another system is started again by its `up`.
fn instead_of(holder: &Holder) -> String {
    let else_where = "or choose other ports with --port-base";
    let words = match holder {
        Holder::Process(it) => ports::arguments_of(it.pid),
        Holder::Nobody => return format!("try again in a minute, {else_where}"),
        Holder::User(_) | Holder::Unknown => Vec::new(),
    };
    match system_of(&words) {
        Some(data) => format!("`drone-delivery --data {} down`, {else_where}", quoted(data)),
        None => format!("end that process, {else_where}"),
    }
}

/// The data directory of the system that a process with these arguments belongs to.
fn system_of(words: &[String]) -> Option<&str> {
    let program = Path::new(words.first()?).file_name()?;
    let place = words.iter().position(|it| it == "--data")?;
    (program == "drone-delivery").then_some(())?;
    words.get(place + 1).map(String::as_str)
}

/// Starts `up` in the background and, when asked to, waits until it is ready.
async fn detach(
    invocation: &Invocation,
    data: &Path,
    arguments: &UpArguments,
    settings: &Settings,
    output: Output,
) -> Result<Exit, Failure> {
    let bad = |it: io::Error| no_directory(data, &it);
    let (log, mut child) = start_detached(data, arguments).map_err(bad)?;
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    loop {
        if let Some(status) = child.try_wait().map_err(bad)? {
            let said = log.rest().unwrap_or_default();
            output.remark(said.trim_end());
            return Ok(if status.success() { Exit::Done } else { Exit::Failed });
        }
        // Until it listens there is no answer, and an older system in its place gives another pid.
        let processes = match ask(data, &Ask::Ps).await {
            Ok(answer) if is_by(&answer, child.id()) => answer.services,
            Ok(_) | Err(_) => Vec::new(),
        };
        let has = |state| processes.iter().any(|it| it.state == state);
        let is_ready = processes.iter().all(|it| it.state == ProcessState::Ready);
        if !processes.is_empty() && (!arguments.wait || is_ready) {
            introduce(&processes, settings, invocation, output);
            return Ok(Exit::Done);
        }
        if has(ProcessState::CrashLoop) {
            introduce(&processes, settings, invocation, output);
            let down = invocation.command("down");
            output.remark(&format!("the rest goes on running; `{down}` ends it"));
            return Ok(Exit::Failed);
        }
        if Instant::now() >= deadline {
            return Err(Failure::new("not_ready", "not every process is ready in time")
                .because("all of them go on; `down` ends them")
                .exit(Exit::TimedOut)
                .next("drone-delivery ps"));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn is_by(answer: &Answer, pid: u32) -> bool {
    answer.services.first().is_some_and(|it| it.pid == Some(pid))
}

/// The part of a log file that was written after a point.
struct LogFrom {
    path: PathBuf,
    from: u64,
}

impl LogFrom {
    fn rest(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text)
    }
}

fn start_detached(data: &Path, arguments: &UpArguments) -> io::Result<(LogFrom, Child)> {
    use std::os::unix::process::CommandExt as _;
    let logs = data.join("logs");
    folder::make_private(&logs)?;
    let path = logs.join(LOG);
    let is_large = fs::metadata(&path).is_ok_and(|it| it.len() > LOG_BYTES_MAX);
    let log = OpenOptions::new()
        .create(true)
        .append(!is_large)
        .write(true)
        .truncate(is_large)
        .open(&path)?;
    let from = log.metadata()?.len();
    let settings = &arguments.settings;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("up").arg("--data").arg(data);
    if let Some(file) = &settings.config {
        command.arg("--config").arg(file);
    }
    for (path, value) in settings.flags() {
        command.arg("--set").arg(format!("{path}={value}"));
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C at this terminal is not meant for it.
        .process_group(0)
        .spawn()?;
    Ok((LogFrom { path, from }, child))
}

/// Stops the system and, when asked to, forgets its state.
pub(crate) async fn down(data: &Path, wipe: bool, output: Output) -> Result<Exit, Failure> {
    match ask(data, &Ask::Down).await {
        Ok(_) => until_down(data).await?,
        Err(ControlError::NotRunning { .. }) => {
            output.remark(&format!("nothing runs in {}", data.display()));
        }
        Err(error) => return Err(control_failure(&error)),
    }
    if wipe {
        forget(data).map_err(|it| no_directory(data, &it))?;
    }
    Ok(Exit::Done)
}

async fn until_down(data: &Path) -> Result<(), Failure> {
    let deadline = Instant::now() + DOWN_WITHIN;
    while lock::holder(data).is_some() {
        if Instant::now() >= deadline {
            return Err(Failure::new("not_down", "the system did not end in time")
                .exit(Exit::TimedOut)
                .next("drone-delivery ps"));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Removes what a system keeps, by name: whatever else lies in the directory stays.
fn forget(data: &Path) -> io::Result<()> {
    let folders = Role::ALL.iter().map(|it| it.name()).chain([
        "logs",
        "mesh",
        "identity",
        "audit",
        keys::FOLDER,
    ]);
    let missing_is_fine = |removed: io::Result<()>| match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    for folder in folders {
        missing_is_fine(fs::remove_dir_all(data.join(folder)))?;
    }
    for file in ["settings.json", "control.sock", identities::SOCKET, "lock"] {
        missing_is_fine(fs::remove_file(data.join(file)))?;
    }
    // Left alone when it is not empty, or is a mount point.
    let _kept = fs::remove_dir(data);
    Ok(())
}

/// Lists the processes.
pub(crate) async fn ps(data: &Path, output: Output) -> Result<Exit, Failure> {
    let answer = running(data).await?;
    let ports = match output.format {
        Format::Wide => Ports::All,
        Format::Table | Format::Json => Ports::Few,
    };
    let table = table(&answer.services, ports);
    output.result(&serde_json::json!({"services": answer.services}), &table);
    Ok(Exit::Done)
}

/// What runs.
///
/// # Errors
/// Nothing does.
pub(crate) async fn running(data: &Path) -> Result<Answer, Failure> {
    ask(data, &Ask::Ps).await.map_err(|it| control_failure(&it))
}

/// The operators' ports of the processes that run.
pub(crate) async fn admins(data: &Path) -> Result<Admins, Failure> {
    let answer = running(data).await?;
    let process = |it: &ProcessStatus| {
        let address = loopback(*it.ports.get("admin")?);
        Some(Process { name: it.instance.clone(), address })
    };
    let processes = answer.services.iter().filter(|it| it.pid.is_some()).filter_map(process);
    let admins = Admins::new(processes.collect(), FAULTS_HINT);
    Ok(admins.holding(tokens::read(data, tokens::OPERATORS), TOKEN_HINT))
}

/// Restarts a role or an instance.
pub(crate) async fn restart(data: &Path, name: &str, output: Output) -> Result<Exit, Failure> {
    let asked = Ask::Restart { name: name.to_owned() };
    let answer = ask(data, &asked).await.map_err(|it| control_failure(&it))?;
    if answer.restarted.is_empty() {
        return Err(Failure::new("no_such_role", format!("nothing that runs is called `{name}`"))
            .exit(Exit::NotFound)
            .next("drone-delivery ps"));
    }
    let mut table = Table::new(&["RESTARTED"]);
    for instance in &answer.restarted {
        table.row([instance.clone()]);
    }
    output.result(&serde_json::json!({"restarted": answer.restarted}), &table);
    Ok(Exit::Done)
}

/// Has the authority do something; gives what it stands on then.
pub(crate) async fn order(data: &Path, order: Order) -> Result<Value, Failure> {
    let answer = ask(data, &Ask::Identity { order }).await.map_err(|it| control_failure(&it))?;
    match (answer.authority, answer.refused) {
        (Some(standing), _) => Ok(standing),
        (None, why) => {
            Err(Failure::new("refused", "the authority refuses").because(why.unwrap_or_default()))
        }
    }
}

fn control_failure(error: &ControlError) -> Failure {
    let failure = Failure::new("not_running", failure::chain(error)).exit(Exit::Unreachable);
    match error {
        ControlError::NotRunning { .. } => failure.next("drone-delivery up"),
        ControlError::Io { .. } => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_named_in_text_is_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let odd = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff"));
        let refused = named_in_text(odd).unwrap_err().to_string();
        assert!(refused.contains("not UTF-8"), "{refused}");
        assert!(named_in_text(Path::new("/tmp/ä b")).is_ok());
    }

    #[test]
    fn a_directory_is_in_use_only_where_somebody_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let now = base::Timestamp::from_millis(0);
        let code = |data: &Path| {
            let refused = lock::DirectoryLock::take(data, now).unwrap_err();
            up_failure(&refused.into(), data)
        };
        let _held = lock::DirectoryLock::take(folder.path(), now).unwrap();
        assert_eq!(code(folder.path()).code, "in_use");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for nowhere in [file.join("below"), file] {
            let failure = code(&nowhere);
            assert_eq!(failure.code, "bad_directory");
            assert!(failure.what.contains("cannot be locked: "), "{}", failure.what);
        }
    }

    #[track_caller]
    fn check(words: &str, data: Option<&str>) {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(system_of(&words), data);
    }

    #[test]
    fn a_process_of_another_system_is_known_by_its_arguments() {
        check("/bin/drone-delivery role account --instance account-1 --data /d", Some("/d"));
        check("/bin/other role account --data /d", None);
        check("/bin/drone-delivery role account", None);
    }
}
