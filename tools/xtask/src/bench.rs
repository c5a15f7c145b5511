//! `cargo xtask bench …`: figures of the program as people run it. They are read, never asserted.

mod balance;
mod isolation;
mod mesh;
mod messaging;
mod metrics;
mod part;
mod process;
mod programs;
mod soak;
mod system;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use metrics::Scrape;
use process::Usage;

pub(crate) use balance::Balance;
pub(crate) use isolation::Isolation;
pub(crate) use mesh::Mesh;
pub(crate) use messaging::Messaging;
pub(crate) use soak::Soak;
pub(crate) use system::System;

/// A failure that ends the measurement, in words.
type Failure = String;

/// Ports count from here; one measurement at a time.
const PORT_BASE: u16 = 17_000;

/// The program under measurement; it ends with its scope.
struct Running {
    program: PathBuf,
    data: PathBuf,
    root: PathBuf,
}

impl Running {
    /// Builds the program and starts a system on a fresh directory.
    fn start(root: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        build(root, &["drone-delivery"])?;
        let target = programs::target(root);
        let running = Self {
            program: programs::built(&target, "drone-delivery"),
            data: target.join("bench"),
            root: root.to_owned(),
        };
        if running.data.exists() {
            fs::remove_dir_all(&running.data).map_err(|it| it.to_string())?;
        }
        let base = PORT_BASE.to_string();
        // A bench stops the Scheduler while a backlog is laid down, and wakes it.
        let patient = ["--set", "silence_max_ms=0"];
        let fixed = ["up", "--detach", "--wait", "--port-base", &base, patient[0], patient[1]];
        running.command(&[&fixed, arguments].concat())?;
        Ok(running)
    }

    fn command(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = Command::new(&self.program)
            .args(arguments)
            .arg("--data")
            .arg(&self.data)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|it| it.to_string())?;
        // 10 = some items ended otherwise than expected; the summary says which.
        if output.status.success() || output.status.code() == Some(10) {
            return String::from_utf8(output.stdout).map_err(|it| it.to_string());
        }
        Err(format!("{arguments:?} failed with {}", output.status))
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let text = self.command(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|it| format!("{arguments:?}: {it}"))
    }

    /// An open loop through the gateway.
    fn load(&self, rate: u64, seconds: u64) -> Result<Value, Failure> {
        let file = self.root.join("examples/plain.jsonl").display().to_string();
        let (rate, seconds) = (rate.to_string(), seconds.to_string());
        self.json(&["load", &file, "--rate", &rate, "--seconds", &seconds])
    }

    fn services(&self) -> Result<Vec<Value>, Failure> {
        Ok(self.json(&["ps"])?["services"].as_array().cloned().unwrap_or_default())
    }

    fn pids(&self) -> Result<BTreeMap<String, Vec<u64>>, Failure> {
        let mut pids: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for service in self.services()? {
            let (name, pid) = (service["service"].as_str(), service["pid"].as_u64());
            if let (Some(name), Some(pid)) = (name, pid) {
                pids.entry(name.to_owned()).or_default().push(pid);
            }
        }
        Ok(pids)
    }

    fn snapshot(&self) -> Result<Snapshot, Failure> {
        let mut roles = BTreeMap::new();
        for service in self.services()? {
            let Some(name) = service["service"].as_str() else { continue };
            let usage = service["pid"].as_u64().and_then(process::usage).unwrap_or_default();
            let scrape = service["ports"]["admin"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok())
                .and_then(|port| metrics::scrape(port).ok())
                .unwrap_or_default();
            let entry: &mut (Usage, Scrape) = roles.entry(name.to_owned()).or_default();
            entry.0 = entry.0 + usage;
            entry.1.add(scrape);
        }
        Ok(Snapshot { roles })
    }

    /// Deliveries at the doorstep since the start.
    fn doorsteps(&self) -> Result<f64, Failure> {
        let token = self.bearer("page.token")?;
        metrics::doorsteps(PORT_BASE, &token).map_err(|it| format!("the page: {it}"))
    }

    /// The field that shows a secret of the edge, with the end of its line.
    fn bearer(&self, file: &str) -> Result<String, Failure> {
        let path = self.data.join("edge").join(file);
        let secret = fs::read_to_string(&path).map_err(|it| format!("{}: {it}", path.display()))?;
        Ok(format!("authorization: Bearer {}\r\n", secret.trim()))
    }

    /// Median and 99th percentile of the newest thousand workflows, in milliseconds.
    fn workflows(&self) -> Result<Value, Failure> {
        let sagas = self.json(&["saga", "list", "--status", "completed", "--limit", "1000"])?;
        let took = sagas.as_array().into_iter().flatten().filter_map(|it| {
            let millis = |member: &str| millis(it[member].as_str()?);
            Some(millis("updatedAt")? - millis("acceptedAt")?)
        });
        let mut took: Vec<i64> = took.collect();
        took.sort_unstable();
        let at = |percent: usize| took.get((took.len() * percent).div_ceil(100).checked_sub(1)?);
        Ok(json!({"count": took.len(), "p50": at(50), "p99": at(99)}))
    }

    fn memory(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let pids = self.pids()?;
        Ok(pids
            .into_iter()
            .map(|(role, pids)| (role, pids.into_iter().filter_map(process::pss_kib).sum()))
            .collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(reason) = self.command(&["down"]) {
            crate::say(&format!("the system was not stopped: {reason}"));
        }
    }
}

