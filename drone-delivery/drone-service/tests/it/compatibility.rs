use std::time::Duration;

use drone_service::{DroneConfig, run};
use http::Method;
use runtime::{SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{Call, CallReply, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;
use tempfile::TempDir;

struct Served {
    client: Client,
    _directory: TempDir,
}

async fn served() -> Served {
    let directory = TempDir::new().unwrap();
    let config = ServiceConfig::new("drone", "drone-1", directory.path());
    let context =
        ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), Tasks::new());
    let bound = run(context, DroneConfig { drones: 2, ..DroneConfig::default() }).await.unwrap();
    let services = ServiceAddresses::new().with("drone", bound.http_url());
    let client = Client::new(services, Duration::from_secs(5), Telemetry::disabled());
    Served { client, _directory: directory }
}

impl Served {
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> CallReply {
        let call = Call::new("drone", method, path.to_owned());
        let call = match body {
            Some(body) => call.json(body),
            None => call,
        };
        self.client.call(call).await.unwrap()
    }

    async fn put(&self, path: &str, body: Value) -> CallReply {
        self.send(Method::PUT, path, Some(&body)).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let reply = self.send(Method::GET, path, None).await;
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    }

    async fn delete(&self, path: &str) -> u16 {
        self.send(Method::DELETE, path, None).await.status.as_u16()
    }
}

fn original(id: &str) -> Value {
    json!({"DeliveryId": id, "Pickup": {"Altitude": 0, "Latitude": 60.17, "Longitude": 24.94},
        "Dropoff": {"Altitude": 0, "Latitude": 60.175, "Longitude": 24.945},
        "PackageDetail": {"Id": "p1", "Size": 0}, "Expedited": false})
}

fn code(reply: &CallReply) -> String {
    reply.problem().unwrap().code.into_owned()
}

#[tokio::test]
async fn the_original_s_client_gets_the_bare_id_and_the_same_one_again() {
    let drone = served().await;
    let first = drone.put("/api/DroneDeliveries/dd1", original("dd1")).await;
    assert_eq!(first.status, 200);
    assert!(first.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let id = String::from_utf8(first.body.to_vec()).unwrap();
    assert!(id.starts_with("drone-"), "{id}");
    let again = drone.put("/api/dronedeliveries/dd1", original("dd1")).await;
    assert_eq!(again.body, first.body);
    let (status, booking) = drone.get("/api/dronedeliveries/dd1").await;
    assert_eq!(
        (status, &booking["droneId"], &booking["state"]),
        (200, &json!(id), &json!("Assigned"))
    );
    let (_, fleet) = drone.get("/api/drones").await;
    let busy: Vec<_> =
        fleet.as_array().unwrap().iter().filter(|it| it["deliveryId"] == "dd1").collect();
    assert_eq!(busy.len(), 1);
    assert_eq!(drone.get("/api/drones?state=doubly-booked").await, (200, json!([])));
    assert_eq!(drone.get("/api/drones?state=assigned").await.1.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_release_frees_the_drone_and_stays() {
    let drone = served().await;
    drone.put("/api/dronedeliveries/dd1", original("dd1")).await;
    assert_eq!(drone.delete("/api/dronedeliveries/dd1").await, 200);
    assert_eq!(drone.delete("/api/dronedeliveries/dd1").await, 200);
    assert_eq!(drone.delete("/api/dronedeliveries/never").await, 200);
    assert_eq!(drone.get("/api/dronedeliveries/dd1").await.0, 404);
    assert_eq!(drone.get("/api/drones?state=Idle").await.1.as_array().unwrap().len(), 2);
    let late = drone.put("/api/dronedeliveries/never", original("never")).await;
    assert_eq!((late.status.as_u16(), code(&late).as_str()), (409, "released"));
}

#[tokio::test]
async fn refusals_say_whether_it_is_worth_asking_again() {
    let drone = served().await;
    for id in ["d1", "d2"] {
        assert_eq!(
            drone.put(&format!("/api/dronedeliveries/{id}"), original(id)).await.status,
            200
        );
    }
    let busy = drone.put("/api/dronedeliveries/d3", original("d3")).await;
    let problem = busy.problem().unwrap();
    assert_eq!(
        (busy.status.as_u16(), &*problem.code, problem.retryable),
        (409, "fleet_busy", true)
    );
    assert!(busy.headers.contains_key("retry-after"));
    let mut far = original("d4");
    far["Dropoff"] = json!({"latitude": 60.3172, "longitude": 24.9633});
    let never = drone.put("/api/dronedeliveries/d4", far).await;
    let problem = never.problem().unwrap();
    assert_eq!(
        (never.status.as_u16(), &*problem.code, problem.retryable),
        (409, "infeasible", false)
    );
    let mut other = original("d1");
    other["Pickup"] = json!({"latitude": 60.165, "longitude": 24.93});
    assert_eq!(code(&drone.put("/api/dronedeliveries/d1", other).await), "other_trip");
    let wrong = drone.put("/api/dronedeliveries/d5", original("d6")).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn operators_add_drones_take_them_out_and_put_them_back() {
    let drone = served().await;
    assert_eq!(drone.put("/api/drones/big", json!({"payloadKg": 90})).await.status, 400);
    let base = json!({"latitude": 60.17, "longitude": 24.94});
    let added = drone.put("/api/drones/big", json!({"base": base, "payloadKg": 90})).await;
    assert_eq!(added.status, 201);
    let mut heavy = original("h1");
    heavy["PackageDetail"]["Weight"] = json!(80);
    let booked = drone.put("/api/dronedeliveries/h1", heavy).await;
    assert_eq!(&booked.body[..], b"big");
    assert_eq!(drone.put("/api/drones/big", json!({"rangeM": 1})).await.status, 409);
    assert_eq!(drone.put("/api/drones/big", json!({"state": "Failed"})).await.status, 204);
    let (_, lost) = drone.get("/api/dronedeliveries/h1").await;
    assert_eq!(lost["state"], "Lost");
    let (_, status) = drone.get("/api/drones/big/status").await;
    assert_eq!((&status["flightMode"], &status["gyrometerOK"]), (&json!(5), &json!(false)));
    assert_eq!(drone.put("/api/drones/big", json!({"state": "Idle"})).await.status, 204);
    assert_eq!(drone.get("/api/drones/big").await.1["state"], "Idle");
    assert_eq!(drone.get("/api/drones/none").await.0, 404);
}

#[tokio::test]
async fn utilization_needs_an_account_and_a_month_and_a_flight() {
    let drone = served().await;
    let path = "/api/dronedeliveries/utilization";
    for query in [
        "",
        "?ownerId=&year=2026&month=1",
        "?ownerId=o&year=0&month=1",
        "?ownerId=o&year=2026&month=0",
    ] {
        assert_eq!(drone.get(&format!("{path}{query}")).await.0, 400, "{query}");
    }
    assert_eq!(drone.get(&format!("{path}?ownerId=o&year=2026&month=1")).await.0, 404);
}
