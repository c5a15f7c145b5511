//! The Shipping context: requests, what became of them, the stages of deliveries.

use base::{FailureClass, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Body, ConfirmationType, DeliveryStage, Fault, Location, Members, PackageSize, Words as _,
    event::{Event, EventType},
};

/// Type of a `delivery-requests` record that asks for a delivery.
pub const DELIVERY_REQUESTED: EventType = EventType::new("shipping", "DeliveryRequested");
/// Type of one that moves a delivery.
pub const RESCHEDULE_REQUESTED: EventType = EventType::new("shipping", "RescheduleRequested");
/// Type of one that calls a delivery off.
pub const CANCEL_REQUESTED: EventType = EventType::new("shipping", "CancelRequested");
/// Type of one that Delivery makes: nobody flies any more, others are to be asked.
pub const HAND_OVER_REQUESTED: EventType = EventType::new("shipping", "HandOverRequested");
/// Type of a `supervisor` record.
pub const OPERATION_FAILED: EventType = EventType::new("shipping", "OperationFailed");
/// Type of a `notifications` record.
pub const CUSTOMER_NOTIFIED: EventType = EventType::new("shipping", "CustomerNotified");
/// Type of an `alerts` record.
pub const OPERATOR_ALERTED: EventType = EventType::new("shipping", "OperatorAlerted");

/// Header of `delivery-requests` that says what is asked for; its words are the original's.
pub const OPERATION: &str = "operation";

/// What a `delivery-requests` record asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A new delivery.
    Delivery,
    /// Another place or time for one.
    Reschedule,
    /// No delivery after all.
    Cancel,
    /// A carrier for one that no drone can fly any more; Delivery asks, never a client.
    HandOver,
}

impl Operation {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Delivery, Self::Reschedule, Self::Cancel, Self::HandOver];

    /// The word in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Reschedule => "reschedule",
            Self::Cancel => "cancel",
            Self::HandOver => "hand-over",
        }
    }

    /// The operation of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(word))
    }

    /// The event type of its records.
    #[must_use]
    pub const fn event_type(self) -> EventType {
        match self {
            Self::Delivery => DELIVERY_REQUESTED,
            Self::Reschedule => RESCHEDULE_REQUESTED,
            Self::Cancel => CANCEL_REQUESTED,
            Self::HandOver => HAND_OVER_REQUESTED,
        }
    }
}

/// What is to be delivered.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PackageInfo {
    /// Chosen by the client; the delivery's id when it chose none.
    pub package_id: String,
    /// Size class.
    pub size: PackageSize,
    /// Kilograms.
    pub weight: f64,
    /// Anything the client wants to find it by.
    pub tag: String,
}

/// A request for a delivery: the public body, and with its id the body of the record.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRequest {
    /// Given by the service; what the client sent is ignored.
    pub delivery_id: String,
    /// The account that ships.
    pub owner_id: String,
    /// A name or `lat,lon[,alt]`.
    pub pickup_location: String,
    /// A name or `lat,lon[,alt]`. The public API spells it `dropOffLocation`, the record `dropoffLocation`.
    pub dropoff_location: String,
    /// Not before then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pickup_time: Option<Timestamp>,
    /// Free text of the client, never interpreted.
    pub deadline: String,
    /// Whether the client is in a hurry.
    pub expedited: bool,
    /// What the recipient must give.
    pub confirmation_required: ConfirmationType,
    /// What is to be delivered.
    pub package_info: PackageInfo,
}

