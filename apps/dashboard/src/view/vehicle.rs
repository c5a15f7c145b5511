//! A carrier's vehicle as the map draws it.

use base::Timestamp;
use contracts::third_party_transport::{CarrierPhase, CarrierPhaseChanged};
use serde::Serialize;

/// Where the vehicle of a delivery is, and when it is expected at the drop-off.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Vehicle {
    /// The delivery: a vehicle serves one.
    pub(crate) delivery_id: String,
    pub(crate) carrier: String,
    pub(crate) lat: f64,
    pub(crate) lon: f64,
    pub(crate) phase: CarrierPhase,
    pub(crate) eta: Option<Timestamp>,
    /// Number of what was heard last.
    #[serde(skip)]
    heard: u64,
}

impl Vehicle {
    /// Whether less is known by `other`, which came later.
    pub(super) const fn is_newer_than(&self, other: &Self) -> bool {
        self.heard >= other.heard
    }

    /// Whether it has nothing more to do.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.phase, CarrierPhase::DroppedOff | CarrierPhase::Failed)
    }
}

impl From<CarrierPhaseChanged> for Vehicle {
    fn from(event: CarrierPhaseChanged) -> Self {
        Self {
            delivery_id: event.delivery_id,
            carrier: event.carrier,
            lat: event.position.latitude,
            lon: event.position.longitude,
            phase: event.phase,
            eta: event.delivery_eta,
            heard: event.sequence,
        }
    }
}
