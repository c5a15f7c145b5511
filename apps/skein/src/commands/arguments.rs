//! The command line of the commands about a mesh, the same in every program.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};

use super::{durations::duration, user::UserCommand};

/// Commands about files.
#[derive(Debug, Subcommand)]
pub enum FileCommand {
    /// Says what is wrong in files of policy, and what is hardly meant. Nothing has to run.
    #[command(after_help = "Examples:\n  analyze where.yaml how.yaml\n  \
                            analyze --failure-threshold warning -o json routes.yaml\n\n\
                            Every kind and member: docs/policy.md")]
    Analyze(AnalyzeArguments),
    /// Says what a code means, and what to do.
    #[command(
        after_help = "Examples:\n  explain SK1003\n  explain no_endpoint\n  explain -o json SK2006"
    )]
    Explain {
        /// Such as `SK1003`, or the reason of a refusal, such as `no_endpoint`.
        code: String,
    },
    /// Files of a log that nobody serves, and the users who log in to one that runs.
    #[command(subcommand)]
    Log(LogCommand),
}

/// Commands about the files of a log.
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Says what the files hold and what is damaged. It changes nothing.
    #[command(after_help = "Examples:\n  log verify data/topics/orders\n  \
                            log verify -o json data")]
    Verify {
        /// The directory of a topic, or the data directory of a broker.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Writes damaged segments anew, without what is not whole.
    #[command(after_help = "Examples:\n  log repair data/topics/orders --keep-acked")]
    Repair {
        /// The directory of a topic, or the data directory of a broker.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Keeps every whole record, gives no offset out again, and keeps a copy of each segment as
        /// it was.
        #[arg(long)]
        keep_acked: bool,
    },
    /// Programs of others that log in by a name and a secret.
    #[command(after_help = "Examples:\n  log user add stock-report --expires-in 720h\n  \
                            log user revoke stock-report")]
    User {
        /// The file of users, where the program has none of its own.
        #[arg(long, global = true)]
        file: Option<PathBuf>,
        /// What is done.
        #[command(subcommand)]
        command: UserCommand,
    },
}

/// Which log, and what is tried on it.
#[derive(Debug, Args)]
pub struct ConformanceArguments {
    /// Addresses to begin with; in plain text without `--tls`.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required_unless_present = "list")]
    pub bootstrap: Vec<String>,
    /// Inside TLS: the log proves its name by an authority of this machine's list, or of `--authorities`.
    #[arg(long)]
    pub tls: bool,
    /// Certificates (PEM) of further authorities that are believed.
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub authorities: Option<PathBuf>,
    /// Logs in as this user (SASL PLAIN); Event Hubs' is `$ConnectionString`.
    #[arg(long, value_name = "NAME", requires = "secret_file")]
    pub user: Option<String>,
    /// The file with the user's secret, which never stands in an argument.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub secret_file: Option<PathBuf>,
    /// Only scenarios whose group and name contain this, such as `queues/` or `compressed`.
    #[arg(long, value_name = "PATTERN")]
    pub only: Option<String>,
    /// Names the scenarios and what each promises; tries nothing.
    #[arg(long)]
    pub list: bool,
}

