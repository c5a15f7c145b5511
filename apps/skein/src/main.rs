//! The program of the mesh alone, for services of anybody: `skein proxy --config FILE`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use base::SharedClock;
use clap::{Parser, Subcommand};
use identity::{Handshakes, Membership, Order};
use runtime::{SystemClock, Tasks};
use service_kit::{FaultHook, ServiceConfig, ServiceContext};
use skein::{
    Exit, Failure, Format, Output,
    authority::{self, AuthorityArguments},
    check,
    commands::{
        self, Admins, FileCommand, MeshCommand,
        arguments::{AdminArguments, CheckArguments, ConformanceArguments, CostArguments},
        files,
        identity::IdentityCommand,
        key::KeyCommand,
    },
    control::{self, ControlArguments},
    keys::KeyStore,
    membership::{self, Looks, MembershipArguments},
    mesh::{self, PolicyFiles},
    preflight, program, proxy,
    supervise::lifeline::{WatchInput, farewell},
};
use telemetry::{
    Telemetry, TelemetryConfig,
    logs::{LogConfig, LogFormat},
};

/// Half of what a request costs outside the kernel is memory that comes and goes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Time that requests in flight have to end.
const DRAIN: Duration = Duration::from_secs(12);

#[derive(Debug, Parser)]
#[command(name = "skein", version, about = "A mesh for services in any language")]
struct Cli {
    #[command(flatten)]
    admin: AdminArguments,
    /// Form of the result on standard output.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a proxy: an edge, or a door beside a program.
    #[command(after_help = "Examples:\n  skein proxy --config orders.yaml\n  \
                            skein proxy --config orders.yaml --log debug")]
    Proxy {
        /// The file that describes it; it and the files that it names are followed.
        #[arg(long)]
        config: PathBuf,
        /// What is logged: off, error, warn, info, debug or trace.
        #[arg(long, default_value = "info")]
        log: String,
        /// New traces that are recorded in a second.
        #[arg(long, default_value_t = 50)]
        traces_per_second: u32,
        /// Lets operators plant faults over the admin port.
        #[arg(long)]
        enable_faults: bool,
    },
    /// Runs a control plane: instances register there, proxies hear where they are and what policy holds.
    #[command(after_help = "Examples:\n  skein control --file rules.yaml\n  \
                            skein control --dns stock=stock.internal:8080 --lease 5s\n\n\
                            What it promises, and its wire: docs/control-plane.md")]
    Control {
        #[command(flatten)]
        arguments: ControlArguments,
        #[command(flatten)]
        shown: MembershipArguments,
        /// What is logged: off, error, warn, info, debug or trace.
        #[arg(long, default_value = "info")]
        log: String,
    },
    /// Runs an authority: it says who proxies and control planes of this machine are, by the user that they
    /// run as. Calls between those who have a name go by mutual TLS.
    #[command(after_help = "Examples:\n  skein authority --data /var/lib/skein\n  \
                            skein authority --data /var/lib/skein --allow orders=1001,stock=1002\n  \
                            skein authority --data /var/lib/skein --branch second.json\n\n\
                            Who gets which name: docs/control-plane.md")]
    Authority {
        #[command(flatten)]
        arguments: AuthorityArguments,
        /// What is logged: off, error, warn, info, debug or trace.
        #[arg(long, default_value = "info")]
        log: String,
    },
    /// Who processes show themselves to be, and what their authority stands on; has it replace what it signs
    /// with. It obeys the user that it runs as, and root.
    #[command(
        after_help = "Examples:\n  skein identity --authority /var/lib/skein/authority.sock rotate\n  \
                            skein identity --admin 127.0.0.1:7101 show"
    )]
    Identity {
        /// The socket of `skein authority`.
        #[arg(long, value_name = "SOCKET")]
        authority: Option<PathBuf>,
        #[command(subcommand)]
        command: IdentityCommand,
    },
    /// Measures what a door in front of a service costs: time, processor, memory.
    #[command(after_help = "Examples:\n  skein mesh-cost --target http://127.0.0.1:8080/health")]
    MeshCost(CostArguments),
    /// Tries what our client promises over a log that speaks Kafka's protocol, such as Kafka's own. Topics
    /// and groups that it makes begin with `conformance-`, and go at the end where the log lets them.
    #[command(after_help = "Examples:\n  skein conformance --bootstrap 127.0.0.1:9092\n  \
                            skein conformance --bootstrap kafka:9092 --only queues/ -o json\n  \
                            skein conformance --list\n\nWhat holds where: docs/conformance.md")]
    Conformance(ConformanceArguments),
    /// Keys of an edge, in the file that its EdgeAccess names.
    Key {
        /// The file.
        #[arg(long)]
        file: PathBuf,
        #[command(subcommand)]
        command: KeyCommand,
    },
    #[command(flatten)]
    Files(FileCommand),
    #[command(flatten)]
    Mesh(MeshCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Proxy { .. }) {
        program::take_small_pages();
    }
    program::run(cli.output, |output| dispatch(cli, output))
}

