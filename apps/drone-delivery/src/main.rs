//! The program: starts the whole system, is each of its processes, and asks it questions.
//!
//! Data goes to standard output, everything else to standard error; see `docs/operations.md` for
//! the exit codes. It decides nothing about deliveries: that is the services' part.

mod addresses;
mod catalog;
mod certificates;
mod check;
mod cli;
mod codes;
mod control;
mod curl;
mod dead_letters;
mod deliveries;
mod editions;
mod endpoints;
mod groups;
mod identities;
mod instances;
mod introduction;
mod keys;
mod layered;
mod load;
mod logs;
mod mesh;
mod messages;
mod page;
mod plan;
mod processes;
mod published;
mod reasons;
mod role;
mod roles;
mod sending;
mod settings;
mod sidecars;
mod submit;
mod system;
mod tokens;
mod topic_cost;
mod trace;
mod transactions;
mod up;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;
use runtime::SystemClock;
use skein::{
    Exit, Failure, Output, Table,
    audit::AuditLog,
    commands::{
        self, MeshCommand, arguments::CostArguments, files, identity, identity::IdentityCommand,
        key::KeyCommand,
    },
    program,
    supervise::{AUDIT, lifeline},
};

use crate::{
    cli::{
        AskCommand, AuditCommand, Cli, Command, RunCommand, SettingArguments, TrustCommand,
        UpArguments,
    },
    introduction::Invocation,
    layered::Layered,
    system::System,
};

/// A fifth of the time under load went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let invocation = Invocation::of(&cli.data);
    program::run(cli.output, |output| async move {
        Box::pin(dispatch(cli, output)).await.map_err(|it| invocation.complete(it))
    })
}

async fn dispatch(cli: Cli, output: Output) -> Result<Exit, Failure> {
    let Cli { data, command, .. } = cli;
    match command.unwrap_or_else(|| Command::Run(RunCommand::Up(UpArguments::default()))) {
        Command::Run(command) => run(&data, command, output).await,
        Command::Ask(command) => ask(&data, command, output).await,
        Command::Trust(command) => trust(&data, command, output).await,
        Command::Files(command) => {
            let clock = SystemClock::shared();
            let (now, audit) = (clock.now(), AuditLog::at(data.join(AUDIT), clock));
            let users = Some((keys::users(&data), audit));
            let around =
                files::Surroundings { reasons: reasons::ALL, codes: codes::ALL, users, now };
            files::run(&command, &around, output)
        }
        Command::Mesh(MeshCommand::Check(arguments)) => {
            check::check(&data, &arguments, output).await
        }
        Command::Mesh(command) => commands::run(&up::admins(&data).await?, command, output).await,
        Command::MeshCost(arguments) => mesh_cost(&data, arguments, output).await,
    }
}

async fn run(data: &Path, command: RunCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        RunCommand::Up(arguments) => up::up(data, &arguments, output).await,
        RunCommand::Down { wipe } => up::down(data, wipe, output).await,
        RunCommand::Ps => up::ps(data, output).await,
        RunCommand::Roles => catalog::roles(data, output),
        RunCommand::Restart { name } => up::restart(data, &name, output).await,
        RunCommand::Logs(arguments) => logs::logs(data, &arguments, output).await,
        RunCommand::Config { settings, .. } => config(&settings, output),
        // Boxed: it holds all settings while it runs.
        RunCommand::Role(arguments) => Box::pin(role::run(data, &arguments)).await,
        RunCommand::Foreign { supervisor, command } => {
            let error = lifeline::become_program(supervisor, &command);
            let what = format!("`{}` cannot be started", command.join(" "));
            Err(Failure::new("start_failed", what).because(error))
        }
    }
}

async fn ask(data: &Path, command: AskCommand, output: Output) -> Result<Exit, Failure> {
    let system = System::of(data).await?;
    match command {
        AskCommand::Submit(arguments) => submit::submit(system, &arguments, output).await,
        AskCommand::Load(arguments) => load::load(system, &arguments, output).await,
        AskCommand::Delivery(command) => deliveries::run(system, command, output).await,
        AskCommand::Trace { id } => trace::trace(system, &id, output).await,
        AskCommand::Saga(command) => transactions::saga(system, command, output).await,
        AskCommand::Failures(command) => {
            transactions::failures(data, system, command, output).await
        }
        AskCommand::Topics(command) => messages::topics(data, system, command, output).await,
        AskCommand::Groups(command) => groups::run(system, command, output).await,
        AskCommand::Dlq(command) => dead_letters::run(system, command, output).await,
        AskCommand::Curl(arguments) => curl::curl(system, &arguments, output).await,
    }
}

async fn trust(data: &Path, command: TrustCommand, output: Output) -> Result<Exit, Failure> {
    match command {
        TrustCommand::Identity(command) => {
            let admins = up::admins(data).await?;
            if !matches!(command, IdentityCommand::Show) {
                identities::has_authority(data)?;
            }
            let authority = async |order| up::order(data, order).await;
            identity::run(authority, &admins, command, output).await
        }
        TrustCommand::Audit(command) => audit(data, &command, output),
        TrustCommand::Key(command) => key(data, command, output),
    }
}

fn key(data: &Path, command: KeyCommand, output: Output) -> Result<Exit, Failure> {
    if let KeyCommand::Create { roles, .. } = &command {
        if !data.exists() {
            output
                .remark(&format!("{} is new: the key opens what is started there", data.display()));
        }
        match mesh::edge_roles(data) {
            Ok(known) => keys::check_roles(roles, &known)?,
            // What runs goes on by its last good policy, and somebody may have to come in now.
            Err(failure) => output.remark(&format!("its roles were not looked up: {failure}")),
        }
    }
    let clock = SystemClock::shared();
    let (store, now) = (keys::store(data), clock.now());
    let audit = AuditLog::at(data.join(AUDIT), clock);
    commands::key::run(&store, Some(&audit), command, now, output)
}

fn audit(data: &Path, command: &AuditCommand, output: Output) -> Result<Exit, Failure> {
    let path = data.join(AUDIT);
    match command {
        AuditCommand::Verify { last } => commands::audit::verify(&path, last.as_deref(), output),
        AuditCommand::Tail { count } => commands::audit::tail(&path, *count, output),
    }
}

async fn mesh_cost(
    data: &Path,
    mut arguments: CostArguments,
    output: Output,
) -> Result<Exit, Failure> {
    if arguments.target.is_none() {
        // Its settings are left behind by a system that has ended.
        up::running(data).await?;
        arguments.target = Some(mesh::cost_target(data)?);
    }
    let policy = mesh::cost_policy(data, &arguments)?;
    commands::cost::run(&arguments, policy, output).await
}

fn config(arguments: &SettingArguments, output: Output) -> Result<Exit, Failure> {
    let layered = Layered::gather(arguments, std::env::vars())?;
    let mut table = Table::new(&["SETTING", "ORIGIN", "VALUE"]);
    let mut rows = Vec::new();
    for setting in &layered.origins {
        let origin = setting.origin.as_str();
        // Lists of zones and carriers are long: behind them nothing stands.
        table.row([setting.path.clone(), origin.to_owned(), setting.value.to_string()]);
        rows.push(serde_json::json!({
            "setting": setting.path, "value": setting.value, "origin": origin,
        }));
    }
    output.result(&rows, &table);
    Ok(Exit::Done)
}
