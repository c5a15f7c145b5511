//! One drone as the map draws it.

use base::Timestamp;
use contracts::drone_management::{DronePhase, DronePhaseChanged, DronePositioned};
use serde::Serialize;

/// Where a drone is and what it does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Drone {
    pub(crate) id: String,
    pub(crate) lat: f64,
    pub(crate) lon: f64,
    /// 0 empty, 1 full.
    pub(crate) battery: f64,
    pub(crate) phase: DronePhase,
    pub(crate) delivery_id: Option<String>,
    /// Number and time of what was heard last; positions of one phase share their number.
    #[serde(skip)]
    heard: (u64, Timestamp),
}

impl Drone {
    /// Whether less is known by `other`, which came later.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        self.heard > other.heard
    }

    /// Whether it is away from its base.
    pub(super) const fn is_flying(&self) -> bool {
        match self.phase {
            DronePhase::EnRouteToPickup
            | DronePhase::AtPickup
            | DronePhase::PickedUp
            | DronePhase::EnRouteToDropoff
            | DronePhase::AtDropoff
            | DronePhase::DroppedOff
            | DronePhase::Returning => true,
            DronePhase::Idle | DronePhase::Assigned | DronePhase::Charging | DronePhase::Failed => {
                false
            }
        }
    }
}

impl From<DronePhaseChanged> for Drone {
    fn from(event: DronePhaseChanged) -> Self {
        Self {
            id: event.drone_id,
            lat: event.position.latitude,
            lon: event.position.longitude,
            battery: event.battery,
            phase: event.phase,
            delivery_id: event.delivery_id,
            heard: (event.sequence, event.occurred_at),
        }
    }
}

impl From<DronePositioned> for Drone {
    fn from(event: DronePositioned) -> Self {
        Self {
            id: event.drone_id,
            lat: event.position.latitude,
            lon: event.position.longitude,
            battery: event.battery,
            phase: event.phase,
            delivery_id: event.delivery_id,
            heard: (event.sequence, event.occurred_at),
        }
    }
}