async fn dispatch(cli: Cli, output: Output) -> Result<Exit, Failure> {
    match cli.command {
        Command::Proxy { config, log, traces_per_second, enable_faults } => {
            let hook = if enable_faults { FaultHook::On } else { FaultHook::Off };
            run_proxy(&config, &log, traces_per_second, hook).await
        }
        Command::Control { arguments, shown, log } => {
            run_control(&arguments, shown.membership(), &log).await
        }
        Command::Authority { arguments, log } => run_authority(&arguments, &log).await,
        Command::Identity { authority, command } => {
            let is_shown = matches!(command, IdentityCommand::Show);
            let admins = admins(&cli.admin, is_shown)?;
            let orders = async |order: Order| authority::order(authority.as_deref(), &order).await;
            commands::identity::run(orders, &admins, command, output).await
        }
        Command::MeshCost(arguments) => {
            let files = PolicyFiles::new().with_files(&arguments.policies);
            let policy =
                files.read().map_err(|it| mesh::refused("the policy cannot be used", &it))?;
            commands::cost::run(&arguments, policy, output).await
        }
        Command::Conformance(arguments) => commands::conformance::run(&arguments, output).await,
        Command::Key { file, command } => {
            let now = SystemClock::shared().now();
            commands::key::run(&KeyStore::at(file), None, command, now, output)
        }
        Command::Files(command) => {
            let now = SystemClock::shared().now();
            let around = files::Surroundings { reasons: &[], codes: &[], users: None, now };
            files::run(&command, &around, output)
        }
        Command::Mesh(MeshCommand::Check(CheckArguments { port_base: Some(_), .. })) => {
            let failure = Failure::new("bad_argument", "this program starts no system with ports");
            Err(failure.exit(Exit::Usage))
        }
        Command::Mesh(MeshCommand::Check(CheckArguments { pre: true, .. })) => {
            let now = SystemClock::shared().now();
            Ok(check::show(&[preflight::machine(Path::new("."), now, None)], output))
        }
        Command::Mesh(command) => commands::run(&admins(&cli.admin, true)?, command, output).await,
    }
}

/// The processes that a person named.
fn admins(named: &AdminArguments, are_needed: bool) -> Result<Admins, Failure> {
    if are_needed && named.addresses.is_empty() {
        let failure = Failure::new("bad_argument", "no process is named");
        let next = "--admin 127.0.0.1:PORT,… with what each process calls its admin port";
        return Err(failure.exit(Exit::Usage).next(next));
    }
    Ok(Admins::at(
        &named.addresses,
        "end the proxies, and start them with `skein proxy --enable-faults --config FILE`",
    ))
}

async fn run_proxy(
    path: &Path,
    log: &str,
    traces_per_second: u32,
    hook: FaultHook,
) -> Result<Exit, Failure> {
    let (proxy, files) = proxy::read(path)?;
    let clock = SystemClock::shared();
    log_as(proxy.name.clone(), format!("{}-proxy", proxy.name), log, &clock)?;
    program::take_descriptors();
    let mut settings = TelemetryConfig { traces_per_second, ..TelemetryConfig::default() };
    if proxy.trace_endpoint.is_none() {
        // Nobody takes its spans: it hands trace contexts on.
        settings.span_queue_max = 0;
    }
    let telemetry = Telemetry::new(settings, clock.clone());
    let tasks = Tasks::new();
    let config = ServiceConfig { faults: hook, ..proxy::config(&proxy) };
    let context = ServiceContext::new(config, clock, telemetry, tasks.clone());
    let known = shown(proxy::membership(&proxy, path)?, Looks::ForItself, &context).await?;
    let running = proxy::start(&proxy, files, &context, proxy::limits(), known)?;
    let bound = &running.bound;
    tracing::info!(
        edges = ?bound.edges, outbound = ?bound.outbound, inbound = ?bound.inbound,
        admin = %running.admin, "proxy is ready"
    );
    let why = farewell(WatchInput::No).await;
    let why = why.map_err(|it| Failure::new("no_signals", it.to_string()))?;
    let longest = mesh_proxy::program::drain_delay(&proxy) + DRAIN;
    let exit = program::drain(&tasks, longest, why).await;
    running.join(&tasks);
    Ok(exit)
}

