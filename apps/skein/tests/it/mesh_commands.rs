//! A proxy before two instances of a service, looked at through the commands' own functions.

use std::{fs, net::SocketAddr, time::Duration};

use clap::Parser;
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use service_kit::{FaultHook, ServiceConfig, ServiceContext};
use skein::{
    Exit, Output,
    commands::{
        self, Admins, MeshCommand,
        arguments::{CostArguments, FaultCommand, Hops, TapArguments},
        cost,
        live::{Counts, Live},
        pages, stat,
    },
    proxy,
};
use telemetry::{Telemetry, TelemetryConfig};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const WITHIN: Duration = Duration::from_secs(20);

/// Answers every request on every connection with 200 and `hello`.
pub(crate) async fn backend(tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let of_connections = tasks.clone();
    tasks.spawn("backend", move |shutdown| async move {
        while let Some(Ok((stream, _))) = shutdown.or_cancel(listener.accept()).await {
            of_connections.spawn("connection", move |shutdown| async move {
                let _ended = shutdown.or_cancel(serve(stream)).await;
            });
        }
    });
    address
}

async fn serve(mut stream: TcpStream) {
    let mut received = Vec::new();
    loop {
        while let Some(end) = received.windows(4).position(|it| it == b"\r\n\r\n") {
            received.drain(..end + 4);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut received).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

struct Mesh {
    tasks: Tasks,
    admins: Admins,
    running: proxy::Running,
    _files: TempDir,
}

/// Where calls to stock go: to whom it has, and to nobody but by one path.
const BY_PATH: &str = "  - matches: [{method: GET, path: {type: PathPrefix, value: /items}}]
    backendRefs: [{name: stock, port: 80}]
";
/// To its two versions, which those choose who name one.
const BY_VERSION: &str = "  - backendRefs: [{name: stock-v1}]
  - matches: [{queryParams: [{name: v, value: two}]}]
    backendRefs: [{name: stock-v2}]
";

async fn mesh(hook: FaultHook) -> Mesh {
    mesh_by(BY_PATH, hook).await
}

async fn mesh_by(rules: &str, hook: FaultHook) -> Mesh {
    let tasks = Tasks::new();
    let (one, two) = (backend(&tasks).await, backend(&tasks).await);
    let text = format!(
        r#"
apiVersion: skein/v1
kind: Proxy
metadata: {{name: shop}}
spec:
  inbound: {{listen: "127.0.0.1:0", application: "{one}"}}
  outbound:
  - {{listen: "127.0.0.1:0", service: stock}}
  admin: "127.0.0.1:0"
  workers: 1
---
apiVersion: skein/v1
kind: Endpoints
metadata: {{name: stock}}
spec:
  endpoints:
  - {{address: "{one}", instance: "stock-1", version: "v1"}}
  - {{address: "{two}", instance: "stock-2", version: "v2"}}
---
apiVersion: skein/v1
kind: Endpoints
metadata: {{name: stock-v1}}
spec: {{endpoints: [{{address: "{one}", instance: "stock-1"}}]}}
---
apiVersion: skein/v1
kind: Endpoints
metadata: {{name: stock-v2}}
spec: {{endpoints: [{{address: "{two}", instance: "stock-2"}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: items}}
spec:
  parentRefs: [{{kind: Service, name: stock, group: ""}}]
  rules:
{rules}"#
    );
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("shop.yaml");
    fs::write(&path, text).unwrap();
    let (proxy, policy) = proxy::read(&path).unwrap();
    let clock = SystemClock::shared();
    let telemetry = Telemetry::new(TelemetryConfig::default(), clock.clone());
    let config = ServiceConfig { faults: hook, ..proxy::config(&proxy) };
    let context = ServiceContext::new(config, clock, telemetry, tasks.clone());
    let running = proxy::start(&proxy, policy, &context, proxy::limits(), None).unwrap();
    let admins = Admins::at(&[running.admin], "start it with faults");
    Mesh { tasks, admins, running, _files: files }
}

/// A command line as the program reads it; an argument with spaces stands in quotes.
fn command(line: &str) -> MeshCommand {
    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: MeshCommand,
    }
    let mut words = vec!["skein"];
    for (number, part) in line.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace()),
            _ => words.push(part),
        }
    }
    Line::parse_from(words).command
}

impl Mesh {
    /// Sends a request through the proxy; answers the status.
    async fn ask(&self, path: &str) -> u16 {
        self.ask_at(self.running.bound.outbound[0], path).await.1
    }

