//! Intake: requests from the log become sagas, or words to sagas.
//!
//! A record counts as processed when its saga, its cancel or its move is durable, not when that
//! ends: so a cancel overtakes the create that it is about. One saga of a delivery works at a time,
//! the others wait in the order of their records. Every record may come again; the id of its
//! message, in a saga's id and a word's id, makes it one, and each message gets an answer.

use contracts::{
    Body, Fault, Location,
    event::{check_version, name_of},
    places,
    shipping::{
        CancelRequest, DeliveryRequest, HandOverRequest, OPERATION, Operation, RescheduleRequest,
    },
};
use messaging::{Delivered, Failure, Handler, SubscriptionHandle};
use runtime::Shutdown;
use saga::{Engine, Instead, Signal, SignalKind, Start, SubmitError, definition::Condition};
use serde_json::{Value, json};
use service_kit::{
    Profile,
    inbox::{self, failure_of},
};
use tracing::info;

use workflows::{
    CANCEL, CANCEL_CARRIER, CREATE, HAND_OVER, RESCHEDULE, RESCHEDULE_CARRIER, cancel_id,
    create_id, hand_over_id, reschedule_id,
};

/// Takes records of `delivery-requests`.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    pub(crate) engine: Engine,
    pub(crate) profile: Profile,
}

/// What a record asks for.
#[derive(Debug)]
enum Asked {
    Create(Start),
    CallOff {
        delivery: String,
        reason: Option<String>,
    },
    /// What serves the delivery decides which workflow moves it.
    Move(Start),
    HandOver(HandOverRequest),
}

impl Handler for Intake {
    async fn handle(&self, delivered: &Delivered) -> Result<(), Failure> {
        match self.read(delivered)? {
            Asked::Create(start) => self.submit(start).await,
            Asked::CallOff { delivery, reason } => {
                self.call_off(delivered, &delivery, reason).await
            }
            Asked::Move(change) => self.relocate(delivered, change).await,
            Asked::HandOver(request) => self.hand_over(delivered, request).await,
        }
    }
}

