//! A team with another language: a stock Kafka client reads what happens and asks for deliveries; a
//! service in Python stands in the place of one of ours.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    peers::{has, not_run, python_with_kafka},
    program::{System, sample_request},
    wait::until,
};

/// Lets in at the log who shows nothing: a script of the examples logs in by no name.
const PLAIN_CLIENTS: &str = "broker.plain_clients=true";
const ABSENT: &str = "no Python here has confluent-kafka";

/// A script of `examples/` that runs beside the system; its last line of output can be read.
struct Script {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Script {
    fn start(system: &System, name: &str) -> Option<Self> {
        Self::start_with(system, name, &[])
    }

    /// The same with something in its environment.
    fn start_with(system: &System, name: &str, environment: &[(&str, String)]) -> Option<Self> {
        let file = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(python_with_kafka()?)
            .arg(file)
            .arg(format!("127.0.0.1:{}", system.port(92)))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (output, said) = (child.stdout.take().unwrap(), Arc::new(Mutex::new(String::new())));
        let heard = Arc::clone(&said);
        // Ends with the script's output.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // A test that fails shows it.
                println!("{line}");
                *heard.lock().unwrap() = line;
            }
        });
        Some(Self { child, said })
    }

    async fn says(&self, what: &str) -> String {
        until(format!("the script says {what}"), Duration::from_secs(60), || async {
            let said = self.said.lock().unwrap().clone();
            said.contains(what).then_some(said)
        })
        .await
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT).ok();
        }
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn a_stock_client_counts_the_stages() {
    let system = System::up(&["--time-scale", "600", "--set", PLAIN_CLIENTS]);
    let Some(script) = Script::start(&system, "analytics.py") else { return not_run(ABSENT) };
    for _ in 0..3 {
        system.accepted(&sample_request()).await;
    }
    script.says("'DeliveryCompleted': 3").await;
}

#[tokio::test]
async fn a_request_that_a_stock_client_produces_is_delivered() {
    let system = System::up(&["--time-scale", "600", "--set", PLAIN_CLIENTS]);
    let Some(script) = Script::start(&system, "request.py") else { return not_run(ABSENT) };
    let id = script.says("-").await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
}

#[tokio::test]
async fn the_samples_log_in_where_nobody_is_let_in_without() {
    let folder = tempfile::tempdir().unwrap();
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/log-user.yaml");
    let system = System::up(&["--time-scale", "600", "--routes", rules]);
    let anchors = folder.path().join("anchors.pem");
    fs::write(&anchors, system.command(&["identity", "anchors", "--pem"]).stdout).unwrap();
    let start = |user: &str| {
        let added = system.command_json(&["log", "user", "add", user]);
        let secret = folder.path().join(user);
        fs::write(&secret, added["secret"].as_str().unwrap()).unwrap();
        let shown = |path: &Path| path.to_str().unwrap().to_owned();
        let environment = [
            ("LOG_USER", user.to_owned()),
            ("LOG_SECRET_FILE", shown(&secret)),
            ("LOG_AUTHORITIES", shown(&anchors)),
        ];
        Script::start_with(&system, &format!("{user}.py"), &environment)
    };
    let Some(asks) = start("request") else { return not_run(ABSENT) };
    let id = asks.says("-").await;
    let Some(counts) = start("analytics") else { return not_run(ABSENT) };
    counts.says("'DeliveryCompleted': 1").await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
}

/// A system whose Package is the one of the examples.
fn with_python_package(mesh: &str) -> System {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/mesh/package.py");
    let service = serde_json::json!({"command": ["python3", file], "health": "/readyz"});
    let set = format!("services.package={service}");
    System::up(&["--time-scale", "600", "--mesh", mesh, "--set", &set])
}

async fn delivers_with_python_package(mesh: &str) {
    if !has("python3") {
        return not_run("there is no python3");
    }
    let system = with_python_package(mesh);
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
    let package = system.http.get(&system.url(106, "/api/packages/mypackage")).await;
    assert_eq!((package.status.as_u16(), &package.json()["tag"]), (200, &"mytag".into()));
    // It dies, and what it was told is still there.
    system.role("package")[0].signal(Signal::KILL);
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_delivery_completes_with_a_package_service_in_python() {
    delivers_with_python_package("in-process").await;
}

#[tokio::test]
async fn a_delivery_completes_with_a_package_service_in_python_behind_a_proxy() {
    delivers_with_python_package("sidecar").await;
}

#[tokio::test]
async fn the_package_service_in_python_does_what_a_key_says_once() {
    if !has("python3") {
        return not_run("there is no python3");
    }
    let system = with_python_package("off");
    let call = async |method: Method, key: &str, epoch: &str, body: &str| {
        let key = format!("\"{key}\"");
        let headers = [("idempotency-key", key.as_str()), ("skein-epoch", epoch)];
        let url = system.url(106, "/api/packages/p?deliveryId=d");
        let reply = system.http.send(method, &url, &headers, body.to_owned()).await;
        let replayed = reply.header("idempotent-replayed") == "true";
        (reply.status.as_u16(), replayed, reply.json()["code"].as_str().map(str::to_owned))
    };
    let body = r#"{"deliveryId": "d", "weight": 2}"#;
    let (action, undo) = ("d/create/package/do/0", "d/create/package/undo/0");
    let refused = |status, code: &str| (status, false, Some(code.to_owned()));
    assert_eq!(call(Method::PUT, action, "5", body).await, (201, false, None));
    assert_eq!(call(Method::PUT, action, "6", body).await, (201, true, None));
    assert_eq!(call(Method::PUT, action, "6", "{}").await, refused(422, "body_mismatch"));
    assert_eq!(call(Method::PUT, action, "5", body).await, refused(409, "stale_epoch"));
    assert_eq!(call(Method::DELETE, undo, "6", "").await, (204, false, None));
    assert_eq!(call(Method::DELETE, undo, "6", "").await, (204, true, None));
    assert_eq!(call(Method::PUT, action, "6", body).await, refused(409, "undone"));
    let gone = system.http.get(&system.url(106, "/api/packages/p")).await;
    assert_eq!(gone.status, 404);
}