    /// Sends a request to a door; answers from which address, and the status.
    async fn ask_at(&self, door: SocketAddr, path: &str) -> (SocketAddr, u16) {
        let mut stream = TcpStream::connect(door).await.unwrap();
        let own = stream.local_addr().unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: stock\r\nauthorization: secret\r\n\
                     connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (own, answer.split(' ').nth(1).unwrap().parse().unwrap())
    }

    /// Runs a command line as the program would.
    async fn run(&self, line: &str) -> Result<Exit, skein::Failure> {
        let run = commands::run(&self.admins, command(line), Output::default());
        timeout(WITHIN, run).await.unwrap()
    }

    async fn page(&self, path: &str) -> Value {
        self.admins.get(path).await.unwrap().said[0].json()
    }

    async fn end(self) {
        self.tasks.drain(Duration::from_secs(5)).await;
        self.running.join(&self.tasks);
    }
}

#[tokio::test]
async fn routes_and_endpoints_are_those_of_the_proxy() {
    let mesh = mesh(FaultHook::Off).await;
    assert_eq!(mesh.ask("/items/1").await, 200);
    let rules = pages::rules(&[mesh.page("/routes").await]);
    let table = pages::routes_table(&rules).render("");
    assert!(table.contains("service/stock") && table.contains("GET /items/*"), "{table}");
    let seen = pages::seen_by("shop", &mesh.page("/endpoints").await, &["stock".to_owned()]);
    let states: Vec<_> =
        seen.iter().map(|it| (&it["endpoint"], &it["version"], &it["breaker"])).collect();
    let text = serde_json::to_string(&states).unwrap();
    assert_eq!(text, r#"[["stock-1","v1","closed"],["stock-2","v2","closed"]]"#);
    assert_eq!(mesh.run("why stock GET /items/1").await, Ok(Exit::Done));
    assert_eq!(mesh.run("why stock POST /items/1").await, Ok(Exit::Failed));
    let unknown = mesh.run("endpoints shelf").await.unwrap_err();
    let known = Some("known are stock, stock-v1, stock-v2");
    assert_eq!((unknown.exit, unknown.why.as_deref()), (Exit::NotFound, known));
    // A latency that nobody measured is none.
    let measured = seen.iter().filter(|it| !it["latency_ms"].is_null()).count();
    assert_eq!(measured, 1, "one of two was called: {seen:?}");
    mesh.end().await;
}

#[tokio::test]
async fn why_ends_by_what_it_found() {
    let mesh = mesh(FaultHook::Off).await;
    for (line, exit) in [
        ("why stock GET /items/1", Exit::Done),
        ("why stock GET /elsewhere", Exit::Failed),
        ("why stock-v2 GET /elsewhere", Exit::Done),
    ] {
        assert_eq!(mesh.run(line).await, Ok(exit), "{line}");
    }
    for (line, code, exit) in [
        ("why shelf GET /", "no_such_service", Exit::NotFound),
        ("why stock GET / --edge front", "no_such_edge", Exit::NotFound),
        ("why stock GET / --from nobody", "no_such_source", Exit::NotFound),
        ("why stock GET nowhere", "bad_argument", Exit::Usage),
    ] {
        let failure = mesh.run(line).await.unwrap_err();
        assert_eq!((failure.code.as_ref(), failure.exit), (code, exit), "{line}");
    }
    let page = mesh.page("/explain?service=stock&path=/items/1").await;
    assert_eq!(page["verdict"], "would_send");
    assert_eq!((&page["faults"], &page["limits"]), (&Value::from([(); 0]), &Value::from([(); 0])));
    let page = mesh.page("/explain?edge=zzz&path=/items/1").await;
    assert_eq!(page["verdict"], "no_route");
    for path in ["/explain?service=stock&pth=/items/1", "/tap?dst=stock"] {
        let said = mesh.admins.get(path).await.unwrap().said.remove(0);
        let detail = said.json()["detail"].to_string();
        assert_eq!(said.status, 400, "{path}");
        assert!(detail.contains("`pth`") || detail.contains("`dst`"), "{detail}");
    }
    mesh.end().await;
}

/// To the second version for whoever names it in a header.
const BY_HEADER: &str = "  - matches: [{headers: [{name: api-version, value: \"2\"}]}]
    backendRefs: [{name: stock-v2}]
---
apiVersion: skein/v1
kind: RateLimit
metadata: {name: calm}
spec: {targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: shop}, requests: 1000, period: 1s}
---
apiVersion: skein/v1
kind: Fault
metadata: {name: sick}
spec: {service: stock-v2, share: 50%, abort: {status: 418}}
";

