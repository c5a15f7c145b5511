//! The Drone Management context: physical drones. Of Shipping, only Delivery's translation reads it.

use base::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Location, Words,
    event::{Event, EventType},
};

/// Type of [`DronePhaseChanged`].
pub const DRONE_PHASE_CHANGED: EventType = EventType::new("dronemanagement", "DronePhaseChanged");
/// Type of [`DronePositioned`].
pub const DRONE_POSITIONED: EventType = EventType::new("dronemanagement", "DronePositioned");

/// What a drone is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
pub enum DronePhase {
    /// On its base, free.
    Idle,
    /// Booked; it has not taken off.
    Assigned,
    /// Flying to fetch the package.
    EnRouteToPickup,
    /// At the place of the package.
    AtPickup,
    /// It has the package.
    PickedUp,
    /// Flying with the package.
    EnRouteToDropoff,
    /// At the doorstep.
    AtDropoff,
    /// The package is handed over.
    DroppedOff,
    /// Flying back to its base.
    Returning,
    /// On its base, with the battery being filled.
    Charging,
    /// It cannot fly.
    Failed,
}

impl Words for DronePhase {
    const WHAT: &'static str = "a phase of a drone";
    const ALL: &'static [(Self, &'static str)] = &[
        (Self::Idle, "Idle"),
        (Self::Assigned, "Assigned"),
        (Self::EnRouteToPickup, "EnRouteToPickup"),
        (Self::AtPickup, "AtPickup"),
        (Self::PickedUp, "PickedUp"),
        (Self::EnRouteToDropoff, "EnRouteToDropoff"),
        (Self::AtDropoff, "AtDropoff"),
        (Self::DroppedOff, "DroppedOff"),
        (Self::Returning, "Returning"),
        (Self::Charging, "Charging"),
        (Self::Failed, "Failed"),
    ];
}

/// A drone reached another phase. Key: drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DronePhaseChanged {
    /// The drone.
    pub drone_id: String,
    /// The delivery that it serves, when it serves one.
    pub delivery_id: Option<String>,
    /// The phase that it reached.
    pub phase: DronePhase,
    /// Where it is.
    pub position: Location,
    /// 0 empty, 1 full.
    pub battery: f64,
    /// Numbers the phases of a drone from 1 on, without gaps. Positions take no number.
    pub sequence: u64,
    /// When.
    pub occurred_at: Timestamp,
    /// When it expects to have the package.
    pub pickup_eta: Option<Timestamp>,
    /// When it expects to be at the drop-off.
    pub delivery_eta: Option<Timestamp>,
}

impl Event for DronePhaseChanged {
    fn types() -> Vec<EventType> {
        vec![DRONE_PHASE_CHANGED]
    }
}

/// Where a drone is in flight. Key: drone; a newer one replaces an older.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DronePositioned {
    /// The drone.
    pub drone_id: String,
    /// The delivery that it serves, when it serves one.
    pub delivery_id: Option<String>,
    /// What it is doing.
    pub phase: DronePhase,
    /// Where it is.
    pub position: Location,
    /// 0 empty, 1 full.
    pub battery: f64,
    /// Of the phase change that it follows. Positions of one phase are in the order of `occurred_at`.
    pub sequence: u64,
    /// When.
    pub occurred_at: Timestamp,
}

impl Event for DronePositioned {
    fn types() -> Vec<EventType> {
        vec![DRONE_POSITIONED]
    }
}
