//! What an account used in a month, at the gateway.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    people::{Person, order_of},
    program::System,
    wait::until,
};

/// Longest wait for what must come.
const SOON: Duration = Duration::from_secs(60);

async fn invoice(person: &Person<'_>, of: &str, month: &str) -> (u16, Value) {
    let reply = person.get(&format!("/v0.1.0/api/invoices/{of}?{month}")).await;
    (reply.status.as_u16(), reply.json())
}

#[tokio::test]
async fn an_invoice_adds_up_what_three_services_know_and_is_its_account_s_alone() {
    let system = System::up(&["--time-scale", "600"]);
    let (alice, bob) =
        (system.person("alice", "customer").await, system.person("bob", "customer").await);
    let auditor = system.person("eve", "auditor").await;
    let mut order = order_of("alice");
    order["packageInfo"]["weight"] = 4.into();
    let id = alice.ordered(&order).await;
    system.ends(&id, "Completed", SOON).await;
    // The month in which it was made, and flown.
    let events = alice.get(&format!("/api/deliveries/{id}/events")).await.json();
    let made = events[0]["occurredAt"].as_str().unwrap().to_owned();
    let month = format!("year={}&month={}", &made[..4], made[5..7].trim_start_matches('0'));
    let whole = until("the drone has flown", SOON, || async {
        let (status, said) = invoice(&alice, "alice", &month).await;
        assert_eq!(status, 200, "{said}");
        (said["drones"]["traveledMiles"].as_f64() > Some(0.0)).then_some(said)
    })
    .await;
    assert_eq!((&whole["deliveries"], &whole["missing"]), (&json!({"count": 1}), &json!([])));
    assert_eq!(whole["packages"], json!({"totalWeight": 4.0}));
    assert_eq!(invoice(&auditor, "alice", &month).await, (200, whole.clone()));
    assert_eq!(invoice(&bob, "alice", &month).await.0, 404);
    assert_eq!(invoice(&bob, "nobody", &month).await.0, 404);
    assert_eq!(invoice(&bob, "bob", &month).await.1["deliveries"], json!({"count": 0}));
    assert_eq!(invoice(&alice, "alice", "year=2026&month=13").await.0, 400);
}
