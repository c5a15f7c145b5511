//! Requests that come again under their key, whatever has happened in between.

use std::{path::Path, time::Duration};

use base::Timestamp;
use broker::{BoundBroker, Broker, BrokerConfig, TopicConfig};
use contracts::{
    ConfirmationType, DeliveryStage, Location,
    shipping::{DeliveryEvent, delivery_event_type},
    topics,
};
use http::{HeaderName, Method};
use messaging::{Message, Messaging};
use runtime::{SystemClock, Tasks};
use serde_json::{Value, json};
use service_kit::{Bound, Call, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use store::{Store, StoreSettings};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::super::samples;
use crate::{IngestionConfig, run, store::MIGRATIONS};

/// For what comes in the end, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log, and Ingestion before it.
struct Edge {
    messaging: Messaging,
    bound: Bound,
    tasks: Tasks,
    broker: BoundBroker,
    directory: TempDir,
}

/// What came back: the status, whether it was said before, the body.
type Said = (u16, bool, Value);

async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn context(broker: &BoundBroker, directory: &TempDir, tasks: &Tasks) -> ServiceContext {
    let data = directory.path().join("ingestion");
    let mut config = ServiceConfig::new("ingestion", "ingestion-1", data);
    config.bootstrap = vec![broker.address.to_string()];
    ServiceContext::new(config, SystemClock::shared(), Telemetry::disabled(), tasks.clone())
}

impl Edge {
    async fn up() -> Self {
        let (directory, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let topic = |it: &topics::Topic| TopicConfig {
            name: it.name.to_owned(),
            partitions: 1,
            synced: true,
            retention_ms: None,
            retention_bytes: None,
        };
        let config = BrokerConfig {
            topics: topics::ALL.iter().map(topic).collect(),
            segment_bytes: 1 << 20,
            partitions_default: 1,
            ..BrokerConfig::new(directory.path().join("broker"))
        };
        let (clock, telemetry) = (SystemClock::shared(), Telemetry::disabled());
        let broker = Broker::start(config, clock, &telemetry, &tasks).unwrap();
        let context = context(&broker, &directory, &tasks);
        let messaging = context.messaging.clone().unwrap();
        let bound = run(context, IngestionConfig::default(), PATIENCE).await.unwrap();
        Self { messaging, bound, tasks, broker, directory }
    }

    /// A second instance on the same database.
    async fn replica(&self, config: IngestionConfig) -> Bound {
        let context = context(&self.broker, &self.directory, &self.tasks);
        run(context, config, PATIENCE).await.unwrap()
    }

    async fn send(&self, bound: &Bound, method: Method, path: &str, key: &str) -> Said {
        let has_body = method == Method::POST || method == Method::PATCH;
        let body = has_body.then(samples::request);
        self.send_body(bound, method, path, key, body).await
    }

    async fn send_body(
        &self,
        bound: &Bound,
        method: Method,
        path: &str,
        key: &str,
        body: Option<Value>,
    ) -> Said {
        let services = ServiceAddresses::new().with("ingestion", bound.http_url());
        let client = Client::new(services, PATIENCE, Telemetry::disabled());
        let name = HeaderName::from_static(base::headers::IDEMPOTENCY_KEY);
        let mut call = Call::new("ingestion", method, path.to_owned());
        if let Some(body) = body {
            call = call.json(&body);
        }
        let reply = client.call(call.header(name, key)).await.unwrap();
        let said_before = reply.header(base::headers::IDEMPOTENT_REPLAYED) == Some("true");
        (reply.status.as_u16(), said_before, reply.json().unwrap_or_default())
    }

    async fn ask(&self, method: Method, path: &str, key: &str) -> Said {
        self.send(&self.bound, method, path, key).await
    }

    /// Where an accepted request is read, moved and called off.
    async fn accepted(&self) -> String {
        let (status, _, accepted) = self.ask(Method::POST, "/api/deliveryrequests", "c").await;
        assert_eq!(status, 202, "{accepted}");
        format!("/api/deliveryrequests/{}", accepted["deliveryId"].as_str().unwrap())
    }

    /// As after the death of a process that had published and not yet kept what it answered.
    async fn forget_answers(&self) {
        let context = context(&self.broker, &self.directory, &self.tasks);
        let store: Store = context.open_store(MIGRATIONS, StoreSettings::default()).unwrap();
        let forgotten = store.write(|it| {
            let sql = "UPDATE skein_idempotency SET status = NULL, held_until = 0";
            it.execute(sql, &[])
        });
        assert!(forgotten.await.unwrap() > 0);
    }

    /// The package is picked up, and the edge has heard of it.
    async fn pick_up(&self, path: &str) {
        let stage = DeliveryStage::HeadedToDropoff;
        let id = path.rsplit('/').next().unwrap().to_owned();
        let event = DeliveryEvent {
            event_id: "picked-up".to_owned(),
            delivery_id: id.clone(),
            stage,
            location: None,
            sequence: 3,
            occurred_at: Timestamp::from_millis(1),
            owner_id: "o".to_owned(),
            drone_id: None,
            pickup: Location::default(),
            dropoff: Location::default(),
            pickup_time: None,
            confirmation_required: ConfirmationType::None,
            eta: None,
            reason: None,
        };
        let message = Message {
            id: event.event_id.clone(),
            source: "/test".to_owned(),
            kind: delivery_event_type(stage).to_string(),
            subject: None,
            time: event.occurred_at,
            key: Some(id),
            content_type: "application/json".to_owned(),
            headers: std::collections::BTreeMap::new(),
            trace: None,
            body: serde_json::to_vec(&event).unwrap().into(),
        };
        until("the log takes an event", async || {
            self.messaging.publish(topics::DELIVERY_EVENTS, message.clone()).await.ok()
        })
        .await;
        until("the edge hears of it", async || {
            let (_, _, found) = self.ask(Method::GET, path, "").await;
            (found["stage"] == json!(stage)).then_some(())
        })
        .await;
    }

    /// The ids of what was asked for so.
    async fn messages(&self, operation: &str) -> Vec<String> {
        let read = self.messaging.read(topics::DELIVERY_REQUESTS, 0, 0, 100).await.unwrap();
        let asked = |it: &&messaging::Delivered| {
            it.message.headers.get("operation").is_some_and(|it| it == operation)
        };
        read.iter().filter(asked).map(|it| it.message.id.clone()).collect()
    }
}

async fn check_answered_as_before(method: Method, operation: &str, expected: u16) {
    let edge = Edge::up().await;
    let path = edge.accepted().await;
    let first = edge.ask(method.clone(), &path, "first").await;
    assert_eq!(first.0, expected, "{first:?}");
    edge.forget_answers().await;
    edge.pick_up(&path).await;

    assert_eq!(edge.ask(method.clone(), &path, "first").await, first);
    let ids = edge.messages(operation).await;
    assert!(ids.iter().all(|it| *it == ids[0]), "two operations of one request: {ids:?}");
    let new = edge.ask(method, &path, "second").await;
    assert_eq!((new.0, &new.2["code"]), (409, &json!("picked_up")));
    assert_eq!(edge.messages(operation).await, ids, "what is too late is not asked for");
}

#[tokio::test]
async fn a_move_that_may_be_under_way_is_answered_as_the_first_time_although_it_is_too_late_now() {
    check_answered_as_before(Method::PATCH, "reschedule", 200).await;
}

#[tokio::test]
async fn a_cancel_that_may_be_under_way_is_answered_as_the_first_time_although_it_is_too_late_now()
{
    check_answered_as_before(Method::DELETE, "cancel", 204).await;
}

#[tokio::test]
async fn what_was_refused_as_too_late_is_refused_again_under_its_key_and_never_asked_for() {
    let edge = Edge::up().await;
    let path = edge.accepted().await;
    edge.pick_up(&path).await;
    for (method, operation) in [(Method::PATCH, "reschedule"), (Method::DELETE, "cancel")] {
        let first = edge.ask(method.clone(), &path, "late").await;
        assert_eq!((first.0, first.1, &first.2["code"]), (409, false, &json!("picked_up")));
        let again = edge.ask(method, &path, "late").await;
        assert_eq!((again.0, again.1, &again.2["code"]), (409, true, &json!("picked_up")));
        assert_eq!(edge.messages(operation).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_edge_that_takes_nothing_new_in_still_answers_for_what_it_took() {
    let edge = Edge::up().await;
    let path = edge.accepted().await;
    let full = IngestionConfig { disk_free_bytes_min: u64::MAX, ..IngestionConfig::default() };
    let full = edge.replica(full).await;
    let posts = "/api/deliveryrequests";
    until("the disk is found to be full", async || {
        let key = format!("{:?}", Instant::now());
        (edge.send(&full, Method::POST, posts, &key).await.0 == 503).then_some(())
    })
    .await;
    let (status, said_before, accepted) = edge.send(&full, Method::POST, posts, "c").await;
    assert_eq!((status, said_before), (202, true), "{accepted}");
    assert!(path.ends_with(accepted["deliveryId"].as_str().unwrap()));
}

/// Bytes of all files in a folder and those below it.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let bytes = |it: std::fs::DirEntry| match it.metadata().unwrap() {
        folder if folder.is_dir() => bytes_below(&it.path()),
        file => file.len(),
    };
    entries.map(bytes).sum()
}

#[tokio::test]
async fn what_nobody_reads_of_a_request_takes_no_room_on_the_disk() {
    const ORDERS: u64 = 12;
    const FILLING: usize = 900_000;
    let edge = Edge::up().await;
    let order = async |key: &str, change: &dyn Fn(&mut Value)| {
        let mut body = samples::request();
        change(&mut body);
        let (method, path) = (Method::POST, "/api/deliveryrequests");
        edge.send_body(&edge.bound, method, path, key, Some(body)).await
    };
    assert_eq!(order("first", &|_| {}).await.0, 202);
    // A log has its segments from the start.
    let before = bytes_below(edge.directory.path());
    for number in 0..ORDERS {
        let fill = |it: &mut Value| {
            it["unknown"] = "x".repeat(FILLING / 2).into();
            it["packageInfo"]["unknown"] = json!(["x".repeat(FILLING / 2)]);
        };
        assert_eq!(order(&format!("{number}"), &fill).await.0, 202);
    }
    let added = bytes_below(edge.directory.path()) - before;
    assert!(added < FILLING as u64, "{ORDERS} orders took {added} bytes");

    // Nor does what surrounds a value that is read.
    let wide = |it: &mut Value| it["packageInfo"]["weight"] = (" ".repeat(FILLING) + "1").into();
    let (status, _, refused) = order("wide", &wide).await;
    assert_eq!((status, &refused["errors"][0]["pointer"]), (400, &json!("/packageInfo/weight")));
}
