//! HTTP: a booked carrier that is to go to other doors.

use axum::{
    extract::{Path, State},
    response::Response,
};
use contracts::{Body, Location};
use http::StatusCode;
use service_kit::{JsonBody, Operation, Problem, RequestContext, check_id, reply};
use store::Transaction;
use utoipa::ToSchema;

use super::{Shared, asking};
use crate::{
    booking::{self, RelocateError},
    domain::{Move, MoveError, ShipmentView},
};

/// Other doors.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the schema of the document; the reader takes more spellings")]
pub(super) struct MoveSchema {
    /// As it was when it is not named.
    pickup: Option<Location>,
    /// As it was when it is not named.
    dropoff: Option<Location>,
    /// Not before then; as it was when it is not named.
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
    /// Grows with the moves of a delivery: a lower one is refused, the same one is no news.
    #[schema(minimum = 1)]
    revision: u64,
}

/// Sends a carrier to other doors, until it has the package.
#[utoipa::path(patch, path = "/api/thirdpartydeliveries/{id}", request_body = MoveSchema, responses(
    (status = 200, body = ShipmentView, description = "the carrier goes there"),
    (status = 400, description = "a member is missing or wrong"),
    (status = 404, description = "no carrier is booked for it"),
    (status = 409, description = "it has the package, broke down, or agreed to a later move"),
    (status = 422, description = "no carrier goes there")))]
pub(super) async fn patch_shipment(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let value = body.parse()?;
    let change = Move::read(&Body::new(&value)).map_err(Problem::of_faults)?;
    let agreed = asking::goes_there(&shared, &id, &change, context.deadline).await?;
    let depot = shared.depot.clone();
    let effect = move |transaction: &mut Transaction<'_>| {
        agreed.map_err(refusal)?;
        let moved = booking::relocate(transaction, &depot, &id, &change).map_err(refusal)?;
        reply::json(200, &ShipmentView::of(&moved, &depot.clock))
    };
    let done = operation.run(&shared.store, &body, effect).await;
    // It may be that it leaves sooner.
    shared.depot.bell.notify_one();
    done
}

fn refusal(error: RelocateError) -> Problem {
    let detail = error.to_string();
    let (status, code) = match error {
        RelocateError::NotBooked => return Problem::not_found(detail),
        RelocateError::Refused(MoveError::Stale { .. }) => (StatusCode::CONFLICT, "stale_revision"),
        RelocateError::Refused(MoveError::PickedUp(_)) => (StatusCode::CONFLICT, "picked_up"),
        RelocateError::Refused(MoveError::Over) => (StatusCode::CONFLICT, "broken_down"),
        RelocateError::Nobody(_) | RelocateError::Declined { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "no_carrier")
        }
        RelocateError::Sql(error) => return error.into(),
    };
    Problem::refusal(status, code, detail)
}
