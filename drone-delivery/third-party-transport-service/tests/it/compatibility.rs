use std::time::Duration;

use fleet_rules::FleetConfig;
use http::Method;
use runtime::{SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{Call, CallReply, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;
use tempfile::TempDir;
use third_party_transport_service::{TransportConfig, run};

struct Served {
    client: Client,
    _directory: TempDir,
}

async fn served() -> Served {
    let directory = TempDir::new().unwrap();
    let config = ServiceConfig::new("third-party-transport", "one", directory.path());
    let context =
        ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), Tasks::new());
    let bound = run(context, FleetConfig::default(), TransportConfig::default()).await.unwrap();
    let services = ServiceAddresses::new().with("transport", bound.http_url());
    let client = Client::new(services, Duration::from_secs(5), Telemetry::disabled());
    Served { client, _directory: directory }
}

impl Served {
    async fn send(&self, method: Method, id: &str, body: Option<&Value>) -> CallReply {
        let call = Call::new("transport", method, format!("/api/ThirdPartyDeliveries/{id}"));
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        self.client.call(call).await.unwrap()
    }

    async fn put(&self, id: &str, body: Value) -> (u16, String) {
        let reply = self.send(Method::PUT, id, Some(&body)).await;
        let text = match reply.problem() {
            Some(problem) => problem.code.into_owned(),
            None => String::from_utf8(reply.body.to_vec()).unwrap(),
        };
        (reply.status.as_u16(), text)
    }
}

fn trip(weight: &Value) -> Value {
    json!({"Pickup": {"Latitude": 60.17, "Longitude": 24.94},
        "Dropoff": {"Latitude": 60.175, "Longitude": 24.945}, "Weight": weight})
}

#[track_caller]
fn check(given: &(u16, String), status: u16, text: &str) {
    assert_eq!((given.0, given.1.as_str()), (status, text));
}

#[tokio::test]
async fn the_answer_is_true_when_a_carrier_is_booked_and_false_when_a_drone_can() {
    let transport = served().await;
    check(&transport.put("t1", trip(&Value::Null)).await, 200, "false");
    let place = json!({"altitude": 0, "latitude": 60.17, "longitude": 24.94});
    check(&transport.put("t2", place).await, 200, "false");
    check(&transport.put("t3", trip(&json!("40"))).await, 200, "true");
    check(&transport.put("t4", trip(&json!(900))).await, 422, "no_carrier");
    let mut far = trip(&json!(1));
    far["Dropoff"] = json!({"latitude": 66.5039, "longitude": 25.7294});
    check(&transport.put("t5", far).await, 422, "no_carrier");
    check(&transport.put("t6", json!({"pickup": 5})).await, 400, "invalid_request");
    for (id, status) in [("t1", 404), ("t3", 200), ("t4", 404)] {
        assert_eq!(transport.send(Method::GET, id, None).await.status, status, "{id}");
    }
}

#[tokio::test]
async fn a_release_is_idempotent_and_stays() {
    let transport = served().await;
    check(&transport.put("t1", trip(&json!(40))).await, 200, "true");
    for id in ["t1", "t1", "never"] {
        assert_eq!(transport.send(Method::DELETE, id, None).await.status, 200);
        assert_eq!(transport.send(Method::GET, id, None).await.status, 404);
        check(&transport.put(id, trip(&json!(40))).await, 409, "released");
    }
}
