//! The command line.

use std::{num::NonZeroU32, path::PathBuf};

use base::Timestamp;
use clap::{Args, Parser, Subcommand};
use messaging::{GroupStart, LetterQuery};
use serde_json::Value;
use skein::{
    Format,
    commands::{
        FileCommand, MeshCommand, arguments::CostArguments, identity::IdentityCommand,
        key::KeyCommand,
    },
};

/// Where the state is kept when nobody says.
pub(crate) const DATA: &str = ".drone-delivery";

/// Delivers parcels by drone: services that survive crashes, on one machine with one command.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = false, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Where the system keeps its state.
    #[arg(long, global = true, default_value = DATA, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Form of the result on standard output.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Format,
    /// `up` when there is none.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

const EXAMPLES: &str = "Examples:
  drone-delivery                                      starts everything
  drone-delivery submit examples/helsinki.jsonl --wait
  drone-delivery trace DELIVERY";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Run(RunCommand),
    #[command(flatten)]
    Ask(AskCommand),
    #[command(flatten)]
    Trust(TrustCommand),
    #[command(flatten)]
    Files(FileCommand),
    #[command(flatten)]
    Mesh(MeshCommand),
    /// Measures what the mesh's door in front of a service costs: time, processor, memory.
    MeshCost(CostArguments),
}

/// What runs: the system, and each of its processes.
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Starts the system and keeps it running.
    Up(UpArguments),
    /// Stops it.
    Down {
        /// Forgets its state as well.
        #[arg(long)]
        wipe: bool,
    },
    /// Lists its processes.
    Ps,
    /// Lists what kinds of process there are: where each listens, what sets it, what is public of it.
    Roles,
    /// Ends a role or an instance in order and starts it again.
    Restart {
        /// Role, such as `scheduler`, a version of it, such as `scheduler@v2`, or instance, such as
        /// `scheduler-2`.
        name: String,
    },
    /// Shows what the processes wrote.
    Logs(LogArguments),
    /// Shows the settings that `up` would run with.
    Config {
        #[command(flatten)]
        settings: SettingArguments,
        /// Prints all of them; it is what the command does anyway.
        #[arg(long)]
        print: bool,
    },
    /// One process of one role; `up` starts these.
    #[command(hide = true)]
    Role(RoleArguments),
    /// Becomes a program that does not know `up`; `up` starts these.
    #[command(hide = true)]
    Foreign {
        /// Process with which it ends.
        #[arg(long)]
        supervisor: u32,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// What is asked of a system that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum AskCommand {
    /// Sends delivery requests from a file, one JSON object a line.
    Submit(SubmitArguments),
    /// Sends delivery requests at a fixed rate and measures the answers.
    Load(LoadArguments),
    /// One delivery.
    #[command(subcommand)]
    Delivery(DeliveryCommand),
    /// Shows everything that happened for one delivery, as a tree.
    Trace {
        /// The delivery.
        id: String,
    },
    /// Sagas, as the Scheduler sees them.
    #[command(subcommand)]
    Saga(SagaCommand),
    /// What failed, and what a person may do about it.
    #[command(subcommand)]
    Failures(FailureCommand),
    /// Topics of the log.
    #[command(subcommand)]
    Topics(TopicCommand),
    /// Groups that read the log.
    #[command(subcommand)]
    Groups(GroupCommand),
    /// Dead letters: messages that could not be processed.
    #[command(subcommand)]
    Dlq(LetterCommand),
    /// Calls a service as an operator, also where services let in those alone who show who they are.
    Curl(CurlArguments),
}

