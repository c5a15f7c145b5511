//! The fleet's plan, from outside: drones that are lost, carriers that take over, a burst.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};

use crate::{
    program::{System, sample_request},
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);

/// Real time, so that an approach lasts as long as a test likes; vans are there at once.
const IN_REAL_TIME: [&str; 6] = [
    "--time-scale",
    "1",
    "--set",
    "third_party_transport.handling_seconds=1",
    "--set",
    "third_party_transport.carrier_speed_mps=5000",
];

impl System {
    /// A delivery whose drone is on its way to the package, and who flies.
    async fn approached(&self) -> (String, String) {
        let id = self.accepted(&sample_request()).await;
        self.ends(&id, "Scheduled", SOON).await;
        let wish = json!({"emailAddress": "somebody@example.org"});
        let url = self.gateway(&format!("/api/deliveries/{id}/notifymerequests"));
        assert_eq!(self.http.json(Method::POST, &url, &wish).await.status, 204);
        let status = self.gateway(&format!("/api/deliveries/{id}/status"));
        until("a drone is on its way", SOON, || async {
            (self.http.get(&status).await.json()["stage"] == 2).then_some(())
        })
        .await;
        let drone = self.drone_of(&id).await;
        (id, drone.as_str().unwrap().to_owned())
    }

    async fn drone_of(&self, id: &str) -> Value {
        let url = self.gateway(&format!("/api/deliveries/{id}"));
        self.http.get(&url).await.json()["droneId"].clone()
    }

    async fn lose(&self, drone: &str) {
        let url = self.url(107, &format!("/api/drones/{drone}"));
        let lost = self.http.json(Method::PUT, &url, &json!({"state": "Failed"})).await;
        assert_eq!(lost.status, 204);
    }

    /// What the customer of a delivery was told, oldest first.
    fn told(&self, id: &str) -> Vec<String> {
        let path = self.data().join("delivery").join("notifications.jsonl");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().map(|it| serde_json::from_str::<Value>(it).unwrap());
        let ours = lines.filter(|it| it["deliveryId"] == *id);
        ours.map(|it| it["template"].as_str().unwrap().to_owned()).collect()
    }

    async fn hears(&self, id: &str, templates: &[&str]) {
        until(&format!("the customer hears {templates:?}"), SOON, || async {
            (self.told(id) == templates).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_delivery_whose_drone_is_lost_is_flown_by_another_and_its_customer_is_told() {
    let system = System::up(&[&IN_REAL_TIME[..], &["--drones", "2"]].concat());
    let (id, first) = system.approached().await;
    system.lose(&first).await;
    let second = until("another drone flies", SOON, || async {
        let drone = system.drone_of(&id).await;
        drone.as_str().filter(|it| *it != first).map(str::to_owned)
    })
    .await;
    system.hears(&id, &["reassigned"]).await;
    let url = system.url(107, &format!("/api/dronedeliveries/{id}"));
    assert_eq!(system.http.get(&url).await.json()["droneId"], json!(second));
}

#[tokio::test]
async fn a_delivery_that_no_drone_can_fly_any_more_is_brought_by_a_carrier() {
    let system = System::up(&[&IN_REAL_TIME[..], &["--drones", "1"]].concat());
    let (id, only) = system.approached().await;
    system.lose(&only).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
    assert_eq!(system.drone_of(&id).await, Value::Null);
    system.hears(&id, &["reassigned", "completed"]).await;
    // A new one goes to a carrier from the beginning.
    let next = system.accepted(&sample_request()).await;
    system.ends(&next, "Completed", Duration::from_secs(60)).await;
    assert_eq!(system.drone_of(&next).await, Value::Null);
}

#[tokio::test]
async fn a_delivery_that_was_handed_over_is_called_off_by_its_carrier() {
    let slow = ["--set", "third_party_transport.handling_seconds=3600", "--drones", "1"];
    let system = System::up(&[&["--time-scale", "1"][..], &slow].concat());
    let (id, only) = system.approached().await;
    system.lose(&only).await;
    let carrier = system.url(108, &format!("/api/thirdpartydeliveries/{id}"));
    until("a carrier is on its way", SOON, || async {
        (system.http.get(&carrier).await.status == 200).then_some(())
    })
    .await;
    let saga = format!("{id}/hand-over");
    until("the hand-over is through", SOON, || async {
        let saga = system.try_command_json(&["saga", "show", &saga])?;
        (saga["status"] == "completed").then_some(())
    })
    .await;
    let url = system.gateway(&format!("/api/deliveryrequests/{id}"));
    assert_eq!(system.http.send(Method::DELETE, &url, &[], "").await.status, 204);
    system.ends(&id, "Cancelled", SOON).await;
    assert_eq!(system.http.get(&carrier).await.status, 404);
}

#[tokio::test]
async fn a_thousand_at_once_on_twenty_drones_end_as_their_lines_say() {
    let system = System::up(&["--time-scale", "600"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/helsinki.jsonl");
    // With `--wait` a line counts as under way until its delivery has ended, and by default a hundred are;
    // here all of them wait for the fleet at once. Only `--wait` compares each with what its line says.
    let summary = system.command_json(&["submit", file, "--wait", "--open-max", "1000"]);
    assert_eq!(summary["mismatches"], json!([]), "{summary}");
    let ends = ["completed", "failed", "cancelled", "rejected", "parked"];
    let found = ends.map(|it| summary[it].as_u64().unwrap());
    assert_eq!(found, [860, 70, 50, 20, 0], "{summary}");
}

/// A company that answers each call with 500, and how often it was asked.
fn sick_company() -> (String, Arc<AtomicUsize>) {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", door.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in door.incoming().flatten() {
            let _head = stream.read(&mut [0; 4_096]);
            count.fetch_add(1, Ordering::SeqCst);
            // It may have hung up.
            let _said = stream
                .write_all(b"HTTP/1.1 500 Sick\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, asked)
}

#[tokio::test]
async fn a_company_that_fails_costs_no_order_that_a_drone_flies() {
    let (url, asked) = sick_company();
    let company = format!(
        "third_party_transport.carriers=[{{\"name\":\"sick\",\"url\":\"{url}\",\"vehicles\":99}}]"
    );
    let system = System::up(&["--set", &company, "--time-scale", "600"]);
    let mut heavy = sample_request();
    heavy["packageInfo"]["weight"] = json!(40);
    for _ in 0..20 {
        system.accepted(&heavy).await;
    }
    // More in a row than any breaker suffers.
    until("the company was asked a hundred times", SOON, || async {
        (asked.load(Ordering::SeqCst) >= 100).then_some(())
    })
    .await;
    let light = system.accepted(&sample_request()).await;
    system.ends(&light, "Completed", SOON).await;
    let to_carriers = ["destination=\"third-party-transport\"", "state=\"open\""];
    let opened = system.role("scheduler")[0]
        .metric_of(&system.http, "mesh_breaker_changes_total", &to_carriers)
        .await;
    assert_eq!(opened, 0.0, "the breaker opened on a service that works");
}
