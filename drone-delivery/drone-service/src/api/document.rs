//! The OpenAPI document, and the bodies as it shows them; the reader takes more spellings.

#![expect(dead_code, reason = "schemas of the document: nothing reads their members")]

use contracts::{Location, PackageSize};
use utoipa::{OpenApi, ToSchema};

use super::{
    __path_delete_booking, __path_get_booking, __path_get_drone, __path_get_drone_status,
    __path_list_drones, __path_put_booking, __path_put_drone, __path_utilization,
};
use crate::domain::{BookingView, DroneStatusView, DroneView, UtilizationView};

/// The document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Drone", description = "The fleet, its bookings and its flights."),
    paths(
        get_booking,
        put_booking,
        delete_booking,
        utilization,
        list_drones,
        get_drone,
        put_drone,
        get_drone_status
    ),
    components(schemas(
        BookingView,
        DroneStatusView,
        DroneView,
        UtilizationView,
        BookingSchema,
        PackageSchema,
        RegistrationSchema
    ))
)]
pub(crate) struct Document;

/// What is carried.
#[derive(ToSchema)]
struct PackageSchema {
    id: Option<String>,
    size: Option<PackageSize>,
    /// Kilograms.
    weight: Option<f64>,
}

/// A request for a drone. `packageDetails`, an array, is taken as well.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct BookingSchema {
    delivery_id: Option<String>,
    pickup: Location,
    dropoff: Location,
    /// Not before then, in simulated time.
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
    expedited: Option<bool>,
    package_detail: Option<PackageSchema>,
    owner_id: Option<String>,
    /// A higher one replaces the trip.
    revision: Option<u64>,
}

/// What an operator says about a drone; what is left out stays.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RegistrationSchema {
    base: Option<Location>,
    payload_kg: Option<f64>,
    range_m: Option<f64>,
    /// `Idle` or `Failed`.
    state: Option<String>,
}
