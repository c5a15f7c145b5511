//! What a durable message costs: peers and our log, interleaved in one run on one machine.
//!
//! The log has core 0 for itself; publishers and subscribers share core 1. In each round every log has
//! its burst, in an order that rotates, and so has the disk alone, which no log can be faster than.
//! Read the ratios within one run; figures of two runs are not compared.

mod burst;
mod gates;
mod logs;
mod report;

use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, build, keep, machine, now,
    part::Program,
    programs::{PROFILE, built, chosen, leave_out, target},
};
use burst::{Burst, Side};
use logs::{Log, Started};

/// The disk alone: the one that others are compared with, and the one whose space is only reserved.
const FLOOR: &str = "fdatasync";
const FLOOR_RESERVED: &str = "fdatasync-reserved";
/// How the space of the first is made, as `bench-wire` calls it.
const PREWRITTEN: &str = "prewritten";
/// Logs of others.
const PEERS: [&str; 3] = ["nats", "redis", "rabbitmq"];
/// Ours, by a client as lean as the peers' and by the one that services have.
const OURS: [&str; 2] = ["skein-lean", "skein"];
/// Those whose consumers say what they have done: a queue forgets it, a stream moves a group's place.
const SETTLING: [&str; 3] = ["rabbitmq", OURS[0], OURS[1]];

/// What to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct Messaging {
    /// Bursts of each log in each case.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Milliseconds of a burst.
    #[arg(long, default_value_t = 1_500)]
    burst_ms: u64,
    /// One short round, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Only logs with this name (beside the disk alone); may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Only cases whose name contains this.
    #[arg(long)]
    case: Option<String>,
}

/// One kind of load; messages have 1 KiB.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// So many publishers, each with one message under way.
    Publish { publishers: u32 },
    /// So many subscribers of one stream of messages: so many in a second, or as many as are
    /// acknowledged with 64 under way.
    Deliver { subscribers: u32, rate: Option<u32> },
    /// The same messages once through a queue and once through a stream: so many under way, one
    /// consumer, which acknowledges so many at a time.
    Work { batch: u32 },
}

const CASES: [Case; 10] = [
    Case { name: "publish-1", kind: Kind::Publish { publishers: 1 } },
    Case { name: "publish-16", kind: Kind::Publish { publishers: 16 } },
    Case { name: "publish-256", kind: Kind::Publish { publishers: 256 } },
    Case { name: "idle", kind: Kind::Deliver { subscribers: 1, rate: Some(100) } },
    Case { name: "fan-out-1", kind: Kind::Deliver { subscribers: 1, rate: None } },
    Case { name: "fan-out-3", kind: Kind::Deliver { subscribers: 3, rate: None } },
    Case { name: "fan-out-10", kind: Kind::Deliver { subscribers: 10, rate: None } },
    Case { name: "work-1", kind: Kind::Work { batch: 1 } },
    Case { name: "work-16", kind: Kind::Work { batch: 16 } },
    Case { name: "work-256", kind: Kind::Work { batch: 256 } },
];

/// Who had a burst.
enum Contender<'a> {
    Disk { name: &'static str, space: &'static str },
    Log(&'a Log, Started),
}

impl Contender<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Disk { name, .. } => name,
            Self::Log(log, _) => &log.name,
        }
    }
}

/// Bursts of one contender in the order of the rounds.
struct Row {
    name: String,
    bursts: Vec<Burst>,
}

