//! A program from its command line to its exit code, the same for every program on top of this one.

use std::{process::ExitCode, time::Duration};

use runtime::{Drained, Tasks};

use crate::{Color, Exit, Failure, Format, Output, supervise::lifeline::Farewell};

/// Does the work on one thread: what a process has to do beside waiting, its store, its log and its
/// proxies do on their own. A failure is reported in the form of the results.
pub fn run<W>(format: Format, work: impl FnOnce(Output) -> W) -> ExitCode
where
    W: Future<Output = Result<Exit, Failure>>,
{
    let output = Output { format, color: Color::from_environment() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(work(output))),
        Err(error) => Err(Failure::new("no_runtime", error.to_string())),
    };
    ended.unwrap_or_else(|failure| output.failure(&failure)).into()
}

/// Takes memory in small pages from here on, also for what this process starts: a proxy has many small
/// things, and a large page for each kind of them would be most of what it holds.
pub fn take_small_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "large pages stay on");
    }
}

/// Lets this process have as many files and connections open as the system allows.
pub fn take_descriptors() {
    match runtime::raise_descriptor_limit() {
        Ok(limit) => tracing::debug!(?limit, "descriptors"),
        Err(error) => tracing::warn!(%error, "the limit of descriptors stays as it was"),
    }
}

/// Gives the tasks their time to end; says how the process ends by why it does.
pub async fn drain(tasks: &Tasks, grace: Duration, why: Farewell) -> Exit {
    if let Drained::TimedOut { running } = tasks.drain(grace).await {
        tracing::warn!(running, "tasks were still running at the end");
    }
    match why {
        Farewell::Interrupted => Exit::Interrupted,
        // What it was asked to do.
        Farewell::Orphaned | Farewell::Terminated => Exit::Done,
    }
}
