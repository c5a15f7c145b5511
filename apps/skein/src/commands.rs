//! Commands about a mesh, for any program on top of it.
//!
//! Those of [`files`] read files of policy, those of [`log`] the files of a log, those of [`key`] and [`user`] that of
//! keys and that of users; [`identity`] asks an authority too; [`conformance`] tries a log over the network. The others ask a mesh that
//! runs: they know nothing but the operators' addresses of processes, each with a name. They only read,
//! except [`fault`] and [`outbox`]. Figures come from two looks at the counters that every process keeps anyway, so that
//! looking costs the mesh nothing between them.

pub mod admin;
pub mod arguments;
pub mod audit;
mod cells;
pub mod check;
pub mod codes;
pub mod conformance;
pub mod cost;
pub mod durations;
pub mod fault;
pub mod figures;
pub mod files;
pub mod identity;
pub mod key;
pub mod live;
pub mod log;
pub mod metrics;
pub mod names;
pub mod outbox;
pub mod pages;
pub mod policy;
pub mod services;
pub mod stat;
pub mod user;
pub mod why;

use crate::{Exit, Failure, Output};

pub use admin::{Admins, Process};
pub use arguments::{FileCommand, LogCommand, MeshCommand};

/// Runs a command on the processes.
///
/// # Errors
/// What went wrong, with what to do about it.
pub async fn run(admins: &Admins, command: MeshCommand, output: Output) -> Result<Exit, Failure> {
    let (admins, others) = admins.checked(output).await?;
    let exit = run_on(&admins, command, output).await?;
    Ok(if others > 0 && exit == Exit::Done { Exit::Partial } else { exit })
}

async fn run_on(admins: &Admins, command: MeshCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        MeshCommand::Routes => pages::routes(admins, output).await,
        MeshCommand::Endpoints(arguments) => pages::endpoints(admins, &arguments, output).await,
        MeshCommand::Why(arguments) => why::why(admins, &arguments, output).await,
        MeshCommand::Stat(arguments) => stat::stat(admins, &arguments, output).await,
        MeshCommand::Edges(arguments) => stat::edges(admins, &arguments, output).await,
        MeshCommand::Tap(arguments) => live::tap(admins, &arguments, output).await,
        MeshCommand::Top(arguments) => live::top(admins, &arguments, output).await,
        MeshCommand::Fault(command) => fault::run(admins, command, output).await,
        MeshCommand::Check(arguments) => check::run(admins, &arguments, output).await,
        MeshCommand::Services(command) => services::run(admins, &command, output).await,
        MeshCommand::Policy(command) => policy::run(admins, command, output).await,
        MeshCommand::Outbox(command) => outbox::run(admins, command, output).await,
    }
}
