//! Replicas, versions and programs of others: each has a port of its own, and a file says where
//! those are that run.

use std::{collections::BTreeMap, fs, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    peers::{has, not_run},
    program::{Process, System, sample_request},
    wait::until,
};

const SOON: Duration = Duration::from_secs(20);

/// Where `ps` says that an instance listens.
fn port(system: &System, instance: &str) -> Option<u64> {
    let all = system.command_json(&["ps"]);
    let rows = all["services"].as_array().unwrap();
    rows.iter().find(|it| it["instance"] == instance)?["ports"]["http"].as_u64()
}

/// The lines of endpoints below the name of a service.
fn endpoints(system: &System, service: &str) -> Vec<String> {
    let text = fs::read_to_string(system.data().join("mesh/endpoints.yaml")).unwrap();
    let name = format!("metadata: {{name: {service}}}");
    let set = text.split("---").find(|it| it.lines().any(|it| it == name)).unwrap();
    set.lines().filter_map(|it| it.strip_prefix("  - ")).map(str::to_owned).collect()
}

/// The line of an instance that has a port.
fn line(system: &System, instance: &str, version: &str) -> Option<String> {
    let address = format!("127.0.0.1:{}", port(system, instance)?);
    Some(format!("{{address: \"{address}\", instance: \"{instance}\", version: \"{version}\"}}"))
}

fn endpoint(system: &System, instance: &str, version: &str) -> String {
    line(system, instance, version).unwrap()
}

fn instance(system: &System, name: &str) -> Process {
    system.processes().into_iter().find(|it| it.instance == name).unwrap()
}

#[tokio::test]
async fn every_instance_listens_alone_and_one_that_died_is_no_longer_listed() {
    let system = System::up(&[
        "--mesh",
        "in-process",
        "--tls",
        "off",
        "--replicas",
        "account=2",
        "--role",
        "account@v2=",
    ]);
    let first = endpoint(&system, "account-1", "v1");
    let second = endpoint(&system, "account-2", "v1");
    let other = endpoint(&system, "account@v2-1", "v2");
    assert_eq!(port(&system, "account-1"), Some(u64::from(system.port(104))));
    assert_eq!(endpoints(&system, "account"), [first.as_str(), &second, &other]);
    assert_eq!(endpoints(&system, "account-v1"), [first.as_str(), &second]);
    assert_eq!(endpoints(&system, "account-v2"), [other.as_str()]);
    for line in [&first, &second, &other] {
        let address = line.split('"').nth(1).unwrap();
        let reply = system.http.get(&format!("http://{address}/livez")).await;
        assert_eq!(reply.status, 200, "{line}");
    }
    instance(&system, "account-2").signal(Signal::KILL);
    until("the dead one is not listed", SOON, async || {
        (!endpoints(&system, "account").contains(&second)).then_some(())
    })
    .await;
    until("its successor is listed where it listens", SOON, async || {
        let now = line(&system, "account-2", "v1")?;
        endpoints(&system, "account").contains(&now).then_some(())
    })
    .await;
    assert!(system.command(&["down"]).status.success());
    assert!(endpoints(&system, "account").is_empty());
}

#[tokio::test]
async fn a_stopped_instance_is_ended_and_started_again_and_its_replica_goes_on() {
    let system = System::up(&["--replicas", "scheduler=2", "--time-scale", "600"]);
    let stopped = instance(&system, "scheduler-2");
    stopped.signal(Signal::STOP);
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", SOON).await;
    until("another runs in its place", SOON, || async {
        let now = instance(&system, "scheduler-2");
        (stopped.is_gone() && now.pid != stopped.pid && now.state == "ready").then_some(())
    })
    .await;
}

/// Answers 503 on its health path at first, and names its environment at any other path.
const PROGRAM: &str = r#"
import http.server, json, os
looks = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthy":
            looks.append(1)
            self.send_response(200 if len(looks) > 2 else 503)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict(os.environ)).encode())
    def log_message(self, *what): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

#[tokio::test]
async fn a_program_in_another_language_takes_the_place_of_a_service_and_ends_with_up() {
    if !has("python3") {
        return not_run("there is no python3");
    }
    let service = serde_json::json!({"command": ["python3", "-c", PROGRAM], "health": "/healthy"});
    let set = format!("services.package={service}");
    let system = System::up(&["--mesh", "in-process", "--set", &set, "--replicas", "package=2"]);
    assert_eq!(
        endpoints(&system, "package"),
        ["package-1", "package-2"].map(|it| endpoint(&system, it, "v1"))
    );
    let second = port(&system, "package-2").unwrap();
    let reply = system.http.get(&format!("http://127.0.0.1:{second}/environment")).await;
    let told: BTreeMap<String, Value> = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(told["PORT"], second.to_string());
    assert_eq!(told["SKEIN_INSTANCE"], "package-2");
    assert_eq!(told["SKEIN_OUTBOUND_DRONE"], format!("http://127.0.0.1:{}", system.port(107)));
    let before = instance(&system, "package-2");
    before.signal(Signal::KILL);
    until("it was started again", SOON, async || {
        let now = instance(&system, "package-2");
        (now.pid != before.pid && now.state == "ready").then_some(())
    })
    .await;
    let all = system.processes();
    instance(&system, "up").signal(Signal::KILL);
    until("all ended with `up`", SOON, async || all.iter().all(Process::is_gone).then_some(()))
        .await;
}

#[tokio::test]
async fn each_replica_calls_out_through_the_proxy_beside_it() {
    let flags = ["--mesh", "sidecar", "--replicas", "scheduler=2", "--time-scale", "600"];
    let system = System::up(&flags);
    for _ in 0..12 {
        let id = system.accepted(&sample_request()).await;
        system.ends(&id, "Completed", Duration::from_secs(60)).await;
    }
    let proxies = system.role("scheduler-proxy");
    assert_eq!(proxies.len(), 2);
    for proxy in proxies {
        let tries = proxy.metric(&system.http, "mesh_attempts_total").await;
        assert!(tries > 0.0, "nothing went out through {}", proxy.instance);
    }
}
