//! One burst of messages: what was acknowledged or received, and what log, clients and disk did for it.

use std::{fs, ops::Add, path::Path, time::Duration};

use serde_json::{Value, json};

use super::Kind;
use crate::bench::{
    Failure,
    part::{Core, Part, Program},
    process::{self, Usage},
};

/// Share of a burst that goes before it, so that connections stand when answers begin to count.
const WARM_UP_SHARE: u32 = 4;

/// What was used since some moment, or in between two.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    log: Duration,
    clients: Duration,
    /// Flushes of every disk of the machine: what other programs sync counts too.
    flushes: f64,
    /// What the log handed to write calls, answers included where those are write calls.
    written_bytes: f64,
}

impl Used {
    fn until_now(log: Option<u64>, clients: u64) -> Result<Self, Failure> {
        let on_cpu = |pid| process::on_cpu(pid).ok_or("a process is gone");
        let family = log.map(process::family).unwrap_or_default();
        let usage = family.into_iter().filter_map(process::usage).fold(Usage::default(), Add::add);
        Ok(Self {
            log: log.map(on_cpu).transpose()?.unwrap_or_default(),
            clients: on_cpu(clients)?,
            flushes: flushes(),
            written_bytes: usage.written_bytes,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            log: self.log.saturating_sub(before.log),
            clients: self.clients.saturating_sub(before.clients),
            flushes: self.flushes - before.flushes,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

/// Flushes that disks were asked for since the start of the machine.
fn flushes() -> f64 {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let stats = disks.filter_map(|it| fs::read_to_string(it.path().join("stat")).ok());
    // Documentation/block/stat.rst: the sixteenth figure.
    stats.filter_map(|it| it.split_whitespace().nth(15)?.parse::<f64>().ok()).sum()
}

/// What one burst showed.
#[derive(Debug, Clone)]
pub(super) struct Burst {
    /// What the clients printed.
    pub(super) seen: Value,
    pub(super) used: Used,
}

impl Burst {
    /// A burst that could not be measured: one error, nothing verified.
    pub(super) fn lost(reason: &str) -> Self {
        Self { seen: json!({"errors": 1, "firstError": reason}), used: Used::default() }
    }

    pub(super) fn errors(&self) -> u64 {
        self.seen["errors"].as_u64().unwrap_or(1)
    }

    pub(super) fn verified(&self) -> u64 {
        self.seen["verified"].as_u64().unwrap_or(0)
    }

    /// A figure for each message; no number where there was none.
    fn each(&self, figure: f64) -> f64 {
        match self.verified() {
            0 => f64::NAN,
            _ => figure / self.number("verified"),
        }
    }

    fn number(&self, name: &str) -> f64 {
        self.seen[name].as_f64().unwrap_or(f64::NAN)
    }

    pub(super) fn per_second(&self) -> f64 {
        self.number("verified") / self.number("seconds").max(1e-9)
    }

    pub(super) fn latency_us(&self, quantile: &str) -> f64 {
        self.number(quantile)
    }

    /// Microseconds of CPU of the log for each message.
    pub(super) fn log_us(&self) -> f64 {
        self.each(self.used.log.as_secs_f64() * 1e6)
    }

    /// Microseconds of CPU of all clients for each message.
    pub(super) fn clients_us(&self) -> f64 {
        self.each(self.used.clients.as_secs_f64() * 1e6)
    }

    pub(super) fn flushes(&self) -> f64 {
        self.each(self.used.flushes)
    }

    pub(super) fn written_bytes(&self) -> f64 {
        self.each(self.used.written_bytes)
    }
}

/// Where a log that runs is spoken to, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Door {
    /// As `bench-wire` calls it.
    pub(super) wire: &'static str,
    pub(super) port: u16,
    pub(super) pid: u64,
}

/// The side of the clients.
pub(super) struct Side {
    pub(super) program: Program,
}

impl Side {
    /// Lets clients of a log publish, and subscribe where the case says so.
    pub(super) fn burst(&self, door: Door, kind: Kind, length: Duration) -> Result<Burst, Failure> {
        let target = format!("127.0.0.1:{}", door.port);
        let mut arguments = match kind {
            Kind::Publish { publishers } => {
                vec!["publish".to_owned(), "--publishers".to_owned(), publishers.to_string()]
            }
            Kind::Deliver { subscribers, .. } => {
                vec!["deliver".to_owned(), "--subscribers".to_owned(), subscribers.to_string()]
            }
            Kind::Work { batch } => {
                let batch = batch.to_string();
                let words = ["deliver", "--publishers", &batch, "--settle", &batch];
                words.map(str::to_owned).into()
            }
        };
        if let Kind::Deliver { rate: Some(rate), .. } = kind {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        arguments.extend(["--target", &target, "--wire", door.wire].map(str::to_owned));
        self.measured(Core::Ends, arguments, Some(door.pid), length)
    }

    /// Writes what the publishers of the case have under way, and syncs it.
    pub(super) fn disk(
        &self,
        file: &Path,
        space: &str,
        kind: Kind,
        length: Duration,
    ) -> Result<Burst, Failure> {
        let (messages, rate) = match kind {
            Kind::Publish { publishers } => (publishers, None),
            // A disk that rests in between is another disk than a busy one.
            Kind::Deliver { rate, .. } => (1, rate),
            Kind::Work { batch } => (batch, None),
        };
        let (file, messages) = (file.display().to_string(), messages.to_string());
        let arguments = ["floor", "--file", &file, "--space", space, "--messages", &messages];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.extend(rate.into_iter().flat_map(|it| ["--rate".to_owned(), it.to_string()]));
        // It stands where the others have their log.
        self.measured(Core::Contender, arguments, None, length)
    }

    fn measured(
        &self,
        core: Core,
        mut arguments: Vec<String>,
        log: Option<u64>,
        length: Duration,
    ) -> Result<Burst, Failure> {
        let (millis, warm_up) = (length.as_millis(), (length / WARM_UP_SHARE).as_millis());
        arguments.extend(["--measure-ms".to_owned(), millis.to_string()]);
        arguments.extend(["--warm-up-ms".to_owned(), warm_up.to_string()]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut clients: Part = self.program.start(core, &arguments)?;
        clients.expect("measuring")?;
        let before = Used::until_now(log, clients.pid())?;
        let answer = clients.line()?;
        // They wait for the end of their input, so that they can still be read.
        let used = Used::until_now(log, clients.pid())?.since(before);
        let seen =
            serde_json::from_str(&answer).map_err(|_| format!("the clients say: {answer}"))?;
        Ok(Burst { seen, used })
    }
}
