//! What each way of balancing does to clients while backends are slow or dead: the mesh's own
//! decisions in simulated time. The same command gives the same figures on every machine.
//!
//! First Buoyant's experiment ("Beyond Round Robin: Load Balancing for Latency", 2016): 11 backends
//! of 167 ms, one of them takes 2 s for half of a minute, clients give up after 1 s. Then 200
//! endpoints of which 20 die in one instant.

mod plot;
// One file for the tests that assert on it and for this report.
#[path = "../../../../communication/mesh-policy/tests/it/simulation.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod simulation;

use std::{fs, path::Path, time::Duration};

use clap::Args;
use mesh_policy::{
    balance::{self, Algorithm},
    breaker, retry,
};
use serde_json::{Value, json};

use super::{Failure, now, write};
use plot::{Line, Panel};
use simulation::{Outcome, Setup, Trouble, run};

/// Share of requests that must succeed with peak EWMA, in percent.
const GATE_PERCENT: f64 = 99.7;
const SECOND: Duration = Duration::from_secs(1);

/// What to simulate.
#[derive(Debug, Args)]
pub(crate) struct Balance {
    /// Seeds; the figures are of all of them together, the gate holds for each.
    #[arg(long, default_value_t = 5)]
    seeds: u64,
}

/// One way of balancing with what is switched on beside it.
struct Way {
    name: &'static str,
    algorithm: Algorithm,
    breaker: bool,
    retry: bool,
}

const fn way(name: &'static str, algorithm: Algorithm, breaker: bool, retry: bool) -> Way {
    Way { name, algorithm, breaker, retry }
}

const SLOW: [Way; 6] = [
    way("random", Algorithm::Random, false, false),
    way("round robin", Algorithm::RoundRobin, false, false),
    way("least request", Algorithm::LeastRequest, false, false),
    way("peak EWMA", Algorithm::PeakEwma, false, false),
    way("round robin, breaker", Algorithm::RoundRobin, true, false),
    way("peak EWMA, breaker", Algorithm::PeakEwma, true, false),
];

const KILLED: [Way; 8] = [
    way("random", Algorithm::Random, false, false),
    way("random, retries", Algorithm::Random, false, true),
    way("random, breaker", Algorithm::Random, true, false),
    way("random, breaker, retries", Algorithm::Random, true, true),
    way("peak EWMA", Algorithm::PeakEwma, false, false),
    way("peak EWMA, retries", Algorithm::PeakEwma, false, true),
    way("peak EWMA, breaker", Algorithm::PeakEwma, true, false),
    way("peak EWMA, breaker, retries", Algorithm::PeakEwma, true, true),
];

impl Balance {
    /// Simulates, prints the result, writes it and its plot below `bench/results/`, and fails when
    /// peak EWMA misses its gate.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Failure> {
        let seconds = now().as_secs();
        let slow: Vec<(&Way, Vec<Outcome>)> =
            SLOW.iter().map(|way| (way, self.outcomes(way, &slow_setup(way)))).collect();
        let killed = KILLED.iter().map(|way| (way, self.outcomes(way, &killed_setup(way))));
        let result = json!({
            "command": format!("cargo xtask bench balance --seeds {}", self.seeds),
            "unixSeconds": seconds,
            "slowBackend": {
                "setup": "11 backends of 167 ms (sd 5), 1,000 requests/s for 60 s, one takes 2 s from second 15 to 45, time-out 1 s",
                "ways": slow.iter().map(|(way, it)| report(way, it)).collect::<Vec<Value>>(),
            },
            "killedEndpoints": {
                "setup": "200 endpoints of 20 ms (sd 2), 1,000 requests/s for 30 s, 20 die at second 10, time-out 1 s",
                "ways": killed.map(|(way, it)| report(way, &it)).collect::<Vec<Value>>(),
            },
        });
        write(root, "balance", &result)?;
        let path = root.join(format!("bench/results/balance-{seconds}.svg"));
        fs::write(&path, picture(&slow)).map_err(|it| it.to_string())?;
        crate::say(&format!("drawn in {}", path.display()));
        judge(&slow)
    }

    fn outcomes(&self, way: &Way, setup: &Setup) -> Vec<Outcome> {
        crate::say(&format!("{} endpoints: {} …", setup.endpoints, way.name));
        (0..self.seeds).map(|seed| run(&Setup { seed: 41 + seed, ..setup.clone() })).collect()
    }
}

