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

/// Type of [`DroneAssignment`] when a delivery has its place in the plan of a drone, or when that
/// place has moved.
pub const DRONE_ASSIGNED: EventType = EventType::new("dronemanagement", "DroneAssigned");
/// Type of [`DroneAssignment`] when another drone flies than before.
pub const DRONE_REASSIGNED: EventType = EventType::new("dronemanagement", "DroneReassigned");
/// Type of [`DroneAssignment`] when no drone flies any more.
pub const DRONE_UNASSIGNED: EventType = EventType::new("dronemanagement", "DroneUnassigned");
/// Type of [`PackageStranded`].
pub const PACKAGE_STRANDED: EventType = EventType::new("dronemanagement", "PackageStranded");

/// What a drone is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
pub enum DronePhase {
    /// On its base, free.
    Idle,
    /// Of a booking: it waits in the plan of its drone. A drone itself is in no such phase.
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

/// Who flies for a delivery, and when. Key: the drone that flies; the delivery when none does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroneAssignment {
    /// The delivery.
    pub delivery_id: String,
    /// The drone that flies; none when no drone does any more.
    pub drone_id: Option<String>,
    /// The drone that was to fly before, when that was another.
    pub previous_drone_id: Option<String>,
    /// Numbers the assignments of a delivery from 1 on: a lower one that comes later is old.
    pub turn: u64,
    /// When the package is expected to be fetched.
    pub pickup_eta: Option<Timestamp>,
    /// When it is expected at the drop-off.
    pub delivery_eta: Option<Timestamp>,
    /// Why it is no longer as it was, for people.
    pub reason: Option<String>,
    /// When.
    pub occurred_at: Timestamp,
}

impl Event for DroneAssignment {
    fn types() -> Vec<EventType> {
        vec![DRONE_ASSIGNED, DRONE_REASSIGNED, DRONE_UNASSIGNED]
    }
}

/// A drone was lost with a package on board: somebody must fetch it. Key: drone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageStranded {
    /// The delivery whose package it is.
    pub delivery_id: String,
    /// The drone.
    pub drone_id: String,
    /// Where both are.
    pub position: Location,
    /// When.
    pub occurred_at: Timestamp,
}

impl Event for PackageStranded {
    fn types() -> Vec<EventType> {
        vec![PACKAGE_STRANDED]
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
