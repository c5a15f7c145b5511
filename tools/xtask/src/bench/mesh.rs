//! What a proxied request costs: peers and ours, interleaved in one run on one machine.
//!
//! The proxy has core 0 for itself; load and backends share core 1. In each round every contender
//! has its burst, in an order that rotates, so that what else the machine does hits all alike.
//! CPU is what the kernel counted for every thread of the contender while answers counted. Read
//! the ratios within one run; figures of two runs are not compared.

mod burst;
mod certificates;
mod contender;
mod handshakes;
mod known;
mod memory;
mod pairs;
mod report;
mod singles;

use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, build, keep, machine, now,
    part::Program,
    programs::{PROFILE, built, chosen, leave_out, target},
};
use burst::{Backend, Burst, Ends};
use contender::{Contender, Started};

/// What the others are compared with; in a process it is the bare library.
const REFERENCES: [&str; 4] = ["haproxy", "haproxy-h2", "envoy", "hyper"];

/// What to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct Mesh {
    /// Bursts of each contender in each case.
    #[arg(long, default_value_t = 4)]
    rounds: u32,
    /// Milliseconds of a burst.
    #[arg(long, default_value_t = 1_200)]
    burst_ms: u64,
    /// One short round, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Pairs of proxies with mutual TLS between the two.
    #[arg(long)]
    tls: bool,
    /// Only contenders with this name (beside `direct`); may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// Only cases whose name contains this.
    #[arg(long)]
    case: Option<String>,
}

/// What is spoken between proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    /// There is one proxy.
    Off,
    /// Two proxies show each other certificates.
    Mutual,
}

/// One kind of load.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    wire: &'static str,
    exchange: &'static str,
    connections: u32,
    streams: u32,
    /// Requests in a second; else as many as are answered.
    rate: Option<u32>,
}

const CASES: [Case; 6] = [
    Case::closed("http1-1KiB-64", "http1", "small", 64, 1),
    Case::closed("http1-100KiB-32", "http1", "large", 32, 1),
    Case::closed("http2-1KiB-8x16", "http2", "small", 8, 16),
    Case::closed("http2-1KiB-64x1", "http2", "small", 64, 1),
    Case::closed("grpc-8x16", "http2", "grpc", 8, 16),
    Case {
        name: "http1-1KiB-2000rps",
        wire: "http1",
        exchange: "small",
        connections: 64,
        streams: 1,
        rate: Some(2_000),
    },
];

/// Client libraries inside the caller, HTTP/1.1, 1 KiB, 64 callers: name, and calls in a second.
const IN_PROCESS: [(&str, Option<u32>); 2] =
    [("in-process-64", None), ("in-process-2000rps", Some(2_000))];

/// The case that counts handshakes of pairs instead of requests.
const HANDSHAKES: &str = "handshakes";

impl Tls {
    /// Whether a case is measured: gRPC between pairs says nothing that HTTP/2 does not.
    fn takes(self, case: &Case) -> bool {
        self == Self::Off || case.exchange != "grpc"
    }
}

impl Case {
    const fn closed(
        name: &'static str,
        wire: &'static str,
        exchange: &'static str,
        connections: u32,
        streams: u32,
    ) -> Self {
        Self { name, wire, exchange, connections, streams, rate: None }
    }
}

/// Bursts of one contender in the order of the rounds.
struct Row {
    name: String,
    bursts: Vec<Burst>,
}

