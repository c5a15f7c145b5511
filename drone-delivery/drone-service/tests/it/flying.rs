use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base::Clock as _;
use broker::{BoundBroker, Broker, BrokerConfig, TopicConfig};
use contracts::{
    ConfirmationType, DeliveryStage, Location,
    drone_management::{
        DRONE_PHASE_CHANGED, DroneAssignment, DronePhase, DronePhaseChanged, DronePositioned,
    },
    shipping::{DeliveryEvent, delivery_event_type},
    topics,
};
use drone_service::{DroneConfig, run};
use fleet_rules::FleetConfig;
use http::Method;
use messaging::{Delivered, Failure, Handler, Message, Messaging, Subscription};
use runtime::{SystemClock, Tasks};
use serde_json::json;
use service_kit::{Call, Client, ServiceAddresses, ServiceConfig, ServiceContext};
use telemetry::Telemetry;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(30);

/// Hears everything about drones.
#[derive(Debug, Clone, Default)]
struct Heard {
    phases: Arc<Mutex<Vec<DronePhaseChanged>>>,
    positions: Arc<Mutex<Vec<DronePositioned>>>,
    assignments: Arc<Mutex<Vec<DroneAssignment>>>,
}

impl Handler for Heard {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let body = &delivered.message.body;
        let is_phase = delivered.message.kind == DRONE_PHASE_CHANGED.to_string();
        if *delivered.topic == *topics::DRONE_EVENTS && !is_phase {
            self.assignments.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        } else if *delivered.topic == *topics::DRONE_EVENTS {
            self.phases.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        } else {
            self.positions.lock().unwrap().push(serde_json::from_slice(body).unwrap());
        }
        Ok(())
    }
}

struct System {
    client: Client,
    messaging: Messaging,
    heard: Heard,
    telemetry: Telemetry,
    _broker: BoundBroker,
    _directory: TempDir,
}

async fn system(time_scale: f64) -> System {
    let directory = TempDir::new().unwrap();
    let topic = |it: &topics::Topic| TopicConfig {
        name: it.name.to_owned(),
        partitions: 2,
        synced: it.synced,
        retention_ms: None,
        retention_bytes: None,
    };
    let config = BrokerConfig {
        topics: topics::ALL.iter().map(topic).collect(),
        segment_bytes: 1 << 20,
        ..BrokerConfig::new(directory.path().join("broker"))
    };
    let (clock, tasks) = (SystemClock::shared(), Tasks::new());
    let config = BrokerConfig { listen: ([127, 0, 0, 1], 0).into(), ..config };
    let broker = Broker::start(config, clock.clone(), &Telemetry::disabled(), &tasks).unwrap();
    let mut config = ServiceConfig::new("drone", "drone-1", directory.path());
    config.bootstrap = vec![broker.address.to_string()];
    let telemetry = Telemetry::disabled();
    let context = ServiceContext::new(config, clock, telemetry.clone(), tasks.clone());
    let messaging = context.require_messaging().unwrap();
    let fleet = FleetConfig { drones: 3, time_scale, ..FleetConfig::default() };
    let bound = run(context, fleet, DroneConfig::default()).await.unwrap();
    let services = ServiceAddresses::new().with("drone", bound.http_url());
    let client = Client::new(services, Duration::from_secs(5), Telemetry::disabled());
    let heard = Heard::default();
    let everything = Subscription::tail([topics::DRONE_EVENTS, topics::DRONE_POSITIONS]);
    messaging.subscribe(&everything, heard.clone(), &tasks).unwrap();
    System { client, messaging, heard, telemetry, _broker: broker, _directory: directory }
}

impl System {
    async fn book(&self, id: &str) -> String {
        let body = json!({"deliveryId": id, "pickup": {"latitude": 60.17, "longitude": 24.94},
            "dropoff": {"latitude": 60.165, "longitude": 24.95},
            "packageDetail": {"id": "p", "size": "Small", "weight": 2}});
        let call =
            Call::new("drone", Method::PUT, format!("/api/dronedeliveries/{id}")).json(&body);
        let reply = self.client.call(call).await.unwrap();
        assert_eq!(reply.status, 200);
        String::from_utf8(reply.body.to_vec()).unwrap()
    }

    async fn status_of(&self, id: &str) -> u16 {
        let call = Call::new("drone", Method::GET, format!("/api/dronedeliveries/{id}"));
        self.client.call(call).await.unwrap().status.as_u16()
    }

