//! The OpenAPI document, and the bodies as it shows them; the reader takes more spellings.

#![expect(dead_code, reason = "schemas of the document: nothing reads their members")]

use axum::Json;
use utoipa::{OpenApi, ToSchema, openapi};

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

/// The document where the original's framework served it.
pub(super) async fn serve() -> Json<openapi::OpenApi> {
    Json(Document::openapi())
}

/// What is to be delivered.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct PackageSchema {
    package_id: Option<String>,
    /// Small, Medium or Large, or 0, 1, 2.
    size: String,
    /// Kilograms.
    weight: f64,
    tag: Option<String>,
}

/// A delivery to be scheduled.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct DeliverySchema {
    owner_id: String,
    /// A name of the gazetteer or `lat,lon[,alt]`.
    pickup_location: String,
    /// A name of the gazetteer or `lat,lon[,alt]`.
    drop_off_location: String,
    /// RFC 3339, or milliseconds since 1970. Not before then.
    pickup_time: Option<String>,
    /// Free text, never interpreted.
    deadline: Option<String>,
    expedited: Option<bool>,
    /// `FingerPrint`, Picture, Voice or None, or 0 to 3.
    confirmation_required: Option<String>,
    #[schema(inline)]
    package_info: PackageSchema,
}

/// Where a delivery is moved to.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RescheduleSchema {
    pickup_location: String,
    drop_off_location: String,
    deadline: Option<String>,
    /// RFC 3339, or milliseconds since 1970.
    pickup_time: Option<String>,
}
