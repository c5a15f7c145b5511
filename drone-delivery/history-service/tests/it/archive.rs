use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;
use broker::{BoundBroker, Broker, BrokerConfig, TopicConfig};
use contracts::{
    ConfirmationType, DeliveryStage, Location,
    shipping::{DeliveryEvent, delivery_event_type},
    topics,
};
use history_service::{HistoryConfig, run};
use http::Method;
use messaging::{Message, Messaging};
use runtime::{SystemClock, Tasks};
use serde_json::Value;
use service_kit::{Call, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

struct System {
    client: Client,
    messaging: Messaging,
    _broker: BoundBroker,
    _directory: TempDir,
}

async fn system() -> System {
    let (directory, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
    let topic = |it: &topics::Topic| TopicConfig {
        name: it.name.to_owned(),
        partitions: 1,
        synced: it.synced,
        retention_ms: None,
        retention_bytes: None,
    };
    let config = BrokerConfig {
        topics: topics::ALL.iter().map(topic).collect(),
        segment_bytes: 1 << 20,
        ..BrokerConfig::new(directory.path().join("broker"))
    };
    let clock = SystemClock::shared();
    let broker = Broker::start(config, clock.clone(), &Telemetry::disabled(), &tasks).unwrap();
    let mut config = ServiceConfig::new("history", "history-1", directory.path());
    config.bootstrap = vec![broker.address.to_string()];
    let context = ServiceContext::new(config, clock, Telemetry::disabled(), tasks);
    let messaging = context.require_messaging().unwrap();
    let bound = run(context, HistoryConfig::default()).await.unwrap();
    let services = ServiceAddresses::new().with("history", bound.http_url());
    let client = Client::new(services, Duration::from_secs(5), Telemetry::disabled());
    System { client, messaging, _broker: broker, _directory: directory }
}

impl System {
    /// Says that a delivery reached a stage.
    async fn say(&self, id: &str, sequence: u64, stage: DeliveryStage) {
        let event = DeliveryEvent {
            event_id: format!("{id}/{sequence}"),
            delivery_id: id.to_owned(),
            stage,
            location: None,
            sequence,
            occurred_at: Timestamp::from_millis(i64::try_from(sequence).unwrap()),
            owner_id: "a&b".to_owned(),
            drone_id: None,
            pickup: Location::default(),
            dropoff: Location::default(),
            pickup_time: None,
            confirmation_required: ConfirmationType::None,
            eta: None,
            reason: None,
        };
        let body = serde_json::to_vec(&event).unwrap();
        self.publish(id, event.event_id, delivery_event_type(stage).to_string(), body).await;
    }

    async fn publish(&self, key: &str, id: String, kind: String, body: Vec<u8>) {
        let message = Message {
            id,
            source: "/services/delivery".to_owned(),
            kind,
            subject: Some(key.to_owned()),
            time: Timestamp::from_millis(1),
            key: Some(key.to_owned()),
            content_type: "application/json".to_owned(),
            headers: BTreeMap::new(),
            trace: None,
            body: body.into(),
        };
        self.messaging.publish(topics::DELIVERY_EVENTS, message).await.unwrap();
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let call = Call::new("history", Method::GET, path.to_owned());
        let reply = self.client.call(call).await.unwrap();
        (reply.status.as_u16(), reply.json().unwrap_or_default())
    }

    /// Waits until the history of a delivery has so many events.
    async fn has(&self, id: &str, events: usize) -> Value {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let (status, history) = self.get(&format!("/api/deliveryhistory/{id}")).await;
            if status == 200 && history["events"].as_array().map(Vec::len) == Some(events) {
                return history;
            }
            assert!(Instant::now() < end, "not in time: {status} {history}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn what_was_said_of_a_delivery_is_its_history() {
    let system = system().await;
    system.say("d1", 1, DeliveryStage::Created).await;
    system.say("d1", 1, DeliveryStage::Created).await;
    // It goes to the dead letters, and holds nothing up.
    let kind = delivery_event_type(DeliveryStage::Failed).to_string();
    system.publish("d1", "bad".to_owned(), kind, b"no event".to_vec()).await;
    system.say("d1", 2, DeliveryStage::Completed).await;
    let history = system.has("d1", 2).await;
    assert_eq!((&history["deliveryId"], &history["ownerId"]), (&"d1".into(), &"a&b".into()));
    assert_eq!(history["events"][0]["stage"], "Created");
    assert_eq!(history["events"][1]["stage"], "Completed");
}

#[tokio::test]
async fn an_account_sees_what_happened_lately_as_far_as_it_asks() {
    let system = system().await;
    system.say("d1", 1, DeliveryStage::Created).await;
    system.say("d1", 2, DeliveryStage::Completed).await;
    system.has("d1", 2).await;
    let (status, listed) = system.get("/api/deliveryhistory?ownerId=a%26b").await;
    assert_eq!((status, listed.as_array().unwrap().len()), (200, 2));
    assert_eq!(listed[0]["stage"], "Completed");
    let (_, newest) = system.get("/api/deliveryhistory?ownerId=a%26b&limit=1").await;
    assert_eq!(newest.as_array().unwrap().len(), 1);
    let (_, nothing) = system.get("/api/deliveryhistory?ownerId=a").await;
    assert_eq!(nothing, Value::Array(Vec::new()));
}

#[tokio::test]
async fn what_cannot_be_answered_is_a_problem() {
    let system = system().await;
    let (status, problem) = system.get("/api/deliveryhistory/unheard-of").await;
    assert_eq!((status, &problem["code"]), (404, &"not_found".into()));
    for path in ["/api/deliveryhistory", "/api/deliveryhistory?ownerId=o&limit=-1"] {
        let (status, problem) = system.get(path).await;
        assert_eq!((status, &problem["code"]), (400, &"invalid_request".into()), "{path}");
    }
}
