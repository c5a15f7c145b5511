//! A proxy as a whole: what stands at the door of the program behind it, and how it goes.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use mesh_policy::{
    Policy,
    fault::{Abort, At, Fault},
    proxy::{AccessLog, Inbound, Outbound, Proxy},
    rate::{RateKey, RateLimit},
};
use mesh_proxy::{Limits, Mesh, Readiness, program::Program};
use runtime::{Drained, Tasks};
use telemetry::Telemetry;

use super::stage::{
    Answer, Backend, Nobody, Placement, Plan, Stage, Wire, ok, request, status, until, within,
};

const ANY: &str = "127.0.0.1:0";

/// A proxy named `stock`, with a door to the program and one out to `stock`, which is its own door.
struct Running {
    program: Program,
    mesh: Mesh,
    tasks: Tasks,
    telemetry: Telemetry,
}

impl Running {
    fn start(backend: SocketAddr, policy: Policy, told: Proxy) -> Self {
        let any = ANY.parse().unwrap();
        let inbound =
            Inbound { listen: any, application: backend, protocol: None, readiness_path: None };
        let outbound = Outbound { listen: any, service: Some("stock".to_owned()), protocol: None };
        let proxy = Proxy {
            name: "stock".to_owned(),
            inbound: vec![inbound],
            outbound: vec![outbound],
            workers: 1,
            ..told
        };
        let (telemetry, tasks) = (Telemetry::disabled(), Tasks::new());
        let mesh = Mesh::new("stock", policy, &telemetry).unwrap();
        let program =
            Program::start(&proxy, &mesh, &BTreeMap::new(), Limits::default(), &telemetry, &tasks);
        Self { program: program.unwrap(), mesh, tasks, telemetry }
    }

    async fn asked(&self, door: &[SocketAddr], fields: &[(&str, &str)]) -> Answer {
        let mut client = Wire::connect(door[0]).await;
        client.send(request("GET", "/", fields, b"")).await;
        client.answer().await
    }

    async fn inbound(&self) -> Answer {
        self.asked(&self.program.bound.inbound, &[]).await
    }

    async fn outbound(&self) -> Answer {
        self.asked(&self.program.bound.outbound, &[]).await
    }

    /// As whoever follows the files does it.
    fn replace(&self, policy: &Policy) {
        for mesh in [&self.mesh, &self.program.inbound] {
            mesh.replace(policy.clone()).unwrap();
        }
    }

    async fn end(self) {
        assert_eq!(self.tasks.drain(Duration::from_secs(20)).await, Drained::Complete);
        self.program.join();
    }
}

/// The service itself, where callers find it.
fn found_at(address: SocketAddr) -> Policy {
    let mut policy = super::rig::policy(mesh_policy::destination::Protocol::Http1, &[address]);
    let set = policy.endpoints.remove("back").unwrap();
    policy.endpoints.insert("stock".to_owned(), set);
    policy
}

fn limit(service: &str) -> RateLimit {
    RateLimit {
        roles: Vec::new(),
        name: "at-most".to_owned(),
        gateway: None,
        route: None,
        service: Some(service.to_owned()),
        requests: 2,
        period: Duration::from_hours(1),
        burst: 2,
        key: RateKey::All,
    }
}

/// A gateway is an edge, or the proxy that has the name; nobody else is bound.
#[tokio::test]
async fn a_limit_of_a_gateway_binds_the_one_that_has_its_name() {
    let backend = Backend::new(|_, _| ok()).await;
    for (placement, name, last) in [
        (Placement::Edge, "public", 429),
        (Placement::Edge, "elsewhere", 200),
        (Placement::Door, "client", 429),
        (Placement::Door, "public", 200),
    ] {
        let mut policy = Plan::to(&[&backend]).policy();
        let gateway = Some(name.to_owned());
        policy.rate_limits = vec![RateLimit { gateway, service: None, ..limit("") }];
        let stage = Stage::with_policy(placement, policy, Limits::default());
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(stage.get("/").await.status);
        }
        assert_eq!(statuses, [200, 200, last], "{placement:?} {name}");
    }
}

fn fault(at: At, status: u16) -> Fault {
    Fault {
        name: format!("planted-{status}"),
        service: "stock".to_owned(),
        at,
        route: None,
        header: None,
        share: 1.0,
        delay: None,
        abort: Some(Abort::Status(status)),
        expires_after: None,
    }
}

