//! Real processes under a real supervisor: small shell scripts that do one thing each.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{sleep, timeout},
};

use super::*;

/// Longest wait for what must happen.
const SOON: Duration = Duration::from_secs(20);

fn shell(instance: &str, script: &str) -> ProcessSpec {
    ProcessSpec {
        arguments: vec!["-c".to_owned(), script.to_owned()],
        ..ProcessSpec::new("orders", instance, "/bin/sh")
    }
}

fn foreign(script: &str, readiness: Readiness) -> ProcessSpec {
    ProcessSpec { readiness, lifeline: Lifeline::Signal, ..shell("orders-1", script) }
}

fn config(folder: &Path) -> SuperviseConfig {
    SuperviseConfig::new(folder.join("logs"))
}

async fn reaches(supervisor: &Supervisor, state: ProcessState) -> ProcessStatus {
    let is_there = |all: &[ProcessStatus]| all[0].state == state;
    let rows = timeout(SOON, supervisor.until(is_there)).await;
    rows.unwrap_or_else(|_| panic!("{:?} is not {state:?}", supervisor.processes()))[0].clone()
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

#[tokio::test]
async fn a_port_that_a_process_drew_is_shown_until_it_dies() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("first");
    let script = format!(
        "mkdir {} && echo '{{\"ports\": {{\"http\": 41999}}, \"version\": \"v2\"}}'; read end",
        first.display()
    );
    let tasks = Tasks::new();
    let specs = vec![shell("orders-1", &script)];
    let supervisor = Supervisor::start(config(folder.path()), specs, &tasks);
    let row = reaches(&supervisor, ProcessState::Ready).await;
    assert_eq!((row.ports["http"], row.version.as_str()), (41_999, "v2"));
    kill_process(pid(row.pid.unwrap()), Signal::KILL).unwrap();
    // The next one does not announce itself.
    let row = reaches(&supervisor, ProcessState::Starting).await;
    assert!(row.ports.is_empty(), "{row:?}");
    tasks.drain(SOON).await;
}

#[tokio::test]
async fn who_looks_sees_the_end_of_a_process_before_the_process_is_asked_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (out, told) = (folder.path().join("taken-out"), folder.path().join("told"));
    let script = format!(
        "trap 'test -e {out} && touch {told}; exit 0' TERM; echo '{{\"ports\": {{}}}}'; \
         while :; do sleep 0.01; done",
        out = out.display(),
        told = told.display(),
    );
    let witness = Witness::new(move |rows| {
        if rows[0].state == ProcessState::Stopping {
            fs::write(&out, "").unwrap();
        }
    });
    let tasks = Tasks::new();
    let config = SuperviseConfig { witness, ..config(folder.path()) };
    let supervisor = Supervisor::start(config, vec![shell("orders-1", &script)], &tasks);
    reaches(&supervisor, ProcessState::Ready).await;
    tasks.drain(SOON).await;
    assert!(told.exists());
}

#[tokio::test]
async fn who_looks_sees_a_process_ready_before_one_that_waits_for_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let second = format!("test -e {} && echo '{{\"ports\": {{}}}}'; read end", seen.display());
    let witness = Witness::new(move |rows| {
        if rows[0].state == ProcessState::Ready {
            fs::write(&seen, "").unwrap();
        }
    });
    let tasks = Tasks::new();
    let specs = vec![
        shell("first-1", "echo '{\"ports\": {}}'; read end"),
        ProcessSpec { stage: 1, ..shell("second-1", &second) },
    ];
    let config = SuperviseConfig { witness, ..config(folder.path()) };
    let supervisor = Supervisor::start(config, specs, &tasks);
    let all_ready = |all: &[ProcessStatus]| all.iter().all(|it| it.state == ProcessState::Ready);
    timeout(SOON, supervisor.until(all_ready)).await.unwrap();
    tasks.drain(SOON).await;
}

#[tokio::test]
async fn a_process_that_died_is_never_shown_as_ready() {
    let folder = tempfile::tempdir().unwrap();
    let ghosts = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&ghosts);
    let witness = Witness::new(move |rows| {
        let is_ghost = rows[0].state == ProcessState::Ready && rows[0].pid.is_none();
        seen.fetch_add(u32::from(is_ghost), Ordering::Relaxed);
    });
    let tasks = Tasks::new();
    let config = SuperviseConfig { witness, ..config(folder.path()) };
    let specs = vec![shell("orders-1", "echo '{\"ports\": {}}'; read end")];
    let supervisor = Supervisor::start(config, specs, &tasks);
    let row = reaches(&supervisor, ProcessState::Ready).await;
    kill_process(pid(row.pid.unwrap()), Signal::KILL).unwrap();
    timeout(SOON, supervisor.until(|all| all[0].restarts == 1)).await.unwrap();
    tasks.drain(SOON).await;
    assert_eq!(ghosts.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_restart_of_a_role_ends_one_replica_when_the_one_before_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let (absent_most, all_were_ready) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let (most, armed) = (Arc::clone(&absent_most), Arc::clone(&all_were_ready));
    let witness = Witness::new(move |rows| {
        let absent = rows.iter().filter(|it| it.state != ProcessState::Ready).count();
        if armed.load(Ordering::Relaxed) {
            most.fetch_max(u32::try_from(absent).unwrap(), Ordering::Relaxed);
        }
    });
    let script = "sleep 0.05; echo '{\"ports\": {}}'; read end";
    let specs = vec![shell("orders-1", script), shell("orders-2", script)];
    let tasks = Tasks::new();
    let config = SuperviseConfig { witness, ..config(folder.path()) };
    let supervisor = Supervisor::start(config, specs, &tasks);
    timeout(SOON, supervisor.settled()).await.unwrap();
    all_were_ready.store(true, Ordering::Relaxed);
    let restarted = timeout(SOON, supervisor.restart("orders")).await.unwrap();
    all_were_ready.store(false, Ordering::Relaxed);
    assert_eq!(restarted, ["orders-1", "orders-2"]);
    assert_eq!(absent_most.load(Ordering::Relaxed), 1);
    tasks.drain(SOON).await;
}

