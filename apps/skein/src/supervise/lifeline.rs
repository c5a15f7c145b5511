//! The other end of the pipe: how a role notices that whoever started it is gone, and how a program
//! that does not look is ended all the same.

use std::{
    io::{self, BufRead as _, Read as _},
    os::unix::process::{CommandExt as _, parent_id},
    process::Command,
    thread,
};

#[cfg(target_os = "linux")]
use rustix::process::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

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

/// Bytes of a word; a longer one is none.
const WORD_BYTES_MAX: u64 = 256;

/// The word that the supervisor tells this process at its start. Blocks until it is there, or standard
/// input has ended; to be read before [`farewell`] watches for that end.
///
/// # Errors
/// Standard input cannot be read.
pub fn word() -> io::Result<String> {
    let mut word = String::new();
    io::stdin().lock().take(WORD_BYTES_MAX).read_line(&mut word)?;
    Ok(word.trim_end().to_owned())
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
        // What is written to it behind the word has no meaning; only its end has.
        while matches!(input.read(&mut sink), Ok(1..)) {}
        // Nobody listens any more when the process ends anyway.
        let _late = sender.send(());
    })?;
    Ok(receiver)
}

/// Becomes another program, which knows nothing of the pipe: the kernel kills it when `supervisor`,
/// the parent that started us, dies. It keeps our process id, so that whoever signals or kills that
/// meets the program itself and no keeper before it. Returns only when that cannot be done.
///
/// Only Linux ends a process with its parent; elsewhere an orphan stays, and the next start names it
/// as the holder of its port.
pub fn become_program(supervisor: u32, command: &[String]) -> io::Error {
    let Some((program, arguments)) = command.split_first() else {
        return io::Error::other("no program is named");
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // It may have died before we said that we want to die with it.
    if parent_id() != supervisor {
        return io::Error::other("the supervisor is gone");
    }
    Command::new(program).args(arguments).exec()
}