fn slow_setup(way: &Way) -> Setup {
    let balance = balance::Settings { algorithm: way.algorithm, ..balance::Settings::default() };
    Setup {
        breaker: way.breaker.then(breaker::Settings::default),
        retry: way.retry.then(retry::Settings::default),
        ..Setup::buoyant(balance)
    }
}

fn killed_setup(way: &Way) -> Setup {
    Setup {
        endpoints: 200,
        length: 30 * SECOND,
        mean: Duration::from_millis(20),
        deviation: Duration::from_millis(2),
        trouble: Trouble::Killed { count: 20, at: 10 * SECOND },
        ..slow_setup(way)
    }
}

fn report(way: &Way, outcomes: &[Outcome]) -> Value {
    let success = outcomes.iter().map(Outcome::success_percent);
    let millis = |percent| millis(percentile(outcomes, percent, Duration::ZERO, Duration::MAX));
    json!({
        "way": way.name,
        "requests": outcomes.iter().map(|it| it.answers.len()).sum::<usize>(),
        "failed": outcomes.iter().map(Outcome::failed).sum::<usize>(),
        "failedBySeed": outcomes.iter().map(Outcome::failed).collect::<Vec<usize>>(),
        "retries": outcomes.iter().map(|it| it.retries).sum::<u64>(),
        "successPercentWorstSeed": success.fold(100.0, f64::min),
        "p50Ms": millis(50),
        "p99Ms": millis(99),
    })
}

/// The median over the seeds.
fn percentile(outcomes: &[Outcome], percent: usize, from: Duration, until: Duration) -> Duration {
    let mut each: Vec<Duration> =
        outcomes.iter().map(|it| it.percentile(percent, from, until)).collect();
    each.sort_unstable();
    each.get(each.len() / 2).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

fn judge(slow: &[(&Way, Vec<Outcome>)]) -> Result<(), Failure> {
    let bare = |way: &Way| way.algorithm == Algorithm::PeakEwma && !way.breaker;
    let (_, outcomes) = slow.iter().find(|(way, _)| bare(way)).ok_or("peak EWMA was not run")?;
    let worst = outcomes.iter().map(Outcome::success_percent).fold(100.0, f64::min);
    if outcomes.is_empty() || worst < GATE_PERCENT {
        return Err(format!("peak EWMA: {worst:.3} % succeeded, the gate is {GATE_PERCENT} %"));
    }
    crate::say(&format!("peak EWMA: {worst:.3} % succeeded with the worst seed; gate passed"));
    Ok(())
}

/// Success and latency of each second of the first experiment.
fn picture(slow: &[(&Way, Vec<Outcome>)]) -> String {
    let lines = |of: &dyn Fn(&[Outcome], Duration) -> f64| {
        let points =
            |it: &[Outcome]| (0..60).map(|second| of(it, second * SECOND)).collect::<Vec<f64>>();
        slow.iter().map(|(way, it)| Line { name: way.name, points: points(it) }).collect()
    };
    let success = Panel {
        title: "Requests that succeeded, by the second in which they came (%)",
        lowest: 85.0,
        highest: 100.0,
        lines: lines(&|outcomes, from| {
            let came = outcomes.iter().flat_map(|it| &it.answers);
            let came = came.filter(|it| (from..from + SECOND).contains(&it.came));
            let (all, good) = came
                .fold((0_u32, 0_u32), |(all, good), it| (all + 1, good + u32::from(it.succeeded)));
            100.0 * f64::from(good) / f64::from(all.max(1))
        }),
    };
    let latency = Panel {
        title: "99th percentile of the time to an answer or to giving up (ms)",
        lowest: 0.0,
        highest: 1_000.0,
        lines: lines(&|outcomes, from| millis(percentile(outcomes, 99, from, from + SECOND))),
    };
    plot::draw(
        "11 backends of 167 ms at 1,000 requests/s; one takes 2 s from second 15 to 45",
        &[success, latency],
    )
}
