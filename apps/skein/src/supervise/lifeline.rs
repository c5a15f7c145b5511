//! The other end of the pipe: how a role notices that whoever started it is gone.

use std::{
    io::{self, Read as _},
    process::ExitStatus,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use crate::exit::Exit;

/// Time that a held program has between the request to end and the end by force.
const GRACE: Duration = Duration::from_secs(10);

/// Why the process should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Standard input was closed: the supervisor is gone.
    Orphaned,
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
}

/// Waits for the end of standard input, if `watch_input`, or for a signal to end.
///
/// # Errors
/// Signal handlers or a thread cannot be made.
pub async fn farewell(watch_input: WatchInput) -> io::Result<Farewell> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let closed = match watch_input {
        WatchInput::Yes => Some(input_closed()?),
        WatchInput::No => None,
    };
    let orphaned = async {
        match closed {
            // An error means that the thread is gone, and it ends only with the input.
            Some(closed) => closed.await.unwrap_or(()),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = orphaned => Ok(Farewell::Orphaned),
        _signal = terminate.recv() => Ok(Farewell::Terminated),
        _signal = interrupt.recv() => Ok(Farewell::Interrupted),
    }
}

/// Whether the end of standard input ends the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchInput {
    /// It does: a supervisor holds the other end.
    Yes,
    /// It does not: a person started the process.
    No,
}

/// Tells when standard input ends. On a thread of its own: a blocking read cannot be cancelled, and
/// tokio's would keep the runtime from shutting down.
fn input_closed() -> io::Result<oneshot::Receiver<()>> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
        let mut input = io::stdin().lock();
        let mut sink = [0; 256];
        // What is written to it has no meaning; only its end has.
        while matches!(input.read(&mut sink), Ok(1..)) {}
        // Nobody listens any more when the process ends anyway.
        let _late = sender.send(());
    })?;
    Ok(receiver)
}

/// Runs a program that knows nothing of the pipe, and ends it when the pipe closes or a signal
/// comes. Gives its exit code.
///
/// # Errors
/// The program cannot be started or waited for.
pub async fn hold(program: &str, arguments: &[String]) -> io::Result<u8> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    tokio::select! {
        ended = child.wait() => return ended.map(code),
        farewell = farewell(WatchInput::Yes) => farewell?,
    };
    if let Some(pid) = child.id().and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw) {
        // A process that is gone already has done what it was asked.
        let _gone = kill_process(pid, Signal::TERM);
    }
    match timeout(GRACE, child.wait()).await {
        Ok(ended) => ended.map(code),
        Err(_) => {
            child.kill().await?;
            Ok(Exit::Failed.code())
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|it| u8::try_from(it).ok());
    code.unwrap_or(if status.success() { Exit::Done.code() } else { Exit::Failed.code() })
}
