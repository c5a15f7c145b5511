//! The program under test: started with `up`, asked with its own commands, killed by process id.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    doors::{Doors, OWN_KEY, own_key, page_token},
    http::{Http, Reply},
    wait::{until, until_seen},
};

/// One process of a running system, as `ps -o json` shows it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) pid: i32,
    pub(crate) state: String,
    pub(crate) admin: Option<u16>,
}

impl Process {
    /// The sum of a metric over its labels, read at the admin port.
    pub(crate) async fn metric(&self, http: &Http, name: &str) -> f64 {
        self.metric_of(http, name, &[]).await
    }

    /// The same of the series with these labels, each written as `name="value"`.
    pub(crate) async fn metric_of(&self, http: &Http, name: &str, labels: &[&str]) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin.unwrap());
        let text = String::from_utf8(http.get(&url).await.body.to_vec()).unwrap();
        text.lines()
            .filter(|it| it.strip_prefix(name).is_some_and(|it| it.starts_with([' ', '{'])))
            .filter(|it| labels.iter().all(|label| it.contains(label)))
            .filter_map(|it| it.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Time that it has run on a core, in hundredths of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        // The name in brackets may hold spaces; the fields are counted behind it.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Whether nothing of it is left but what its parent has not looked at yet.
    pub(crate) fn is_gone(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    }

    /// Sends a signal; a process that is gone already is no failure.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid).unwrap();
        kill_process(pid, signal).ok();
    }
}

/// A whole system with a data directory of its own. Dropping it stops every process.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) http: Http,
    data: PathBuf,
    /// Removed with the system, where the directory is its own.
    _owned: Option<TempDir>,
    port_base: u16,
}

impl System {
    /// `up --detach --wait` with these further arguments.
    pub(crate) fn up(arguments: &[&str]) -> Self {
        let owned = TempDir::with_prefix("drone-delivery-").unwrap();
        let mut system = Self::up_at(owned.path().join("data"), arguments);
        system._owned = Some(owned);
        system
    }

    /// The same; a process that a test stops is not killed before the test wakes it.
    pub(crate) fn up_pausable(arguments: &[&str]) -> Self {
        Self::up(&[arguments, &["--set", "silence_max_ms=0"]].concat())
    }

    /// The same on a directory that somebody else owns.
    pub(crate) fn up_at(data: PathBuf, arguments: &[&str]) -> Self {
        let port_base = free_port_base();
        let http = Http::entering(Doors::of(data.clone(), port_base));
        let system = Self { http, port_base, data, _owned: None };
        system.start(arguments);
        system
    }

    /// Starts it again on the data that is there.
    pub(crate) fn start(&self, arguments: &[&str]) {
        let base = self.port_base.to_string();
        let mut all = vec!["up", "--detach", "--wait", "--port-base", &base];
        all.extend(arguments);
        // The same tests with the mesh elsewhere: `cargo xtask test --mesh sidecar kills`.
        let mesh = std::env::var("SYSTEM_MESH").unwrap_or_default();
        if !mesh.is_empty() && !arguments.contains(&"--mesh") {
            all.extend(["--mesh", &mesh]);
        }
        // The same tests with doors that ask nobody: `cargo xtask test --tls off`.
        let tls = std::env::var("SYSTEM_TLS").unwrap_or_default();
        if !tls.is_empty() && !arguments.contains(&"--tls") {
            all.extend(["--tls", &tls]);
        }
        if arguments.contains(&"strict") && !arguments.contains(&"--tls") {
            self.make_key();
        }
        let output = self.command(&all);
        assert!(output.status.success(), "up failed: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Profile strict makes no key: its operator does.
    fn make_key(&self) {
        if own_key(&self.data).is_none() {
            let drawn = self.command_json(&["key", "create", "tests", "--role", "operator"]);
            std::fs::write(self.data.join(OWN_KEY), drawn["key"].as_str().unwrap()).unwrap();
        }
    }

    /// Runs one command of the program on this system.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.prepared(arguments).output().unwrap()
    }

    /// The same by somebody with this key.
    pub(crate) fn command_as(&self, key: &str, arguments: &[&str]) -> Output {
        self.prepared(arguments).env("DRONE_DELIVERY_KEY", key).output().unwrap()
    }

    fn prepared(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).arg("--data").arg(&self.data).stdin(Stdio::null());
        command.envs(own_key(&self.data).map(|it| ("DRONE_DELIVERY_KEY_FILE", it)));
        command
    }

