//! What a workflow costs. Two phases on one system. *Drain*: the Scheduler is paused, a backlog is
//! laid into the log, the Scheduler goes on; how fast the backlog becomes `DeliveryCreated`, and
//! what CPU each role spent on it, is read while no load generator runs. *Steady*: an open loop at a
//! fixed rate; latencies come from the generator and from the roles' own histograms.

use std::{path::Path, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, Running, machine, now, pause, signal, write};

/// What to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct System {
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
    /// Measures, prints the result, and writes it below `bench/results/`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Failure> {
        let cadence = format!("drone.position_every_ms={}", self.cadence_ms);
        let (drones, scale) = (self.drones.to_string(), self.time_scale.to_string());
        let running = Running::start(
            root,
            &[
                "--drones",
                &drones,
                "--time-scale",
                &scale,
                "--set",
                &cadence,
                "--set",
                "ingestion.backlog_seconds_max=3600",
            ],
        )?;
        let idle = running.memory()?;
        let drain = self.drain(&running)?;
        let steady = self.steady(&running)?;
        let result = json!({
            "command": self.command_line(),
            "unixSeconds": now().as_secs(),
            "machine": machine(),
            "fleet": {
                "drones": self.drones, "timeScale": self.time_scale, "cadenceMs": self.cadence_ms,
            },
            "drain": drain,
            "steady": steady,
            "idlePssKiB": idle,
            "pssKiB": running.memory()?,
        });
        write(root, "system", &result)
    }

    fn command_line(&self) -> String {
        let Self { backlog, rate, seconds, drones, time_scale, cadence_ms } = self;
        format!(
            "cargo xtask bench system --backlog {backlog} --rate {rate} --seconds {seconds} \
             --drones {drones} --time-scale {time_scale} --cadence-ms {cadence_ms}"
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
