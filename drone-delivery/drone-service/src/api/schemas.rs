//! Bodies and parameters as the document shows them; the reader takes more spellings.

#![expect(dead_code, reason = "schemas of the document: nothing reads their members")]

use contracts::{
    Location, PackageSize, Words as _,
    document::{Name, Text},
    drone_management::DronePhase,
};
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

/// Asks for what must never be.
pub(super) const DOUBLY_BOOKED: &str = "doubly-booked";

/// What is carried.
#[derive(ToSchema)]
pub(super) struct PackageSchema {
    id: Option<String>,
    size: Option<PackageSize>,
    /// Kilograms.
    #[schema(minimum = 0)]
    weight: Option<f64>,
}

/// A request for a drone. `packageDetails`, an array, is taken as well. A change (a revision, and no
/// package) leaves out what stays as it was, the doors among it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct BookingSchema {
    delivery_id: Option<Name>,
    pickup: Option<Location>,
    dropoff: Option<Location>,
    /// Not before then.
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
    /// Before those that wait in their turn.
    expedited: Option<bool>,
    /// A time by which it must be at its door; any other text promises nothing.
    deadline: Option<Text>,
    package_detail: Option<PackageSchema>,
    owner_id: Option<Name>,
    /// A higher one replaces the trip.
    revision: Option<u64>,
}

/// What an operator says about a drone; what is left out stays.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RegistrationSchema {
    base: Option<Location>,
    #[schema(exclusive_minimum = 0, maximum = 10000)]
    payload_kg: Option<f64>,
    #[schema(exclusive_minimum = 0, maximum = 1000000)]
    range_m: Option<f64>,
    #[schema(inline)]
    state: Option<DutySchema>,
}

/// What an operator may make of a drone.
#[derive(ToSchema)]
enum DutySchema {
    Idle,
    Failed,
}

/// What the answer to a booking may show.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(super) enum BookingViewWord {
    Booking,
}

/// What the fleet's list may be narrowed to.
pub(super) struct StateWord;

impl utoipa::PartialSchema for StateWord {
    fn schema() -> RefOr<Schema> {
        let words = DronePhase::ALL.iter().map(|it| it.1).chain([DOUBLY_BOOKED]);
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
    }
}

impl ToSchema for StateWord {}
