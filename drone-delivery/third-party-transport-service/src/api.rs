//! HTTP: whether a carrier is needed, and the one that is booked.

mod asking;
mod moving;
mod samples;

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use base::{Code, Direction};
use contracts::{
    Body, Location,
    document::{Name, Text},
};
use http::StatusCode;
use service_kit::{
    FieldError, JsonBody, MutatingRoute, Operation, Problem, RequestContext, Routes, check_id,
    reply,
};
use store::{Store, Transaction};
use utoipa::{OpenApi, ToSchema};

use moving::MoveSchema;

use crate::{
    booking::{self, BookError, Depot, ReleaseError, outside::Answers},
    domain::{Request, ShipmentView, Transport},
    outside::Companies,
    store::{self as table, Found},
};

/// When to ask again while every vehicle is out.
const FULL_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) depot: Depot,
    pub(crate) companies: Companies,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/thirdpartydeliveries/{id}", get_shipment)
        .change(samples::put(), put_shipment)
        .change(samples::patch(), moving::patch_shipment)
        .change(samples::delete(), delete_shipment)
        .with_state(shared)
}

/// The rows of everything that changes something, for the conformance tests.
#[must_use]
pub fn rows() -> Vec<MutatingRoute> {
    vec![samples::put(), samples::patch(), samples::delete()]
}

/// The OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Third-party Transport", description = "Carriers for what no drone can carry."),
    paths(get_shipment, put_shipment, moving::patch_shipment, delete_shipment),
    components(schemas(ShipmentView, TripSchema, MoveSchema))
)]
pub(crate) struct Document;

/// A trip. A single location, as the first generation's client sends it, is taken as well.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the schema of the document; the reader takes more spellings")]
struct TripSchema {
    delivery_id: Option<Name>,
    pickup: Location,
    dropoff: Location,
    /// Not before then.
    #[schema(format = DateTime)]
    pickup_time: Option<String>,
    /// A time by which it must be at its door; any other text promises nothing.
    deadline: Option<Text>,
    /// Kilograms.
    #[schema(minimum = 0)]
    weight: Option<f64>,
    /// The fleet was asked and has none: `false` then says that no carrier takes it either.
    no_drone: Option<bool>,
    /// Its delivery is made already: the carrier leaves.
    made: Option<bool>,
}

/// Says whether a carrier is needed, and books it when it is.
#[utoipa::path(put, path = "/api/thirdpartydeliveries/{id}", request_body = TripSchema, responses(
    (status = 200, body = bool, content_type = "application/json", description = "true: a carrier is \
        booked; false: a drone can, or, with `noDrone`, nobody can"),
    (status = 409, description = "it was called off, another trip is booked, or none brings it by its \
        deadline (`past_deadline`, with the earliest time)"),
    (status = 422, description = "no carrier takes it either")))]
async fn put_shipment(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let value = body.parse()?;
    let request = Request::read(&Body::new(&value)).map_err(Problem::of_faults)?;
    check_id(&id)?;
    if let Request::Trip { delivery_id: Some(other), .. } = &request
        && *other != id
    {
        let detail = "the id in the path is another".to_owned();
        return Err(Problem::invalid(vec![FieldError {
            pointer: "/deliveryId".to_owned(),
            detail,
        }]));
    }
    let answers = match &request {
        Request::Trip { wish, .. } => {
            asking::who_takes(&shared, &id, wish, context.deadline).await?
        }
        Request::Place => Answers::default(),
    };
    let (depot, trace) = (shared.depot.clone(), Some(context.trace.traceparent()));
    let effect = move |transaction: &mut Transaction<'_>| {
        let Request::Trip { wish, .. } = request else { return reply::json(200, &false) };
        let asked = (&wish, &answers);
        let booked = booking::book(transaction, &depot, &id, asked, trace).map_err(refusal)?;
        reply::json(200, &(booked == Transport::Carrier))
    };
    let done = operation.run(&shared.store, &body, effect).await;
    // It may be that somebody leaves at once.
    shared.depot.bell.notify_one();
    done
}

/// Frees the carrier of a delivery; where none was booked, none ever will be.
#[utoipa::path(delete, path = "/api/thirdpartydeliveries/{id}", responses(
    (status = 200, description = "no carrier works for it any more, or ever will"),
    (status = 409, description = "its package has been picked up")))]
async fn delete_shipment(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let let_go = asking::all_let_go(&shared, &id, context.deadline).await?;
    let is_undo = operation.direction() == Some(Direction::Undo);
    let release = move |transaction: &mut Transaction<'_>| {
        let_go?;
        match is_undo {
            true => booking::release(transaction, &id),
            false => booking::call_off(transaction, &id),
        }
    };
    let effect = move |transaction: &mut Transaction<'_>| match release(transaction) {
        Ok(()) => Ok(reply::empty(200)),
        Err(error @ ReleaseError::PickedUp(_)) => {
            Err(Problem::refusal(StatusCode::CONFLICT, "picked_up", error.to_string()))
        }
        Err(ReleaseError::Sql(error)) => Err(error.into()),
    };
    operation.run(&shared.store, &body, effect).await
}

/// Reads the carrier that is booked.
#[utoipa::path(get, path = "/api/thirdpartydeliveries/{id}", responses(
    (status = 200, body = ShipmentView), (status = 404, description = "none, or released")))]
async fn get_shipment(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<ShipmentView>, Problem> {
    match shared.store.read(move |reader| table::find(reader, &id)).await? {
        Some(Found::Shipment(it)) => Ok(Json(ShipmentView::of(&it, &shared.depot.clock))),
        Some(Found::Released) | None => Err(Problem::not_found("no carrier is booked for it")),
    }
}

fn refusal(error: BookError) -> Problem {
    let detail = error.to_string();
    let (status, code) = match error {
        BookError::Nobody(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no_carrier"),
        BookError::Released => (StatusCode::CONFLICT, "released"),
        // As the fleet says it of its drones.
        BookError::PastDeadline { .. } => (StatusCode::CONFLICT, "past_deadline"),
        BookError::OtherTrip => (StatusCode::CONFLICT, "other_trip"),
        // A tour ends within minutes; until then others may have a vehicle free. Who is next may have
        // changed since companies were asked.
        BookError::Full | BookError::NotAsked { .. } => {
            return Problem::of(Code::Overloaded, detail).retryable(FULL_RETRY_AFTER);
        }
        BookError::Sql(error) => return error.into(),
    };
    Problem::refusal(status, code, detail)
}
