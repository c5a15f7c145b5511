//! Stock clients and servers of others through two proxies, one beside the caller and one beside the
//! program: gRPC, WebSocket, curl, h2load.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use http::Method;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http::Http,
    peers::{has, not_run, python_with},
    program::built,
    wait::until,
};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
const SOON: Duration = Duration::from_secs(30);

/// What runs; killed when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A program behind its proxy, and the proxy of whoever calls it.
struct Rig {
    folder: TempDir,
    http: Http,
    /// The caller's door out, and its proxy's port for operators.
    door: u16,
    admin: u16,
    _running: Vec<Running>,
}

impl Rig {
    /// `server` says its port in its first line; `more` are further members of both proxies.
    async fn open(python: &Path, server: &[&str], protocol: &str, more: &str) -> Self {
        let folder = TempDir::with_prefix("skein-").unwrap();
        let mut command = Command::new(python);
        command.arg(format!("{PEERS}/{}", server[0])).args(&server[1..]);
        let mut server = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let program: u16 = line.trim().parse().unwrap();
        let inside = format!(
            "inbound: {{listen: \"127.0.0.1:0\", application: \"127.0.0.1:{program}\", \
             protocol: {protocol}}}\n{more}"
        );
        let (peer, inbound) = proxy(folder.path(), "peer", &inside).await;
        let out = format!(
            "outbound: {{listen: \"127.0.0.1:0\", service: peer}}\n{more}---\n\
             apiVersion: skein/v1\nkind: Endpoints\nmetadata: {{name: peer}}\nspec: \
             {{protocol: {protocol}, endpoints: [{{address: \"127.0.0.1:{}\"}}]}}\n",
            inbound.door
        );
        let (caller, outbound) = proxy(folder.path(), "caller", &out).await;
        let (door, admin) = (outbound.door, outbound.admin);
        let rig =
            Self { folder, http: Http::new(), door, admin, _running: vec![server, peer, caller] };
        for admin in [inbound.admin, admin] {
            // The proxy of the program is ready when that listens.
            let url = format!("http://127.0.0.1:{admin}/readyz");
            until(format!("{url} says yes"), SOON, || async {
                let reply = rig.http.try_send(Method::GET, &url, &[], "").await.ok()?;
                (reply.status == 200).then_some(())
            })
            .await;
        }
        rig
    }

    const fn door(&self) -> u16 {
        self.door
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.door())
    }

    /// The sum of a family at the caller's proxy, over the series that have this label.
    async fn sum(&self, family: &str, label: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.admin);
        let text = String::from_utf8(self.http.get(&url).await.body.to_vec()).unwrap();
        text.lines()
            .filter(|it| it.strip_prefix(family).is_some_and(|it| it.starts_with(['{', ' '])))
            .filter(|it| it.contains(label))
            .filter_map(|it| it.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Where a proxy listens.
struct Bound {
    door: u16,
    admin: u16,
}

/// Starts a proxy with one door; it says in its log which ports it was given.
async fn proxy(folder: &Path, name: &str, spec: &str) -> (Running, Bound) {
    let text = format!(
        "apiVersion: skein/v1\nkind: Proxy\nmetadata: {{name: {name}}}\nspec:\n  \
         admin: \"127.0.0.1:0\"\n  {spec}"
    );
    let (file, log) = (folder.join(format!("{name}.yaml")), folder.join(format!("{name}.log")));
    fs::write(&file, text).unwrap();
    let mut command = Command::new(built("skein"));
    command.stderr(fs::File::create(&log).unwrap()).arg("proxy").arg("--config").arg(file);
    let running = Running::start(&mut command);
    let ready = until(format!("the proxy {name} is ready"), SOON, || async {
        let text = fs::read_to_string(&log).unwrap();
        let mut lines = text.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        lines.find(|it| it["message"] == "proxy is ready")
    })
    .await;
    let port = |told: &str| {
        let digits = told.trim_end_matches(']').rsplit(':').next();
        digits.and_then(|it| it.parse::<u16>().ok())
    };
    let doors = ["inbound", "outbound"].map(|it| ready[it].as_str().and_then(port));
    let door = doors.into_iter().flatten().next().unwrap();
    (running, Bound { door, admin: port(ready["admin"].as_str().unwrap()).unwrap() })
}

/// Runs to its end; what it said.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn grpc_calls_of_every_shape_pass_two_proxies() {
    let Some(python) = python_with("grpc") else {
        return not_run("no Python here has grpcio");
    };
    let rig = Rig::open(&python, &["grpc_peer.py", "serve"], "h2c", "").await;
    let checks = [
        "unary",
        "server_stream",
        "client_stream",
        "bidi",
        "refused",
        "refused_late",
        "deadline",
        "cancel",
        "compression",
    ];
    for check in checks {
        let mut call = Command::new(&python);
        call.arg(format!("{PEERS}/grpc_peer.py")).arg("call");
        let before = rig.sum("mesh_response_size_bytes_sum", "destination=\"peer\"").await;
        run(call.arg(format!("127.0.0.1:{}", rig.door())).arg(check));
        if check == "compression" {
            let after = rig.sum("mesh_response_size_bytes_sum", "destination=\"peer\"").await;
            assert!(after - before < 100_000.0, "a MiB of zeros took {} bytes", after - before);
        }
    }
    let refused = rig.sum("mesh_refusals_total", "source=\"caller\"").await;
    assert!(refused == 0.0, "the mesh answered {refused} calls by itself");
}

