//! The shared language of the bounded contexts: bodies, events, topics and words, as they cross a wire.
//!
//! Services never import each other; they meet here. One module per context: a service reads the
//! modules of the contexts that it talks to, and only the Delivery service's translation reads the
//! drone context's events. There is no behaviour: nothing here decides anything.
//!
//! The original's clients spell property names in any letter case, send enumerations as numbers or
//! as words and numbers as text. [`reading`] takes all of that in, and names every member that is
//! missing or malformed instead of stopping at the first.

pub mod accounts;
mod addresses;
pub mod document;
pub mod drone_management;
pub mod event;
mod location;
pub mod places;
pub mod reading;
pub mod shipping;
pub mod third_party_transport;
mod time;
pub mod topics;
mod words;

pub use location::Location;
pub use reading::{Body, Fault, Members};
pub use time::{month_range, parse_time};
pub use words::{ConfirmationType, DeliveryStage, PackageSize, Words, as_ordinal};