    /// Starts one command and does not wait for its end.
    pub(crate) fn start_command(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(program());
        command.args(arguments).arg("--data").arg(&self.data);
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// The same, with what it says.
    pub(crate) fn follow_command(&self, arguments: &[&str]) -> Child {
        let mut command = self.prepared(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command that answers with JSON.
    #[track_caller]
    pub(crate) fn command_json(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[arguments, &["-o", "json"]].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|it| panic!("{arguments:?} gave no JSON ({it}): {errors}"))
    }

    /// The same where there may be no answer yet.
    pub(crate) fn try_command_json(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.command(&[arguments, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    /// What people did, and what became of it, by its audit log, which is whole.
    pub(crate) fn deeds(&self) -> Vec<(String, String)> {
        assert_eq!(self.command_json(&["audit", "verify"])["broken"], Value::Null);
        let noted = self.command_json(&["audit", "tail"]);
        let words = |it: &Value, of: &str| it[of].as_str().unwrap().to_owned();
        let entries = noted.as_array().unwrap().iter();
        entries.map(|it| (words(it, "what"), words(it, "decision"))).collect()
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Address of a port of names and numbers, counted from the base.
    pub(crate) fn url(&self, offset: u16, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port(offset))
    }

    /// A port of names and numbers.
    pub(crate) const fn port(&self, offset: u16) -> u16 {
        self.port_base + offset
    }

    /// Address at the public gateway.
    pub(crate) fn gateway(&self, path: &str) -> String {
        self.url(80, path)
    }

    /// The link that opens the page at a path.
    pub(crate) fn page(&self, path: &str) -> String {
        let token = page_token(&self.data).map_or_else(String::new, |it| format!("?t={it}"));
        self.url(0, &format!("{path}{token}"))
    }

    /// `kill -9` for every process, the one that restarts them first; returns when all are gone.
    pub(crate) async fn kill_everything(&self) {
        let mut processes = self.processes();
        processes.sort_by_key(|it| it.service != "up");
        for process in &processes {
            process.signal(Signal::KILL);
        }
        until("every process is gone", Duration::from_secs(10), || async {
            processes.iter().all(Process::is_gone).then_some(())
        })
        .await;
    }

    /// The processes that run now.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let listed = self.command_json(&["ps"]);
        let services = listed["services"].as_array().cloned().unwrap_or_default();
        let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
        services
            .iter()
            .map(|it| Process {
                service: text(it, "service"),
                instance: text(it, "instance"),
                pid: it["pid"].as_i64().and_then(|it| it.try_into().ok()).unwrap_or(0),
                state: text(it, "state"),
                admin: it["ports"]["admin"].as_u64().and_then(|it| it.try_into().ok()),
            })
            .collect()
    }

    /// What kinds of process there are.
    pub(crate) fn roles(&self) -> Vec<Value> {
        self.command_json(&["roles"]).as_array().unwrap().clone()
    }

    /// Where a role is called.
    pub(crate) fn at(&self, role: &str, path: &str) -> String {
        let named = self.roles();
        let line = named.iter().find(|it| it["role"] == role).unwrap();
        format!("http://127.0.0.1:{}{path}", line["port"])
    }

    /// The processes of one role.
    pub(crate) fn role(&self, role: &str) -> Vec<Process> {
        self.processes().into_iter().filter(|it| it.service == role).collect()
    }

    /// Posts a delivery request at the gateway.
    pub(crate) async fn submit(&self, request: &Value) -> Reply {
        self.http.json(Method::POST, &self.gateway("/api/deliveryrequests"), request).await
    }

    /// Posts a request that must be accepted; gives the delivery's id.
    pub(crate) async fn accepted(&self, request: &Value) -> String {
        let reply = self.submit(request).await;
        assert_eq!(reply.status, 202, "{:?}", reply.json());
        reply.json()["deliveryId"].as_str().unwrap().to_owned()
    }

    /// The request's state at its Location.
    pub(crate) async fn request(&self, id: &str) -> Value {
        self.http.get(&self.gateway(&format!("/api/deliveryrequests/{id}"))).await.json()
    }

    /// Waits until the request has the state; gives the whole document.
    #[track_caller]
    pub(crate) fn ends(
        &self,
        id: &str,
        state: &str,
        within: Duration,
    ) -> impl Future<Output = Value> {
        until_seen(format!("{id} is {state}"), within, move || async move {
            let document = self.request(id).await;
            if document["state"] == state { Ok(document) } else { Err(document.to_string()) }
        })
    }

    /// Plants a fault at every process of a role: `route` is `METHOD /template`.
    pub(crate) async fn plant(&self, role: &str, fault: &Value) {
        for process in self.role(role) {
            let url = format!("http://127.0.0.1:{}/admin/faults", process.admin.unwrap());
            let reply = self.http.json(Method::PUT, &url, fault).await;
            assert!(reply.status.is_success(), "{role}: {:?}", reply.json());
        }
    }

    /// Takes every fault of a role back.
    pub(crate) async fn heal(&self, role: &str) {
        for process in self.role(role) {
            let url = format!("http://127.0.0.1:{}/admin/faults", process.admin.unwrap());
            self.http.send(Method::DELETE, &url, &[], "").await;
        }
    }

    /// The effect ledger's summary of a role; its replicas share one store.
    pub(crate) async fn ledger(&self, role: &str) -> Value {
        let admin = self.role(role)[0].admin.unwrap();
        self.http.get(&format!("http://127.0.0.1:{admin}/admin/effects/summary")).await.json()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_complaints();
        }
        self.command(&["down"]);
    }
}

/// Lines of each log that a failed test shows.
const COMPLAINTS_SHOWN: usize = 20;

impl System {
    /// What each process complained of last, for whoever reads why a test failed: the logs are removed
    /// with the system.
    fn show_complaints(&self) {
        let logs = std::fs::read_dir(self.data.join("logs")).into_iter().flatten().flatten();
        for log in logs {
            let text = std::fs::read_to_string(log.path()).unwrap_or_default();
            let is_complaint = |it: &&str| !it.contains(r#""level":"info""#);
            let mut last: Vec<&str> =
                text.lines().rev().filter(is_complaint).take(COMPLAINTS_SHOWN).collect();
            last.reverse();
            for line in last {
                println!("{line}");
            }
        }
    }
}

/// A request like the original's sample, between two places of the demo city.
pub(crate) fn sample_request() -> Value {
    json!({
        "deliveryId": "mydelivery",
        "ownerId": "myowner",
        "pickupLocation": "my pickup",
        "dropOffLocation": "my dropoff",
        "pickupTime": "2026-01-01T00:00:00Z",
        "deadline": "",
        "expedited": true,
        "confirmationRequired": "None",
        "packageInfo": {"packageId": "mypackage", "size": "Small", "weight": 10, "tag": "mytag"}
    })
}

/// The program that was built with these tests: `cargo xtask test` builds it first.
pub(crate) fn program() -> PathBuf {
    built("drone-delivery")
}

/// A program of this workspace, by its name.
pub(crate) fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join(name);
    assert!(built.exists(), "{} is not built: run `cargo xtask test`", built.display());
    built
}

/// A base whose ports are free now. Tests that run at once draw from different spots.
pub(crate) fn free_port_base() -> u16 {
    // The page, spans, the control plane, the gateway, the log; the services; the doors of the proxies beside
    // them; the gateway over TLS.
    let offsets: Vec<u16> = [0, 18, 70, 80, 92]
        .into_iter()
        .chain(101..=109)
        .chain(201..=209)
        .chain(301..=309)
        .chain([443])
        .collect();
    for _ in 0..200 {
        let base = fastrand::u16(20_000..28_000);
        let held: Vec<_> = offsets
            .iter()
            .map_while(|it| TcpListener::bind(("127.0.0.1", base + it)).ok())
            .collect();
        if held.len() == offsets.len() {
            return base;
        }
    }
    panic!("no free range of ports was found");
}