impl DeliveryRequest {
    /// Reads the public body or the record's, in any of the original's spellings. The id is what
    /// the body says, empty when it says none.
    ///
    /// # Errors
    /// Every member that is missing or malformed.
    pub fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let delivery_id = members.optional_text("deliveryId").unwrap_or_default();
        let read = Self {
            owner_id: members.name("ownerId"),
            pickup_location: members.name("pickupLocation"),
            dropoff_location: members.name("dropOffLocation"),
            pickup_time: members.optional_time("pickupTime"),
            deadline: members.optional_text("deadline").unwrap_or_default(),
            expedited: members.flag_or("expedited", false),
            confirmation_required: members.word_or("confirmationRequired", ConfirmationType::None),
            package_info: Self::read_package(&members.inner("packageInfo"), &delivery_id),
            delivery_id,
        };
        body.finish(read)
    }

    fn read_package(members: &Members<'_>, delivery_id: &str) -> PackageInfo {
        PackageInfo {
            package_id: members
                .optional_name("packageId")
                .unwrap_or_else(|| delivery_id.to_owned()),
            size: members.word("size"),
            weight: members.weight("weight"),
            tag: members.optional_text("tag").unwrap_or_default(),
        }
    }
}

/// A request to move a delivery: the public body, and with its id the body of the record.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RescheduleRequest {
    /// The delivery.
    pub delivery_id: String,
    /// A name or `lat,lon[,alt]`; what it was when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pickup_location: Option<String>,
    /// A name or `lat,lon[,alt]`; what it was when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropoff_location: Option<String>,
    /// Free text of the client; what it was when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Not before then; what it was when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pickup_time: Option<Timestamp>,
}

impl RescheduleRequest {
    /// Reads the public body or the record's.
    ///
    /// # Errors
    /// Every member that is malformed; or that nothing is to change.
    pub fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let changing = ["pickupLocation", "dropOffLocation", "deadline", "pickupTime"];
        if changing.iter().all(|it| members.get(it).is_none()) {
            let [first, others @ ..] = changing;
            members
                .fault(first, format!("it or one of {} says what is to change", others.join(", ")));
        }
        let read = Self {
            delivery_id: members.optional_text("deliveryId").unwrap_or_default(),
            pickup_location: members.optional_name("pickupLocation"),
            dropoff_location: members.optional_name("dropOffLocation"),
            deadline: members.optional_text("deadline"),
            pickup_time: members.optional_time("pickupTime"),
        };
        body.finish(read)
    }
}

/// A request to call a delivery off. The original's record body is the id as a JSON string; that
/// form is read too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelRequest {
    /// The delivery.
    pub delivery_id: String,
    /// Why, as the client says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CancelRequest {
    /// Reads a record's body.
    ///
    /// # Errors
    /// Every member that is missing or malformed.
    pub fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        if let Some(id) = body.value().as_str() {
            return Ok(Self { delivery_id: id.to_owned(), reason: None });
        }
        let members = body.members();
        let delivery_id = members.name("deliveryId");
        body.finish(Self { delivery_id, reason: members.optional_text("reason") })
    }
}

/// A request to find a carrier for a delivery that no drone can fly any more.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOverRequest {
    /// The delivery.
    pub delivery_id: String,
    /// Where the package is fetched, as the last move has it.
    pub pickup: Location,
    /// Where it goes.
    pub dropoff: Location,
    /// Not before then.
    pub pickup_time: Option<Timestamp>,
}

impl HandOverRequest {
    /// Reads a record's body.
    ///
    /// # Errors
    /// Every member that is missing or malformed.
    pub fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let read = Self {
            delivery_id: members.name("deliveryId"),
            pickup: members.location("pickup"),
            dropoff: members.location("dropoff"),
            pickup_time: members.optional_time("pickupTime"),
        };
        body.finish(read)
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestEventKind {
    /// The workflow is through: the delivery exists.
    RequestScheduled,
    /// It failed, and everything is undone.
    RequestFailed,
    /// It was called off, and everything is undone.
    RequestCancelled,
    /// It waits for a person.
    RequestParked,
    /// A cancel or a reschedule came too late; the delivery goes on.
    RequestRefused,
    /// The delivery was moved.
    RequestRescheduled,
    /// A move was not done, since a newer one was done before it.
    RequestSuperseded,
}

impl RequestEventKind {
    const ALL: [Self; 7] = [
        Self::RequestScheduled,
        Self::RequestFailed,
        Self::RequestCancelled,
        Self::RequestParked,
        Self::RequestRefused,
        Self::RequestRescheduled,
        Self::RequestSuperseded,
    ];

