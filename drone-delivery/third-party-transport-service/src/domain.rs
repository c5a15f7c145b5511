//! Whether a carrier is needed, and how one carries a package. Pure: no clock, no I/O.
//!
//! ```text
//! Booked ─▶ EnRouteToPickup ─▶ PickedUp ─▶ DroppedOff
//!                  └──────────────┴──▶ Failed
//! ```
//! A carrier is the exception: it is booked when no drone can serve the trip. A tour is data: its
//! times are computed when it begins, so that a restarted process goes on where it was. All times
//! here are simulated.

mod fate;
mod rule;
mod shipment;
mod trip;
mod view;

pub(crate) use fate::{Habits, fate};
pub(crate) use rule::{Limits, NoTransport, Transport};
pub(crate) use shipment::{PhaseChange, PickedUp, Roads, Shipment};
pub(crate) use trip::{Request, Trip, Wish};
pub(crate) use view::ShipmentView;