#[tokio::test]
async fn a_websocket_passes_two_proxies() {
    let Some(python) = python_with("websockets") else {
        return not_run("no Python here has websockets");
    };
    let rig = Rig::open(&python, &["websocket_peer.py", "serve"], "http", "").await;
    let mut call = Command::new(&python);
    call.arg(format!("{PEERS}/websocket_peer.py")).arg("call");
    run(call.arg(rig.door().to_string()));
}

/// Takes what is sent as OTLP/HTTP; each body, as text.
fn collector() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let to = Arc::clone(&taken);
    // Each ends with its peer, all of them with the test.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let to = Arc::clone(&to);
            thread::spawn(move || collect(stream, &to));
        }
    });
    (port, taken)
}

/// The requests of one connection; `None` when it ends.
fn collect(stream: TcpStream, to: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|it| *it > 0)?;
            if line.trim().is_empty() {
                break;
            }
            let field = line.to_lowercase();
            if let Some(told) = field.strip_prefix("content-length:") {
                length = told.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        to.lock().unwrap().push(text(&body));
        reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").ok()?;
    }
}

#[tokio::test]
async fn both_proxies_send_their_spans_and_write_down_what_failed() {
    if !has("python3") {
        return not_run("there is no python3");
    }
    let (port, taken) = collector();
    let more =
        format!("  traces: \"http://127.0.0.1:{port}\"\n  accessLog: {{share: 0%, slow: 0s}}\n");
    let rig = Rig::open(Path::new("python3"), &["http_peer.py"], "http", &more).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let url = rig.url("/file");
    let asked = rig.http.try_send(Method::GET, &url, &[("traceparent", parent)], "").await.unwrap();
    assert_eq!(asked.status, 200);
    // The program answers 501 to what it does not know.
    let failed = rig.http.try_send(Method::DELETE, &url, &[], "").await.unwrap();
    assert_eq!(failed.status, 501);
    for service in ["caller-proxy", "peer-proxy"] {
        // One batch is of one process.
        let names = |batch: &str| {
            let batch: Value = serde_json::from_str(batch).unwrap();
            let attributes = &batch["resourceSpans"][0]["resource"]["attributes"];
            let attributes = attributes.as_array().unwrap().clone();
            let name = attributes.into_iter().find(|it| it["key"] == "service.name").unwrap();
            name["value"]["stringValue"].as_str().unwrap().to_owned()
        };
        until(format!("{service} sends its span"), SOON, || async {
            let all = taken.lock().unwrap();
            all.iter().any(|it| names(it) == service && it.contains(&parent[3..35])).then_some(())
        })
        .await;
    }
    for name in ["caller", "peer"] {
        // A line is written when its answer has ended, of which the client may know first.
        let told = until(format!("{name} writes a line"), SOON, || async {
            let log = fs::read_to_string(rig.file(&format!("{name}.log"))).unwrap();
            let lines = log.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
            let told: Vec<_> = lines.filter(|it| it["target"] == "access").collect();
            (!told.is_empty()).then_some(told)
        })
        .await;
        // What came before and did not fail is not there.
        assert_eq!(told.len(), 1, "{name}: {told:?}");
        assert_eq!((&told[0]["status"], &told[0]["method"]), (&501.into(), &"DELETE".into()));
        assert!(told[0]["latency_ms"].as_f64().unwrap() > 0.0, "{name}: {told:?}");
    }
}