#[tokio::test]
async fn why_takes_headers_and_names_the_faults_and_limits_that_may_answer_instead() {
    let mesh = mesh_by(BY_HEADER, FaultHook::On).await;
    assert_eq!(mesh.run("why stock GET /x").await, Ok(Exit::Failed));
    assert_eq!(mesh.run("why stock GET /x -H 'api-version: 2'").await, Ok(Exit::Done));
    let nameless = mesh.run("why stock GET /x -H ': 2'").await.unwrap_err();
    assert_eq!(nameless.exit, Exit::Usage);
    assert_eq!(mesh.run("fault add stock --delay 1ms").await, Ok(Exit::Done));
    let page = mesh.page("/explain?service=stock&path=/x&header=api-version:%202").await;
    let name = |it: &Value| (it["name"].clone(), it["origin"].clone());
    let faults: Vec<_> = page["faults"].as_array().unwrap().iter().map(name).collect();
    let pair = |name: &str, origin: &str| (Value::from(name), Value::from(origin));
    assert_eq!(faults, [pair("sick", "file"), pair("stock-delay-1.00ms", "planted")]);
    assert!(page["limits"][0]["name"].as_str().unwrap().ends_with("calm"), "{page}");
    let other = mesh.page("/explain?service=stock-v1&path=/x").await;
    assert_eq!(other["faults"], Value::from([(); 0]), "a fault of others binds nothing here");
    mesh.end().await;
}

#[tokio::test]
async fn a_service_that_runs_in_versions_is_all_of_them() {
    let mesh = mesh_by(BY_VERSION, FaultHook::On).await;
    let statuses = async || [mesh.ask("/a").await, mesh.ask("/a?v=two").await];
    assert_eq!(statuses().await, [200, 200]);
    assert_eq!(mesh.run("fault add stock --error 418").await, Ok(Exit::Done));
    assert_eq!(statuses().await, [418, 418], "the fault missed a version");
    assert_eq!(mesh.run("fault clear stock-error-418").await, Ok(Exit::Done));
    assert_eq!(mesh.run("fault add stock-v2 --error 418").await, Ok(Exit::Done));
    assert_eq!(statuses().await, [200, 418], "a fault of a version hit another one");
    assert_eq!(mesh.run("fault clear").await, Ok(Exit::Done));

    let wanted = TapArguments { to: Some("stock".to_owned()), max_rps: 100, ..Default::default() };
    let mut live = Live::open(&mesh.admins, &wanted).await.unwrap();
    assert_eq!(statuses().await, [200, 200]);
    for version in ["stock-v1", "stock-v2"] {
        let event = timeout(WITHIN, live.next()).await.unwrap().unwrap();
        assert_eq!(event["destination"], version);
    }
    let (figures, _) = stat::gather(&mesh.admins, Duration::from_secs(1)).await.unwrap();
    let names = |of: &[&str]| of.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let wanted = commands::names::wanted(&mesh.admins, Some("stock")).await.unwrap();
    assert_eq!(wanted, names(&["stock", "stock-v1", "stock-v2"]));
    let of = |to: &[String]| figures.shown(None, to).map(|it| it.1.to_owned()).collect::<Vec<_>>();
    assert_eq!(of(&wanted), ["stock-v1", "stock-v2"]);
    assert_eq!(of(&names(&["stock-v2"])), ["stock-v2"]);
    let unknown = mesh.run("stat --to shelf").await.unwrap_err();
    assert_eq!(unknown.exit, Exit::NotFound);
    mesh.end().await;
}

#[tokio::test]
async fn what_a_proxy_hands_to_its_program_is_told_to_who_asks_for_it_with_its_caller() {
    let mesh = mesh(FaultHook::Off).await;
    let open = async |direction| {
        let wanted = TapArguments { direction, max_rps: 100, ..Default::default() };
        Live::open(&mesh.admins, &wanted).await.unwrap()
    };
    let mut live = [open(Hops::Outbound).await, open(Hops::Inbound).await, open(Hops::All).await];
    let (caller, status) = mesh.ask_at(mesh.running.bound.inbound[0], "/in").await;
    assert_eq!((status, mesh.ask("/items/out").await), (200, 200));
    let caller = caller.to_string();
    let (inbound, outbound) = (("/in", caller.as_str()), ("/items/out", "shop"));
    for (live, expected) in live.iter_mut().zip([&[outbound][..], &[inbound], &[inbound, outbound]])
    {
        for (path, source) in expected {
            let event = timeout(WITHIN, live.next()).await.unwrap().unwrap();
            assert_eq!(
                (&event["path"], &event["source"]),
                (&Value::from(*path), &Value::from(*source))
            );
            let to = if *path == "/in" { "shop" } else { "stock" };
            assert_eq!(event["destination"], to);
        }
    }
    mesh.end().await;
}

