//! Streams of events: how long they last, and that they keep nobody out.

use std::{sync::Arc, time::Duration};

use base::{ManualClock, Timestamp};
use callers::{Callers, Grant, KeyFile};
use mesh_policy::{
    Policy, concurrency,
    edge_access::{EdgeAccess, Reach, Rule},
};
use mesh_proxy::Limits;

use super::stage::{
    Act, Backend, EDGE, LISTENING, Placement, Plan, Stage, Wire, ok, request, until,
};

/// One event, and nothing more.
const EVENT: &str = "id: 1\ndata: x\n\n";

fn streaming() -> Act {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked";
    Act::Say(format!("{head}\r\n\r\n{:x}\r\n{EVENT}\r\n", EVENT.len()))
}

fn access() -> EdgeAccess {
    let texts = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    EdgeAccess {
        name: "front".to_owned(),
        gateway: EDGE.to_owned(),
        keys: Some("keys.json".into()),
        tokens: Vec::new(),
        anonymous: Vec::new(),
        rules: vec![Rule {
            roles: texts(&["customer"]),
            routes: Vec::new(),
            methods: Vec::new(),
            reach: Reach::Own,
        }],
    }
}

/// A client that hears the one event of a stream.
async fn listening(stage: &Stage, key: &str) -> Wire {
    let mut client = stage.client().await;
    client.send(request("GET", "/", &[("Authorization", key)], b"")).await;
    let (line, _) = client.head().await.expect("a head");
    assert_eq!(line, "HTTP/1.1 200 OK");
    client.hears(EVENT).await;
    client
}

/// An edge with a key of a customer, good until a moment; what moves its clock, and the file of keys.
async fn edge(
    expires_at: Option<Timestamp>,
) -> (Backend, Stage, Arc<ManualClock>, KeyFile, String) {
    let backend = Backend::new(|_, _| streaming()).await;
    let policy = Policy { edge_access: vec![access()], ..Plan::to(&[&backend]).policy() };
    let stage = Stage::with_policy(Placement::Edge, policy, Limits::default());
    let mut file = KeyFile::default();
    let roles = vec!["customer".parse().unwrap()];
    let grant = Grant { principal: "alice".parse().unwrap(), roles, expires_at };
    let key = file.create(grant, Timestamp::from_millis(0)).unwrap().key;
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1)));
    stage.mesh.recognize(Callers::new([&file], Vec::new()), clock.clone());
    let bearer = format!("Bearer {}", key.reveal());
    (backend, stage, clock, file, bearer)
}

/// Ended in order: the last chunk came, and whoever sent it hears that nobody listens.
async fn has_ended(client: &mut Wire, backend: &Backend) {
    client.hears("0\r\n\r\n").await;
    until(|| backend.ended() == 1).await;
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_taken_back() {
    let (backend, stage, clock, mut file, key) = edge(None).await;
    let mut client = listening(&stage, &key).await;
    let id = file.keys()[0].sha256.id();
    file.revoke(&id, Timestamp::from_millis(2)).unwrap();
    stage.mesh.recognize(Callers::new([&file], Vec::new()), clock);
    has_ended(&mut client, &backend).await;
}

#[tokio::test]
async fn a_stream_ends_when_the_time_of_its_credential_is_over() {
    let (backend, stage, clock, _file, key) = edge(Some(Timestamp::from_millis(5_000))).await;
    let mut client = listening(&stage, &key).await;
    clock.advance(Duration::from_secs(5));
    has_ended(&mut client, &backend).await;
}

#[tokio::test]
async fn a_stream_ends_when_no_rule_allows_it_any_more() {
    let (backend, stage, _clock, _file, key) = edge(None).await;
    let mut client = listening(&stage, &key).await;
    let closed = EdgeAccess { rules: Vec::new(), ..access() };
    stage.mesh.replace(Policy { edge_access: vec![closed], ..stage.mesh.policy() }).unwrap();
    has_ended(&mut client, &backend).await;
}

#[tokio::test]
async fn a_stream_ends_in_order_when_its_door_closes() {
    for placement in LISTENING {
        let backend = Backend::new(|_, _| streaming()).await;
        let stage = Stage::new(placement, &Plan::to(&[&backend]));
        let mut client = listening(&stage, "").await;
        stage.tasks.stop();
        has_ended(&mut client, &backend).await;
    }
}

#[tokio::test]
async fn those_who_listen_take_nobodys_place() {
    for placement in LISTENING {
        let backend = Backend::new(|number, _| if number < 2 { streaming() } else { ok() }).await;
        let mut plan = Plan::to(&[&backend]);
        let one = concurrency::Settings { requests_max: 1, queue_max: 0, ..Default::default() };
        plan.settings.concurrency = Some(one);
        let stage = Stage::new(placement, &plan);
        let _clients = (listening(&stage, "").await, listening(&stage, "").await);
        assert_eq!(stage.get("/").await.status, 200, "{placement:?}");
    }
}
