//! Cancel and reschedule, in every order in which they can meet the delivery.

use std::time::Duration;

use http::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    program::{System, sample_request},
    wait::until,
};

const SOON: Duration = Duration::from_secs(30);

/// Longer than anybody plans by default.
const FAR_AHEAD: [&str; 2] = ["--set", "fleet.pickup_ahead_days=36500"];

fn far_future() -> Value {
    let mut request = sample_request();
    request["pickupTime"] = json!("2099-01-01T00:00:00Z");
    request
}

impl System {
    async fn cancel(&self, id: &str) -> u16 {
        let url = self.gateway(&format!("/api/deliveryrequests/{id}"));
        self.http.send(Method::DELETE, &url, &[], "").await.status.as_u16()
    }

    async fn booking(&self, id: &str) -> u16 {
        self.http.get(&self.url(107, &format!("/api/dronedeliveries/{id}"))).await.status.as_u16()
    }

    async fn move_to(&self, id: &str, door: f64) {
        let url = self.gateway(&format!("/api/deliveryrequests/{id}"));
        let change = json!({"pickupLocation": "60.1700,24.9400",
            "dropOffLocation": format!("{door},24.9450")});
        assert_eq!(self.http.json(Method::PATCH, &url, &change).await.status, 200);
    }
}

#[tokio::test]
async fn a_cancel_before_pick_up_frees_the_drone() {
    let system = System::up(&FAR_AHEAD);
    let id = system.accepted(&far_future()).await;
    system.ends(&id, "Scheduled", SOON).await;
    assert_eq!(system.booking(&id).await, 200);
    assert_eq!(system.cancel(&id).await, 204);
    system.ends(&id, "Cancelled", SOON).await;
    assert_eq!(system.booking(&id).await, 404);
}

#[tokio::test]
async fn a_cancel_while_the_drone_service_is_paused_is_undone_when_it_wakes() {
    let system = System::up_pausable(&FAR_AHEAD);
    let paused = system.role("drone").remove(0);
    paused.signal(Signal::STOP);
    let id = system.accepted(&far_future()).await;
    until("the drone step is being tried", SOON, || async {
        let saga = system.try_command_json(&["saga", "show", &format!("{id}/create")])?;
        let steps = saga["steps"].as_array()?;
        steps.iter().any(|it| it["name"] == "package" && it["status"] == "done").then_some(())
    })
    .await;
    assert_eq!(system.cancel(&id).await, 204);
    paused.signal(Signal::CONT);
    system.ends(&id, "Cancelled", Duration::from_secs(90)).await;
    assert_eq!(system.booking(&id).await, 404);
}

#[tokio::test]
async fn a_cancel_after_pick_up_is_refused() {
    let system = System::up(&["--time-scale", "5"]);
    let id = system.accepted(&sample_request()).await;
    let url = system.gateway(&format!("/api/deliveries/{id}/status"));
    until("the package is picked up", Duration::from_secs(90), || async {
        (system.http.get(&url).await.json()["stage"] == 3).then_some(())
    })
    .await;
    until("the edge has heard of it", SOON, || async {
        (system.cancel(&id).await == 409).then_some(())
    })
    .await;
    let document = system.request(&id).await;
    assert_ne!(document["state"], "Cancelled", "{document}");
}

#[tokio::test]
async fn a_cancel_of_an_id_that_was_never_given_is_refused() {
    let system = System::up(&[]);
    let unknown = "019b0000-0000-7000-8000-000000000001";
    let url = system.gateway(&format!("/api/deliveryrequests/{unknown}"));
    let reply = system.http.send(Method::DELETE, &url, &[], "").await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["code"], "not_found", "{}", reply.json());
    assert_eq!(system.http.get(&url).await.status, 404, "and it makes no request of it");
}

#[tokio::test]
async fn a_cancel_that_is_asked_for_before_its_create_has_begun_stops_it() {
    let system = System::up_pausable(&FAR_AHEAD);
    // The Scheduler is down, so that both wait in the log.
    let scheduler = system.role("scheduler").remove(0);
    scheduler.signal(Signal::STOP);
    let id = system.accepted(&far_future()).await;
    assert_eq!(system.cancel(&id).await, 204);
    scheduler.signal(Signal::CONT);
    system.ends(&id, "Cancelled", Duration::from_secs(60)).await;
    assert_eq!(system.booking(&id).await, 404);
}

#[tokio::test]
async fn a_reschedule_moves_the_drop_off() {
    let system = System::up(&FAR_AHEAD);
    let id = system.accepted(&far_future()).await;
    system.ends(&id, "Scheduled", SOON).await;
    let url = system.gateway(&format!("/api/deliveryrequests/{id}"));
    let change = json!({"pickupLocation": "60.1700,24.9400", "dropOffLocation": "60.1750,24.9450",
        "deadline": "", "pickupTime": "2099-02-01T00:00:00Z"});
    let reply = system.http.json(Method::PATCH, &url, &change).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, id.as_bytes());
    until("the delivery has the new place", SOON, || async {
        let delivery = system.http.get(&system.gateway(&format!("/api/deliveries/{id}"))).await;
        (delivery.json()["dropoff"]["latitude"] == 60.175).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_move_after_the_pick_up_is_refused_by_the_drone_while_delivery_knows_of_none() {
    // Who is stopped is called for as long as it takes.
    let patient = ["--set", "scheduler.cancel_complete_by_ms=300000", "--time-scale", "10"];
    let system = System::up_pausable(&patient);
    let mut request = sample_request();
    request["pickupLocation"] = json!("60.1700,24.9400");
    request["dropOffLocation"] = json!("60.1750,24.9450");
    let id = system.accepted(&request).await;
    let status = system.gateway(&format!("/api/deliveries/{id}/status"));
    until("a drone is on its way", SOON, || async {
        (system.http.get(&status).await.json()["stage"] == 2).then_some(())
    })
    .await;
    let stopped = system.role("delivery").remove(0);
    stopped.signal(Signal::STOP);

    // The drone agrees to the first, and Delivery cannot be told. Then the package is picked up.
    system.move_to(&id, 60.18).await;
    let booking = system.url(107, &format!("/api/dronedeliveries/{id}?view=booking"));
    until("the drone flies to the new door with the package", Duration::from_secs(60), || async {
        let found = system.http.get(&booking).await.json();
        let is_moved = found["dropoff"]["latitude"] == 60.18;
        (is_moved && found["state"] == "EnRouteToDropoff").then_some(())
    })
    .await;
    // The edge has not heard of it either, and takes the second.
    system.move_to(&id, 60.19).await;
    stopped.signal(Signal::CONT);

    let ended = system.ends(&id, "Completed", Duration::from_secs(90)).await;
    let operations = ended["operations"].as_array().unwrap();
    let answers: Vec<_> = operations.iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(answers, ["done", "refused"], "{ended}");
    let delivery = system.http.get(&system.gateway(&format!("/api/deliveries/{id}"))).await.json();
    assert_eq!(delivery["dropoff"]["latitude"], 60.18, "{delivery}");
    system.history_agrees(&id).await;
}