#[tokio::test]
async fn a_limit_of_a_service_holds_at_its_own_door_and_nowhere_else() {
    let backend = Backend::new(|_, _| ok()).await;
    let others = Policy { rate_limits: vec![limit("orders")], ..found_at(backend.address) };
    let proxy = Running::start(backend.address, others, Proxy::default());
    for _ in 0..5 {
        assert_eq!(proxy.inbound().await.status, 200, "the limit is another service's");
    }
    let own = Policy { rate_limits: vec![limit("stock")], ..found_at(backend.address) };
    // It comes with a change of files, like all others.
    proxy.replace(&own);
    let statuses = [proxy.inbound().await, proxy.inbound().await, proxy.inbound().await];
    assert_eq!(statuses.each_ref().map(|it| it.status), [200, 200, 429]);
    assert_eq!(statuses[2].code(), Some("rate_limited"));
    assert!(statuses[2].field("retry-after").is_some());
    for _ in 0..5 {
        assert_eq!(proxy.outbound().await.status, 200, "calls out are not what it binds");
    }
    // The same limit in another change goes on counting where it was.
    proxy.replace(&own);
    assert_eq!(proxy.inbound().await.status, 429);
    proxy.replace(&found_at(backend.address));
    assert_eq!(proxy.inbound().await.status, 200);
    proxy.end().await;
}

#[tokio::test]
async fn a_fault_stands_at_the_door_that_it_names() {
    let backend = Backend::new(|_, _| ok()).await;
    let faults = vec![fault(At::Service, 418)];
    let policy = Policy { faults, ..found_at(backend.address) };
    let proxy = Running::start(backend.address, policy, Proxy::default());
    assert_eq!((proxy.inbound().await.status, proxy.outbound().await.status), (418, 200));
    let faults = vec![fault(At::Caller, 503)];
    proxy.replace(&Policy { faults, ..found_at(backend.address) });
    assert_eq!((proxy.inbound().await.status, proxy.outbound().await.status), (200, 503));
    proxy.end().await;
}

#[tokio::test]
async fn readiness_is_a_2xx_at_its_path_or_a_connection_where_there_is_none() {
    let backend = Backend::new(|hits, seen| {
        assert_eq!(seen.line, "GET /ready?deep HTTP/1.1");
        if hits < 2 { status(503) } else { ok() }
    });
    let backend = backend.await;
    let of = |application: SocketAddr, path: Option<&str>| {
        let listen = ANY.parse().unwrap();
        let readiness_path = path.map(str::to_owned);
        Readiness::of(&Inbound { listen, application, protocol: None, readiness_path })
    };
    let asked = of(backend.address, Some("/ready?deep"));
    for _ in 0..2 {
        let refused = within(Box::pin(asked.ask())).await.unwrap_err().to_string();
        assert!(refused.ends_with("/ready?deep answered 503"), "{refused}");
    }
    within(Box::pin(asked.ask())).await.unwrap();
    within(Box::pin(of(backend.address, None).ask())).await.unwrap();
    let nobody = Nobody::new();
    for path in [None, Some("/ready")] {
        within(Box::pin(of(nobody.address(), path).ask())).await.unwrap_err();
    }
}

/// mesh 12b: 63.
#[tokio::test]
async fn a_proxy_that_is_told_to_stop_takes_requests_for_its_delay_and_ends_what_is_in_flight() {
    let (go, goes) = tokio::sync::watch::channel(false);
    let backend = Backend::wild(move |stream, log| {
        let mut goes = goes.clone();
        async move {
            let mut wire = Wire::new(stream);
            while let Some((line, fields)) = wire.head().await {
                let is_slow = fields.iter().any(|(name, _)| name == "slow");
                let seen = super::stage::Seen { line, fields, body: Vec::new(), is_whole: true };
                super::stage::lock(&log).requests.push(seen);
                if is_slow {
                    goes.wait_for(|it| *it).await.unwrap();
                }
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            }
        }
    });
    let backend = backend.await;
    let told = Proxy { drain_delay: Some(Duration::from_millis(500)), ..Proxy::default() };
    let proxy = Running::start(backend.address, found_at(backend.address), told);
    let mut slow = Wire::connect(proxy.program.bound.inbound[0]).await;
    slow.send(request("GET", "/", &[("slow", "yes")], b"")).await;
    let mut waiting = Wire::connect(proxy.program.bound.inbound[0]).await;
    waiting.send(request("GET", "/", &[], b"")).await;
    assert_eq!(waiting.answer().await.status, 200);
    until(|| backend.hits() == 2).await;
    proxy.tasks.stop();
    let began = tokio::time::Instant::now();
    // Who does not know yet that it is not ready any more is served as ever.
    assert_eq!(proxy.inbound().await.status, 200);
    // The delay ends what waits, and not before it has passed.
    assert_eq!(waiting.end().await, b"");
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
    let refused = within(tokio::net::TcpStream::connect(proxy.program.bound.inbound[0])).await;
    assert!(refused.is_err(), "its doors are closed");
    go.send_replace(true);
    let answer = slow.answer().await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    proxy.end().await;
}

