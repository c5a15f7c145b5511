//! HTTP: the history of one delivery, and what happened lately to those of an account.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::Response,
};
use contracts::shipping::DeliveryEvent;
use serde::Deserialize;
use service_kit::{Caller, Problem, Query, Routes, page};
use store::Store;
use utoipa::OpenApi;

use crate::{domain::History, store as table};

/// Events of a list when none are asked for, and at the most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) store: Store,
}

/// Every route of the service. None changes anything.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/deliveryhistory/{id}", get_history)
        .get("/api/deliveryhistory", list_events)
        .with_state(shared)
}

/// The OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "History", description = "What became of deliveries, long after."),
    paths(get_history, list_events),
    components(schemas(History, DeliveryEvent))
)]
pub(crate) struct Document;

/// Reads everything that happened to a delivery.
#[utoipa::path(get, path = "/api/deliveryhistory/{id}", responses(
    (status = 200, body = History), (status = 404, description = "nothing was heard of it")))]
async fn get_history(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<History>, Problem> {
    let events = shared.store.read(move |reader| table::of_delivery(reader, &id)).await?;
    let history = History::of(events).filter(|it| caller.reaches(it.owner_id()));
    history.map(Json).ok_or_else(unknown)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    owner_id: String,
    limit: Option<u32>,
    after: Option<String>,
}

/// Lists what happened to an account's deliveries, the newest first. `Link` leads to the next page.
#[utoipa::path(get, path = "/api/deliveryhistory",
    params(("ownerId" = String, Query), ("limit" = Option<u32>, Query, description = "more than 1000 counts as that"),
        ("after" = Option<String>, Query, description = "those behind the event of this id")),
    responses((status = 200, body = Vec<DeliveryEvent>),
        (status = 400, description = "no owner is named, or the limit is no number"),
        (status = 404, description = "no such account")))]
async fn list_events(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let Wanted { owner_id, limit, after } = wanted;
    if !caller.reaches(&owner_id) {
        return Err(Problem::not_found("no account of this name is there"));
    }
    let limit = limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let found = shared
        .store
        .read(move |reader| table::of_owner(reader, &owner_id, after.as_deref(), limit))
        .await?;
    let last = found.last().map(|it| it.event_id.as_str());
    Ok(page(&found, limit as usize, query.as_deref(), last))
}

fn unknown() -> Problem {
    Problem::not_found("nothing was heard of a delivery with this id")
}
