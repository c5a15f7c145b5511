//! The OpenAPI document.

use utoipa::OpenApi;

use super::{
    bookings::{__path_delete_booking, __path_get_booking, __path_put_booking, __path_utilization},
    drones::{
        __path_get_drone, __path_get_drone_plan, __path_get_drone_status, __path_list_drones,
        __path_put_drone,
    },
    schemas::{BookingSchema, BookingViewWord, PackageSchema, RegistrationSchema, StateWord},
};
use crate::domain::{
    BookingView, DeclinedView, DroneStatusView, DroneView, PlanView, PromiseView, UtilizationView,
};

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
        get_drone_status,
        get_drone_plan
    ),
    components(schemas(
        BookingView,
        DroneStatusView,
        DroneView,
        PlanView,
        PromiseView,
        DeclinedView,
        BookingViewWord,
        UtilizationView,
        BookingSchema,
        PackageSchema,
        RegistrationSchema,
        StateWord
    ))
)]
pub(crate) struct Document;
