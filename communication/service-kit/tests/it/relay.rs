//! The relay of a service, against a broker: what leaves, in which order, at which price.

use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;
use broker::{Broker, BrokerConfig, TopicConfig};
use runtime::{SystemClock, Tasks};
use service_kit::{Routes, Service, ServiceContext, start_relay};
use store::{Migration, OutboxMessage, SqlError, Store, StoreSettings};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::fixture::{self, PATIENCE};

const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "none", sql: "CREATE TABLE none (id INTEGER) STRICT;" }];

struct Relayed {
    _directory: TempDir,
    _broker: Tasks,
    context: ServiceContext,
    store: Store,
}

fn service() -> Relayed {
    let directory = TempDir::new().unwrap();
    let broker_tasks = Tasks::new();
    let topic = TopicConfig {
        name: "orders".to_owned(),
        partitions: 4,
        synced: true,
        retention_ms: None,
        retention_bytes: None,
    };
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        topics: vec![topic],
        ..BrokerConfig::new(directory.path().join("broker"))
    };
    let broker =
        Broker::start(config, SystemClock::shared(), &Telemetry::disabled(), &broker_tasks)
            .unwrap();
    let data = directory.path().to_owned();
    let context = fixture::context(|config| {
        config.data = data;
        config.bootstrap = vec![broker.address.to_string()];
    });
    let store = context.open_store(MIGRATIONS, StoreSettings::default()).unwrap();
    Relayed { _directory: directory, _broker: broker_tasks, context, store }
}

fn message(key: &str, number: u32) -> OutboxMessage {
    OutboxMessage {
        topic: "orders".to_owned(),
        key: Some(key.to_owned()),
        id: format!("{key}/{number}"),
        kind: "com.example.Ordered.v1".to_owned(),
        source: "/services/orders".to_owned(),
        subject: None,
        time: Timestamp::from_millis(5),
        headers: BTreeMap::new(),
        traceparent: None,
        tracestate: None,
        body: number.to_string().into_bytes(),
    }
}

impl Relayed {
    async fn push(&self, messages: Vec<OutboxMessage>) {
        let write = self.store.write(move |it| messages.iter().try_for_each(|one| it.push(one)));
        let written: Result<(), store::WriteError<SqlError>> = write.await;
        written.unwrap();
    }

    async fn is_relayed(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.store.read(|it| it.outbox_depth()).await.unwrap() > 0 {
            assert!(Instant::now() < deadline, "messages stay in the outbox");
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn count(&self, name: &str) -> f64 {
        let page = self.context.telemetry.metrics().encode();
        let line = page.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |it| it.trim().parse().unwrap())
    }
}

#[tokio::test]
async fn a_relayed_message_costs_a_share_of_a_commit() {
    let service = service();
    let of_pushes = 400.0;
    start_relay(&service.context, &service.store);
    for number in 0..400 {
        service.push(vec![message(&format!("k{}", number % 50), number)]).await;
        sleep(Duration::from_millis(5)).await;
    }
    service.is_relayed().await;
    let trickle = service.count("store_commits_total") - of_pushes;
    let before = service.count("store_commits_total");
    let started = Instant::now();
    for block in 0..20 {
        service.push((0..250).map(|it| message(&format!("k{}", it % 250), block)).collect()).await;
    }
    service.is_relayed().await;
    let backlog = service.count("store_commits_total") - before - 20.0;
    // With one removal a message it was 0.995 of a commit in the trickle.
    let costs = (trickle / 400.0, backlog / 5_000.0);
    println!(
        "commits a message: trickle {}, backlog {}, {:?}",
        costs.0,
        costs.1,
        started.elapsed()
    );
    assert!(costs.0 < 0.5, "a trickle of messages costs {} commits each", costs.0);
    assert!(costs.1 < 0.05, "a backlog of messages costs {} commits each", costs.1);
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_when_it_is_pushed() {
    let service = service();
    let long = OutboxMessage { body: vec![b' '; (1 << 20) + 1], ..message("a", 1) };
    let refused = service.store.write(move |it| it.push(&long)).await;
    let expected = SqlError::MessageTooLarge { bytes: (1 << 20) + 1, bytes_max: 1 << 20 };
    assert_eq!(refused, Err(store::WriteError::Refused(expected)));
    let longest = OutboxMessage { body: vec![b' '; 1 << 20], ..message("a", 1) };
    service.push(vec![longest]).await;
    start_relay(&service.context, &service.store);
    service.is_relayed().await;
}

#[tokio::test]
async fn parked_messages_are_seen_released_and_discarded_at_the_operators_port() {
    let service = service();
    service.push(vec![message("a", 1), message("b", 1)]).await;
    for sequence in [1, 2] {
        service.store.write(move |it| it.park(sequence, "it is odd")).await.unwrap();
    }
    let site = Service::new(Routes::new()).store(&service.store);
    let bound = site.serve(&service.context).unwrap();
    let admin = async |request: &str| {
        let request = format!(
            "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let reply = fixture::exchange(bound.admin, &request).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head[9..12].to_owned(), serde_json::from_str(body).unwrap_or(serde_json::Value::Null))
    };
    let (_, page) = admin("GET /admin/outbox").await;
    assert_eq!((&page["service"], &page["waiting"]), (&"orders".into(), &2.into()));
    assert_eq!(page["parked"][0]["id"], "a/1");
    assert_eq!(page["parked"][1]["reason"], "it is odd");
    assert_eq!(admin("POST /admin/outbox/discard?sequence=1").await.0, "204");
    assert_eq!(admin("POST /admin/outbox/discard?sequence=1").await.0, "404");
    assert_eq!(admin("POST /admin/outbox/release?sequence=2").await.0, "204");
    assert_eq!(admin("POST /admin/outbox/release?sequence=x").await.0, "400");
    assert_eq!(admin("POST /admin/outbox/release").await.0, "400");
    let (_, page) = admin("GET /admin/outbox").await;
    assert_eq!((&page["waiting"], &page["parked"]), (&1.into(), &serde_json::json!([])));
}

#[tokio::test]
async fn a_request_in_the_drain_window_still_publishes() {
    let service = service();
    let messaging = service.context.messaging.clone().unwrap();
    let handler = move || {
        let messaging = messaging.clone();
        async move {
            let event = messaging::Message {
                id: "1".to_owned(),
                source: "/services/orders".to_owned(),
                kind: "com.example.Ordered.v1".to_owned(),
                subject: None,
                time: Timestamp::from_millis(5),
                key: None,
                content_type: "application/json".to_owned(),
                headers: BTreeMap::new(),
                trace: None,
                body: "{}".into(),
            };
            let published = messaging.publish("orders", event).await;
            published.map_or_else(|it| it.to_string(), |_| "published".to_owned())
        }
    };
    let context = service.context.with_config(service_kit::ServiceConfig {
        drain_delay: Duration::from_secs(60),
        ..(*service.context.config).clone()
    });
    let bound = Service::new(Routes::new().get("/api/work", handler)).serve(&context).unwrap();
    let request = "GET /api/work HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let draining = context.tasks.drain(PATIENCE);
    let asking = async {
        let unready = "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        while !fixture::exchange(bound.http, unready).await.contains(" 503 ") {}
        for _ in 0..3 {
            let reply = fixture::exchange(bound.http, request).await;
            assert!(reply.ends_with("published"), "{reply}");
        }
    };
    tokio::select! {
        _ = draining => panic!("the drain ended in its window"),
        () = asking => {}
    }
}
