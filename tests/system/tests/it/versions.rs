//! Two versions of a service at once: how calls are split, who may choose, what the old one says, and
//! how traffic is moved.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http::Http,
    program::{System, built, sample_request},
    wait::until,
};

/// Each is drawn by itself: three points are then four and a half standard deviations.
const CALLS: u32 = 2_000;
const SOON: Duration = Duration::from_secs(20);

/// A split by weights, and for those who name it in a header the second version.
fn split(first: u32, second: u32) -> String {
    format!(
        r#"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: account}}
spec:
  parentRefs: [{{kind: Service, name: account}}]
  rules:
  - backendRefs: [{{name: account-v1, weight: {first}}}, {{name: account-v2, weight: {second}}}]
  - matches: [{{headers: [{{name: x-account, value: v2}}]}}]
    backendRefs: [{{name: account-v2}}]
"#
    )
}

/// By the version that is asked for; the first one is on its way out.
const BY_VERSION: &str = r#"apiVersion: skein/v1
kind: ApiVersions
metadata: {name: account}
spec:
  parentRefs: [{kind: Service, name: account}]
  sources: [{header: api-version}]
  default: v1
  versions:
  - name: v1
    backend: account-v1
    deprecation: 2026-01-01T00:00:00Z
    sunset: 2027-01-01T00:00:00Z
    link: https://example.com/account-v2
  - {name: v2, backend: account-v2}
"#;

/// A caller's proxy beside nothing: it reads the endpoints of the system and a file of routes.
struct Caller {
    proxy: Child,
    folder: TempDir,
    door: u16,
    admin: u16,
    http: Http,
}