/// Which files, and how strictly.
#[derive(Debug, Args)]
pub struct AnalyzeArguments {
    /// Files that are read as one policy.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The least bad finding that makes the command fail.
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub failure_threshold: Threshold,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Threshold {
    /// Good to know.
    Info,
    /// It runs, but hardly as meant.
    Warning,
    /// It must not run.
    #[default]
    Error,
}

/// Commands about a mesh that runs.
#[derive(Debug, Subcommand)]
pub enum MeshCommand {
    /// Lists the routes, rule by rule.
    Routes,
    /// Lists the endpoints with breaker, latency and outstanding requests.
    Endpoints(EndpointArguments),
    /// Shows success, rate, latency, retries and breaker of each caller and callee.
    #[command(after_help = "Examples:\n  stat -t 30s --to stock\n  stat -o json")]
    Stat(StatArguments),
    /// Shows who calls whom.
    Edges(StatArguments),
    /// Shows requests as they end.
    #[command(after_help = "Examples:\n  tap --to stock --method GET\n  tap -o json --for 10s")]
    Tap(TapArguments),
    /// Shows what is called most, live.
    Top(TopArguments),
    /// Faults at the mesh, to see what the callers make of them.
    #[command(subcommand)]
    Fault(FaultCommand),
    /// Messages of services that the log refused.
    #[command(subcommand)]
    Outbox(OutboxCommand),
    /// Looks whether everything is well: processes, policy, endpoints, identities, control plane.
    #[command(
        after_help = "Examples:\n  check\n  check --pre\n  check --wait 30s\n  check -o json"
    )]
    Check(CheckArguments),
    /// Instances that are registered at a control plane, and the proxies that hear it.
    #[command(subcommand)]
    Services(ServicesCommand),
    /// Who may call what.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Says where one request would go, and why. Nothing is sent.
    #[command(after_help = "Examples:\n  why stock GET /items/1\n  why stock GET /shop/items/1 \
                            --edge front --host shop.example\n  \
                            why stock GET /items/1 -H 'api-version: 2'")]
    Why(WhyArguments),
}

/// What to look at, and how long.
#[derive(Debug, Args, Default)]
pub struct CheckArguments {
    /// Looks at this machine alone: whether something can be started on it.
    #[arg(long, conflicts_with = "wait")]
    pub pre: bool,
    /// With `--pre`: as if the ports of a system were counted from this one.
    #[arg(long, value_name = "PORT", requires = "pre")]
    pub port_base: Option<u16>,
    /// Looks again until nothing is wrong, for so long at the most.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// What of the registry.
#[derive(Debug, Subcommand)]
pub enum ServicesCommand {
    /// Lists the instances, each with what is left of its lease.
    List,
    /// Shows one service: its instances, and which proxy has taken which state.
    Show {
        /// The service.
        service: String,
    },
}

/// Which endpoints.
#[derive(Debug, Args, Default)]
pub struct EndpointArguments {
    /// Only those of this service.
    pub service: Option<String>,
}

/// Which figures.
#[derive(Debug, Args)]
pub struct StatArguments {
    /// Time between the two looks; at least a second.
    #[arg(short = 't', long = "window", default_value = "10s", value_parser = window)]
    pub window: Duration,
    /// Only calls to this service.
    #[arg(long, value_name = "SERVICE")]
    pub to: Option<String>,
    /// Only calls of this service.
    #[arg(long, value_name = "SERVICE")]
    pub from: Option<String>,
}

/// Which requests.
#[derive(Debug, Args, Clone, Default)]
pub struct TapArguments {
    /// Only requests to this service.
    #[arg(long, value_name = "SERVICE")]
    pub to: Option<String>,
    /// Only requests of this service.
    #[arg(long, value_name = "SERVICE")]
    pub from: Option<String>,
    /// Only requests with this method.
    #[arg(long, value_parser = method)]
    pub method: Option<String>,
    /// Only requests whose path begins so.
    #[arg(long)]
    pub path: Option<String>,
    /// Which hops of a request: `outbound` is each request once, `inbound` what proxies hand to the
    /// service behind them, `all` those and what programs hand to their proxies.
    #[arg(long, value_enum, default_value_t, value_name = "HOPS")]
    pub direction: Hops,
    /// Most requests that are shown in a second.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_rps: u32,
    /// Ends by itself then.
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub lasts: Option<Duration>,
}

/// Which hops of a request are told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Hops {
    /// From a service to another one.
    #[default]
    Outbound,
    /// From a proxy to the service behind it.
    Inbound,
    /// Every one, what programs hand to their proxies as well.
    All,
}

impl Hops {
    /// The word on the command line and in the query.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
            Self::All => "all",
        }
    }
}

