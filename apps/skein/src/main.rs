//! The program of the mesh alone, for services of anybody: `skein proxy --config FILE`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use runtime::{Drained, SystemClock, Tasks};
use service_kit::ServiceContext;
use skein::{
    Color, Exit, Failure, Format, Output, proxy,
    supervise::lifeline::{Farewell, WatchInput, farewell},
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
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { format: Format::Table, color: Color::from_environment() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(dispatch(cli))),
        Err(error) => Err(Failure::new("no_runtime", error.to_string())),
    };
    ended.unwrap_or_else(|failure| output.failure(&failure)).into()
}

async fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Proxy { config, log, traces_per_second } => {
            run_proxy(&config, &log, traces_per_second).await
        }
    }
}

async fn run_proxy(
    path: &std::path::Path,
    log: &str,
    traces_per_second: u32,
) -> Result<Exit, Failure> {
    let level = telemetry::logs::level(log).ok_or_else(|| {
        Failure::new("bad_argument", format!("`{log}` is no level of logs")).exit(Exit::Usage)
    })?;
    let (proxy, files) = proxy::read(path)?;
    let clock = SystemClock::shared();
    let (service, instance) = (proxy.name.clone(), format!("{}-proxy", proxy.name));
    let logs = LogConfig { format: LogFormat::Json, level, service, instance };
    // A subscriber that is there already writes the same lines.
    let _installed = telemetry::logs::init(logs, clock.clone());
    let settings = TelemetryConfig { traces_per_second, ..TelemetryConfig::default() };
    let telemetry = Telemetry::new(settings, clock.clone());
    let tasks = Tasks::new();
    let context = ServiceContext::new(proxy::config(&proxy), clock, telemetry, tasks.clone());
    let running = proxy::start(&proxy, files, &context, proxy::limits())?;
    let bound = &running.bound;
    tracing::info!(
        edges = ?bound.edges, outbound = ?bound.outbound, inbound = ?bound.inbound,
        admin = %running.admin, "proxy is ready"
    );
    let why = farewell(WatchInput::No).await;
    let why = why.map_err(|it| Failure::new("no_signals", it.to_string()))?;
    if let Drained::TimedOut { running } = tasks.drain(DRAIN).await {
        tracing::warn!(running, "tasks were still running at the end");
    }
    running.join(&tasks);
    Ok(match why {
        Farewell::Interrupted => Exit::Interrupted,
        Farewell::Orphaned | Farewell::Terminated => Exit::Done,
    })
}
