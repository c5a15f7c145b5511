//! The Third-party Transport context: outside carriers, behind an anti-corruption layer.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Location,
    event::{Event, EventType},
};

/// Type of [`CarrierPhaseChanged`].
pub const CARRIER_PHASE_CHANGED: EventType = EventType::new("thirdparty", "CarrierPhaseChanged");

/// Where a carrier stands with one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum CarrierPhase {
    /// It is booked.
    Booked,
    /// On the way to fetch the package.
    EnRouteToPickup,
    /// It has the package.
    PickedUp,
    /// It handed the package over.
    DroppedOff,
    /// It cannot go on.
    Failed,
}

/// A carrier reached another phase. Key: delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CarrierPhaseChanged {
    /// The delivery.
    pub delivery_id: String,
    /// Which carrier.
    pub carrier: String,
    /// The phase that it reached.
    pub phase: CarrierPhase,
    /// Where it is.
    pub position: Location,
    /// Grows by one with each event of a delivery.
    pub sequence: u64,
    /// When.
    pub occurred_at: Timestamp,
    /// When it expects to be at the drop-off.
    pub delivery_eta: Option<Timestamp>,
}

impl Event for CarrierPhaseChanged {
    fn types() -> Vec<EventType> {
        vec![CARRIER_PHASE_CHANGED]
    }
}