/// Which requests are counted.
#[derive(Debug, Args, Default)]
pub struct TopArguments {
    /// Only requests to this service.
    #[arg(long, value_name = "SERVICE")]
    pub to: Option<String>,
    /// Only requests of this service.
    #[arg(long, value_name = "SERVICE")]
    pub from: Option<String>,
    /// Which hops of a request: `outbound` is each request once, `inbound` what proxies hand to the
    /// service behind them, `all` those and what programs hand to their proxies.
    #[arg(long, value_enum, default_value_t, value_name = "HOPS")]
    pub direction: Hops,
    /// Shows one table, after this time.
    #[arg(long = "for", value_parser = duration, value_name = "TIME")]
    pub lasts: Option<Duration>,
}

/// What is done about faults.
#[derive(Debug, Subcommand)]
pub enum FaultCommand {
    /// Plants one at every caller of a service.
    #[command(after_help = "Examples:\n  fault add stock --error 503 --share 30% --for 60s\n  \
                            fault add stock --delay 200ms")]
    Add(FaultArguments),
    /// Lists those that stand.
    List,
    /// Takes one away, or all.
    Clear {
        /// Which; all when it is not given.
        name: Option<String>,
    },
}

/// What is done about messages that the log refused.
#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// Lists them: each with its service and its number.
    List,
    /// Lets one be tried again, and then those of its key behind it.
    #[command(after_help = "Examples:\n  outbox release delivery 1204")]
    Release {
        /// The service.
        service: String,
        /// Its number.
        sequence: i64,
    },
    /// Gives one up for good; those of its key behind it go on.
    Discard {
        /// The service.
        service: String,
        /// Its number.
        sequence: i64,
    },
}

/// What is asked about who may call what.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Lists the rules that stand at the doors of services.
    Show {
        /// Only those of this service.
        service: Option<String>,
    },
    /// Says what the door of a service says to a caller, and by which rule. Nothing is sent.
    #[command(after_help = "Examples:\n  policy why till stock GET /items/1\n  \
                            policy why till broker PRODUCE /topics/orders")]
    Why(JudgeArguments),
    /// Counts what doors have denied since their processes started, also what `mode: audit` let through.
    Audit,
}

/// A call that is not made.
#[derive(Debug, Args)]
pub struct JudgeArguments {
    /// Who calls: a service, or a whole identity; at an edge roles, such as `customer` or `customer,auditor`.
    pub caller: String,
    /// Who is called: a service, or an edge.
    pub service: String,
    /// Method.
    #[arg(value_parser = method)]
    pub method: String,
    /// Path.
    pub path: String,
}

/// A fault.
#[derive(Debug, Args, Default)]
pub struct FaultArguments {
    /// Calls to this service fail.
    pub service: String,
    /// Its name; made of service and effect when it is not given. One of the same name is replaced.
    #[arg(long)]
    pub name: Option<String>,
    /// Answers with this status, 200 to 599.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..600))]
    pub error: Option<u16>,
    /// Waits before the call; an hour at the longest.
    #[arg(long, value_parser = of_fault, value_name = "TIME")]
    pub delay: Option<Duration>,
    /// Cuts the connection after so many bytes of the answer.
    #[arg(long, value_name = "BYTES", conflicts_with = "error")]
    pub reset_after: Option<u64>,
    /// Share of the calls, such as `30%` or `0.3`.
    #[arg(long, default_value = "100%", value_parser = share)]
    pub share: f64,
    /// Only calls by this route, as `routes` lists it.
    #[arg(long)]
    pub route: Option<String>,
    /// Ends by itself then; an hour at the longest.
    #[arg(long = "for", default_value = "60s", value_parser = of_fault, value_name = "TIME")]
    pub stands: Duration,
}

/// A request that is not sent.
#[derive(Debug, Args, Default)]
pub struct WhyArguments {
    /// The service that is called, or that the edge is to lead to.
    pub service: String,
    /// Method.
    #[arg(value_parser = method)]
    pub method: String,
    /// Path, with a query where routes look at it.
    pub path: String,
    /// Comes in through this edge.
    #[arg(long, value_name = "NAME")]
    pub edge: Option<String>,
    /// Host that it names; an edge with hosts is asked by one of these, as `routes` lists them.
    #[arg(long, default_value = "")]
    pub host: String,
    /// A header that it has; may be given several times.
    #[arg(short = 'H', long = "header", value_parser = header, value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Only as this service sees it.
    #[arg(long, value_name = "SERVICE")]
    pub from: Option<String>,
}

