//! What a workflow costs, with the mesh in each of its places, one fresh system after the other so that
//! what else the machine does hits all alike. Two phases on each. *Drain*: the Scheduler is paused, a backlog is
//! laid into the log, the Scheduler goes on; how fast the backlog becomes `DeliveryCreated`, and
//! what CPU each role spent on it, is read while no load generator runs. *Steady*: an open loop at a
//! fixed rate; latencies come from the generator and from the roles' own histograms.

mod report;

use std::{path::Path, time::Duration};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Failure, Running, keep, machine, now, pause, programs::PROFILE, signal};

/// Where the mesh stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Placement {
    Off,
    InProcess,
    Sidecar,
}

impl Placement {
    /// As `up --mesh` calls it.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::InProcess => "in-process",
            Self::Sidecar => "sidecar",
        }
    }
}

/// What to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct System {
    /// Where the mesh stands; several, with commas between them, take turns.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "off,in-process,sidecar")]
    mesh: Vec<Placement>,
    /// Whether services show who they are, where there is a mesh.
    #[arg(long, value_parser = ["strict", "off"], default_value = "strict")]
    tls: String,
    /// Fresh systems of each kind.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// Requests that are laid into the log before the drain.
    #[arg(long, default_value_t = 10_000)]
    backlog: u64,
    /// Requests in a second during the steady phase.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Seconds of the steady phase.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Drones of the fleet.
    #[arg(long, default_value_t = 3_000)]
    drones: u64,
    /// Seconds of simulated time in one of ours.
    #[arg(long, default_value_t = 400)]
    time_scale: u64,
    /// Simulated milliseconds between two positions of one drone.
    #[arg(long, default_value_t = 10_000)]
    cadence_ms: u64,
}

impl System {
    /// Measures, prints a table, and writes everything below `bench/results/`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Failure> {
        let (machine_before, started) = (machine(), now());
        let mut seen: Vec<(Placement, Vec<Value>)> =
            self.mesh.iter().map(|it| (*it, Vec::new())).collect();
        for round in 0..self.rounds {
            for turn in 0..seen.len() {
                let index = (turn + round as usize) % seen.len();
                let (placement, rounds) = &mut seen[index];
                rounds.push(self.round(root, *placement)?);
            }
        }
        report::print(&seen);
        let result = json!({
            "command": self.command_line(),
            "profile": PROFILE,
            "unixSeconds": now().as_secs(),
            "tookSeconds": now().saturating_sub(started).as_secs(),
            "machine": machine_before,
            "machineAfter": machine(),
            "fleet": {
                "drones": self.drones, "timeScale": self.time_scale, "cadenceMs": self.cadence_ms,
            },
            "mesh": report::json(&seen),
        });
        let path = keep(root, "system", &result)?;
        crate::say(&format!("written to {}", path.display()));
        Ok(())
    }

    /// One fresh system.
    fn round(&self, root: &Path, placement: Placement) -> Result<Value, Failure> {
        let cadence = format!("drone.position_every_ms={}", self.cadence_ms);
        let (drones, scale) = (self.drones.to_string(), self.time_scale.to_string());
        let mut arguments = vec!["--mesh", placement.as_str()];
        if placement != Placement::Off {
            arguments.extend(["--tls", &self.tls]);
        }
        arguments.extend(["--drones", &drones, "--time-scale", &scale, "--set", &cadence]);
        arguments.extend(["--set", "ingestion.backlog_seconds_max=3600"]);
        let running = Running::start(root, &arguments)?;
        let idle = running.memory()?;
        let drain = self.drain(&running)?;
        let steady = self.steady(&running)?;
        Ok(json!({
            "loadAverage": machine()["loadAverage"],
            "processes": running.services()?.len(),
            "drain": drain,
            "steady": steady,
            "idlePssKiB": idle,
            "pssKiB": running.memory()?,
        }))
    }

    fn command_line(&self) -> String {
        let Self { mesh, tls, rounds, backlog, rate, seconds, drones, time_scale, cadence_ms } =
            self;
        let mesh = mesh.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(",");
        format!(
            "cargo xtask bench system --mesh {mesh} --tls {tls} --rounds {rounds} \
             --backlog {backlog} --rate {rate} --seconds {seconds} --drones {drones} --time-scale {time_scale} \
             --cadence-ms {cadence_ms}"
        )
    }

    fn drain(&self, running: &Running) -> Result<Value, Failure> {
        let scheduler = running.pids()?.remove("scheduler").unwrap_or_default();
        signal(&scheduler, "STOP")?;
        let (rate, seconds) = (1_000, self.backlog.div_ceil(1_000).max(1));
        running.load(rate, seconds)?;
        let doorsteps = running.doorsteps()?;
        let before = running.snapshot()?;
        let started = now();
        signal(&scheduler, "CONT")?;
        let wanted = before.completed() + self.backlog.min(rate * seconds) as f64 * 0.99;
        let deadline = Duration::from_secs(600);
        let mut after = running.snapshot()?;
        while after.completed() < wanted {
            if now().saturating_sub(started) > deadline {
                return Err("the backlog did not drain within ten minutes".to_owned());
            }
            pause(Duration::from_millis(100));
            after = running.snapshot()?;
        }
        let took = now().saturating_sub(started).as_secs_f64();
        let mut report = after.since(&before, took);
        report["doorstepsPerSecond"] = json!((running.doorsteps()? - doorsteps) / took);
        Ok(report)
    }

    fn steady(&self, running: &Running) -> Result<Value, Failure> {
        let (before, doorsteps) = (running.snapshot()?, running.doorsteps()?);
        let started = now();
        let summary = running.load(self.rate, self.seconds)?;
        let took = now().saturating_sub(started).as_secs_f64();
        let mut report = running.snapshot()?.since(&before, took);
        report["doorstepsPerSecond"] = json!((running.doorsteps()? - doorsteps) / took);
        report["generator"] = summary;
        report["workflowMs"] = running.workflows()?;
        Ok(report)
    }
}
