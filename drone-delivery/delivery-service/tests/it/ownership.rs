//! Whose a delivery is, for those whom the edge has let in.

use std::time::Duration;

use delivery_service::{DeliveryConfig, run};
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
        let directory = tempfile::tempdir().unwrap();
        let config = ServiceConfig::new("delivery", "delivery-1", directory.path());
        let (clock, quiet) = (SystemClock::shared(), Telemetry::disabled());
        let context = ServiceContext::new(config, clock, quiet.clone(), Tasks::new());
        let bound = run(context, DeliveryConfig::default()).await.unwrap();
        let services = ServiceAddresses::new().with("delivery", bound.http_url());
        let client = Client::new(services, Duration::from_secs(20), quiet);
        Self { client, _directory: directory }
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
    let body = json!({"owner": {"userId": "alice", "accountId": "alice"}, "confirmationRequired": 3,
        "pickup": {"latitude": 60.17, "longitude": 24.94},
        "dropoff": {"latitude": 60.18, "longitude": 24.95}});
    let make = Call::new("delivery", Method::PUT, "/api/deliveries/d1").json(&body);
    assert_eq!(delivery.client.call(make).await.unwrap().status, 201);
    for (method, end) in
        [("POST", WISH), ("DELETE", WISH), ("GET", ""), ("GET", "/status"), ("GET", "/events")]
    {
        assert_eq!(delivery.ask("bob", method, end).await, 404, "{method} {end}");
    }
    for (method, end) in [("GET", ""), ("GET", "/owner"), ("POST", WISH), ("DELETE", WISH)] {
        assert!(delivery.ask("alice", method, end).await < 300, "{method} {end}");
    }
    assert_eq!(delivery.ask("", "GET", "").await, 200, "a service of ours");
}