impl Intake {
    async fn submit(&self, start: Start) -> Result<(), Failure> {
        match self.engine.submit(start).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_transient() => Err(Failure::Unavailable(error.to_string())),
            Err(error @ SubmitError::OtherInput) => Err(Failure::Rejected(error.to_string())),
            Err(error) => Err(Failure::Transient(error.to_string())),
        }
    }

    /// Before the pivot the running create is stopped; after it, or once the create is through,
    /// the cancel is a saga of its own. An id that nobody has seen keeps the word, so that a create
    /// that comes later ends cancelled.
    async fn call_off(
        &self,
        delivered: &Delivered,
        delivery: &str,
        reason: Option<String>,
    ) -> Result<(), Failure> {
        let create = create_id(delivery);
        let running = self.engine.get(&create).await.map_err(failure_of)?;
        let package = running.and_then(|it| it.input.pointer("/packageInfo/packageId").cloned());
        let carrier = CANCEL_CARRIER.to_owned();
        let (definition, instead) = if self.is_handed_over(delivery).await? {
            (carrier, None)
        } else {
            // The create knows who serves the delivery when the cancel starts, maybe not yet now.
            (CANCEL.to_owned(), Some(Instead { when: by_carrier(), definition: carrier }))
        };
        let cancel = Start {
            id: cancel_id(delivery, &delivered.message.id),
            definition,
            input: json!({"deliveryId": delivery, "packageId": package}),
            trace: Some(delivered.trace.traceparent()),
            subject: Some(delivery.to_owned()),
            instead,
        };
        let reason = reason.unwrap_or_else(|| "the customer called it off".to_owned());
        let kind = SignalKind::Cancel { reason, or_else: Some(cancel) };
        self.say(&create, delivered, kind).await
    }

    async fn is_handed_over(&self, delivery: &str) -> Result<bool, Failure> {
        let saga = self.engine.get(&hand_over_id(delivery)).await.map_err(failure_of)?;
        Ok(saga.is_some())
    }

    /// At once when nothing else of the delivery is at work; else when it is its turn. Who serves it
    /// the create knows, or will: until it does, the move is a word to it.
    async fn relocate(&self, delivered: &Delivered, change: Start) -> Result<(), Failure> {
        let delivery = change.subject.clone().unwrap_or_default();
        let carrier = RESCHEDULE_CARRIER.to_owned();
        if self.is_handed_over(&delivery).await? {
            return self.submit(Start { definition: carrier, ..change }).await;
        }
        let create = create_id(&delivery);
        let Some(saga) = self.engine.get(&create).await.map_err(failure_of)? else {
            return self.submit(change).await;
        };
        let holds = |it: &Condition| {
            saga.output(&it.step).and_then(|reply| reply.pointer(&it.pointer)) == Some(&it.equals)
        };
        if by_carrier().iter().any(holds) {
            self.submit(Start { definition: carrier, ..change }).await
        // The transport's word is not the last one: the fleet may decline.
        } else if saga.output(FLEET).is_some()
            // A word takes no place in the line, which ends somewhere.
            || saga.state.follow_ups.len() >= self.engine.waiting_max()
        {
            self.submit(change).await
        } else {
            let instead = Some(Instead { when: by_carrier(), definition: carrier });
            let start = Start { instead, ..change };
            self.say(&create, delivered, SignalKind::Then { start }).await
        }
    }

    /// What is carried the create was told; where to, Delivery knows, which follows the moves.
    async fn hand_over(
        &self,
        delivered: &Delivered,
        request: HandOverRequest,
    ) -> Result<(), Failure> {
        let delivery = named(&request.delivery_id, delivered)?;
        let create = self.engine.get(&create_id(&delivery)).await.map_err(failure_of)?;
        let input = create.map(|it| it.input);
        let asked = |pointer| input.as_ref().and_then(|it| it.pointer(pointer).cloned());
        let start = Start {
            id: hand_over_id(&delivery),
            definition: HAND_OVER.to_owned(),
            input: json!({
                "deliveryId": &delivery,
                "pickup": request.pickup,
                "dropoff": request.dropoff,
                "pickupTime": request.pickup_time,
                "weight": asked("/packageInfo/weight").unwrap_or(json!(0)),
                "packageId": asked("/packageInfo/packageId").unwrap_or_else(|| json!(&delivery)),
            }),
            trace: Some(delivered.trace.traceparent()),
            subject: Some(delivery.clone()),
            instead: None,
        };
        self.submit(start).await
    }

    async fn say(
        &self,
        saga: &str,
        delivered: &Delivered,
        kind: SignalKind,
    ) -> Result<(), Failure> {
        let word = Signal { id: delivered.message.id.clone(), kind };
        self.engine.signal(saga, word).await.map(|_| ()).map_err(failure_of)
    }

    fn read(&self, delivered: &Delivered) -> Result<Asked, Failure> {
        let operation = operation_of(delivered)?;
        let value: Value = serde_json::from_slice(&delivered.message.body)
            .map_err(|it| Failure::Rejected(format!("the body is not JSON: {it}")))?;
        let body = Body::new(&value);
        match operation {
            Operation::Delivery => {
                let request = DeliveryRequest::read(&body).map_err(rejected)?;
                let delivery = named(&request.delivery_id, delivered)?;
                Ok(Asked::Create(Start {
                    id: create_id(&delivery),
                    definition: CREATE.to_owned(),
                    input: self.create_input(&delivery, &request)?,
                    trace: Some(delivered.trace.traceparent()),
                    subject: Some(delivery.clone()),
                    instead: None,
                }))
            }
            Operation::Cancel => {
                let CancelRequest { delivery_id, reason } =
                    CancelRequest::read(&body).map_err(rejected)?;
                Ok(Asked::CallOff { delivery: named(&delivery_id, delivered)?, reason })
            }
            Operation::Reschedule => {
                let request = RescheduleRequest::read(&body).map_err(rejected)?;
                let delivery = named(&request.delivery_id, delivered)?;
                let change = self.change(&delivery, delivered, &request)?;
                Ok(Asked::Move(change))
            }
            Operation::HandOver => {
                HandOverRequest::read(&body).map(Asked::HandOver).map_err(rejected)
            }
        }
    }

    fn change(
        &self,
        delivery: &str,
        delivered: &Delivered,
        request: &RescheduleRequest,
    ) -> Result<Start, Failure> {
        let place = |member, text: &Option<String>| {
            text.as_deref().map(|it| self.place(member, it)).transpose()
        };
        Ok(Start {
            id: reschedule_id(delivery, &delivered.message.id),
            definition: RESCHEDULE.to_owned(),
            input: json!({
                "deliveryId": delivery,
                "pickup": place("pickupLocation", &request.pickup_location)?,
                "dropoff": place("dropOffLocation", &request.dropoff_location)?,
                "pickupTime": request.pickup_time,
                "deadline": request.deadline,
                // Records of one delivery stand in one partition, so that the later one is higher.
                "revision": delivered.offset + 1,
            }),
            trace: Some(delivered.trace.traceparent()),
            subject: Some(delivery.to_owned()),
            instead: None,
        })
    }

    fn create_input(&self, delivery: &str, request: &DeliveryRequest) -> Result<Value, Failure> {
        let package = &request.package_info;
        let package_id = if package.package_id.is_empty() { delivery } else { &package.package_id };
        Ok(json!({
            "deliveryId": delivery,
            "ownerId": request.owner_id,
            "userId": request.owner_id,
            "pickup": self.place("pickupLocation", &request.pickup_location)?,
            "dropoff": self.place("dropOffLocation", &request.dropoff_location)?,
            "pickupTime": request.pickup_time,
            "deadline": request.deadline,
            "expedited": request.expedited,
            "confirmationRequired": request.confirmation_required,
            "packageInfo": {
                "packageId": package_id,
                "size": package.size,
                "weight": package.weight,
                "tag": package.tag,
            },
        }))
    }

    /// A place as the services take it. Profile `demo` maps a text that means nothing to a point.
    fn place(&self, member: &str, text: &str) -> Result<Location, Failure> {
        match (places::find(text), self.profile) {
            (Some(place), _) => Ok(place),
            (None, Profile::Demo) => Ok(places::stand_in(text)),
            (None, Profile::Strict) => {
                Err(Failure::Rejected(format!("/{member}: `{text}` is no place")))
            }
        }
    }
}