/// Every role's use of the machine and its counters at one moment.
struct Snapshot {
    roles: BTreeMap<String, (Usage, Scrape)>,
}

impl Snapshot {
    /// Workflows that reached `DeliveryCreated`.
    fn completed(&self) -> f64 {
        self.roles.get("scheduler").map_or(0.0, |(_, it)| it.sum("saga_closed_total", "completed"))
    }

    /// Whether no request waits in the log and no saga is under way.
    fn is_drained(&self) -> bool {
        let sum =
            |role: &str, name: &str| self.roles.get(role).map_or(0.0, |it| it.1.sum(name, ""));
        sum("scheduler", "messaging_lag_records") + sum("scheduler", "saga_open_count") < 0.5
    }

    /// Age of the oldest request that the Scheduler has not taken.
    fn lag_seconds(&self) -> f64 {
        self.roles.get("scheduler").map_or(0.0, |it| it.1.sum("messaging_lag_seconds", ""))
    }

    fn since(&self, before: &Self, seconds: f64) -> Value {
        let workflows = (self.completed() - before.completed()).max(1.0);
        let (mut cpu, mut syncs, mut bytes) = (PerRole::new(), PerRole::new(), PerRole::new());
        let mut events = 0.0;
        let (mut steps, mut fleet) = (Scrape::default(), Scrape::default());
        for (role, (usage, scrape)) in &self.roles {
            let (was, counted) = before.roles.get(role).cloned().unwrap_or_default();
            cpu.insert(role, (usage.cpu_ms - was.cpu_ms) / workflows);
            bytes.insert(role, (usage.written_bytes - was.written_bytes) / workflows);
            let grown = scrape.since(&counted);
            let sum = |name: &str| grown.sum(name, "");
            let synced = sum("durable_log_syncs_total") + sum("store_commits_total");
            syncs.insert(role, synced / workflows);
            match role.as_str() {
                "drone" => {
                    events += sum("drone_moves_total") + sum("drone_positions_published_total");
                    fleet = grown;
                }
                "scheduler" => steps = grown,
                _ => {}
            }
        }
        json!({
            "workflows": workflows,
            "seconds": seconds,
            "workflowsPerSecond": workflows / seconds,
            "cpuMsPerWorkflow": cpu.values().sum::<f64>(),
            "cpuMsPerWorkflowByRole": in_thousandths(&cpu),
            "syncsPerWorkflow": syncs.values().sum::<f64>(),
            "syncsPerWorkflowByRole": in_thousandths(&syncs),
            "bytesWrittenPerWorkflow": bytes.values().sum::<f64>(),
            "bytesWrittenPerWorkflowByRole": in_thousandths(&bytes),
            "droneEventsPerSecond": events / seconds,
            "promiseErrorSeconds": fleet.quantiles("drone_promise_error_seconds", "moment"),
            "stepSeconds": steps.quantiles("saga_step_duration_seconds", "step"),
            "workflowSeconds": steps.quantiles("saga_duration_seconds", "definition"),
        })
    }
}