impl Caller {
    async fn start(system: &System, routes: &str) -> Self {
        let folder = TempDir::with_prefix("skein-").unwrap();
        let endpoints = system.data().join("mesh/endpoints.yaml");
        let free = [(), ()].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [door, admin] = free.map(|it| it.local_addr().unwrap().port());
        let text = format!(
            "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: caller}}\nspec:\n  \
             outbound: {{listen: \"127.0.0.1:{door}\", service: account}}\n  \
             admin: \"127.0.0.1:{admin}\"\n  files: [\"{}\", routes.yaml]\n",
            endpoints.display()
        );
        let file = folder.path().join("caller.yaml");
        fs::write(&file, text).unwrap();
        replace(&routes_of(folder.path()), routes);
        let proxy = Command::new(built("skein"))
            .arg("proxy")
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let caller = Self { proxy, folder, door, admin, http: Http::new() };
        until("the caller's door is open", SOON, || async {
            let url = caller.url();
            let reply = caller.http.try_send(Method::GET, &url, &[], "").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        caller
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/api/account/myowner", self.door)
    }

    fn set_routes(&self, text: &str) {
        replace(&routes_of(self.folder.path()), text);
    }

    async fn admin(&self, path: &str) -> String {
        let reply = self.http.get(&format!("http://127.0.0.1:{}{path}", self.admin)).await;
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    /// Requests that each version was sent so far.
    async fn sent(&self) -> [u32; 2] {
        let text = self.admin("/metrics").await;
        ["account-v1", "account-v2"].map(|name| {
            let of = format!("destination=\"{name}\"");
            let counts = text.lines().filter(|it| it.starts_with("mesh_attempts_total{"));
            let counts = counts.filter(|it| it.contains(&of) && it.contains("class=\"2xx\""));
            counts.map(|it| it.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap()).sum()
        })
    }

    /// Waits until the route file in force has such weights.
    async fn weighs(&self, expected: [u64; 2]) {
        until(format!("the weights are {expected:?}"), SOON, || async {
            let routes: Value = serde_json::from_str(&self.admin("/routes").await).unwrap();
            let rows = routes["routes"].as_array().unwrap().clone();
            let of = |row: &Value| {
                let backends = row["backends"].as_array().unwrap();
                backends.iter().map(|it| it["weight"].as_u64().unwrap()).collect::<Vec<_>>()
            };
            rows.iter().any(|it| of(it) == expected).then_some(())
        })
        .await;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.proxy.kill().ok();
        self.proxy.wait().ok();
    }
}

fn routes_of(folder: &Path) -> PathBuf {
    folder.join("routes.yaml")
}

/// Renamed into place, so that nobody reads half.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("new");
    fs::write(&draft, text).unwrap();
    fs::rename(&draft, path).unwrap();
}

fn since(now: [u32; 2], before: [u32; 2]) -> [u32; 2] {
    [now[0] - before[0], now[1] - before[1]]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_split_by_weight_and_moved_without_a_failed_one() {
    // The caller of this test has no identity to show.
    let system = System::up(&["--tls", "off", "--role", "account@v2="]);
    let caller = Arc::new(Caller::start(&system, &split(90, 10)).await);
    let before = caller.sent().await;
    for _ in 0..CALLS {
        assert_eq!(caller.http.get(&caller.url()).await.status, 200);
    }
    let [first, second] = since(caller.sent().await, before);
    assert_eq!(first + second, CALLS);
    let share = f64::from(second) / f64::from(CALLS);
    assert!((0.07..=0.13).contains(&share), "the second version got {second} of {CALLS}");

    let before = caller.sent().await;
    for _ in 0..50 {
        let pinned = [("x-account", "v2")];
        let reply = caller.http.send(Method::GET, &caller.url(), &pinned, "").await;
        assert_eq!(reply.status, 200);
    }
    assert_eq!(since(caller.sent().await, before), [0, 50]);

    // All of it to the second version while eight clients go on.
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (caller, stop, done) = (Arc::clone(&caller), Arc::clone(&stop), Arc::clone(&done));
        clients.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(caller.http.get(&caller.url()).await.status, 200);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for weights in [[50, 50], [10, 90], [0, 100]] {
        let so_far = done.load(Ordering::Relaxed);
        let [first, second] = weights;
        caller.set_routes(&split(first.try_into().unwrap(), second.try_into().unwrap()));
        caller.weighs(weights).await;
        until("the load goes on", SOON, || async {
            (done.load(Ordering::Relaxed) > so_far + 200).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let before = caller.sent().await;
    for _ in 0..200 {
        assert_eq!(caller.http.get(&caller.url()).await.status, 200);
    }
    assert_eq!(since(caller.sent().await, before), [0, 200]);
}

#[tokio::test]
async fn the_old_version_says_that_it_will_go() {
    // The caller of this test has no identity to show.
    let system = System::up(&["--tls", "off", "--role", "account@v2="]);
    let caller = Caller::start(&system, BY_VERSION).await;
    let old = caller.http.get(&caller.url()).await;
    assert_eq!(old.header("deprecation"), "@1767225600");
    assert_eq!(old.header("sunset"), "Fri, 01 Jan 2027 00:00:00 GMT");
    assert_eq!(old.header("link"), "<https://example.com/account-v2>; rel=\"deprecation\"");
    let before = caller.sent().await;
    let asked = [("api-version", "v2")];
    let new = caller.http.send(Method::GET, &caller.url(), &asked, "").await;
    assert_eq!(
        (new.status.as_u16(), new.header("deprecation"), new.header("sunset")),
        (200, "", "")
    );
    assert_eq!(since(caller.sent().await, before), [0, 1]);
    let none = caller.http.send(Method::GET, &caller.url(), &[("api-version", "v3")], "").await;
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn a_route_file_of_up_leads_the_calls_of_its_services() {
    let folder = TempDir::with_prefix("skein-").unwrap();
    let file = routes_of(folder.path());
    let example = include_str!("../../../../examples/mesh/account-versions.yaml");
    replace(&file, &example.replace("90", "0").replace("10}", "100}"));
    let routes = file.to_str().unwrap();
    let two = ["--role", "account@v2=", "--routes", routes];
    let system = System::up(&[&two[..], &["--time-scale", "600", "--enable-faults"]].concat());
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
    let served = async |instance: &str| {
        let all = system.role("account");
        let found = all.iter().find(|it| it.instance == instance).unwrap();
        found.metric(&system.http, "http_server_request_duration_seconds_count").await
    };
    assert_eq!((served("account-1").await, served("account@v2-1").await), (0.0, 1.0));
    // The name of the service means both versions.
    let planted = system.command_json(&["fault", "add", "account", "--error", "503"]);
    assert_eq!(planted["services"], serde_json::json!(["account", "account-v1", "account-v2"]));
    let output = system.command(&["stat", "--to", "account", "-t", "1s"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.lines().any(|it| it.starts_with("account-v2  ")), "{table}");
}
