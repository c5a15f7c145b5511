//! How a delivery is written and read over HTTP: the original's members, in camel case, with
//! enumerations as ordinals.

use base::Timestamp;
use contracts::{Body, ConfirmationType, DeliveryStage, Fault, Location, as_ordinal};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Delivery, Order, Owner};

/// A delivery, as clients read it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryView {
    id: String,
    owner: OwnerView,
    pickup: Location,
    dropoff: Location,
    /// Free text of the client.
    deadline: String,
    expedited: bool,
    /// Ordinal: `FingerPrint` 0, Picture 1, Voice 2, None 3.
    #[serde(serialize_with = "as_ordinal")]
    #[schema(value_type = u8)]
    confirmation_required: ConfirmationType,
    /// Absent when a carrier serves it.
    drone_id: Option<String>,
    /// The carrier that reported last, where one serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<String>,
    package_id: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pickup_time: Option<Timestamp>,
}

/// Who ships.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnerView {
    user_id: String,
    account_id: String,
}

/// Where a delivery stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusView {
    /// Ordinal: Created 0, Rescheduled 1, `HeadedToPickup` 2, `HeadedToDropoff` 3, Completed 4,
    /// Cancelled 5, Failed 6.
    #[serde(serialize_with = "as_ordinal")]
    #[schema(value_type = u8)]
    stage: DeliveryStage,
    last_known_location: Option<Location>,
    #[serde(rename = "pickupETA")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pickup_eta: Option<Timestamp>,
    #[serde(rename = "deliveryETA")]
    #[schema(value_type = Option<String>, format = DateTime)]
    delivery_eta: Option<Timestamp>,
    /// Whether the package is at the doorstep and the recipient's confirmation is missing.
    awaits_confirmation: bool,
    /// Why it failed or was called off.
    reason: Option<String>,
}

/// What a client says about a delivery.
#[derive(Debug)]
pub(crate) struct DeliveryBody {
    /// The id in the body, when there is one.
    pub(crate) id: Option<String>,
    pub(crate) order: Order,
}

impl From<&Delivery> for DeliveryView {
    fn from(delivery: &Delivery) -> Self {
        let order = delivery.order.clone();
        Self {
            id: delivery.id.clone(),
            owner: OwnerView::from(&order.owner),
            pickup: order.pickup,
            dropoff: order.dropoff,
            deadline: order.deadline,
            expedited: order.expedited,
            confirmation_required: order.confirmation_required,
            drone_id: order.drone_id,
            carrier: delivery.carrier.clone(),
            package_id: order.package_id,
            pickup_time: order.pickup_time,
        }
    }
}

impl From<&Owner> for OwnerView {
    fn from(owner: &Owner) -> Self {
        Self { user_id: owner.user_id.clone(), account_id: owner.account_id.clone() }
    }
}

impl StatusView {
    /// The status, with the newest position in flight when one is known.
    pub(crate) fn of(delivery: &Delivery, position: Option<Location>) -> Self {
        Self {
            stage: delivery.stage,
            last_known_location: position.or(delivery.location),
            pickup_eta: delivery.pickup_eta,
            delivery_eta: delivery.delivery_eta,
            awaits_confirmation: delivery.awaits_confirmation(),
            reason: delivery.reason.clone(),
        }
    }
}

impl DeliveryBody {
    /// Reads a body in any of the original's spellings.
    pub(crate) fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let owner = members.inner("owner");
        let owner = Owner { user_id: owner.name("userId"), account_id: owner.name("accountId") };
        let order = Order {
            owner,
            pickup: members.location("pickup"),
            dropoff: members.location("dropoff"),
            pickup_time: members.optional_time("pickupTime"),
            deadline: members.optional_text("deadline").unwrap_or_default(),
            expedited: members.flag_or("expedited", false),
            confirmation_required: members.word_or("confirmationRequired", ConfirmationType::None),
            package_id: members.optional_name("packageId"),
            drone_id: members.optional_name("droneId"),
        };
        body.finish(Self { id: members.optional_name("id"), order })
    }
}