impl Messaging {
    /// Measures, prints tables and gates, and writes every burst below `bench/results/`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Failure> {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return Err("two cores are needed: one for the log, one for its clients".to_owned());
        }
        // With the features of the mesh's bench, or whatever both stand on is compiled twice.
        build(root, &["bench-wire", "skein"])?;
        let side = Side { program: Program(built(&target(root), "bench-wire")) };
        let (logs, mut not_run) = self.logs(root);
        let (machine_before, started) = (machine(), now());
        let mut cases: Vec<(Case, Vec<Row>)> = Vec::new();
        for case in CASES.into_iter().filter(|it| self.takes(it.name)) {
            let rows = self.case(case, root, &side, &logs, &mut not_run)?;
            report::print(case, &rows);
            cases.push((case, rows));
        }
        // Only now: a disk that has just heard of free space is slow.
        std::fs::remove_dir_all(target(root).join("bench-messaging")).ok();
        let gates = gates::judge(&cases);
        gates::print(&gates);
        let versions: serde_json::Map<String, Value> =
            logs.iter().map(|it| (it.name.clone(), json!(it.version))).collect();
        let all: serde_json::Map<String, Value> =
            cases.iter().map(|(case, rows)| (case.name.to_owned(), report::json(rows))).collect();
        let result = json!({
            "command": self.command_line(),
            "profile": PROFILE,
            "unixSeconds": now().as_secs(),
            "tookSeconds": now().saturating_sub(started).as_secs(),
            "machine": machine_before,
            "machineAfter": machine(),
            "versions": versions,
            "notRun": not_run,
            "cases": all,
            "gates": gates.iter().map(gates::Gate::json).collect::<Vec<_>>(),
        });
        let path = keep(root, "messaging", &result)?;
        crate::say(&format!("written to {}", path.display()));
        Ok(())
    }

    fn command_line(&self) -> String {
        let Self { rounds, burst_ms, quick, only, case } = self;
        let mut line =
            format!("cargo xtask bench messaging --rounds {rounds} --burst-ms {burst_ms}");
        if *quick {
            line.push_str(" --quick");
        }
        for name in only {
            line.push_str(&format!(" --only {name}"));
        }
        if let Some(case) = case {
            line.push_str(&format!(" --case {case}"));
        }
        line
    }

    fn logs(&self, root: &Path) -> (Vec<Log>, Vec<String>) {
        chosen(logs::find(root, &target(root)), &self.only, |it| &it.name)
    }

    fn takes(&self, case: &str) -> bool {
        self.case.as_ref().is_none_or(|it| case.contains(it.as_str()))
    }

    const fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    const fn burst(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { self.burst_ms })
    }

    /// Every log on a fresh instance, round by round.
    fn case(
        &self,
        case: Case,
        root: &Path,
        side: &Side,
        logs: &[Log],
        not_run: &mut Vec<String>,
    ) -> Result<Vec<Row>, Failure> {
        let mut contenders = Vec::new();
        if matches!(case.kind, Kind::Publish { .. } | Kind::Deliver { rate: Some(_), .. }) {
            contenders.push(Contender::Disk { name: FLOOR, space: PREWRITTEN });
            contenders.push(Contender::Disk { name: FLOOR_RESERVED, space: "reserved" });
        }
        let takes_part = |log: &&Log| {
            !matches!(case.kind, Kind::Work { .. }) || SETTLING.contains(&log.name.as_str())
        };
        for log in logs.iter().filter(takes_part) {
            match Started::new(log).and_then(|it| it.ready(side)) {
                Ok(it) => contenders.push(Contender::Log(log, it)),
                Err(reason) => {
                    leave_out(not_run, format!("{} in {}: {reason}", log.name, case.name));
                }
            }
        }
        let files = target(root).join("bench-messaging/disk");
        std::fs::create_dir_all(&files).map_err(|it| format!("{}: {it}", files.display()))?;
        let row = |it: &Contender| Row { name: it.name().to_owned(), bursts: Vec::new() };
        let mut rows: Vec<Row> = contenders.iter().map(row).collect();
        for round in 0..self.rounds() {
            for turn in 0..contenders.len() {
                let index = (turn + round as usize) % contenders.len();
                let burst = match &contenders[index] {
                    Contender::Disk { space, .. } => {
                        // Space that is reserved is new each time; the zeros stay as they are.
                        let file = if *space == PREWRITTEN {
                            PREWRITTEN.to_owned()
                        } else {
                            format!("{space}-{}-{round}", case.name)
                        };
                        side.disk(&files.join(file), space, case.kind, self.burst())
                    }
                    Contender::Log(_, started) => {
                        side.burst(started.door(), case.kind, self.burst())
                    }
                };
                // One that died must not take the figures of the others along.
                rows[index].bursts.push(burst.unwrap_or_else(|it| Burst::lost(&it)));
            }
        }
        Ok(rows)
    }
}
