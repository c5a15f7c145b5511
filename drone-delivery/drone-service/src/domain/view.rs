//! What clients read: a drone, a booking, what an account used.

use base::{SimulatedClock, Timestamp};
use contracts::{Location, Words as _, drone_management::DronePhase};
use fleet_rules::Rules;
use serde::Serialize;
use utoipa::ToSchema;

use super::{drone::Drone, plan::Place, trip::Trip};

/// A drone of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DroneView {
    /// Its name.
    drone_id: String,
    /// What it is doing.
    state: DronePhase,
    /// The delivery that it works for.
    delivery_id: Option<String>,
    /// Where it stands when it is free.
    base: Location,
    /// Where it is.
    position: Location,
    /// 0 empty, 1 full.
    battery: f64,
    /// Heaviest load in kilograms.
    payload_kg: f64,
    /// Metres that a full battery flies without touching the reserve.
    range_m: f64,
    /// Number of its newest announcement.
    sequence: u64,
}

impl DroneView {
    /// The drone at a moment of simulated time.
    pub(crate) fn of(drone: &Drone, now: Timestamp, rules: &Rules) -> Self {
        Self {
            drone_id: drone.id.clone(),
            state: drone.phase,
            delivery_id: drone.delivery_id().map(str::to_owned),
            base: drone.base,
            position: drone.position(now, rules),
            battery: drone.battery(now, rules),
            payload_kg: drone.airframe.payload_kg,
            range_m: drone.airframe.range_m,
            sequence: drone.sequence,
        }
    }
}

/// A drone as the original's telemetry service shows one.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[expect(non_snake_case, reason = "the names of the original's device state")]
pub(crate) struct DroneStatusView {
    /// Its name.
    id: String,
    /// 0 empty, 1 full.
    battery: f64,
    /// 0 unknown, 1 ready, 2 taking off, 3 in flight, 4 landing, 5 offline.
    flightMode: u8,
    /// Degrees north.
    latitude: f64,
    /// Degrees east.
    longitude: f64,
    /// Metres above the ground.
    altitude: f64,
    /// Whether the gyrometer works.
    gyrometerOK: bool,
    /// Whether the accelerometer works.
    accelerometerOK: bool,
    /// Whether the magnetometer works.
    magnetometerOK: bool,
}

impl DroneStatusView {
    /// The drone at a moment of simulated time.
    pub(crate) fn of(drone: &Drone, now: Timestamp, rules: &Rules) -> Self {
        let position = drone.position(now, rules);
        let works = drone.phase != DronePhase::Failed;
        Self {
            id: drone.id.clone(),
            battery: drone.battery(now, rules),
            flightMode: flight_mode(drone.phase),
            latitude: position.latitude,
            longitude: position.longitude,
            altitude: position.altitude,
            gyrometerOK: works,
            accelerometerOK: works,
            magnetometerOK: works,
        }
    }
}

const fn flight_mode(phase: DronePhase) -> u8 {
    match phase {
        DronePhase::Idle | DronePhase::Assigned | DronePhase::Charging => 1,
        DronePhase::PickedUp | DronePhase::DroppedOff => 2,
        DronePhase::EnRouteToPickup | DronePhase::EnRouteToDropoff | DronePhase::Returning => 3,
        DronePhase::AtPickup | DronePhase::AtDropoff => 4,
        DronePhase::Failed => 5,
    }
}

/// A booking.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BookingView {
    /// The delivery.
    delivery_id: String,
    /// The drone.
    drone_id: String,
    /// What the drone is doing for it; `Delivered` or `Lost` when that is over.
    state: String,
    /// Of the trip.
    revision: u64,
    /// Where the package is fetched.
    pickup: Location,
    /// Where it goes.
    dropoff: Location,
    /// When it is expected to be fetched.
    #[serde(rename = "pickupETA")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pickup_eta: Option<Timestamp>,
    /// When it is expected at the drop-off.
    #[schema(value_type = Option<String>, format = DateTime)]
    eta: Option<Timestamp>,
}

impl BookingView {
    /// A booking whose drone flies for it.
    pub(crate) fn flying(
        delivery_id: String,
        revision: u64,
        trip: &Trip,
        drone: &Drone,
        clock: &SimulatedClock,
    ) -> Self {
        let (pickup, arrival) = drone.expected().unzip();
        let state = drone.phase.word();
        let over = Self::over(delivery_id, revision, trip, drone.id.clone(), state);
        let wall = |it: Option<Timestamp>| it.map(|it| clock.wall_of(it));
        Self { pickup_eta: wall(pickup), eta: wall(arrival), ..over }
    }

