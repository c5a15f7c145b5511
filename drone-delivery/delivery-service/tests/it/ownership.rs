//! Whose a delivery is, for those whom the edge has let in.

use std::time::Duration;

use delivery_service::{DeliveryConfig, StreamConfig, run};
use http::{HeaderName, Method};
use runtime::{SystemClock, Tasks};
use serde_json::json;
use service_kit::{Call, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;

struct Delivery {
    client: Client,
    _directory: tempfile::TempDir,
}

impl Delivery {
    async fn start() -> Self {
        Self::with(DeliveryConfig::default()).await
    }

    async fn with(settings: DeliveryConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = ServiceConfig::new("delivery", "delivery-1", directory.path());
        let (clock, quiet) = (SystemClock::shared(), Telemetry::disabled());
        let context = ServiceContext::new(config, clock, quiet.clone(), Tasks::new());
        let bound = run(context, settings).await.unwrap();
        let services = ServiceAddresses::new().with("delivery", bound.http_url());
        let client = Client::new(services, Duration::from_secs(20), quiet);
        Self { client, _directory: directory }
    }

    /// A delivery of alice's.
    async fn make(&self) {
        let body = json!({"owner": {"userId": "alice", "accountId": "alice"},
            "confirmationRequired": 3, "pickup": {"latitude": 60.17, "longitude": 24.94},
            "dropoff": {"latitude": 60.18, "longitude": 24.95}});
        let make = Call::new("delivery", Method::PUT, "/api/deliveries/d1").json(&body);
        assert_eq!(self.client.call(make).await.unwrap().status, 201);
    }

    /// The status of a call of this principal; of a service of ours where there is none.
    async fn ask(&self, principal: &str, method: &str, end: &str) -> u16 {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut call = Call::new("delivery", method.clone(), format!("/api/deliveries/d1{end}"));
        if !principal.is_empty() {
            let named = HeaderName::from_static("skein-principal");
            call =
                call.header(named, principal).header(HeaderName::from_static("skein-reach"), "own");
        }
        if method == Method::POST {
            call = call.json(&json!({"emailAddress": format!("{principal}@example.org")}));
        }
        self.client.call(call).await.unwrap().status.as_u16()
    }
}

const WISH: &str = "/notifymerequests";
const STREAM: &str = "/events/stream";

#[tokio::test]
async fn who_asks_before_there_is_a_delivery_keeps_nobody_else_from_it_and_takes_nobodys_place() {
    let delivery = Delivery::start().await;
    assert_eq!(delivery.ask("bob", "DELETE", WISH).await, 404, "nobody has asked");
    assert_eq!(delivery.ask("bob", "POST", WISH).await, 204);
    for method in ["POST", "DELETE"] {
        assert_eq!(delivery.ask("alice", method, WISH).await, 404, "{method}: it is bob's wish");
    }
    assert_eq!(delivery.ask("bob", "DELETE", WISH).await, 204);
    assert_eq!(delivery.ask("bob", "POST", WISH).await, 204);
    // It turns out to be alice's delivery.
    delivery.make().await;
    for (method, end) in [
        ("POST", WISH),
        ("DELETE", WISH),
        ("GET", ""),
        ("GET", "/status"),
        ("GET", "/events"),
        ("GET", STREAM),
    ] {
        assert_eq!(delivery.ask("bob", method, end).await, 404, "{method} {end}");
    }
    for (method, end) in [("GET", ""), ("GET", "/owner"), ("POST", WISH), ("DELETE", WISH)] {
        assert!(delivery.ask("alice", method, end).await < 300, "{method} {end}");
    }
    assert_eq!(delivery.ask("", "GET", "").await, 200, "a service of ours");
}

/// Somebody listens at another connection until this is dropped.
fn listening(delivery: &Delivery, principal: &'static str, tasks: &Tasks) {
    let client = delivery.client.clone();
    let call = Call::new("delivery", Method::GET, format!("/api/deliveries/d1{STREAM}"))
        .header(HeaderName::from_static("skein-principal"), principal)
        .header(HeaderName::from_static("skein-reach"), "own");
    tasks.spawn("listener", |shutdown| async move {
        // It never ends by itself.
        let _answer = shutdown.or_cancel(client.call(call)).await;
    });
}

/// Asks until it is answered with this status; who is let in listens, and is cut off.
async fn comes_to(delivery: &Delivery, principal: &str, status: u16) {
    let ask = async {
        loop {
            let asked = delivery.ask(principal, "GET", STREAM);
            if tokio::time::timeout(Duration::from_millis(200), asked).await == Ok(status) {
                return;
            }
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(20), ask).await;
    assert!(came.is_ok(), "{principal} is never answered with {status}");
}

#[tokio::test]
async fn who_listens_to_as_many_as_he_may_is_told_429_and_503_where_all_are_taken() {
    for (per_caller_max, in_all_max, status) in [(1, 9, 429), (9, 1, 503)] {
        let streams = StreamConfig { per_caller_max, in_all_max, ..StreamConfig::default() };
        let delivery =
            Delivery::with(DeliveryConfig { streams, ..DeliveryConfig::default() }).await;
        delivery.make().await;
        let tasks = Tasks::new();
        listening(&delivery, "alice", &tasks);
        comes_to(&delivery, "alice", status).await;
        tasks.stop();
    }
}

#[tokio::test]
async fn a_reader_who_has_every_event_of_a_delivery_that_is_over_is_told_not_to_come_again() {
    let delivery = Delivery::start().await;
    delivery.make().await;
    assert_eq!(delivery.ask("", "DELETE", "").await, 200);
    let ask = async |last: &'static str| {
        let path = format!("/api/deliveries/d1{STREAM}");
        let named = HeaderName::from_static("last-event-id");
        let call = Call::new("delivery", Method::GET, path).header(named, last);
        let reply = delivery.client.call(call).await.unwrap();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        (reply.status.as_u16(), text.matches("id: ").count())
    };
    assert_eq!(ask("0").await, (200, 2));
    assert_eq!(ask("1").await, (200, 1));
    assert_eq!(ask("2").await, (204, 0));
    // Of another delivery, or of none.
    assert_eq!(ask("7").await, (200, 2));
    assert_eq!(ask("x").await, (200, 2));
}
