//! What clients read.

use base::{SimulatedClock, Timestamp};
use contracts::{Location, third_party_transport::CarrierPhase};
use serde::Serialize;
use utoipa::ToSchema;

use super::shipment::Shipment;

/// A carrier that is booked for a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShipmentView {
    /// The delivery.
    delivery_id: String,
    /// Which carrier.
    carrier: String,
    /// Where it stands.
    state: CarrierPhase,
    /// Where the package is fetched.
    pickup: Location,
    /// Where it goes.
    dropoff: Location,
    /// Kilograms.
    weight: f64,
    /// When it is expected at the drop-off.
    #[schema(value_type = Option<String>, format = DateTime)]
    eta: Option<Timestamp>,
}

impl ShipmentView {
    /// The shipment, with its times as a client's watch shows them.
    pub(crate) fn of(shipment: &Shipment, clock: &SimulatedClock) -> Self {
        Self {
            delivery_id: shipment.delivery_id.clone(),
            carrier: shipment.carrier.clone(),
            state: shipment.phase,
            pickup: shipment.trip.pickup,
            dropoff: shipment.trip.dropoff,
            weight: shipment.trip.weight_kg,
            eta: shipment.eta().map(|it| clock.wall_of(it)),
        }
    }
}
