//! The fleet as pure state machines: (drone, command, simulated time) gives what it becomes and
//! which phases it reached; and its plan: who flies for whom, and when. No clock, no I/O, no
//! randomness.
//!
//! ```text
//! Idle ⇄ Charging            on its base; free
//!   └─▶ EnRouteToPickup ─▶ AtPickup ─▶ PickedUp ─▶ EnRouteToDropoff
//!              │               │                          │
//!              ▼               │                          ▼
//!         Returning ◀──────────┘        DroppedOff ◀─ AtDropoff
//!              ▲                             │
//!              └─────────────────────────────┘      then Charging or Idle
//! ```
//! A flight is data: its legs with their times are computed when it begins, so that where a drone
//! is at any time is a function of (flight, time) and a restarted process goes on where it was. A
//! phase counts once it was announced; only what was announced decides whether a flight can still
//! be called back. All times here are simulated; [`base::SimulatedClock`] leads to wall time and back.

mod drone;
mod fleet;
mod flight;
mod plan;
mod registration;
mod trip;
mod view;

pub(crate) use drone::{Activity, ChangeError, Drone, PhaseChange};
pub(crate) use fleet::{Booked, Fleet, Known};
pub(crate) use flight::Service;
pub(crate) use plan::{Choice, Order, Place, PlanRules, Refusal, Urgency};
pub(crate) use registration::{Duty, Registration};
pub(crate) use trip::{BookingRequest, Trip};
pub(crate) use view::{
    BookingView, DeclinedView, DroneStatusView, DroneView, PlanView, PromiseView, UtilizationView,
};

#[cfg(test)]
mod histories;
#[cfg(test)]
pub(crate) mod samples;
