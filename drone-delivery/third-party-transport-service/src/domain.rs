//! Whether a carrier is needed, and how one carries a package. Pure: no clock, no I/O.
//!
//! ```text
//! Booked ─▶ EnRouteToPickup ─▶ PickedUp ─▶ DroppedOff
//!   ▲              │              │
//!   └─ another ────┴──────────────┴──▶ Failed
//! ```
//! One that breaks down before it has the package makes room for another carrier; only when none is
//! left, or the package is on board, it has failed.
//! A carrier is the exception: it is booked when no drone can serve the trip. A tour is data: its
//! times are computed when it begins, so that a restarted process goes on where it was. All times
//! here are simulated.

mod fate;
mod outside;
mod rule;
mod shipment;
mod standing;
mod tour;
mod trip;
mod view;

pub(crate) use fate::{Fate, Habits, fate};
pub(crate) use outside::News;
pub(crate) use rule::{Limits, NoTransport, Transport};
pub(crate) use shipment::{MoveError, PhaseChange, PickedUp, Shipment};
pub(crate) use tour::Roads;
pub(crate) use trip::{Move, Request, Trip, Wish};
pub(crate) use view::ShipmentView;