    async fn say(&self, id: &str, drone_id: &str, stage: DeliveryStage, sequence: u64) {
        let place = Location::new(60.17, 24.94);
        let now = SystemClock.now();
        let event = DeliveryEvent {
            event_id: format!("{id}/{sequence}"),
            delivery_id: id.to_owned(),
            stage,
            location: None,
            sequence,
            occurred_at: now,
            owner_id: "owner".to_owned(),
            drone_id: Some(drone_id.to_owned()),
            pickup: place,
            dropoff: place,
            pickup_time: None,
            confirmation_required: ConfirmationType::None,
            eta: None,
            reason: None,
        };
        let message = Message {
            id: event.event_id.clone(),
            source: "/services/delivery".to_owned(),
            kind: delivery_event_type(stage).to_string(),
            subject: Some(id.to_owned()),
            time: now,
            key: Some(id.to_owned()),
            content_type: "application/json".to_owned(),
            headers: BTreeMap::new(),
            trace: None,
            body: serde_json::to_vec(&event).unwrap().into(),
        };
        self.messaging.publish(topics::DELIVERY_EVENTS, message).await.unwrap();
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Heard) -> bool) {
        let end = Instant::now() + SOON;
        while !holds(&self.heard) {
            assert!(Instant::now() < end, "not in time: {what}: {:?}", self.heard.phases);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn has(heard: &Heard, phase: DronePhase) -> bool {
    heard.phases.lock().unwrap().iter().any(|it| it.phase == phase)
}

#[tokio::test]
async fn a_drone_flies_once_its_delivery_was_made_and_says_where_it_is() {
    let system = system(100.0).await;
    let drone = system.book("d1").await;
    assert!(!has(&system.heard, DronePhase::EnRouteToPickup), "it flew before it was sent");
    system.say("d1", &drone, DeliveryStage::Created, 1).await;
    // The same message twice must not make it fly twice.
    system.say("d1", &drone, DeliveryStage::Created, 1).await;
    system.until("it is back", |it| has(it, DronePhase::Idle)).await;
    let phases = system.heard.phases.lock().unwrap().clone();
    let numbers: Vec<u64> = phases.iter().map(|it| it.sequence).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>(), "{phases:?}");
    assert!(phases[0].delivery_eta.is_some_and(|it| it > phases[0].occurred_at));
    assert_eq!(phases[5].phase, DronePhase::DroppedOff);
    assert_eq!((&phases[5].delivery_id, &phases[6].delivery_id), (&Some("d1".to_owned()), &None));
    let told = system.heard.assignments.lock().unwrap().clone();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0].drone_id, told[0].turn), (&Some(drone.clone()), 1));
    assert!(told[0].pickup_eta.is_some() && told[0].delivery_eta > told[0].pickup_eta);
    let positions = system.heard.positions.lock().unwrap().clone();
    assert!(positions.len() > 10, "{} positions", positions.len());
    assert!(positions.iter().all(|it| it.position.altitude >= 0.0 && it.drone_id == drone));
    let follows = |position: &DronePositioned| {
        phases.iter().any(|it| (it.sequence, it.phase) == (position.sequence, position.phase))
    };
    assert!(positions.iter().all(follows), "each has the number of its phase: {positions:?}");
    assert_eq!(system.status_of("d1").await, 200);
}

#[tokio::test]
async fn what_was_promised_is_held_against_what_came_in_seconds_of_wall_time() {
    let system = system(100.0).await;
    let drone = system.book("d1").await;
    system.say("d1", &drone, DeliveryStage::Created, 1).await;
    system.until("it is back", |it| has(it, DronePhase::Idle)).await;
    let text = system.telemetry.metrics().encode();
    for moment in ["pickup", "arrival"] {
        let figure = |of: &str| {
            let name = format!("drone_promise_error_seconds_{of}{{moment=\"{moment}\"}} ");
            let found = text.lines().find_map(|it| it.strip_prefix(&name));
            found.and_then(|it| it.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
        };
        assert_eq!(figure("count"), 1.0, "{moment}");
        // More than the whole test may take would be another clock's time.
        assert!(figure("sum") < SOON.as_secs_f64(), "{moment}: {}", figure("sum"));
    }
}

#[tokio::test]
async fn a_drone_whose_delivery_was_called_off_flies_home() {
    let system = system(1.0).await;
    let drone = system.book("d1").await;
    system.say("d1", &drone, DeliveryStage::Created, 1).await;
    system.until("it is away", |it| has(it, DronePhase::EnRouteToPickup)).await;
    system.say("d1", &drone, DeliveryStage::Cancelled, 2).await;
    system.until("it turns", |it| has(it, DronePhase::Returning)).await;
    assert_eq!(system.status_of("d1").await, 404);
}