#[tokio::test]
async fn the_public_routes_fit_an_ordinary_terminal() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let policy = skein::mesh::PolicyFiles::new().with_file(root.join("deploy/mesh/edge.yaml"));
    let mesh = mesh_proxy::Mesh::new("edge", policy.read().unwrap(), &Telemetry::disabled());
    let page = mesh_proxy::view::routes(&mesh.unwrap());
    let rows = pages::rules(&[page]);
    let table = pages::routes_table(&rows).render("");
    let longest = table.lines().map(|it| it.chars().count()).max().unwrap();
    assert!(longest <= 80, "{longest} columns:\n{table}");
    assert!(table.contains("GET,HEAD") && table.contains("deliveryhistory"), "{table}");
    assert!(pages::wide_routes_table(&rows).render("").lines().any(|it| it.len() > 80));
}

#[tokio::test]
async fn stat_counts_what_came_between_its_two_looks() {
    let mesh = mesh(FaultHook::Off).await;
    assert_eq!(mesh.ask("/items/before").await, 200);
    let window = Duration::from_secs(1);
    let asking = async {
        // The first look has been taken when the proxy has answered a page that was asked for later.
        mesh.page("/routes").await;
        for number in 0..20 {
            assert_eq!(mesh.ask(&format!("/items/{number}")).await, 200);
        }
    };
    let (gathered, ()) = tokio::join!(stat::gather(&mesh.admins, window), asking);
    let (figures, _) = gathered.unwrap();
    let rows: Vec<_> = figures.shown(None, &[]).collect();
    let [("shop", "stock", row)] = rows.as_slice() else { panic!("{rows:?}") };
    assert!((1.0..=21.0).contains(&row.requests), "{row:?}");
    assert_eq!((row.success(), row.breaker().as_str()), (Some(1.0), "closed"));
    assert!(row.latency_ms(0.99).unwrap() > 0.0);
    assert_eq!(row.endpoints, 2.0);
    mesh.end().await;
}