    /// The type of its records.
    #[must_use]
    pub const fn event_type(self) -> EventType {
        EventType::new(
            "shipping",
            match self {
                Self::RequestScheduled => "RequestScheduled",
                Self::RequestFailed => "RequestFailed",
                Self::RequestCancelled => "RequestCancelled",
                Self::RequestParked => "RequestParked",
                Self::RequestRefused => "RequestRefused",
                Self::RequestRescheduled => "RequestRescheduled",
                Self::RequestSuperseded => "RequestSuperseded",
            },
        )
    }
}

/// A record of `request-events`. Key: delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestEvent {
    /// The delivery.
    pub delivery_id: String,
    /// What happened.
    pub kind: RequestEventKind,
    /// What was asked for: `delivery`, `reschedule` or `cancel`.
    pub operation: String,
    /// Id of the message that asked for the cancel or the move: each has one answer. Absent for a
    /// delivery, which is asked for once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
    /// The step that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_step: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

impl Event for RequestEvent {
    fn types() -> Vec<EventType> {
        RequestEventKind::ALL.map(RequestEventKind::event_type).to_vec()
    }
}

/// A record of `supervisor`: the original's members, and what the Supervisor needs besides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedOperation {
    /// The request as it was.
    pub delivery_request: serde_json::Value,
    /// The service that failed.
    pub service_name: String,
    /// Why, for people.
    pub error_message: String,
    /// The saga.
    pub transaction_id: String,
    /// What was asked for.
    pub operation: String,
    /// The step that failed.
    pub failed_step: String,
    /// The article's class.
    pub failure_class: FailureClass,
    /// Calls that were made for the step.
    pub attempts: u32,
    /// Owner's epoch when it failed.
    pub epoch: u64,
    /// When.
    pub failed_at: Timestamp,
}

impl Event for FailedOperation {
    fn types() -> Vec<EventType> {
        vec![OPERATION_FAILED]
    }
}

/// What happened to a delivery: one kind for each stage.
#[must_use]
pub const fn delivery_event_type(stage: DeliveryStage) -> EventType {
    EventType::new(
        "shipping",
        match stage {
            DeliveryStage::Created => "DeliveryCreated",
            DeliveryStage::Rescheduled => "DeliveryRescheduled",
            DeliveryStage::HeadedToPickup => "DeliveryHeadedToPickup",
            DeliveryStage::HeadedToDropoff => "DeliveryHeadedToDropoff",
            DeliveryStage::Completed => "DeliveryCompleted",
            DeliveryStage::Cancelled => "DeliveryCancelled",
            DeliveryStage::Failed => "DeliveryFailed",
        },
    )
}

/// A record of `delivery-events`. Key: delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryEvent {
    /// Stable over repetitions.
    pub event_id: String,
    /// The delivery.
    pub delivery_id: String,
    /// The stage that it reached.
    pub stage: DeliveryStage,
    /// Where it was, as far as that is known.
    pub location: Option<Location>,
    /// Grows by one with each event of a delivery.
    pub sequence: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Timestamp,
    /// The account that ships.
    pub owner_id: String,
    /// The drone; absent when a carrier serves it.
    pub drone_id: Option<String>,
    /// Where the package is fetched.
    pub pickup: Location,
    /// Where it goes.
    pub dropoff: Location,
    /// Not before then.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pickup_time: Option<Timestamp>,
    /// What the recipient must give.
    pub confirmation_required: ConfirmationType,
    /// When it is expected at the drop-off.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub eta: Option<Timestamp>,
    /// Why it failed or was called off.
    pub reason: Option<String>,
}

impl Event for DeliveryEvent {
    fn types() -> Vec<EventType> {
        DeliveryStage::ALL.iter().map(|it| delivery_event_type(it.0)).collect()
    }
}

/// A record of `notifications`: a word to a customer. Addresses never stand in it; the notifier
/// asks the service that keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The delivery.
    pub delivery_id: String,
    /// The account that ships, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<String>,
    /// Which text, such as `completed`, `failed`, `cancelled`, `confirmation-needed`.
    pub template: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