async fn run_control(
    arguments: &ControlArguments,
    membership: Option<Membership>,
    log: &str,
) -> Result<Exit, Failure> {
    let clock = SystemClock::shared();
    log_as(control::NAME.to_owned(), control::NAME.to_owned(), log, &clock)?;
    program::take_descriptors();
    // It carries no request, so it has no span to tell of.
    let settings = TelemetryConfig { span_queue_max: 0, ..TelemetryConfig::default() };
    let (telemetry, tasks) = (Telemetry::new(settings, clock.clone()), Tasks::new());
    let context = ServiceContext::new(control::config(arguments), clock, telemetry, tasks.clone());
    let known = shown(membership, Looks::ForOthers, &context).await?;
    let running = control::start(arguments, &context, known).await?;
    tracing::info!(listen = %running.address, admin = %running.admin, "control plane is ready");
    let why = farewell(WatchInput::No).await;
    let why = why.map_err(|it| Failure::new("no_signals", it.to_string()))?;
    Ok(program::drain(&tasks, DRAIN, why).await)
}

/// What shows who this process is, once it is somebody.
async fn shown(
    membership: Option<Membership>,
    looks: Looks,
    context: &ServiceContext,
) -> Result<Option<Handshakes>, Failure> {
    let Some(membership) = membership else { return Ok(None) };
    let ServiceContext { clock, telemetry, tasks, .. } = context;
    membership::joined(membership, looks, clock, telemetry, tasks).await.map(Some)
}

async fn run_authority(arguments: &AuthorityArguments, log: &str) -> Result<Exit, Failure> {
    let clock = SystemClock::shared();
    log_as(authority::NAME.to_owned(), authority::NAME.to_owned(), log, &clock)?;
    let settings = TelemetryConfig { span_queue_max: 0, ..TelemetryConfig::default() };
    let (telemetry, tasks) = (Telemetry::new(settings, clock.clone()), Tasks::new());
    let config = authority::config(arguments);
    let context = ServiceContext::new(config, clock, telemetry, tasks.clone());
    let running = authority::start(arguments, &context)?;
    tracing::info!(socket = %running.socket.display(), admin = %running.admin, "authority is ready");
    let why = farewell(WatchInput::No).await;
    let why = why.map_err(|it| Failure::new("no_signals", it.to_string()))?;
    let exit = program::drain(&tasks, DRAIN, why).await;
    drop(running);
    Ok(exit)
}

fn log_as(
    service: String,
    instance: String,
    level: &str,
    clock: &SharedClock,
) -> Result<(), Failure> {
    let level = telemetry::logs::level(level).ok_or_else(|| {
        Failure::new("bad_argument", format!("`{level}` is no level of logs")).exit(Exit::Usage)
    })?;
    let logs = LogConfig { format: LogFormat::Json, level, service, instance };
    // A subscriber that is there already writes the same lines.
    let _installed = telemetry::logs::init(logs, clock.clone());
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn processes_and_form_may_stand_behind_a_command() {
        let line = "skein stat -t 30s --to stock -o json --admin 127.0.0.1:1,127.0.0.1:2";
        let cli = Cli::parse_from(line.split(' '));
        assert_eq!((cli.admin.addresses.len(), cli.output), (2, Format::Json));
        let Command::Mesh(MeshCommand::Stat(stat)) = cli.command else { panic!("it is `stat`") };
        assert_eq!((stat.window, stat.to.as_deref()), (Duration::from_secs(30), Some("stock")));
    }

    #[test]
    fn a_window_below_a_second_and_two_aborts_are_refused() {
        for line in ["skein stat -t 500ms", "skein fault add stock --error 503 --reset-after 1"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