/// A server that answers one connection after the other with these statuses. Gives itself back.
async fn serve(listener: TcpListener, statuses: &[&str]) -> TcpListener {
    for status in statuses {
        let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
        let mut request = [0; 256];
        let length = stream.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /healthy HTTP/1.1\r\n"));
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
    listener
}

#[tokio::test]
async fn a_foreign_process_is_ready_once_its_health_path_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let readiness = Readiness::Answers { port, path: Some("/healthy".to_owned()) };
    let tasks = Tasks::new();
    // What looks like an announcement is none.
    let script = "echo '{\"ports\": {\"http\": 1}}'; exec sleep 1000";
    let specs = vec![foreign(script, readiness)];
    let supervisor = Supervisor::start(config(folder.path()), specs, &tasks);
    drop(serve(listener, &["503 Not Yet", "302 Elsewhere"]).await);
    assert_eq!(supervisor.processes()[0].state, ProcessState::Starting);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _listener = serve(listener, &["204 No Content"]).await;
    let row = reaches(&supervisor, ProcessState::Ready).await;
    assert!(row.ports.is_empty(), "{row:?}");
    tasks.drain(SOON).await;
}

#[tokio::test]
async fn a_foreign_process_without_a_health_path_is_ready_once_it_listens() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = Tasks::new();
    let specs = vec![foreign("exec sleep 1000", Readiness::Answers { port, path: None })];
    let supervisor = Supervisor::start(config(folder.path()), specs, &tasks);
    reaches(&supervisor, ProcessState::Ready).await;
    tasks.drain(SOON).await;
}

#[tokio::test]
async fn a_foreign_process_that_never_answers_is_ended_and_counts_as_dead() {
    let folder = tempfile::tempdir().unwrap();
    let mut ports = ports::FreePorts::default();
    let port = ports.draw().unwrap();
    drop(ports);
    let tasks = Tasks::new();
    let config = SuperviseConfig {
        answer_deadline: Duration::ZERO,
        policy: RestartPolicy { loop_after: 2, ..RestartPolicy::default() },
        ..config(folder.path())
    };
    let specs = vec![foreign("exec sleep 1000", Readiness::Answers { port, path: None })];
    let supervisor = Supervisor::start(config, specs, &tasks);
    let row = reaches(&supervisor, ProcessState::CrashLoop).await;
    assert_eq!(row.last_end.as_deref(), Some("did not answer in time"));
    tasks.drain(SOON).await;
}

/// A program that is ready, and whose health is asked on a port that the test answers.
fn asked_on(port: u16) -> ProcessSpec {
    let readiness = Readiness::Answers { port, path: Some("/healthy".to_owned()) };
    foreign("exec sleep 1000", readiness)
}

#[tokio::test]
async fn a_process_that_answers_no_more_is_killed_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = Tasks::new();
    let config =
        SuperviseConfig { silence_max: Duration::from_millis(1_500), ..config(folder.path()) };
    let supervisor = Supervisor::start(config, vec![asked_on(port)], &tasks);
    // Ready, well, not well, which is an answer too; then it listens and says nothing.
    let listener = serve(listener, &["200 OK", "200 OK", "503 Not Well"]).await;
    let first = supervisor.processes()[0].clone();
    assert_eq!((first.state, first.restarts), (ProcessState::Ready, 0));
    timeout(SOON, supervisor.until(|all| all[0].restarts == 1)).await.unwrap();
    assert!(is_gone(first.pid.unwrap()));
    drop(listener);
    tasks.drain(SOON).await;
}

#[tokio::test]
async fn without_a_bound_silence_kills_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = Tasks::new();
    let config = SuperviseConfig { silence_max: Duration::ZERO, ..config(folder.path()) };
    let supervisor = Supervisor::start(config, vec![asked_on(port)], &tasks);
    let listener = serve(listener, &["200 OK"]).await;
    reaches(&supervisor, ProcessState::Ready).await;
    // Nobody asks.
    assert!(timeout(Duration::from_millis(500), listener.accept()).await.is_err());
    tasks.drain(SOON).await;
}

#[tokio::test]
async fn what_a_foreign_process_started_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let note = folder.path().join("pid");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("sleep 1000 & echo $! > {}; wait", note.display());
    let tasks = Tasks::new();
    let specs = vec![foreign(&script, Readiness::Answers { port, path: None })];
    let supervisor = Supervisor::start(config(folder.path()), specs, &tasks);
    let row = reaches(&supervisor, ProcessState::Ready).await;
    let started = wait_for(|| fs::read_to_string(&note).ok()?.trim().parse::<u32>().ok()).await;
    kill_process(pid(row.pid.unwrap()), Signal::KILL).unwrap();
    wait_for(|| is_gone(started).then_some(())).await;
    tasks.drain(SOON).await;
}

/// Whether nothing of it is left but what its parent has not looked at yet.
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

async fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, found).await.unwrap()
}
