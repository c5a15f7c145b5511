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
        arguments::{CostArguments, TapArguments},
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
async fn backend(tasks: &Tasks) -> SocketAddr {
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

async fn mesh(hook: FaultHook) -> Mesh {
    let tasks = Tasks::new();
    let (one, two) = (backend(&tasks).await, backend(&tasks).await);
    let text = format!(
        r#"
apiVersion: skein/v1
kind: Proxy
metadata: {{name: shop}}
spec:
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
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: items}}
spec:
  parentRefs: [{{kind: Service, name: stock, group: ""}}]
  rules:
  - matches: [{{method: GET, path: {{type: PathPrefix, value: /items}}}}]
    backendRefs: [{{name: stock, port: 80}}]
"#
    );
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("shop.yaml");
    fs::write(&path, text).unwrap();
    let (proxy, policy) = proxy::read(&path).unwrap();
    let clock = SystemClock::shared();
    let telemetry = Telemetry::new(TelemetryConfig::default(), clock.clone());
    let config = ServiceConfig { faults: hook, ..proxy::config(&proxy) };
    let context = ServiceContext::new(config, clock, telemetry, tasks.clone());
    let running = proxy::start(&proxy, policy, &context, proxy::limits()).unwrap();
    let admins = Admins::at(&[running.admin], "start it with faults");
    Mesh { tasks, admins, running, _files: files }
}

impl Mesh {
    /// Sends a request through the proxy; answers the status.
    async fn ask(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(self.running.bound.outbound[0]).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: stock\r\nauthorization: secret\r\n\
                     connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Runs a command line as the program would.
    async fn run(&self, line: &str) -> Result<Exit, skein::Failure> {
        #[derive(Debug, Parser)]
        struct Line {
            #[command(subcommand)]
            command: MeshCommand,
        }
        let line = Line::parse_from(std::iter::once("skein").chain(line.split(' ')));
        timeout(WITHIN, commands::run(&self.admins, line.command, Output::default())).await.unwrap()
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
    let seen = pages::seen_by("shop", &mesh.page("/endpoints").await, Some("stock"));
    let states: Vec<_> =
        seen.iter().map(|it| (&it["endpoint"], &it["version"], &it["breaker"])).collect();
    let text = serde_json::to_string(&states).unwrap();
    assert_eq!(text, r#"[["stock-1","v1","closed"],["stock-2","v2","closed"]]"#);
    assert_eq!(mesh.run("why stock GET /items/1").await, Ok(Exit::Done));
    assert_eq!(mesh.run("why stock POST /items/1").await, Ok(Exit::Failed));
    let unknown = mesh.run("endpoints shelf").await.unwrap_err();
    assert_eq!((unknown.exit, unknown.why.as_deref()), (Exit::NotFound, Some("known are stock")));
    mesh.end().await;
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
    let rows: Vec<_> = figures.shown(None, None).collect();
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
    assert_eq!(mesh.run("fault clear other").await.unwrap_err().exit, Exit::NotFound);
    assert_eq!(mesh.run("fault clear stock-error-418").await, Ok(Exit::Done));
    assert_eq!(mesh.ask("/items/1").await, 200);
    mesh.end().await;
}

#[tokio::test]
async fn faults_that_are_off_are_said_to_be_off() {
    let mesh = mesh(FaultHook::Off).await;
    for line in ["fault add stock --error 503", "fault list", "fault clear"] {
        let failure = mesh.run(line).await.unwrap_err();
        assert_eq!(failure.code, "faults_off", "{line}");
        assert_eq!(failure.next.as_deref(), Some("start it with faults"));
    }
    mesh.end().await;
}

#[tokio::test]
async fn the_cost_of_a_door_is_measured_against_none() {
    let tasks = Tasks::new();
    let target = format!("http://{}/", backend(&tasks).await);
    let arguments = CostArguments {
        target,
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
