//! The public edge: keys, malformed requests, a log that is down, more work than the rest can take.

use std::{collections::BTreeSet, process::Command, time::Duration};

use http::Method;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    http::Reply,
    peers::{has, not_run},
    program::{System, sample_request},
    wait::until,
};

impl System {
    async fn submit_with_key(&self, key: &str, body: &serde_json::Value) -> Reply {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let url = self.gateway("/api/deliveryrequests");
        self.http.send(Method::POST, &url, &headers, body.to_string()).await
    }
}

#[tokio::test]
async fn the_same_key_fifty_times_at_once_makes_one_delivery() {
    let system = System::up(&["--replicas", "ingestion=2"]);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let http = system.http.clone();
        let url = system.gateway("/api/deliveryrequests");
        calls.spawn(async move {
            let headers = [("content-type", "application/json"), ("idempotency-key", "\"k1\"")];
            http.send(Method::POST, &url, &headers, sample_request().to_string()).await
        });
    }
    let replies = calls.join_all().await;
    let bodies: BTreeSet<_> =
        replies.iter().map(|it| (it.status.as_u16(), it.body.clone())).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(replies[0].status, 202);

    let mut other = sample_request();
    other["expedited"] = json!(false);
    assert_eq!(system.submit_with_key("\"k1\"", &other).await.status, 422);
    let again = system.submit_with_key("\"k1\"", &sample_request()).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    other["ownerId"] = json!("another owner");
    assert_eq!(system.submit_with_key("\"k1\"", &other).await.status, 202);
}

#[tokio::test]
async fn a_lost_reply_to_a_request_with_a_key_is_asked_for_again_by_the_edge() {
    let system = System::up(&["--enable-faults"]);
    let lost = json!({"route": "POST /api/deliveryrequests", "drop_reply": true, "count": 1});
    system.plant("ingestion", &lost).await;
    let reply = system.submit_with_key("\"k3\"", &sample_request()).await;
    assert_eq!((reply.status.as_u16(), reply.header("idempotent-replayed")), (202, "true"));
}

#[tokio::test]
async fn a_crash_between_reserve_and_reply_makes_one_delivery() {
    let system = System::up(&["--enable-faults"]);
    // The edge repeats a request that carries a key: each of its three tries loses its reply.
    let lost = json!({"route": "POST /api/deliveryrequests", "drop_reply": true, "count": 3});
    system.plant("ingestion", &lost).await;
    let url = system.gateway("/api/deliveryrequests");
    let headers = [("content-type", "application/json"), ("idempotency-key", "\"k2\"")];
    let first =
        system.http.try_send(Method::POST, &url, &headers, sample_request().to_string()).await;
    assert!(first.is_err() || first.is_ok_and(|it| it.status == 502));
    system.role("ingestion")[0].signal(Signal::KILL);
    let reply = until("the edge is back", Duration::from_secs(20), || async {
        let reply = system.submit_with_key("\"k2\"", &sample_request()).await;
        (reply.status == 202).then_some(reply)
    })
    .await;
    let listed = system.command_json(&["saga", "list"]);
    let id = reply.json()["deliveryId"].as_str().unwrap().to_owned();
    until("the one delivery is scheduled", Duration::from_secs(20), || async {
        system.command_json(&["saga", "list"]).to_string().contains(&id).then_some(())
    })
    .await;
    let creates = system.command_json(&["saga", "list"]).to_string().matches("/create").count();
    assert_eq!(creates, 1, "{listed}");
}

#[tokio::test]
async fn missing_and_malformed_members_are_each_named() {
    let system = System::up(&[]);
    let body = json!({"ownerId": 7, "dropOffLocation": "x", "pickupTime": "yesterday",
        "packageInfo": {"packageId": "p", "size": "Gigantic", "weight": "heavy"}});
    let reply = system.submit(&body).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problem = reply.json();
    assert_eq!(problem["code"], "invalid_request");
    let pointers: BTreeSet<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["pointer"].as_str().unwrap())
        .collect();
    for pointer in
        ["/ownerId", "/pickupLocation", "/pickupTime", "/packageInfo/size", "/packageInfo/weight"]
    {
        assert!(pointers.contains(pointer), "{pointer} is not named: {problem}");
    }
}

#[tokio::test]
async fn a_request_is_refused_while_the_log_is_down() {
    let system = System::up_pausable(&[]);
    let broker = system.role("broker").remove(0);
    broker.signal(Signal::STOP);
    let reply = system.submit(&sample_request()).await;
    assert_eq!(reply.status, 503, "{:?}", reply.json());
    assert!(!reply.header("retry-after").is_empty());
    broker.signal(Signal::CONT);
    until("the log takes requests again", Duration::from_secs(20), || async {
        (system.submit(&sample_request()).await.status == 202).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_unparsable_message_goes_to_dead_letters_and_the_next_is_processed() {
    let system = System::up(&["--time-scale", "600"]);
    let topic = "delivery-requests";
    let published =
        system.command(&["topics", "publish", topic, "--key", "poison", "--body", "{not json"]);
    assert!(published.status.success(), "{}", String::from_utf8_lossy(&published.stderr));
    let id = system.accepted(&sample_request()).await;
    system.ends(&id, "Completed", Duration::from_secs(60)).await;
    let dead = system.command_json(&["dlq", "list"]);
    assert!(dead.to_string().contains("delivery-requests"), "{dead}");
}

#[tokio::test]
async fn a_scheduler_that_is_down_delays_but_refuses_nothing() {
    let system = System::up_pausable(&["--time-scale", "600", "--drones", "200"]);
    let scheduler = system.role("scheduler").remove(0);
    scheduler.signal(Signal::STOP);
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(system.accepted(&sample_request()).await);
    }
    scheduler.signal(Signal::CONT);
    for id in ids {
        system.ends(&id, "Completed", Duration::from_secs(120)).await;
    }
}

#[tokio::test]
async fn the_issuer_of_the_examples_is_believed_about_who_somebody_is() {
    if let Some(program) = ["python3", "openssl"].into_iter().find(|it| !has(it)) {
        return not_run(&format!("there is no {program}"));
    }
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let system = System::up(&["--routes", &format!("{examples}/issuer.yaml")]);
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("python3")
        .arg(format!("{examples}/issue_token.py"))
        .arg("alice")
        .arg(system.data().join("edge/who.jwks.json"))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token = format!("Bearer {}", String::from_utf8(output.stdout).unwrap().trim());
    let ask = async |owner: &str| {
        let url = system.gateway(&format!("/api/deliveryhistory?ownerId={owner}"));
        let fields = [("authorization", token.as_str())];
        system.http.send(Method::GET, &url, &fields, "").await.status.as_u16()
    };
    until("the key set is read", Duration::from_secs(20), async || {
        (ask("alice").await == 200).then_some(())
    })
    .await;
    assert_eq!(ask("bob").await, 404);
}