#[tokio::test]
async fn a_tap_tells_of_each_request_and_of_no_secret() {
    let mesh = mesh(FaultHook::Off).await;
    let wanted =
        TapArguments { path: Some("/items".to_owned()), max_rps: 100, ..Default::default() };
    let mut live = Live::open(&mesh.admins, &wanted).await.unwrap();
    assert_eq!(mesh.ask("/elsewhere").await, 404);
    assert_eq!(mesh.ask("/items/1?token=secret").await, 200);
    let event = timeout(WITHIN, live.next()).await.unwrap().unwrap();
    let told = ["source", "destination", "method", "path", "status", "bytes", "attempts"];
    let text = serde_json::to_string(&told.map(|it| &event[it])).unwrap();
    assert_eq!(text, r#"["shop","stock","GET","/items/1?…",200,5,1]"#);
    assert!(event["trace_id"].as_str().is_some_and(|it| it.len() == 32), "{event}");
    assert!(event["route"].as_str().is_some_and(|it| it.ends_with("items")), "{event}");
    assert!(!event.to_string().contains("secret"));
    let mut counts = Counts::default();
    counts.add(&event);
    assert_eq!(counts.documents()[0]["count"], 1);
    assert_eq!(mesh.run("tap --for 50ms").await, Ok(Exit::Done));
    assert_eq!(mesh.run("top --for 50ms").await, Ok(Exit::Done));
    // The proxy ends although somebody listens, and the listener is told.
    mesh.end().await;
    assert_eq!(timeout(WITHIN, live.next()).await.unwrap(), None);
}

#[tokio::test]
async fn a_fault_is_seen_by_callers_until_it_is_cleared() {
    let mesh = mesh(FaultHook::On).await;
    let wanted = TapArguments { max_rps: 100, ..Default::default() };
    let mut live = Live::open(&mesh.admins, &wanted).await.unwrap();
    assert_eq!(mesh.run("fault add stock --error 418 --share 100%").await, Ok(Exit::Done));
    assert_eq!(mesh.ask("/items/1").await, 418);
    let event = timeout(WITHIN, live.next()).await.unwrap().unwrap();
    assert_eq!(
        (event["status"].as_u64(), event["code"].as_str()),
        (Some(418), Some("planted_fault"))
    );
    assert_eq!(
        (event["destination"].as_str(), event["attempts"].as_u64()),
        (Some("stock"), Some(0))
    );
    assert_eq!(mesh.run("fault list").await, Ok(Exit::Done));
    let faults = mesh.page("/faults").await;
    assert_eq!(faults["faults"][0]["name"], "stock-error-418");
    let unknown = mesh.run("fault add shelf --error 503").await.unwrap_err();
    assert_eq!(unknown.exit, Exit::NotFound);
    let other = mesh.run("fault clear other").await.unwrap_err();
    assert_eq!(
        (other.exit, other.why.as_deref()),
        (Exit::NotFound, Some("known are stock-error-418"))
    );
    assert_eq!(mesh.run("fault clear stock-error-418").await, Ok(Exit::Done));
    // Nothing stands, and that is what was asked for.
    for line in ["fault clear", "fault list"] {
        assert_eq!(mesh.run(line).await, Ok(Exit::Done), "{line}");
    }
    let again = mesh.run("fault clear stock-error-418").await.unwrap_err();
    assert_eq!((again.exit, again.why.as_deref()), (Exit::NotFound, Some("none is known")));
    assert_eq!(mesh.ask("/items/1").await, 200);
    mesh.end().await;
}

#[tokio::test]
async fn faults_that_are_off_are_said_to_be_off() {
    let mesh = mesh(FaultHook::Off).await;
    assert_eq!(mesh.run("fault list").await, Ok(Exit::Done), "those of files may stand");
    for line in ["fault add stock --error 503", "fault clear"] {
        let failure = mesh.run(line).await.unwrap_err();
        assert_eq!(failure.code, "faults_off", "{line}");
        assert_eq!(failure.next.as_deref(), Some("start it with faults"));
    }
    mesh.end().await;
}

#[tokio::test]
async fn where_no_proxy_answers_every_command_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let admins = Admins::at(&[closed], "");
    for command in [FaultCommand::List, FaultCommand::Clear { name: None }] {
        let failure = commands::run(&admins, MeshCommand::Fault(command), Output::default()).await;
        assert_eq!(failure.unwrap_err().exit, Exit::Unreachable);
    }
}

#[tokio::test]
async fn an_address_at_which_something_else_answers_is_said_to_be_no_admin_port() {
    let mesh = mesh(FaultHook::Off).await;
    let other = backend(&mesh.tasks).await;
    let run = async |addresses: &[SocketAddr], line: &str| {
        timeout(WITHIN, commands::run(&Admins::at(addresses, ""), command(line), Output::default()))
            .await
            .unwrap()
    };
    let door = mesh.running.bound.outbound[0];
    for line in ["routes", "endpoints", "stat -t 1s", "edges -t 1s", "fault list", "tap --for 50ms"]
    {
        for stranger in [other, door] {
            let failure = run(&[stranger], line).await.unwrap_err();
            let what = format!("{stranger} is no admin port of a proxy or service");
            assert_eq!(
                (&*failure.what, failure.exit),
                (what.as_str(), Exit::Unreachable),
                "{line}"
            );
        }
    }
    assert_eq!(run(&[other, mesh.running.admin], "routes").await, Ok(Exit::Partial));
    assert_eq!(run(&[mesh.running.admin], "routes").await, Ok(Exit::Done));
    mesh.end().await;
}

#[tokio::test]
async fn the_cost_of_a_door_is_measured_against_none() {
    let tasks = Tasks::new();
    let target = format!("http://{}/", backend(&tasks).await);
    let arguments = CostArguments {
        target: Some(target),
        requests: 200,
        policies: Vec::new(),
        service: "target".to_owned(),
        yes: false,
    };
    let cost = timeout(WITHIN, cost::measure(&arguments, mesh_policy::Policy::default()));
    let cost = cost.await.unwrap().unwrap();
    assert_eq!((cost.requests, cost.direct.failed, cost.through.failed), (200, 0, 0));
    assert!(cost.direct.p50 > Duration::ZERO && cost.through.p99 >= cost.through.p50);
    assert!(cost.through.cpu > Duration::ZERO);
    tasks.drain(Duration::from_secs(5)).await;
}
