//! The fleet as pure state machines: (drone, command, simulated time) gives what it becomes and
//! which phases it reached. No clock, no I/O, no randomness.
//!
//! ```text
//! Idle ⇄ Charging            on its base; free
//!   └─▶ Assigned ─▶ EnRouteToPickup ─▶ AtPickup ─▶ PickedUp ─▶ EnRouteToDropoff
//!          │              │               │                          │
//!          ▼              ▼               ▼                          ▼
//!        Idle         Returning ◀─────────┘        DroppedOff ◀─ AtDropoff
//!                         ▲                             │
//!                         └─────────────────────────────┘      then Charging or Idle
//! ```
//! A flight is data: its legs with their times are computed when it begins, so that where a drone
//! is at any time is a function of (flight, time) and a restarted process goes on where it was. A
//! phase counts once it was announced; only what was announced decides whether a flight can still
//! be called back. All times here are simulated; [`base::SimulatedClock`] leads to wall time and back.

mod airframe;
mod drone;
mod fleet;
mod flight;
mod registration;
mod trip;
mod view;

pub(crate) use airframe::{Airframe, Rules};
pub(crate) use drone::{Activity, ChangeError, Drone, PhaseChange};
pub(crate) use fleet::{Fleet, Known, base_of, name_of};
pub(crate) use flight::Service;
pub(crate) use registration::{Duty, Registration};
pub(crate) use trip::{BookingRequest, Trip};
pub(crate) use view::{BookingView, DroneStatusView, DroneView, UtilizationView};

#[cfg(test)]
mod histories;