    /// A booking that waits in the plan of its drone.
    pub(crate) fn planned(
        revision: u64,
        trip: &Trip,
        drone_id: String,
        place: &Place,
        clock: &SimulatedClock,
    ) -> Self {
        let id = place.order.delivery_id.clone();
        let over = Self::over(id, revision, trip, drone_id, DronePhase::Assigned.word());
        Self {
            pickup_eta: Some(clock.wall_of(place.pickup())),
            eta: Some(clock.wall_of(place.arrival())),
            ..over
        }
    }

    /// A booking that is over.
    pub(crate) fn over(
        delivery_id: String,
        revision: u64,
        trip: &Trip,
        drone_id: String,
        state: &str,
    ) -> Self {
        Self {
            delivery_id,
            drone_id,
            state: state.to_owned(),
            revision,
            pickup: trip.pickup,
            dropoff: trip.dropoff,
            pickup_eta: None,
            eta: None,
        }
    }
}

/// Who flies for a delivery, and when: the answer to a request for a drone.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PromiseView {
    /// The drone.
    pub(crate) drone_id: String,
    /// When the package is expected to be fetched.
    #[serde(rename = "pickupETA")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) pickup_eta: Option<Timestamp>,
    /// When it is expected at the drop-off.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) eta: Option<Timestamp>,
}

/// No drone in service could ever fly it, and none is booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeclinedView {
    /// Always null.
    pub(crate) drone_id: Option<String>,
    /// Always true.
    pub(crate) declined: bool,
    /// What stands in the way of the one that comes closest.
    pub(crate) reason: Option<String>,
}

/// What is planned for a drone, the next first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanView {
    /// The drone.
    drone_id: String,
    /// What it does now.
    state: DronePhase,
    /// The delivery that it flies for now.
    delivery_id: Option<String>,
    /// Flights that it will begin.
    bookings: Vec<PlannedFlight>,
}

/// A flight that a drone will begin. Times are wall time.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlannedFlight {
    /// The delivery.
    delivery_id: String,
    /// Whether the delivery was made; before that nobody takes off.
    made: bool,
    /// When it leaves its base.
    #[schema(value_type = String, format = DateTime)]
    take_off: Timestamp,
    /// When the package is fetched.
    #[serde(rename = "pickupETA")]
    #[schema(value_type = String, format = DateTime)]
    pickup_eta: Timestamp,
    /// When it is at the drop-off.
    #[schema(value_type = String, format = DateTime)]
    eta: Timestamp,
    /// When the drone is back and has charged what the flight took.
    #[schema(value_type = String, format = DateTime)]
    ready: Timestamp,
    /// Share of a battery that the flight takes.
    energy: f64,
}

impl PlanView {
    /// The plan as it is now.
    pub(crate) fn of(drone: &Drone, places: &[Place], clock: &SimulatedClock) -> Self {
        let flight = |it: &Place| PlannedFlight {
            delivery_id: it.order.delivery_id.clone(),
            made: it.order.made,
            take_off: clock.wall_of(it.start),
            pickup_eta: clock.wall_of(it.pickup()),
            eta: clock.wall_of(it.arrival()),
            ready: clock.wall_of(it.ready()),
            energy: it.sortie.energy,
        };
        Self {
            drone_id: drone.id.clone(),
            state: drone.phase,
            delivery_id: drone.delivery_id().map(str::to_owned),
            bookings: places.iter().map(flight).collect(),
        }
    }
}

/// What the drones did for an account in a month, in the original's units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UtilizationView {
    /// Miles.
    traveled_miles: f64,
    /// Hours between take-off and landing.
    assigned_hours: f64,
}

const METRES_PER_MILE: f64 = 1_609.344;
const SECONDS_PER_HOUR: f64 = 3_600.0;

impl UtilizationView {
    /// From sums over flights; `None` when there was none.
    pub(crate) fn of(metres: f64, seconds: f64) -> Option<Self> {
        let any = metres > 0.0 || seconds > 0.0;
        any.then_some(Self {
            traveled_miles: metres / METRES_PER_MILE,
            assigned_hours: seconds / SECONDS_PER_HOUR,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utilization_is_in_miles_and_hours_and_nothing_is_none() {
        let view = UtilizationView::of(16_093.44, 7_200.0).unwrap();
        assert!((view.traveled_miles - 10.0).abs() < 1e-9);
        assert!((view.assigned_hours - 2.0).abs() < 1e-9);
        assert_eq!(UtilizationView::of(0.0, 0.0), None);
    }

    #[test]
    fn every_phase_is_a_mode_of_the_original_s_telemetry() {
        for (phase, _) in DronePhase::ALL {
            assert!((1..=5).contains(&flight_mode(*phase)), "{phase:?}");
        }
    }
}