#[tokio::test]
async fn the_access_log_has_errors_and_a_share_of_the_rest() {
    let backend = Backend::new(|_, seen| match seen.field("fails") {
        Some(_) => status(500),
        None => ok(),
    });
    let backend = backend.await;
    let lines = Lines::default();
    // Each worker is a thread: the lines are told to whoever is asked globally.
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    let check = async |log: Option<AccessLog>| {
        let told = Proxy { access_log: log, ..Proxy::default() };
        let proxy = Running::start(backend.address, found_at(backend.address), told);
        lines.take();
        for _ in 0..3 {
            assert_eq!(proxy.inbound().await.status, 200);
            let failed = proxy.asked(&proxy.program.bound.inbound, &[("fails", "yes")]).await;
            assert_eq!(failed.status, 500);
        }
        proxy.end().await;
        let mut statuses: Vec<_> = lines.take().iter().map(status_in).collect();
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(check(None).await, [0; 0]);
    let errors = AccessLog { per_mille: 0, slow: Duration::ZERO };
    assert_eq!(check(Some(errors)).await, [500; 3]);
    let all = AccessLog { per_mille: 1_000, ..errors };
    assert_eq!(check(Some(all)).await, [200, 200, 200, 500, 500, 500]);
    let slow = AccessLog { slow: Duration::from_nanos(1), ..errors };
    assert_eq!(check(Some(slow)).await, [200, 200, 200, 500, 500, 500]);
}

fn status_in(line: &String) -> u16 {
    let told = line.split("status=").nth(1).unwrap_or_else(|| panic!("{line}"));
    told.split(' ').next().unwrap().parse().unwrap()
}

/// Lines of the access log, as `name=value`.
#[derive(Debug, Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

struct Line(String);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "access"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// mesh 12b: 56. What it came with goes on as it came; the trace that it names goes on in our words.
#[tokio::test]
async fn b3_names_the_trace_where_no_traceparent_does_and_goes_on_untouched() {
    let backend = Backend::new(|_, _| ok()).await;
    let proxy = Running::start(backend.address, found_at(backend.address), Proxy::default());
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let (one, other) = (format!("{trace}-{span}-0"), format!("{span}-{span}"));
    let single = [("b3", one.as_str())];
    let several =
        [("X-B3-TraceId", trace), ("X-B3-SpanId", span), ("X-B3-Sampled", "0"), ("b4", "x")];
    for fields in [&single[..], &several[..]] {
        let answer = proxy.asked(&proxy.program.bound.outbound, fields).await;
        assert_eq!(answer.status, 200);
        let seen = backend.last();
        let parent = seen.field("traceparent").unwrap();
        assert!(parent.starts_with(&format!("00-{trace}-")), "{parent}");
        assert!(parent.ends_with("-00"), "what was not recorded is not: {parent}");
        assert!(!parent.contains(span), "it is a child: {parent}");
        for (name, value) in fields {
            assert_eq!(seen.field(&name.to_lowercase()), Some(*value));
        }
    }
    // Where both stand, W3C's decides.
    let parent = "00-11111111111111111111111111111111-2222222222222222-00";
    let both = [("traceparent", parent), ("b3", other.as_str())];
    proxy.asked(&proxy.program.bound.outbound, &both).await;
    let seen = backend.last();
    assert!(seen.field("traceparent").unwrap().starts_with(&parent[..36]));
    assert_eq!(seen.field("b3"), Some(other.as_str()));
    assert!(proxy.telemetry.metrics().encode().contains("mesh_requests_total"));
    proxy.end().await;
}
