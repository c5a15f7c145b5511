//! What a part that is slow, stopped or overloaded does to the edge. Every phase is an open loop
//! through the gateway; latencies count from when a request was due.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure, Running, machine, metrics::exchange_as, now, pause, programs::PROFILE, signal, write,
};

/// What to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct Isolation {
    /// Requests in a second of the phases that are compared.
    #[arg(long, default_value_t = 50)]
    rate: u64,
    /// Seconds of each of them.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Seconds that the Scheduler is stopped, at 100 requests a second.
    #[arg(long, default_value_t = 300)]
    stopped_seconds: u64,
    /// Requests in a second of the overload.
    #[arg(long, default_value_t = 3_000)]
    overload_rate: u64,
    /// Seconds of the overload.
    #[arg(long, default_value_t = 60)]
    overload_seconds: u64,
    /// A Python that has `confluent-kafka`; without one the foreign subscriber is not run.
    #[arg(long, default_value = "python3")]
    python: String,
}

/// Longest wait for the end of what was accepted.
const DRAINED_WITHIN: Duration = Duration::from_secs(1_800);

impl Isolation {
    /// Measures, prints the result, and writes it below `bench/results/`.
    pub(crate) fn run(&self, root: &Path) -> Result<(), Failure> {
        let fleet = ["--drones", "3000", "--time-scale", "1000", "--enable-faults"];
        let quiet = ["--set", "drone.position_every_ms=60000"];
        // The foreign subscriber logs in by no name.
        let foreign = ["--set", "broker.plain_clients=true"];
        let running = Running::start(root, &[&fleet[..], &quiet, &foreign].concat())?;
        // The first requests of a process pay for its connections and pages.
        running.load(self.rate, 5)?;
        let result = json!({
            "command": self.command_line(),
            "profile": PROFILE,
            "unixSeconds": now().as_secs(),
            "machine": machine(),
            "slowDelivery": self.slow_delivery(&running)?,
            "foreignSubscriber": self.foreign_subscriber(&running)?,
            "schedulerStopped": self.scheduler_stopped(&running)?,
            "overload": self.overload(&running)?,
        });
        write(root, "isolation", &result)
    }

    fn command_line(&self) -> String {
        let Self { rate, seconds, stopped_seconds, overload_rate, overload_seconds, .. } = self;
        format!(
            "cargo xtask bench isolation --rate {rate} --seconds {seconds} \
             --stopped-seconds {stopped_seconds} --overload-rate {overload_rate} \
             --overload-seconds {overload_seconds}"
        )
    }

    fn slow_delivery(&self, running: &Running) -> Result<Value, Failure> {
        let before = running.load(self.rate, self.seconds)?;
        let slow = r#"{"route": "PUT /api/deliveries/{id}", "delay_ms": 2000, "count": 1000000}"#;
        running.admin("delivery", "PUT", "/admin/faults", slow)?;
        let during = running.load(self.rate, self.seconds);
        running.admin("delivery", "DELETE", "/admin/faults", "")?;
        let drained = running.drained()?;
        Ok(json!({"before": before, "during": during?, "drainedSeconds": drained}))
    }

    /// Without, with, without: what differs between the two without is the machine's own noise.
    fn foreign_subscriber(&self, running: &Running) -> Result<Value, Failure> {
        let mut phases = Vec::new();
        for with in [false, true, false] {
            let script = if with { Script::start(&self.python, &running.root)? } else { None };
            if with && script.is_none() {
                return Ok(json!(format!("not run: {} has no confluent-kafka", self.python)));
            }
            let edge = running.load(self.rate, self.seconds)?;
            running.drained()?;
            phases.push(
                json!({"subscriber": with, "edge": edge, "workflowMs": running.workflows()?}),
            );
        }
        Ok(json!(phases))
    }

    fn scheduler_stopped(&self, running: &Running) -> Result<Value, Failure> {
        let scheduler = running.pids()?.remove("scheduler").unwrap_or_default();
        signal(&scheduler, "STOP")?;
        let edge = running.load(100, self.stopped_seconds);
        signal(&scheduler, "CONT")?;
        Ok(json!({"edge": edge?, "drainedSeconds": running.drained()?}))
    }

    fn overload(&self, running: &Running) -> Result<Value, Failure> {
        let edge = running.load(self.overload_rate, self.overload_seconds)?;
        let lag = running.snapshot()?.lag_seconds();
        Ok(json!({"edge": edge, "lagSecondsAtTheEnd": lag, "drainedSeconds": running.drained()?}))
    }
}

impl Running {
    /// One request to the admin port of a role.
    fn admin(&self, role: &str, method: &str, path: &str, body: &str) -> Result<(), Failure> {
        let service = self.services()?.into_iter().find(|it| it["service"] == role);
        let port = service.and_then(|it| it["ports"]["admin"].as_u64()).unwrap_or(0);
        let port = u16::try_from(port).map_err(|it| it.to_string())?;
        let shown = self.bearer("operators.token")?;
        let reply = exchange_as(port, method, path, &shown, body).map_err(|it| it.to_string())?;
        if reply.starts_with("HTTP/1.1 2") { Ok(()) } else { Err(format!("{role}: {reply}")) }
    }

    /// Waits until nothing that was accepted is still on its way to `DeliveryCreated`; gives the
    /// seconds that it took.
    fn drained(&self) -> Result<f64, Failure> {
        let started = now();
        let mut quiet = 0;
        // Twice in a row: a record may be between the log and the saga store.
        while quiet < 2 {
            if now().saturating_sub(started) > DRAINED_WITHIN {
                return Err("what was accepted is still under way".to_owned());
            }
            pause(Duration::from_millis(500));
            let is_quiet = self.snapshot()?.is_drained();
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
        Ok(now().saturating_sub(started).as_secs_f64())
    }
}

/// The foreign subscriber while it runs.
struct Script(Child);

impl Script {
    fn start(python: &str, root: &Path) -> Result<Option<Self>, Failure> {
        let has = Command::new(python).args(["-c", "import confluent_kafka"]).output();
        if !has.is_ok_and(|it| it.status.success()) {
            return Ok(None);
        }
        let child = Command::new(python)
            .arg(root.join("examples/analytics.py"))
            .arg(format!("127.0.0.1:{}", super::PORT_BASE + 92))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|it| it.to_string())?;
        Ok(Some(Self(child)))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