impl Event for Notification {
    fn types() -> Vec<EventType> {
        vec![CUSTOMER_NOTIFIED]
    }
}

/// A record of `alerts`: a word to operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// `warning` or `critical`.
    pub severity: String,
    /// Who raised it.
    pub service: String,
    /// The delivery, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_id: Option<String>,
    /// The same of all alerts that have the same cause, whatever delivery they are about: a step and how it
    /// fails, or what is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What happened and what may help.
    pub text: String,
    /// When.
    pub occurred_at: Timestamp,
}

impl Event for Alert {
    fn types() -> Vec<EventType> {
        vec![OPERATOR_ALERTED]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_original_s_public_body_and_record_are_read_alike() {
        let public = json!({"ownerId": "o", "pickupLocation": "p", "dropOffLocation": "d",
            "pickupTime": "2026-05-14T20:00:00.000Z", "deadline": "", "expedited": true,
            "confirmationRequired": "None",
            "packageInfo": {"packageId": "x", "size": "Small", "weight": "14", "tag": "t"}});
        let read = DeliveryRequest::read(&Body::new(&public)).unwrap();
        assert_eq!((read.package_info.weight, read.expedited), (14.0, true));
        let record = serde_json::to_value(&read).unwrap();
        assert_eq!(record["dropoffLocation"], "d");
        assert_eq!(record["packageInfo"]["size"], "Small");
        assert_eq!(DeliveryRequest::read(&Body::new(&record)), Ok(read));
    }

    #[test]
    fn what_a_move_leaves_out_is_left_out_of_its_record_too() {
        let public = json!({"pickupLocation": "p", "dropOffLocation": "d", "pickupTime": null});
        let read = RescheduleRequest::read(&Body::new(&public)).unwrap();
        assert_eq!((read.deadline.as_deref(), read.pickup_time), (None, None));
        let record = serde_json::to_value(&read).unwrap();
        assert!(record.get("deadline").is_none() && record.get("pickupTime").is_none());
        let emptied = json!({"pickupLocation": "p", "dropOffLocation": "d", "deadline": ""});
        let read = RescheduleRequest::read(&Body::new(&emptied)).unwrap();
        assert_eq!(read.deadline.as_deref(), Some(""), "to empty it is a wish like any other");
    }

    #[test]
    fn a_move_may_change_one_thing_and_must_change_something() {
        for one in [
            json!({"pickupLocation": "p"}),
            json!({"dropOffLocation": "d"}),
            json!({"pickupTime": "2030-01-01T00:00:00Z"}),
            json!({"deadline": ""}),
        ] {
            let read = RescheduleRequest::read(&Body::new(&one)).unwrap();
            let record = serde_json::to_value(&read).unwrap();
            assert_eq!(record.as_object().unwrap().len(), 2, "{record}");
            assert_eq!(RescheduleRequest::read(&Body::new(&record)), Ok(read));
        }
        for nothing in [json!({}), json!({"deliveryId": "d", "pickupTime": null})] {
            let faults = RescheduleRequest::read(&Body::new(&nothing)).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
        }
    }

    #[test]
    fn every_member_that_is_wrong_is_named() {
        let body = json!({"ownerId": 7, "dropOffLocation": "x", "pickupTime": "yesterday",
            "packageInfo": {"packageId": "p", "size": "Gigantic", "weight": "heavy"}});
        let faults = DeliveryRequest::read(&Body::new(&body)).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/ownerId",
                "/pickupLocation",
                "/pickupTime",
                "/packageInfo/size",
                "/packageInfo/weight"
            ]
        );
    }

    #[test]
    fn a_cancel_is_read_as_the_bare_id_too() {
        for body in [json!("d1"), json!({"DeliveryId": "d1"})] {
            let read = CancelRequest::read(&Body::new(&body)).unwrap();
            assert_eq!(read, CancelRequest { delivery_id: "d1".to_owned(), reason: None });
        }
    }
}
