use std::time::Duration;

use drone_service::{DroneConfig, run};
use fleet_rules::FleetConfig;
use http::Method;
use runtime::{SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{
    Bound, Call, CallReply, Client, ServiceAddresses, ServiceConfig, ServiceContext,
};
use telemetry::Telemetry;
use tempfile::TempDir;

/// The service under test, over a database of its own.
pub(crate) struct Served {
    client: Client,
    _directory: TempDir,
}

async fn served() -> Served {
    let directory = TempDir::new().unwrap();
    let config = ServiceConfig::new("drone", "drone-1", directory.path());
    let context =
        ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), Tasks::new());
    let fleet = FleetConfig { drones: 2, ..FleetConfig::default() };
    let bound = run(context, fleet, DroneConfig::default()).await.unwrap();
    Served::new(&bound, directory)
}

impl Served {
    pub(crate) fn new(bound: &Bound, directory: TempDir) -> Self {
        let services = ServiceAddresses::new().with("drone", bound.http_url());
        let client = Client::new(services, Duration::from_secs(5), Telemetry::disabled());
        Self { client, _directory: directory }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> CallReply {
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

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let reply = self.send(Method::GET, path, None).await;
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    }

    pub(crate) async fn delete(&self, path: &str) -> u16 {
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
    assert!(first.header("content-type").unwrap().starts_with("text/plain"));
    let id = String::from_utf8(first.body.to_vec()).unwrap();
    assert!(id.starts_with("drone-"), "{id}");
    let again = drone.put("/api/dronedeliveries/dd1", original("dd1")).await;
    assert_eq!(again.body, first.body);
    let (status, booking) = drone.get("/api/dronedeliveries/dd1").await;
    assert_eq!(
        (status, &booking["droneId"], &booking["state"]),
        (200, &json!(id), &json!("Assigned"))
    );
    let (_, plan) = drone.get(&format!("/api/drones/{id}/plan")).await;
    let planned = &plan["bookings"][0];
    assert_eq!((&planned["deliveryId"], &planned["made"]), (&json!("dd1"), &json!(false)));
    // What could leave now and waits for its delivery is expected a little later each time.
    let told = first.header("pickup-eta").unwrap();
    let (asked, shown) = (booking["pickupETA"].as_str().unwrap(), planned["pickupETA"].as_str());
    assert!(told <= asked && Some(asked) <= shown, "{told} {asked} {planned}");
    assert_eq!(drone.get("/api/drones/none/plan").await.0, 404);
    assert_eq!(drone.get("/api/drones?state=doubly-booked").await, (200, json!([])));
    let view = drone.put("/api/dronedeliveries/dd1?view=booking", original("dd1")).await;
    let view: Value = serde_json::from_slice(&view.body).unwrap();
    assert_eq!(view["droneId"], json!(id));
    assert!(view["eta"].is_string() && view["pickupETA"].is_string(), "{view}");
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
async fn refusals_say_the_earliest_time_that_it_could_be() {
    let drone = served().await;
    for id in ["d1", "d2", "d3"] {
        let booked = drone.put(&format!("/api/dronedeliveries/{id}"), original(id)).await;
        assert_eq!(booked.status, 200, "more than there are drones");
    }
    let mut hurried = original("d7");
    hurried["deadline"] = json!("2020-01-01T00:00:00Z");
    let late = drone.put("/api/dronedeliveries/d7", hurried).await;
    let problem = late.problem().unwrap();
    assert_eq!(
        (late.status.as_u16(), &*problem.code, problem.retryable),
        (409, "past_deadline", false)
    );
    assert!(problem.detail.contains("the earliest arrival is 20"), "{}", problem.detail);
    let mut distant = original("d8");
    distant["pickupTime"] = json!("2099-01-01T00:00:00Z");
    let beyond = drone.put("/api/dronedeliveries/d8", distant).await;
    assert_eq!((beyond.status.as_u16(), code(&beyond).as_str()), (409, "beyond_horizon"));
    let mut far = original("d4");
    far["Dropoff"] = json!({"latitude": 60.3172, "longitude": 24.9633});
    let never = drone.put("/api/dronedeliveries/d4", far).await;
    let problem = never.problem().unwrap();
    assert_eq!(
        (never.status.as_u16(), &*problem.code, problem.retryable),
        (409, "infeasible", false)
    );
    let mut far = original("d4");
    far["Dropoff"] = json!({"latitude": 60.3172, "longitude": 24.9633});
    let declined = drone.put("/api/dronedeliveries/d4?view=booking&decline=true", far).await;
    let body: Value = serde_json::from_slice(&declined.body).unwrap();
    assert_eq!((declined.status.as_u16(), &body["declined"]), (200, &json!(true)));
    assert!(body["droneId"].is_null() && body["reason"].is_string(), "{body}");
    assert_eq!(drone.get("/api/dronedeliveries/d4").await.0, 404, "nothing is booked");
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
    assert_eq!(drone.put("/api/drones/big", json!({"state": "Failed"})).await.status, 204);
    let (_, lost) = drone.get("/api/dronedeliveries/h1").await;
    assert_eq!(lost["state"], "Lost", "nobody else lifts that");
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
