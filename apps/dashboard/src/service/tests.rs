//! Page and collector on free ports, behind a real log.

use std::{net::Ipv4Addr, time::Duration};

use axum::http::Method;
use broker::{BoundBroker, Broker, BrokerConfig, TopicConfig};
use contracts::{DeliveryStage, drone_management::DronePhase, shipping::RequestEventKind, topics};
use messaging::Messaging;
use runtime::{Drained, SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{Call, CallReply, Client, ServiceAddresses};
use telemetry::{SpanKind, SpanRecord, TelemetryConfig, otlp};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    feed::tests::message,
    traces::tests::span,
    view::tests::{positioned, reached, told},
};

const PATIENCE: Duration = Duration::from_secs(30);

struct System {
    client: Client,
    messaging: Messaging,
    page: Bound,
    collector: SocketAddr,
    tasks: Tasks,
    _broker: BoundBroker,
    _directory: TempDir,
}

async fn system(mut config: DashboardConfig, before: &[(&str, &str, Value)]) -> System {
    let (directory, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let topic = |it: &topics::Topic| TopicConfig {
        name: it.name.to_owned(),
        partitions: 2,
        synced: it.synced,
        retention_ms: None,
        retention_bytes: None,
    };
    let log = BrokerConfig {
        topics: topics::ALL.iter().map(topic).collect(),
        segment_bytes: 1 << 20,
        ..BrokerConfig::new(directory.path().join("broker"))
    };
    let clock = SystemClock::shared();
    let broker = Broker::start(log, clock.clone(), &Telemetry::disabled(), &tasks).unwrap();
    let telemetry = Telemetry::new(TelemetryConfig::default(), clock.clone());
    let mut service = ServiceConfig::new("dashboard", "dashboard-1", directory.path());
    service.bootstrap = vec![broker.address.to_string()];
    service.drain_delay = Duration::ZERO;
    let context = ServiceContext::new(service, clock, telemetry, tasks.clone());
    let messaging = context.require_messaging().unwrap();
    for (topic, key, body) in before {
        publish(&messaging, topic, key, body).await;
    }
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let processes = directory.path().join("processes.json");
    let surroundings = Surroundings { collector: free, processes, token: None };
    config.auth = Asking::Off;
    let (page, collector) = start(&context, surroundings, &config).unwrap();
    let services = ServiceAddresses::new()
        .with("page", page.http_url())
        .with("collector", format!("http://{collector}"));
    let client = Client::new(services, Duration::from_secs(10), Telemetry::disabled());
    System { client, messaging, page, collector, tasks, _broker: broker, _directory: directory }
}

async fn publish(messaging: &Messaging, topic: &str, key: &str, body: &Value) {
    messaging.publish(topic, message(key, body)).await.unwrap();
}

fn stage(id: &str, sequence: u64, stage: DeliveryStage) -> Value {
    serde_json::to_value(reached(id, sequence, stage)).unwrap()
}

impl System {
    async fn get(&self, path: &str) -> CallReply {
        self.client.call(Call::new("page", Method::GET, path.to_owned())).await.unwrap()
    }

    async fn post_spans(&self, spans: &[SpanRecord]) -> u16 {
        let body = otlp::encode(&otlp::Resource::default(), spans);
        let call = Call::new("collector", Method::POST, "/v1/traces").json(&body);
        self.client.call(call).await.unwrap().status.as_u16()
    }

    async fn span_ids(&self, delivery: &str) -> Vec<Value> {
        let reply = self.get(&format!("/api/traces?delivery={delivery}")).await.json().unwrap();
        reply["spans"].as_array().unwrap().iter().map(|it| it["spanId"].clone()).collect()
    }

    /// Waits until the page tells of the delivery what is expected.
    async fn tells(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let reply = self.get(&format!("/api/deliveries/{id}")).await;
            let told = reply.json().unwrap_or_default();
            if reply.status == 200 && holds(&told) {
                return told;
            }
            assert!(Instant::now() < end, "not in time: {told}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn listen(&self) -> Events {
        let mut stream = TcpStream::connect(self.page.http).await.unwrap();
        stream.write_all(b"GET /api/stream HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        Events(BufReader::new(stream))
    }
}

/// The stream as a browser reads it; the frames of the transfer are lines that it passes over.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn line_after(&mut self, prefix: &str) -> String {
        loop {
            let mut line = String::new();
            let read = timeout(PATIENCE, self.0.read_line(&mut line)).await;
            assert!(read.expect("nothing came").unwrap() > 0, "the stream ended");
            if let Some(rest) = line.strip_prefix(prefix) {
                return rest.trim().to_owned();
            }
        }
    }

    async fn next(&mut self) -> (String, Value) {
        let name = self.line_after("event: ").await;
        let data = self.line_after("data: ").await;
        (name, serde_json::from_str(&data).unwrap())
    }

    /// The data of the next event of that name.
    async fn next_of(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next().await;
            if name == wanted {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn what_happened_before_the_start_is_told_and_what_cannot_be_read_is_passed_over() {
    let before = [
        (topics::DELIVERY_EVENTS, "d1", stage("d1", 1, DeliveryStage::Created)),
        (topics::DELIVERY_EVENTS, "d1", json!({"of": "another version"})),
        (topics::DELIVERY_EVENTS, "d1", stage("d1", 2, DeliveryStage::Completed)),
        (topics::REQUEST_EVENTS, "d2", json!(told("d2", RequestEventKind::RequestFailed))),
    ];
    let system = system(DashboardConfig::default(), &before).await;
    let told = system.tells("d1", |it| it["stage"] == "Completed").await;
    assert_eq!((&told["droneId"], &told["pickup"]["latitude"]), (&"drone-1".into(), &60.17.into()));
    assert_eq!(told["events"].as_array().unwrap().len(), 2);
    system.tells("d2", |it| it["stage"] == "Failed" && it["failedStep"] == "package").await;
    assert_eq!(system.get("/api/deliveries/unheard-of").await.status, 404);
    let topics = system.messaging.topics().await.unwrap();
    assert!(topics.iter().all(|it| !it.name.ends_with(".dead")), "{topics:?}");
}

#[tokio::test]
async fn the_stream_begins_with_everything_and_goes_on_with_what_is_newer() {
    let before = [(topics::DELIVERY_EVENTS, "d1", stage("d1", 1, DeliveryStage::Created))];
    let system = system(DashboardConfig::default(), &before).await;
    system.tells("d1", |_| true).await;
    let mut events = system.listen().await;
    let (name, all) = events.next().await;
    assert_eq!(name, "snapshot");
    assert_eq!((&all["deliveries"][0]["id"], &all["totals"]["open"]), (&"d1".into(), &1.into()));
    let moved = json!(positioned("a", DronePhase::EnRouteToPickup, 1));
    publish(&system.messaging, topics::DRONE_EVENTS, "a", &moved).await;
    assert_eq!(events.next_of("drones").await[0]["phase"], "EnRouteToPickup");
    assert_eq!(events.next_of("totals").await["flying"], 1);
    let completed = stage("d1", 2, DeliveryStage::Completed);
    publish(&system.messaging, topics::DELIVERY_EVENTS, "d1", &completed).await;
    assert_eq!(events.next_of("deliveries").await[0]["stage"], "Completed");
    assert_eq!(events.next_of("totals").await["completed"], 1);
    // A page that listens does not hold up the end.
    assert_eq!(system.tasks.drain(Duration::from_secs(5)).await, Drained::Complete);
}

#[tokio::test]
async fn positions_reach_the_page_while_it_runs() {
    let system = system(DashboardConfig::default(), &[]).await;
    let mut events = system.listen().await;
    let end = Instant::now() + PATIENCE;
    // Until the subscription stands at its end, positions pass unheard.
    for sequence in 1.. {
        assert!(Instant::now() < end, "no position was heard");
        let moved = json!(positioned("a", DronePhase::Returning, sequence));
        publish(&system.messaging, topics::DRONE_POSITIONS, "a", &moved).await;
        let heard = timeout(Duration::from_millis(300), events.next_of("drones")).await;
        if heard.is_ok_and(|it| it[0]["id"] == "a") {
            return;
        }
    }
}

#[tokio::test]
async fn spans_that_are_posted_twice_are_shown_once() {
    let system = system(DashboardConfig::default(), &[]).await;
    let spans = [span(1, 1, Some("d1")), span(1, 2, None), span(2, 3, Some("d2"))];
    for _ in 0..2 {
        assert_eq!(system.post_spans(&spans).await, 200);
    }
    assert_eq!(system.span_ids("d1").await, ["0000000000000001", "0000000000000002"]);
    assert_eq!(system.span_ids("d3").await, [""; 0]);
    assert_eq!(system.get("/api/traces").await.status, 400);
}

#[tokio::test]
async fn no_more_spans_are_kept_than_was_set() {
    let system = system(DashboardConfig { spans_max: 1, ..DashboardConfig::default() }, &[]).await;
    system.post_spans(&[span(1, 1, Some("d1"))]).await;
    system.post_spans(&[span(2, 2, Some("d2"))]).await;
    assert_eq!(system.span_ids("d1").await, [""; 0]);
    assert_eq!(system.span_ids("d2").await.len(), 1);
}

#[tokio::test]
async fn a_body_of_spans_may_be_larger_than_others_and_must_be_json() {
    let system = system(DashboardConfig::default(), &[]).await;
    // In another trace: the page's own reply stays small.
    let long = SpanRecord { name: "x".repeat(3 << 20).into(), ..span(2, 2, None) };
    assert_eq!(system.post_spans(&[span(1, 1, Some("d1")), long]).await, 200);
    assert_eq!(system.span_ids("d1").await.len(), 1);
    let post = |content_type: &'static str, body: &'static str| {
        let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let length = body.len();
        format!("{head}content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    for (content_type, body, expected) in [
        ("application/x-protobuf", "\n", "415"),
        ("application/json; charset=utf-8", r#"{"resourceSpans": []}"#, "200"),
        ("application/json", "[1", "400"),
    ] {
        let mut stream = TcpStream::connect(system.collector).await.unwrap();
        stream.write_all(post(content_type, body).as_bytes()).await.unwrap();
        let status = Events(BufReader::new(stream)).line_after("HTTP/1.1 ").await;
        assert!(status.starts_with(expected), "{content_type} {body}: {status}");
    }
}

#[tokio::test]
async fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    let system = system(DashboardConfig::default(), &[]).await;
    for (path, content_type) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/map.js", "text/javascript"),
        ("/trace.js", "text/javascript"),
        ("/alerts.js", "text/javascript"),
        ("/topology", "text/html"),
        ("/topology.js", "text/javascript"),
        ("/graph.js", "text/javascript"),
        ("/topology.css", "text/css"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/city.json", "application/json"),
    ] {
        let reply = system.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        let given = reply.header("content-type").unwrap();
        assert!(given.starts_with(content_type), "{path}: {given}");
        assert_eq!(reply.header("content-security-policy"), Some("default-src 'self'"));
        // What a script takes from another is served too.
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        for name in text.split("from \"./").skip(1).filter_map(|it| it.split('"').next()) {
            assert_eq!(system.get(&format!("/{name}")).await.status, 200, "{path} takes {name}");
        }
    }
}

#[tokio::test]
async fn spans_of_the_process_itself_do_not_pile_up() {
    let config = TelemetryConfig { span_queue_max: 1, ..TelemetryConfig::default() };
    let (telemetry, tasks) = (Telemetry::new(config, SystemClock::shared()), Tasks::new());
    let own = telemetry.clone();
    tasks.spawn("own spans", |shutdown| forget_own_spans(own, shutdown));
    for _ in 0..5 {
        telemetry.span("read a record", SpanKind::Consumer, None).end();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    let metrics = telemetry.metrics().encode();
    assert!(metrics.contains("telemetry_spans_recorded_total 5"), "{metrics}");
    assert_eq!(tasks.drain(PATIENCE).await, Drained::Complete);
}

#[test]
fn an_unknown_setting_is_refused() {
    assert!(serde_json::from_str::<DashboardConfig>(r#"{"port": 7018}"#).is_err());
    let given: DashboardConfig = serde_json::from_str(r#"{"spans_max": 7}"#).unwrap();
    assert_eq!(given.spans_max, 7);
}

/// Rejects everything; who gave a message up is group `billing`.
struct Rejecting;

impl messaging::Handler for Rejecting {
    async fn handle(&self, _: &messaging::Delivered) -> Result<(), messaging::Failure> {
        Err(messaging::Failure::Rejected("no such account".to_owned()))
    }
}

impl System {
    /// Waits until the page tells of the queues what is expected.
    async fn queues(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let told = self.get("/api/queues").await.json().unwrap_or_default();
            if holds(&told) {
                return told;
            }
            assert!(Instant::now() < end, "not in time: {told}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn letters_go_back_from_the_page_and_again_under_their_own_ids() {
    let before = [(topics::NOTIFICATIONS, "d1", json!({"of": "nobody"}))];
    let system = system(DashboardConfig::default(), &before).await;
    let giving_up = Tasks::new();
    let group = messaging::Subscription::new([topics::NOTIFICATIONS], "billing");
    system.messaging.subscribe(&group, Rejecting, &giving_up).unwrap();
    let dead = messaging::dead_letter_topic(topics::NOTIFICATIONS, "billing");
    let told = system.queues(|it| it["letters"][0]["letters"] == 1).await;
    assert_eq!(told["letters"][0]["topic"], dead.as_str());
    let billing = |it: &Value| {
        let mut rows = it["groups"].as_array().unwrap().iter();
        rows.any(|it| it["group"] == "billing" && it["lag"] == 0 && it["members"] == 1)
    };
    system.queues(billing).await;
    giving_up.drain(PATIENCE).await;

    let path = format!("/api/queues/letters/{dead}/redrive");
    let ask = async |body: Value| {
        let call = Call::new("page", Method::POST, path.clone()).json(&body);
        system.client.call(call).await.unwrap()
    };
    assert_eq!(ask(json!({"class": "exhausted"})).await.json().unwrap()["redriven"], 0);
    assert_eq!(ask(json!({"klass": "rejected"})).await.status, 400);
    for _ in 0..2 {
        assert_eq!(ask(json!({"class": "rejected"})).await.json().unwrap()["redriven"], 1);
    }
    let mut ids = Vec::new();
    for partition in 0..2 {
        let read = system.messaging.read(topics::NOTIFICATIONS, partition, 0, 9).await;
        ids.extend(read.unwrap().into_iter().map(|it| it.message.id));
    }
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|it| *it == ids[0]), "{ids:?}");
    let unknown = Call::new("page", Method::POST, "/api/queues/letters/no.dead/redrive");
    let reply = system.client.call(unknown.json(&json!({}))).await.unwrap();
    assert_eq!(reply.status, 404);
}