/// Who may, and who did.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Who the processes show themselves to be, and who vouches for them.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Keys of the gateway: who may come in from outside.
    #[command(subcommand)]
    Key(KeyCommand),
    /// What people have done to the system.
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// What one process of one role is told.
#[derive(Debug, Args)]
pub(crate) struct RoleArguments {
    /// Which.
    pub(crate) role: String,
    /// Its name among its replicas.
    #[arg(long)]
    pub(crate) instance: String,
    /// Its version; that of the program when it is not given.
    #[arg(long)]
    pub(crate) version: Option<String>,
    /// Where it listens; 0 takes a free port. The role's well-known port when it is not given.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Port of the door for calls out at the proxy beside it; the well-known one when it is not given.
    #[arg(long)]
    pub(crate) outbound: Option<u16>,
    /// The file that describes a proxy; for the role `proxy` alone.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}

/// One call of a service.
#[derive(Debug, Args)]
pub(crate) struct CurlArguments {
    /// The service, such as `delivery`.
    pub(crate) service: String,
    /// Path, with its query.
    pub(crate) path: String,
    /// Method; GET, or POST where there is a body.
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Body, as JSON.
    #[arg(short, long = "data-raw", value_name = "JSON")]
    pub(crate) body: Option<String>,
    /// Shows the header fields of the answer too.
    #[arg(short, long)]
    pub(crate) include: bool,
}

/// Longest wait for readiness, in seconds.
const READY_WITHIN: u64 = 60;

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// Returns while the system goes on in the background.
    #[arg(long)]
    pub(crate) detach: bool,
    /// With `--detach`: returns when every process is ready.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest wait for readiness.
    #[arg(long, default_value_t = READY_WITHIN, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// `up` as it is meant when no command is given.
impl Default for UpArguments {
    fn default() -> Self {
        let settings = SettingArguments::default();
        Self { settings, detach: false, wait: false, timeout: READY_WITHIN }
    }
}

/// Whatever changes the settings.
#[derive(Debug, Default, Clone, Args)]
pub(crate) struct SettingArguments {
    /// A JSON file with settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// First of the ports; all others are counted from it.
    #[arg(long, value_name = "PORT")]
    pub(crate) port_base: Option<u16>,
    /// `demo` makes up what it does not know (accounts, places, a key at the start), `strict` refuses it.
    #[arg(long, value_name = "demo|strict")]
    pub(crate) profile: Option<String>,
    /// Processes of roles.
    #[arg(long, value_delimiter = ',', value_name = "ROLE[@VERSION]=N,…", value_parser = pair)]
    pub(crate) replicas: Vec<(String, String)>,
    /// Another program for a role, or a further version beside it; an empty one is this program.
    #[arg(long, value_name = "ROLE[@VERSION]=PROGRAM", value_parser = pair)]
    pub(crate) role: Vec<(String, String)>,
    /// Where the mesh stands.
    #[arg(long, value_name = "in-process|sidecar|off")]
    pub(crate) mesh: Option<String>,
    /// `strict`, the default: mutual TLS between services, and nobody may do what no rule allows. `off`:
    /// every process of this machine may call every service; the default where the mesh is off.
    #[arg(long, value_name = "strict|off")]
    pub(crate) tls: Option<String>,
    /// A further file with policy for the mesh.
    #[arg(long, value_name = "FILE")]
    pub(crate) routes: Vec<PathBuf>,
    /// Simulated seconds in a real one, for drones and carriers.
    #[arg(long, value_name = "FACTOR")]
    pub(crate) time_scale: Option<f64>,
    /// Drones of the fleet.
    #[arg(long, value_name = "N")]
    pub(crate) drones: Option<u32>,
    /// Lets operators plant faults over the admin ports.
    #[arg(long)]
    pub(crate) enable_faults: bool,
    /// Any setting that `config` shows.
    #[arg(long, value_name = "PATH=VALUE", value_parser = pair)]
    pub(crate) set: Vec<(String, String)>,
}

impl SettingArguments {
    /// The flags as paths and values, in the order in which they win; `--set` comes last.
    pub(crate) fn flags(&self) -> Vec<(String, String)> {
        let mut flags = Vec::new();
        let mut set = |path: &str, value: String| flags.push((path.to_owned(), value));
        if let Some(port) = self.port_base {
            set("port_base", port.to_string());
        }
        if let Some(profile) = &self.profile {
            set("profile", profile.clone());
        }
        for (role, number) in &self.replicas {
            set(&format!("replicas.{role}"), number.clone());
        }
        for (role, program) in &self.role {
            // As JSON, so that no path is read as a number.
            set(&format!("programs.{role}"), Value::from(program.as_str()).to_string());
        }
        if let Some(mesh) = &self.mesh {
            set("mesh", mesh.clone());
        }
        if let Some(tls) = &self.tls {
            set("tls", tls.clone());
        }
        if !self.routes.is_empty() {
            let files: Vec<_> = self.routes.iter().map(|it| it.to_string_lossy()).collect();
            set("route_files", Value::from(files).to_string());
        }
        if let Some(scale) = self.time_scale {
            set("fleet.time_scale", scale.to_string());
        }
        if let Some(drones) = self.drones {
            set("fleet.drones", drones.to_string());
        }
        if self.enable_faults {
            set("faults", "true".to_owned());
        }
        flags.extend(self.set.iter().cloned());
        flags
    }