/// What each role spent on one workflow.
type PerRole<'r> = BTreeMap<&'r str, f64>;

fn in_thousandths(spent: &PerRole<'_>) -> Value {
    spent.iter().map(|(role, it)| (*role, (it * 1_000.0).round() / 1_000.0)).collect()
}

#[expect(clippy::disallowed_methods, reason = "a measuring tool reads the wall clock")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a tool without a runtime has no other thread")]
fn pause(how_long: Duration) {
    thread::sleep(how_long);
}

fn signal(pids: &[u64], name: &str) -> Result<(), Failure> {
    for pid in pids {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
        if !sent.is_ok_and(|it| it.success()) {
            return Err(format!("no {name} could be sent to {pid}"));
        }
    }
    Ok(())
}

/// Builds packages as they are given to people: what is measured is what they run.
fn build(root: &Path, packages: &[&str]) -> Result<(), Failure> {
    let named = packages.iter().flat_map(|it| ["--package", it]);
    cargo(
        root,
        &["build", "--profile", programs::PROFILE].into_iter().chain(named).collect::<Vec<_>>(),
    )
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let status = Command::new("cargo").args(arguments).current_dir(root).status();
    if status.is_ok_and(|it| it.success()) {
        Ok(())
    } else {
        Err(format!("cargo {arguments:?} failed"))
    }
}

fn machine() -> Value {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({"cores": cores, "loadAverage": load.trim()})
}

/// Prints a result and keeps it, with the command that made it.
fn write(root: &Path, name: &str, result: &Value) -> Result<(), Failure> {
    let path = keep(root, name, result)?;
    crate::say(&serde_json::to_string_pretty(result).map_err(|it| it.to_string())?);
    crate::say(&format!("written to {}", path.display()));
    Ok(())
}

/// Keeps a result below `bench/results/`.
fn keep(root: &Path, name: &str, result: &Value) -> Result<PathBuf, Failure> {
    let text = serde_json::to_string_pretty(result).map_err(|it| it.to_string())?;
    let folder = root.join("bench/results");
    fs::create_dir_all(&folder).map_err(|it| it.to_string())?;
    let seconds = result["unixSeconds"].as_u64().unwrap_or(0);
    let path = folder.join(format!("{name}-{seconds}.json"));
    fs::write(&path, format!("{text}\n")).map_err(|it| it.to_string())?;
    Ok(path)
}

/// The median of sorted figures; between the middle two where their number is even.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(half)) {
        (1, Some(middle)) => *middle,
        (_, Some(upper)) => f64::midpoint(sorted[half - 1], *upper),
        (_, None) => f64::NAN,
    }
}

/// Milliseconds of the day of an RFC 3339 time in UTC.
fn millis(time: &str) -> Option<i64> {
    let (_, clock) = time.trim_end_matches('Z').split_once('T')?;
    let mut parts = clock.split([':', '.']).map(|it| it.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000 + parts.next().flatten().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_read_to_the_millisecond() {
        assert_eq!(millis("2026-11-25T01:02:03.004Z"), Some(3_723_004));
        assert_eq!(millis("2026-11-25T00:00:01Z"), Some(1_000));
        assert_eq!(millis("yesterday"), None);
    }
}