impl Mesh {
    /// Measures, prints tables, and writes every burst below `bench/results/`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Failure> {
        if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
            return Err("two cores are needed: one for the proxy, one for load".to_owned());
        }
        // Together, or whatever both stand on is compiled twice; a program of yesterday is not what
        // is measured.
        build(root, &["bench-wire", "skein"])?;
        if self.tls() == Tls::Mutual {
            certificates::make(&target(root).join("bench-mesh"))?;
        }
        let (contenders, mut not_run) = self.contenders(root);
        let ends = Ends(Program(built(&target(root), "bench-wire")));
        let (machine_before, started) = (machine(), now());
        let mut cases = serde_json::Map::new();
        for case in CASES.iter().filter(|it| self.takes(it.name) && self.tls().takes(it)) {
            let rows = self.case(case, &ends, &contenders, &mut not_run)?;
            report::print(case.name, case.rate.is_some(), &rows);
            cases.insert(case.name.to_owned(), report::json(case.rate.is_some(), &rows));
        }
        let in_process = IN_PROCESS.into_iter().filter(|(name, _)| self.takes(name));
        for (name, rate) in in_process.filter(|_| self.tls() == Tls::Off) {
            let rows = self.in_process(rate, &ends, &mut not_run)?;
            report::print(name, rate.is_some(), &rows);
            cases.insert(name.to_owned(), report::json(rate.is_some(), &rows));
        }
        if self.takes(HANDSHAKES) && self.tls() == Tls::Mutual {
            let long = (self.rounds(), self.burst().as_millis());
            let rows = handshakes::measure(root, &ends, &contenders, long, &mut not_run)?;
            report::print(HANDSHAKES, false, &rows);
            cases.insert(HANDSHAKES.to_owned(), report::json(false, &rows));
        }
        let memory = if self.takes("memory") && self.tls() == Tls::Off {
            let memory = memory::measure(&ends, &contenders, &mut not_run)?;
            report::print_memory(&memory);
            memory
        } else {
            Value::Null
        };
        let versions: serde_json::Map<String, Value> =
            contenders.iter().map(|it| (it.name.clone(), json!(it.version))).collect();
        let result = json!({
            "command": self.command_line(),
            "profile": PROFILE,
            "unixSeconds": now().as_secs(),
            "tookSeconds": now().saturating_sub(started).as_secs(),
            "machine": machine_before,
            "machineAfter": machine(),
            "references": REFERENCES,
            "versions": versions,
            "notRun": not_run,
            "cases": cases,
            "pssKiB": memory,
        });
        let path = keep(root, if self.tls { "mesh-tls" } else { "mesh" }, &result)?;
        crate::say(&format!("written to {}", path.display()));
        Ok(())
    }

    fn command_line(&self) -> String {
        let Self { rounds, burst_ms, quick, tls, only, case } = self;
        let mut line = format!("cargo xtask bench mesh --rounds {rounds} --burst-ms {burst_ms}");
        if *quick {
            line.push_str(" --quick");
        }
        if *tls {
            line.push_str(" --tls");
        }
        for name in only {
            line.push_str(&format!(" --only {name}"));
        }
        if let Some(case) = case {
            line.push_str(&format!(" --case {case}"));
        }
        line
    }

    fn contenders(&self, root: &Path) -> (Vec<Contender>, Vec<String>) {
        chosen(contender::find(root, &target(root), self.tls()), &self.only, |it| &it.name)
    }

    const fn tls(&self) -> Tls {
        if self.tls { Tls::Mutual } else { Tls::Off }
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

    /// Every contender on fresh instances, round by round.
    fn case(
        &self,
        case: &Case,
        ends: &Ends,
        contenders: &[Contender],
        not_run: &mut Vec<String>,
    ) -> Result<Vec<Row>, Failure> {
        let backend = Backend::start(ends, case.exchange)?;
        let mut started: Vec<Option<Started>> = Vec::from([None]);
        let mut rows = vec![Row { name: "direct".to_owned(), bursts: Vec::new() }];
        for contender in contenders {
            match Started::new(contender, &backend).and_then(|it| it.ready(ends, case)) {
                Ok(it) => {
                    started.push(Some(it));
                    rows.push(Row { name: contender.name.clone(), bursts: Vec::new() });
                }
                Err(reason) => {
                    leave_out(not_run, format!("{} in {}: {reason}", contender.name, case.name));
                }
            }
        }
        for round in 0..self.rounds() {
            for turn in 0..rows.len() {
                let index = (turn + round as usize) % rows.len();
                // Without a proxy the backend is what costs.
                let (port, pid) = match &started[index] {
                    Some(it) => (it.port(case.wire), it.pid()),
                    None => (backend.port(), backend.pid()),
                };
                let burst = ends.burst(case, port, pid, self.burst());
                // One that died must not take the figures of the others along.
                rows[index].bursts.push(burst.unwrap_or_else(|it| Burst::lost(&it)));
            }
        }
        Ok(rows)
    }

    /// Client libraries inside the caller, instead of a proxy beside it.
    fn in_process(
        &self,
        rate: Option<u32>,
        ends: &Ends,
        not_run: &mut Vec<String>,
    ) -> Result<Vec<Row>, Failure> {
        let backend = Backend::start(ends, "small")?;
        let mut rows: Vec<Row> =
            ["hyper", "skein"].map(|it| Row { name: it.to_owned(), bursts: Vec::new() }).into();
        for round in 0..self.rounds() {
            for turn in 0..rows.len() {
                let index = (turn + round as usize) % rows.len();
                match ends.client(&rows[index].name, backend.ports(), rate, self.burst())? {
                    Ok(burst) => rows[index].bursts.push(burst),
                    Err(reason) if round == 0 => {
                        leave_out(not_run, format!("{} in process: {reason}", rows[index].name));
                    }
                    Err(_) => {}
                }
            }
        }
        rows.retain(|it| !it.bursts.is_empty());
        Ok(rows)
    }
}