/// The step of create that says who serves the delivery by the rule.
const TRANSPORT: &str = "third-party-transport";
/// The step of create by which the fleet takes the delivery or declines.
const FLEET: &str = "drone";

/// What a create says when a carrier serves its delivery: by the rule, or since the fleet declined.
fn by_carrier() -> Vec<Condition> {
    let yes = |step: &str, pointer: &str| Condition {
        step: step.to_owned(),
        pointer: pointer.to_owned(),
        equals: true.into(),
    };
    vec![yes(TRANSPORT, ""), yes(FLEET, "/declined")]
}

/// What a record asks for: its header says, else its event type, else the form of its body. One of
/// a version that is not known is refused first, whatever its header says.
fn operation_of(delivered: &Delivered) -> Result<Operation, Failure> {
    let message = &delivered.message;
    let known = Operation::ALL.map(Operation::event_type);
    check_version(&message.kind, &known).map_err(inbox::rejected)?;
    if let Some(word) = message.headers.get(OPERATION) {
        return Operation::parse(word)
            .ok_or_else(|| inbox::rejected(format!("operation `{word}` is not known")));
    }
    match name_of(&message.kind) {
        Some((name, _)) => Operation::ALL
            .into_iter()
            .find(|it| it.event_type().name == name)
            .ok_or_else(|| inbox::rejected(format!("event `{}` is not known", message.kind))),
        // The original's client of the first days put no header on what it sent most.
        None => Ok(Operation::Delivery),
    }
}

/// The delivery that a record is about: its body says, else its key.
fn named(in_body: &str, delivered: &Delivered) -> Result<String, Failure> {
    let name = if in_body.is_empty() {
        delivered.message.key.clone().unwrap_or_default()
    } else {
        in_body.to_owned()
    };
    // A slash would make it another saga's name.
    if name.trim().is_empty() || name.contains('/') || name.len() > 200 {
        return Err(Failure::Rejected("the record names no delivery".to_owned()));
    }
    Ok(name)
}

fn rejected(faults: Vec<Fault>) -> Failure {
    let texts: Vec<String> =
        faults.into_iter().map(|it| format!("{}: {}", it.pointer, it.detail)).collect();
    Failure::Rejected(texts.join("; "))
}

/// Pauses the intake while the instance owns as many sagas as it may; what the topic holds then
/// waits there, where it is durable.
pub(crate) async fn watch_load(
    mut engine: Engine,
    subscription: SubscriptionHandle,
    shutdown: Shutdown,
) {
    let open_max = engine.open_max();
    let resume_at = open_max.saturating_mul(9) / 10;
    let mut paused = false;
    while let Some(true) = shutdown.or_cancel(engine.open_changed()).await {
        let open = engine.open_count();
        if !paused && open >= open_max {
            info!(open, "the intake pauses: as many sagas are open as may be");
            subscription.pause();
            paused = true;
        } else if paused && open <= resume_at {
            info!(open, "the intake goes on");
            subscription.resume();
            paused = false;
        }
    }
}