fn curl(arguments: &[&str]) -> Output {
    run(Command::new("curl").args(["-sS", "--max-time", "30"]).args(arguments))
}

#[tokio::test]
async fn curl_gets_ranges_uploads_and_keeps_its_connection() {
    if let Some(program) = ["python3", "curl"].into_iter().find(|it| !has(it)) {
        return not_run(&format!("there is no {program}"));
    }
    let rig = Rig::open(Path::new("python3"), &["http_peer.py"], "http", "").await;
    let (url, file) = (rig.url("/file"), rig.file("upload"));
    let whole: Vec<u8> = (0..100_000_u32).map(|it| u8::try_from(it * 7 % 251).unwrap()).collect();
    for (version, told) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        assert_eq!(curl(&[version, &url]).stdout, whole, "{told}");
        let nothing = ["-o", "/dev/null", "-w", "%{http_version}"];
        assert_eq!(text(&curl(&[&[version, &url][..], &nothing].concat()).stdout), told);
        let part = curl(&[version, "-i", "-r", "100-199", &url]).stdout;
        let head = text(&part[..part.len() - 100]).to_lowercase();
        assert!(head.contains(" 206") && head.contains("content-range: bytes 100-199/100000"));
        assert_eq!(part[part.len() - 100..], whole[100..200], "{told}");
    }
    // Two on one connection.
    let twice = ["-o", "/dev/null", "-w", "%{num_connects}\n", &url, "-o", "/dev/null", &url];
    assert_eq!(text(&curl(&twice).stdout), "1\n0\n");
    // The body waits for the word that it is wanted.
    fs::write(&file, vec![7; 3_000_000]).unwrap();
    let upload = file.to_str().unwrap();
    for chunked in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let expect = ["-v", "-H", "Expect: 100-continue", "-T", upload, &url];
        let put = curl(&[chunked, &expect].concat());
        assert_eq!(text(&put.stdout), "3000000");
        assert!(text(&put.stderr).contains("HTTP/1.1 100 Continue"), "{}", text(&put.stderr));
    }
}

#[tokio::test]
async fn h2load_loses_no_request() {
    if let Some(program) = ["python3", "h2load"].into_iter().find(|it| !has(it)) {
        return not_run(&format!("there is no {program}"));
    }
    let rig = Rig::open(Path::new("python3"), &["http_peer.py"], "http", "").await;
    for version in [&[][..], &["--h1"]] {
        // What exceeds the cap of 100 and its queue of 25 would be refused.
        let load = ["-n", "400", "-c", "4", "-m", "8", &rig.url("/file")];
        let said = text(&run(Command::new("h2load").args(version).args(load)).stdout);
        assert!(said.contains("400 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
        assert!(said.contains("status codes: 400 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
    }
    let label = "destination=\"peer\",class=\"2xx\"";
    let counted = rig.sum("mesh_requests_total", label).await;
    assert!((counted - 800.0).abs() < 0.5, "{counted} were counted");
}
