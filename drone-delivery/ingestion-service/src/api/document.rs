//! The OpenAPI document, and the bodies as it shows them; the reader takes more spellings.

#![expect(dead_code, reason = "schemas of the document: nothing reads their members")]

use contracts::{
    ConfirmationType, PackageSize,
    document::{Kilograms, Name, Text},
};
use utoipa::{OpenApi, ToSchema};

use super::{__path_cancel, __path_get_request, __path_reschedule, __path_schedule};
use crate::domain::RequestRecord;

/// The document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Ingestion", description = "Schedules, moves and cancels deliveries."),
    paths(schedule, reschedule, cancel, get_request),
    components(schemas(RequestRecord, DeliverySchema, RescheduleSchema))
)]
pub(crate) struct Document;

/// What is to be delivered.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct PackageSchema {
    package_id: Option<Name>,
    size: PackageSize,
    weight: Kilograms,
    tag: Option<Text>,
}

/// A delivery to be scheduled.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct DeliverySchema {
    owner_id: Name,
    /// A name of the gazetteer or `lat,lon[,alt]`.
    pickup_location: Name,
    /// A name of the gazetteer or `lat,lon[,alt]`.
    drop_off_location: Name,
    /// Not before then; at most `fleet.pickup_ahead_days` ahead.
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
    /// A time by which it must be at its door, which the fleet promises or refuses; any other text is
    /// kept and never interpreted.
    deadline: Option<Text>,
    expedited: Option<bool>,
    confirmation_required: Option<ConfirmationType>,
    #[schema(inline)]
    package_info: PackageSchema,
}

/// Where a delivery is moved to.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RescheduleSchema {
    /// Stays as it was when absent, as do the others; one of them is named.
    pickup_location: Option<Name>,
    /// Stays as it was when absent.
    drop_off_location: Option<Name>,
    /// Stays as it was when absent.
    deadline: Option<Text>,
    /// Stays as it was when absent.
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
}
