//! Development tasks: `cargo xtask test` runs every check that a change must pass.
//!
//! The checks of the tree itself (floors, words, headers, the article map) are this crate's tests.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use clap::{Parser, Subcommand};

mod bench;
mod clients;
mod conformance;
mod counts;

use counts::Counts;

#[derive(Debug, Parser)]
#[command(about = "Development tasks of this workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs every test: the crates', the whole system's, the documentation's.
    Test {
        /// Only tests whose name contains this.
        filter: Option<String>,
        /// Only the system tests, each with the mesh there unless it says where itself.
        #[arg(long, value_parser = ["off", "in-process", "sidecar"])]
        mesh: Option<String>,
        /// Only the system tests, each with doors that ask nobody (`off`) unless it says so itself.
        #[arg(long, value_parser = ["off", "strict"])]
        tls: Option<String>,
    },
    /// Lets every call fail that a store makes of its disk, one after the other; `test` tries some of them. Takes
    /// many minutes, wants `strace` (`.ci/peers` installs it).
    TestDisk,
    /// Lets stock clients of Kafka's protocol work with our log (`.ci/peers` installs them); writes the
    /// table of what each can do to `docs/stock-clients.md`.
    TestClients(clients::TestClients),
    /// Tries what our client promises on our broker and on foreign logs (`.ci/peers` installs them); writes
    /// what holds where to `docs/conformance.md`.
    Conformance(conformance::Conformance),
    /// Measures; writes what it saw below `bench/results/`.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// The whole system: workflows a second, CPU of each role, latencies, memory.
    System(bench::System),
    /// What a slow, a stopped and an overloaded part does to the edge.
    Isolation(bench::Isolation),
    /// Whether requests go on for long while identities, the control plane or services change.
    Soak(bench::Soak),
    /// What each way of balancing does while backends are slow or dead; simulated.
    Balance(bench::Balance),
    /// What a proxied request costs: peers and ours, interleaved (`bench/peers` installs peers).
    Mesh(bench::Mesh),
    /// What a durable message costs: logs and ours, interleaved (`bench/peers` installs peers).
    Messaging(bench::Messaging),
}

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::Test { filter, mesh, tls } => {
            let of = |name, value: Option<String>| value.map(|it| (name, it));
            let told = of("SYSTEM_MESH", mesh).into_iter().chain(of("SYSTEM_TLS", tls));
            test(filter.as_deref(), &told.collect::<Vec<_>>())
        }
        Task::TestDisk => test_disk(),
        Task::TestClients(clients) => clients.run(&root()),
        Task::Conformance(conformance) => conformance.run(&root()),
        Task::Bench { what } => {
            let measured = match what {
                Bench::System(system) => system.run(&root()),
                Bench::Isolation(isolation) => isolation.run(&root()),
                Bench::Soak(soak) => soak.run(&root()),
                Bench::Balance(balance) => balance.run(&root()),
                Bench::Mesh(mesh) => mesh.run(&root()),
                Bench::Messaging(messaging) => messaging.run(&root()),
            };
            match measured {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => {
                    say(&format!("failed: {reason}"));
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// The folder that holds the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A line for the person who ran the task.
fn say(line: &str) {
    // Nobody reads: then there is nobody to tell.
    writeln!(io::stdout(), "{line}").ok();
}

/// Something in the environment, by which system tests are told how to start their systems.
type Told = (&'static str, String);

fn test(filter: Option<&str>, told: &[Told]) -> ExitCode {
    let mut counts = Counts::default();
    let mut succeeded = true;
    // The system tests start the programs themselves, which no test target builds.
    let programs = ["build", "--package", "drone-delivery", "--package", "skein", "--bins"];
    succeeded &= run(&programs, &[], &mut counts);
    let runner = if has_nextest() { "nextest" } else { "test" };
    let mut arguments = match runner {
        "nextest" => vec!["nextest", "run", "--workspace", "--profile", "ci", "--no-tests=pass"],
        _ => vec!["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"],
    };
    if !told.is_empty() {
        arguments.extend(match runner {
            "nextest" => ["--filterset", "package(system)"],
            // The features of the workspace, or everything is compiled anew.
            _ => ["--test", "it"],
        });
    }
    arguments.extend(filter);
    succeeded &= run(&arguments, told, &mut counts);
    if filter.is_none() && told.is_empty() {
        succeeded &= run(&["test", "--workspace", "--doc"], &[], &mut counts);
    }
    say(&counts.line(succeeded));
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn test_disk() -> ExitCode {
    let told = [("STORE_FAULTS", "all".to_owned())];
    let nextest = ["nextest", "run", "--workspace", "--profile", "thorough", "--filterset"];
    let arguments: Vec<_> = if has_nextest() {
        nextest.into_iter().chain(["package(store) and test(failing_disk::)"]).collect()
    } else {
        vec!["test", "--workspace", "--test", "it", "--no-fail-fast", "failing_disk::"]
    };
    let mut counts = Counts::default();
    let succeeded = run(&arguments, &told, &mut counts);
    say(&counts.line(succeeded));
    if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn has_nextest() -> bool {
    let version = Command::new("cargo").args(["nextest", "--version"]).output();
    version.is_ok_and(|it| it.status.success())
}

/// Runs cargo, passes its output on and counts the tests that it names.
fn run(arguments: &[&str], told: &[Told], counts: &mut Counts) -> bool {
    // Both streams into one pipe: nextest reports on standard error, libtest on standard output.
    let Ok((reader, writer)) = io::pipe() else { return false };
    let Ok(errors) = writer.try_clone() else { return false };
    let child = Command::new("cargo")
        .args(arguments)
        .envs(told.iter().cloned())
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .spawn();
    let Ok(mut child) = child else { return false };
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        counts.read(&line);
        say(&line);
    }
    child.wait().is_ok_and(|it| it.success())
}
