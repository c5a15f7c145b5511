//! Whether requests go on for long while what all of them stand on changes or is away. Requests are
//! made at the gateway all the time, in two ways: new ones at a fixed rate, and reads one after the other. Each
//! that has another answer than the promised one is counted; none may.

mod control_plane;
mod identities;
mod restarts;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{
    Failure, PORT_BASE, Running, machine, metrics::exchange_as, now, programs::PROFILE, write,
};

/// Offset of the gateway's port for plain HTTP.
const GATEWAY: u16 = 80;
/// Seconds of one load; the next one begins when it ends.
const LOAD_SECONDS: u64 = 10;
/// Reads in a second, at the most.
const READS_PER_SECOND: u32 = 100;

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Meanwhile {
    /// Identities of a minute are renewed; issuer and anchor are replaced again and again.
    Identities,
    /// The control plane is away, and instances are killed.
    ControlPlane,
    /// Every service is restarted, one after the other, again and again.
    Restarts,
}

/// What to try, and how long.
#[derive(Debug, Args)]
pub(crate) struct Soak {
    /// What happens meanwhile; each on a fresh system.
    #[arg(
        long = "while",
        value_enum,
        value_delimiter = ',',
        default_value = "identities,control-plane,restarts"
    )]
    meanwhile: Vec<Meanwhile>,
    /// Minutes in which identities are renewed, and in which the control plane is away.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// How often every service is restarted.
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// New requests in a second.
    #[arg(long, default_value_t = 20)]
    rate: u64,
}

impl Soak {
    /// Tries it, prints the result, and writes it below `bench/results/`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Failure> {
        let started = now();
        let mut seen = serde_json::Map::new();
        let long = Duration::from_secs(self.minutes * 60);
        for meanwhile in &self.meanwhile {
            let (name, tried) = match meanwhile {
                Meanwhile::Identities => ("identities", identities::run(root, self.rate, long)),
                Meanwhile::ControlPlane => {
                    ("controlPlane", control_plane::run(root, self.rate, long))
                }
                Meanwhile::Restarts => ("restarts", restarts::run(root, self.rate, self.rounds)),
            };
            seen.insert(name.to_owned(), tried?);
        }
        let failed: u64 = seen.values().filter_map(|it| it["requests"]["failed"].as_u64()).sum();
        let result = json!({
            "command": self.command_line(),
            "profile": PROFILE,
            "unixSeconds": now().as_secs(),
            "tookSeconds": now().saturating_sub(started).as_secs(),
            "machine": machine(),
            "seen": seen,
        });
        write(root, "soak", &result)?;
        if failed == 0 { Ok(()) } else { Err(format!("{failed} requests failed")) }
    }

    fn command_line(&self) -> String {
        let named = |it: &Meanwhile| it.to_possible_value().map(|it| it.get_name().to_owned());
        let names: Vec<String> = self.meanwhile.iter().filter_map(named).collect();
        let Self { minutes, rounds, rate, .. } = self;
        let names = names.join(",");
        format!(
            "cargo xtask bench soak --while {names} --minutes {minutes} --rounds {rounds} --rate {rate}"
        )
    }
}

/// Does something while requests are made; gives what it saw, and how the requests ended.
fn while_asked(
    running: &Running,
    rate: u64,
    act: impl FnOnce() -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    // The first requests of a process pay for its connections and pages; the last one is read.
    running.load(rate, 2)?;
    let paths = paths(running)?;
    let over = AtomicBool::new(false);
    let (acted, made, read) = thread::scope(|scope| {
        let made = scope.spawn(|| made(running, rate, &over));
        let read = scope.spawn(|| read(running, &paths, &over));
        let acted = act();
        over.store(true, Ordering::Relaxed);
        (acted, made.join(), read.join())
    });
    let ended = |_| "a thread that asked ended in a panic".to_owned();
    let mut counts = made.map_err(ended)??;
    counts.add(read.map_err(ended)??);
    Ok(json!({"requests": counts.json(), "meanwhile": acted?}))
}

/// How requests ended.
#[derive(Debug, Default)]
struct Counts {
    made: u64,
    read: u64,
    failed: u64,
    first: Option<String>,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.made += other.made;
        self.read += other.read;
        self.failed += other.failed;
        self.first = self.first.take().or(other.first);
    }

    fn json(&self) -> Value {
        let Self { made, read, failed, first } = self;
        json!({"made": made, "read": read, "failed": failed, "firstFailure": first})
    }
}

/// Makes requests at a fixed rate until it is over.
fn made(running: &Running, rate: u64, over: &AtomicBool) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    while !over.load(Ordering::Relaxed) {
        let seen = running.load(rate, LOAD_SECONDS)?;
        let of = |member: &str| seen[member].as_u64().unwrap_or(0);
        let failed = of("sent").saturating_sub(of("accepted")) + of("notSent");
        let first = (failed > 0).then(|| seen.to_string());
        counts.add(Counts { made: of("sent"), failed, first, ..Counts::default() });
    }
    Ok(counts)
}

/// Reads these paths until it is over.
fn read(running: &Running, paths: &[String], over: &AtomicBool) -> Result<Counts, Failure> {
    let key = running.bearer("demo.key")?;
    let mut counts = Counts::default();
    for path in paths.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let reply = exchange_as(PORT_BASE + GATEWAY, "GET", path, &key, "");
        counts.read += 1;
        let failure = match reply {
            Ok(reply) if reply.starts_with("HTTP/1.1 200 ") => None,
            Ok(reply) => Some(format!("{path}: {reply}")),
            Err(error) => Some(format!("{path}: {error}")),
        };
        counts.failed += u64::from(failure.is_some());
        counts.first = counts.first.take().or(failure);
        super::pause(Duration::from_secs(1) / READS_PER_SECOND);
    }
    Ok(counts)
}

/// Where the newest delivery is read, at two services.
fn paths(running: &Running) -> Result<Vec<String>, Failure> {
    let sagas = ["saga", "list", "--status", "completed", "--limit", "1"];
    let patience = now() + Duration::from_secs(30);
    loop {
        let newest = running.json(&sagas)?;
        let id = newest[0]["id"].as_str().and_then(|it| it.split('/').next());
        if let Some(id) = id {
            let each = ["deliveries", "deliveryrequests"].into_iter();
            return Ok(each.map(|it| format!("/api/{it}/{id}")).collect());
        }
        if now() > patience {
            return Err("no delivery was created".to_owned());
        }
        super::pause(Duration::from_millis(200));
    }
}
