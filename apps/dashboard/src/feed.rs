//! What the page hears: what happened, from where the topics begin, and positions from now on.
//!
//! It reads without a group: nothing is committed, nothing it cannot read becomes a dead letter,
//! and every start reads again what the topics still hold. A record of another version is passed
//! over: a page that shows less is better than one that stops.

use std::sync::{Arc, Mutex, PoisonError};

use contracts::{
    drone_management::{DRONE_PHASE_CHANGED, DronePhaseChanged, DronePositioned},
    event::{self, ReadError},
    shipping::{OPERATION, Operation},
    third_party_transport::CarrierPhaseChanged,
    topics,
};
use messaging::{Delivered, Failure, Handler, Message, Messaging, SubscribeError, Subscription};
use runtime::Tasks;

use crate::view::View;

/// Folds records into the view.
#[derive(Debug, Clone)]
struct Feed {
    view: Arc<Mutex<View>>,
}

/// Subscribes to everything that the page shows.
///
/// # Errors
/// None: a reader without a group has no place that another could have.
pub(crate) fn start(
    messaging: &Messaging,
    view: &Arc<Mutex<View>>,
    tasks: &Tasks,
) -> Result<(), SubscribeError> {
    let feed = Feed { view: Arc::clone(view) };
    let heard = [
        topics::DELIVERY_REQUESTS,
        topics::REQUEST_EVENTS,
        topics::DELIVERY_EVENTS,
        topics::DRONE_EVENTS,
        topics::CARRIER_EVENTS,
    ];
    messaging.subscribe(&Subscription::tail(heard), feed.clone(), tasks)?;
    // Apart from the events, so that a flood of positions holds up no phase. Where a drone was an
    // hour ago is nobody's concern.
    let positions = Subscription::tail([topics::DRONE_POSITIONS]).latest();
    messaging.subscribe(&positions, feed, tasks)?;
    Ok(())
}

impl Feed {
    fn fold(&self, topic: &str, message: &Message) -> Result<(), ReadError> {
        let view = || self.view.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, body) = (&message.kind, &message.body);
        match topic {
            topics::DELIVERY_REQUESTS => {
                // What is asked for in detail is the Scheduler's concern; so is what is malformed.
                if let (Some(id), Some(operation)) = (&message.key, operation_of(message)) {
                    view().asked(id, operation, message.time);
                }
            }
            topics::DELIVERY_EVENTS => {
                let event = event::read(kind, body)?;
                view().heard_of_delivery(&event);
            }
            topics::REQUEST_EVENTS => {
                let event = event::read(kind, body)?;
                view().heard_of_request(&event);
            }
            topics::DRONE_POSITIONS => {
                let event: DronePositioned = event::read(kind, body)?;
                view().heard_of_drone(event.into());
            }
            topics::CARRIER_EVENTS => {
                let event: CarrierPhaseChanged = event::read(kind, body)?;
                view().heard_of_vehicle(event.into());
            }
            // Who flies for whom is no position of a drone.
            _ if is_other_event(kind) => {}
            _ => {
                let event: DronePhaseChanged = event::read(kind, body)?;
                view().heard_of_drone(event.into());
            }
        }
        Ok(())
    }
}

/// Whether it is an event of ours about something else than a drone's phase.
fn is_other_event(kind: &str) -> bool {
    event::name_of(kind).is_some_and(|it| it.0 != DRONE_PHASE_CHANGED.name)
}

/// Clients of the original put no header on the request that they send most.
fn operation_of(message: &Message) -> Option<Operation> {
    let word = message.headers.get(OPERATION);
    word.map_or(Some(Operation::Delivery), |it| Operation::parse(it))
}

impl Handler for Feed {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        let (topic, id) = (&delivered.topic, &delivered.message.id);
        if let Err(error) = self.fold(topic, &delivered.message) {
            tracing::debug!(%topic, id, %error, "a record was passed over");
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use base::Timestamp;
    use contracts::{
        DeliveryStage, Location, drone_management::DronePhase, shipping::RequestEventKind,
        third_party_transport::CarrierPhase,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::view::tests::{carried, positioned, reached, told};

    pub(crate) fn message(key: &str, body: &Value) -> Message {
        Message {
            id: body.to_string(),
            source: "/test".to_owned(),
            kind: String::new(),
            subject: None,
            time: Timestamp::from_millis(1),
            key: Some(key.to_owned()),
            content_type: "application/json".to_owned(),
            headers: BTreeMap::new(),
            trace: None,
            body: body.to_string().into(),
        }
    }

    #[test]
    fn every_topic_finds_its_place_in_the_view() {
        let feed = Feed { view: Arc::default() };
        let changed = DronePhaseChanged {
            drone_id: "b".to_owned(),
            delivery_id: None,
            phase: DronePhase::Idle,
            position: Location::default(),
            battery: 1.0,
            sequence: 1,
            occurred_at: Timestamp::from_millis(1),
            pickup_eta: None,
            delivery_eta: None,
        };
        let driven = carried("d1", CarrierPhase::PickedUp, 2);
        for (topic, body) in [
            (topics::CARRIER_EVENTS, json!(driven)),
            (topics::DELIVERY_EVENTS, json!(reached("d1", 1, DeliveryStage::Created))),
            (topics::REQUEST_EVENTS, json!(told("d2", RequestEventKind::RequestFailed))),
            (topics::DELIVERY_REQUESTS, json!({"ownerId": "o"})),
            (topics::DRONE_POSITIONS, json!(positioned("a", DronePhase::Returning, 1))),
            (topics::DRONE_EVENTS, json!(changed)),
        ] {
            feed.fold(topic, &message("d3", &body)).unwrap();
        }
        let view = feed.view.lock().unwrap();
        let ids: Vec<_> = view.since(0).deliveries.into_iter().map(|it| it.id).collect();
        assert_eq!((ids.join(" "), view.since(0).drones.len()), ("d1 d2 d3".to_owned(), 2));
        assert_eq!(view.since(0).vehicles.len(), 1);
    }

    #[test]
    fn the_header_says_what_is_asked_for() {
        let asked = |word: &str| {
            let mut message = message("d1", &Value::Null);
            message.headers.insert(OPERATION.to_owned(), word.to_owned());
            operation_of(&message)
        };
        assert_eq!(asked("cancel"), Some(Operation::Cancel));
        assert_eq!(asked("reschedule"), Some(Operation::Reschedule));
        assert_eq!(asked("something new"), None);
        assert_eq!(operation_of(&message("d1", &Value::Null)), Some(Operation::Delivery));
    }
}
