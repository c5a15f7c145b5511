//! What the fleet can do, as Drone and Third-party Transport both judge it: one section of settings,
//! one battery, one set of zones. Two opinions would leave a trip that neither of them serves.
//!
//! Pure: numbers and points in, numbers out. It knows no booking and no clock.

mod airframe;
mod bases;
mod config;
mod no_fly;
mod rules;
mod sortie;

pub use airframe::Airframe;
pub use bases::{base_of, name_of};
pub use config::{FleetConfig, positive, share};
pub use no_fly::NoFlyZone;
pub use rules::{HAIR, Rules, seconds};
pub use sortie::{CannotFly, Errand, Sortie};