    #[cfg(test)]
    pub(crate) fn of(arguments: &[&str]) -> Self {
        let cli = Cli::parse_from([&["drone-delivery", "up"], arguments].concat());
        match cli.command {
            Some(Command::Run(RunCommand::Up(up))) => up.settings,
            other => panic!("{other:?}"),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("`NAME=VALUE` is expected")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// Only this role or instance.
    pub(crate) name: Option<String>,
    /// Goes on as lines are written.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Lines of each process to begin with.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "LINES")]
    pub(crate) tail: usize,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArguments {
    /// The file; `-` reads standard input. A line is a request, or `{"request": …}` with what is
    /// expected of it.
    pub(crate) file: PathBuf,
    /// Returns when every delivery has ended, and compares with what each line expects.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Requests that are under way at the same time; with `--wait` each until its delivery has ended.
    /// It spares this machine, not the fleet, which plans whatever comes.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) open_max: usize,
    /// Longest wait for one delivery.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// Says on standard error how far it is, also where that is no terminal.
    #[arg(long)]
    pub(crate) progress: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// The file, as `submit` takes it; begun again when it ends.
    pub(crate) file: PathBuf,
    /// Requests that are due in a second.
    #[arg(long, default_value_t = 50, value_name = "N", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// How long.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// Says on standard error how far it is, also where that is no terminal.
    #[arg(long)]
    pub(crate) progress: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveryCommand {
    /// Shows its request, its stage and its events.
    Show {
        /// The delivery.
        id: String,
    },
    /// Calls it off.
    Cancel {
        /// The delivery.
        id: String,
    },
    /// Moves it; what is not named stays as it was.
    Reschedule {
        /// The delivery.
        id: String,
        #[command(flatten)]
        changes: MoveArguments,
    },
}

/// What of a delivery is to be another; at least one thing.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct MoveArguments {
    /// A name or `lat,lon[,alt]`.
    #[arg(long)]
    pub(crate) pickup: Option<String>,
    /// A name or `lat,lon[,alt]`.
    #[arg(long)]
    pub(crate) dropoff: Option<String>,
    /// Not before then, in RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(crate) pickup_time: Option<String>,
    /// At its door by then; free text, of which RFC 3339 is understood.
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SagaCommand {
    /// The newest.
    List {
        /// Only those that stand so, such as `running` or `parked`.
        #[arg(long, visible_alias = "status")]
        state: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// One, with its history.
    Show {
        /// Such as `DELIVERY/create`; a delivery alone means its create.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FailureCommand {
    /// The newest.
    List {
        /// Only those that stand so, such as `parked`.
        #[arg(long, visible_alias = "status")]
        state: Option<String>,
        /// How many.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// One, with what was done about it.
    Show {
        /// The delivery or the transaction.
        id: String,
    },
    /// Tries the failed step again.
    Retry(ActionArguments),
    /// Undoes what was done.
    Compensate(ActionArguments),
    /// Takes it as settled by hand.
    Resolve(ActionArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ActionArguments {
    /// The delivery or the transaction.
    pub(crate) id: String,
    /// Why; kept with the transaction.
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Every topic with its number of records.
    List,
    /// The last messages of a topic.
    Tail {
        /// Which.
        topic: String,
        /// Messages to begin with.
        #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
        last: usize,
        /// Goes on as messages come.
        #[arg(short, long)]
        follow: bool,
    },
    /// What each topic has cost since the log started: appends, bytes, syncs, segments.
    Cost,
    /// One topic: its settings and each partition.
    Describe {
        /// Which.
        topic: String,
    },
    /// Makes a topic. One that is there already stays as it is.
    Create {
        /// Its name.
        topic: String,
        /// Its partitions.
        #[arg(long, default_value_t = 1, value_name = "N")]
        partitions: u32,
        /// Hours that records are kept; as long as the log likes when it is not given.
        #[arg(long, value_name = "HOURS")]
        retention_hours: Option<u64>,
    },
    /// Removes a topic with all that is in it, and what groups have committed in it.
    Delete {
        /// Which.
        topic: String,
        /// That it is meant; without it the number of records is told.
        #[arg(long)]
        yes: bool,
    },
    /// Puts one message onto a topic.
    Publish {
        /// Which.
        topic: String,
        /// Makes the topic where the log has none of this name.
        #[arg(long)]
        create: bool,
        /// What its partition hangs on.
        #[arg(long)]
        key: Option<String>,
        /// The body.
        #[arg(long)]
        body: String,
        /// A further header.
        #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
        headers: Vec<(String, String)>,
        /// `CloudEvents` type.
        #[arg(long = "type", default_value = "", value_name = "TYPE")]
        kind: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Every group: how it is, and how far it is behind in all.
    List,
    /// One group: its members with their shares, and how far it is behind in each topic.
    Describe {
        /// Which.
        group: String,
    },
    /// Sets a group that nobody takes part in to another place in a topic. What lies between is
    /// processed again, or never.
    Reset {
        /// Which.
        group: String,
        /// In which topic.
        topic: String,
        /// `beginning`, `end`, or a time such as `2026-11-28T09:00:00Z`.
        #[arg(long, value_name = "PLACE", value_parser = group_start)]
        to: GroupStart,
    },
}

fn group_start(text: &str) -> Result<GroupStart, String> {
    match text {
        "beginning" => Ok(GroupStart::Beginning),
        "end" => Ok(GroupStart::End),
        _ => Timestamp::parse(text)
            .map(GroupStart::Time)
            .ok_or_else(|| "neither `beginning`, `end` nor a time of RFC 3339".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Says whether the audit log is whole. Nothing has to run.
    Verify {
        /// The digest of an entry that must be there: one that was noted elsewhere shows what is
        /// missing at the end.
        #[arg(long, value_name = "DIGEST")]
        last: Option<String>,
    },
    /// Shows its last entries.
    Tail {
        /// How many.
        #[arg(short = 'n', short_alias = 'c', long, default_value_t = 20, value_name = "N")]
        count: usize,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LetterCommand {
    /// Topics of dead letters that are not empty.
    List,
    /// The letters of one topic, each with why it died.
    Show {
        /// Such as `delivery-requests.scheduler.dead`.
        topic: String,
        #[command(flatten)]
        which: LetterArguments,
    },
    /// Sends letters back to where they came from; they stay here too, until their retention ends.
    Redrive {
        /// Such as `delivery-requests.scheduler.dead`.
        topic: String,
        #[command(flatten)]
        which: LetterArguments,
        /// Letters in a second, at the most; as many as are taken when it is not given.
        #[arg(long, value_name = "N")]
        rate: Option<NonZeroU32>,
        /// Shows the letters that are meant, and sends none.
        #[arg(long)]
        dry_run: bool,
    },
    /// Removes letters for good. Those that stay get new places in their topic.
    Discard {
        /// Such as `delivery-requests.scheduler.dead`.
        topic: String,
        #[command(flatten)]
        which: LetterArguments,
        /// Shows the letters that are meant, and removes none.
        #[arg(long)]
        dry_run: bool,
        /// That it is meant; without it the number of letters is told.
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters: those that everything given applies to.
#[derive(Debug, Default, Args)]
pub(crate) struct LetterArguments {
    /// Only those with this key.
    #[arg(long)]
    key: Option<String>,
    /// Only those of this `CloudEvents` type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only those that died so: `rejected`, `exhausted` or `unreadable`.
    #[arg(long)]
    class: Option<String>,
    /// Only those whose reason contains this.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl From<LetterArguments> for LetterQuery {
    fn from(LetterArguments { key, kind, class, reason }: LetterArguments) -> Self {
        Self { key, kind, class, reason }
    }
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
    fn no_command_means_up_as_it_is() {
        let command = Cli::parse_from(["drone-delivery", "up"]).command;
        let Some(Command::Run(RunCommand::Up(up))) = command else {
            panic!("`up` is a command");
        };
        assert_eq!(format!("{up:?}"), format!("{:?}", UpArguments::default()));
    }

    #[test]
    fn a_rate_that_is_none_is_refused_in_words() {
        for (flag, value) in [("--rate", "0"), ("--rate", "-1"), ("--seconds", "0")] {
            let refused = Cli::try_parse_from(["drone-delivery", "load", "f", flag, value]);
            let said = refused.unwrap_err().to_string();
            assert!(said.contains("not in 1.."), "{said}");
        }
    }

    #[test]
    fn how_many_and_how_it_stands_are_asked_for_by_one_word_everywhere() {
        for words in [
            ["logs", "x", "-n", "3"],
            ["audit", "tail", "-n", "3"],
            ["saga", "list", "--state", "parked"],
            ["saga", "list", "--status", "parked"],
            ["failures", "list", "--state", "parked"],
            ["failures", "list", "--status", "parked"],
        ] {
            assert!(
                Cli::try_parse_from([&["drone-delivery"], &words[..]].concat()).is_ok(),
                "{words:?}"
            );
        }
        let tail = ["drone-delivery", "topics", "tail", "t", "-n", "3"];
        assert!(Cli::try_parse_from(tail).is_ok());
    }

    #[test]
    fn a_move_names_at_least_one_thing() {
        let moved = |further: &[&str]| {
            let words = ["drone-delivery", "delivery", "reschedule", "d"];
            Cli::try_parse_from([&words, further].concat()).is_ok()
        };
        assert!(!moved(&[]));
        assert!(
            moved(&["--dropoff", "60.1,24.9"]) && moved(&["--pickup-time", "2030-01-01T00:00:00Z"])
        );
        assert!(moved(&["--pickup", "a", "--dropoff", "b"]));
    }

    #[test]
    fn the_flags_that_both_have_stand_behind_a_command_too() {
        let cli = Cli::parse_from(["drone-delivery", "ps", "-o", "json", "--data", "/d"]);
        assert_eq!((cli.output, cli.data), (Format::Json, PathBuf::from("/d")));
    }
}
