//! The OpenAPI document, and the bodies as it shows them; the reader takes more spellings.

#![expect(dead_code, reason = "schemas of the document: nothing reads their members")]

use contracts::{
    Location,
    document::{ConfirmationOrdinal, MailAddress, Name, PhoneNumber, Text},
    shipping::DeliveryEvent,
};
use utoipa::{OpenApi, ToSchema};

use super::{
    __path_delete_delivery, __path_forget_me, __path_get_delivery, __path_get_events,
    __path_get_owner, __path_get_status, __path_notify_me, __path_patch_delivery,
    __path_put_carrier, __path_put_delivery, __path_stream_events, __path_summarize, Served,
    Summary,
    confirming::{__path_confirm, __path_get_evidence, ConfirmationSchema, EvidenceView},
    told::{__path_ask_unsubscribe, __path_list_told, __path_unsubscribe, ToldView},
};
use crate::domain::{DeliveryView, OwnerView, StatusView};

/// The document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Delivery", description = "What became of a delivery."),
    paths(
        get_delivery,
        get_status,
        get_owner,
        get_events,
        stream_events,
        put_delivery,
        patch_delivery,
        delete_delivery,
        put_carrier,
        notify_me,
        forget_me,
        confirm,
        get_evidence,
        list_told,
        ask_unsubscribe,
        unsubscribe,
        summarize
    ),
    components(schemas(
        DeliveryView,
        OwnerView,
        StatusView,
        Summary,
        Served,
        ToldView,
        EvidenceView,
        CarrierSchema,
        DeliveryEvent,
        DeliverySchema,
        RescheduleSchema,
        NotifySchema,
        ConfirmationSchema
    ))
)]
pub(crate) struct Document;

/// Who ships.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct OwnerSchema {
    user_id: Name,
    account_id: Name,
}

/// A delivery to be made.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct DeliverySchema {
    id: Option<Name>,
    owner: OwnerSchema,
    pickup: Location,
    dropoff: Location,
    deadline: Option<Text>,
    expedited: Option<bool>,
    confirmation_required: Option<ConfirmationOrdinal>,
    drone_id: Option<Name>,
    package_id: Option<Name>,
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
}

/// Where a delivery is moved to.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct RescheduleSchema {
    /// What it was when absent.
    pickup: Option<Location>,
    /// What it was when absent.
    dropoff: Option<Location>,
    /// What it was when absent.
    deadline: Option<Text>,
    /// What it was when absent.
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
    /// Given by the workflow once whoever serves the delivery has agreed; a lower one than is known
    /// changes nothing.
    revision: Option<u64>,
}

/// What was found for a delivery that no drone flies any more.
#[derive(ToSchema)]
pub(super) struct CarrierSchema {
    booked: bool,
}

/// Where a customer wants to hear of a delivery; one of the two at least.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NotifySchema {
    email_address: Option<MailAddress>,
    sms: Option<PhoneNumber>,
    /// What they read, as a language tag: `en` or `fi`; English when it is something else.
    language: Option<Text>,
}