/// A measurement of what a door costs.
#[derive(Debug, Args)]
pub struct CostArguments {
    /// Where requests go, such as `http://127.0.0.1:8080/health`; they are GET. The edge of the
    /// system that runs where there is one.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Requests each way.
    #[arg(long, default_value_t = 5_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub requests: u32,
    /// Files with the policy of the door.
    #[arg(long = "policy", value_name = "FILE")]
    pub policies: Vec<PathBuf>,
    /// The service that the target stands for in them.
    #[arg(long, default_value = "target")]
    pub service: String,
    /// Measures although the target is not on this machine.
    #[arg(long)]
    pub yes: bool,
}

/// The operators' addresses, where nothing lists them.
#[derive(Debug, Args, Default)]
pub struct AdminArguments {
    /// Operators' addresses of the processes.
    #[arg(long = "admin", global = true, value_delimiter = ',', value_name = "ADDRESS,…")]
    pub addresses: Vec<SocketAddr>,
}

/// `name: value`, as `curl` takes it.
fn header(text: &str) -> Result<String, String> {
    let (name, _) = text.split_once(':').ok_or_else(|| format!("`{text}` is not `name: value`"))?;
    if name.trim().eq_ignore_ascii_case("host") {
        return Err("the host is named by --host".to_owned());
    }
    Ok(text.to_owned())
}

fn method(text: &str) -> Result<String, String> {
    let parsed = text.parse::<http::Method>();
    parsed.map(|it| it.to_string()).map_err(|_| format!("`{text}` is no method such as GET"))
}

fn window(text: &str) -> Result<Duration, String> {
    let window = duration(text)?;
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3_600);
    if bounds.contains(&window) { Ok(window) } else { Err("a window is 1s to 1h long".to_owned()) }
}

/// Longest time in a fault: a forgotten experiment ends by itself, and a wait that is longer than the
/// fault stands is none.
const FAULT_TIME_MAX: Duration = Duration::from_secs(3_600);

fn of_fault(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time <= FAULT_TIME_MAX {
        Ok(time)
    } else {
        Err("a fault takes 1h at the longest".to_owned())
    }
}

/// `30%` or `0.3`.
///
/// # Errors
/// In words, what was expected.
pub fn share(text: &str) -> Result<f64, String> {
    let expected = || format!("`{text}` is no share such as 30% or 0.3");
    let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |it| (it, 100.0));
    let share = number.parse::<f64>().map_err(|_| expected())? / whole;
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_lies_above_nothing_and_within_all() {
        assert_eq!(share("30%"), Ok(0.3));
        assert_eq!(share("0.3"), Ok(0.3));
        assert_eq!(share("100%"), Ok(1.0));
        for bad in ["0", "0%", "101%", "30", "-0.1", "NaN", "", "%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fault_takes_an_hour_at_the_longest_and_says_so() {
        assert_eq!(of_fault("1h"), Ok(FAULT_TIME_MAX));
        for long in ["2h", "1h1ms"] {
            assert!(of_fault(long).unwrap_err().contains("1h at the longest"), "{long}");
        }
    }

    #[derive(Debug, clap::Parser)]
    struct Tap {
        #[command(flatten)]
        arguments: TapArguments,
    }

    #[test]
    fn what_could_show_nothing_is_no_argument_of_tap() {
        let parse =
            |words: &[&str]| <Tap as clap::Parser>::try_parse_from([&["tap"], words].concat());
        assert_eq!(
            parse(&["--method", "PATCH"]).unwrap().arguments.method.as_deref(),
            Some("PATCH")
        );
        assert_eq!(parse(&["--max-rps", "1"]).unwrap().arguments.max_rps, 1);
        assert!(parse(&["--method", "G T"]).unwrap_err().to_string().contains("is no method"));
        assert!(parse(&["--max-rps", "0"]).is_err());
    }

    #[test]
    fn a_window_is_a_second_at_least() {
        assert_eq!(window("1s"), Ok(Duration::from_secs(1)));
        assert!(window("999ms").is_err());
        assert!(window("2h").is_err());
    }
}
