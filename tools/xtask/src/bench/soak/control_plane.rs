//! The control plane stands still while instances are killed and come back, and is then killed: `up` starts it
//! anew, and all must register again and take the state.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::bench::{Failure, Running, metrics::exchange, now, pause, signal, soak::while_asked};

/// Between two instances that are killed.
const KILL_EVERY: Duration = Duration::from_secs(20);
/// Longest wait for what must come.
const COMES_WITHIN: Duration = Duration::from_secs(60);
/// Who has two instances.
const DOUBLED: &str = "delivery=2";
/// The one of them that is killed. It comes back where it was, so that the last state is still true: where
/// another one comes back, nobody but the control plane could say.
const KILLED: &str = "delivery-1";

pub(super) fn run(root: &Path, rate: u64, long: Duration) -> Result<Value, Failure> {
    let with_control =
        ["--set", "mesh_control.enabled=true", "--set", "mesh_control.grace_ms=3000"];
    let placed = ["--mesh", "in-process", "--replicas", DOUBLED];
    let running = Running::start(root, &[&with_control[..], &placed].concat())?;
    let all = instances(&comes("all are registered", || registry(&running))?);
    while_asked(&running, rate, || {
        let until = now() + long;
        let control = running.pids()?.remove("control").unwrap_or_default();
        signal(&control, "STOP")?;
        let mut killed = 0;
        while now() < until {
            let pid = pid_of(&running, KILLED).ok_or_else(|| format!("{KILLED} does not run"))?;
            signal(&[pid], "KILL")?;
            killed += 1;
            let is_back = || pid_of(&running, KILLED).filter(|it| *it != pid);
            comes("the one that was killed is back", is_back)?;
            pause(KILL_EVERY);
        }
        signal(&control, "KILL")?;
        let died = now();
        comes("the control plane is back", || {
            let is_new = running.pids().ok()?.remove("control")? != control;
            is_new.then(|| registry(&running))?
        })?;
        let back = now();
        comes("all have registered again, and taken the state", || {
            let now = registry(&running)?;
            let taken = |it: &Value| it["acknowledged"] == now["version"];
            let heard = now["subscribers"].as_array()?;
            (instances(&now) == all && heard.iter().all(taken)).then_some(())
        })?;
        let converged = now();
        Ok(json!({
            "awaySeconds": long.as_secs(),
            "instancesKilled": killed,
            "secondsFromKillToAnswer": back.saturating_sub(died).as_secs_f64(),
            "secondsFromAnswerToConverged": converged.saturating_sub(back).as_secs_f64(),
        }))
    })
}

/// Waits for something.
fn comes<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let until = now() + COMES_WITHIN;
    while now() < until {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        pause(Duration::from_millis(50));
    }
    Err(format!("never came: {what}"))
}

/// The process of an instance that is ready.
fn pid_of(running: &Running, instance: &str) -> Option<u64> {
    let services = running.services().ok()?;
    let found = services.iter().find(|it| it["instance"] == instance && it["state"] == "ready")?;
    found["pid"].as_u64()
}

/// What the control plane shows; none while it does not answer.
fn registry(running: &Running) -> Option<Value> {
    let services = running.services().ok()?;
    let control = services.iter().find(|it| it["service"] == "control")?;
    let port = u16::try_from(control["ports"]["admin"].as_u64()?).ok()?;
    let reply = exchange(port, "GET", "/services", "").ok()?;
    serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()
}

/// Who is registered.
fn instances(registry: &Value) -> Vec<String> {
    let rows = registry["instances"].as_array().into_iter().flatten();
    let mut names: Vec<String> =
        rows.filter_map(|it| it["instance"].as_str().map(str::to_owned)).collect();
    names.sort_unstable();
    names
}
