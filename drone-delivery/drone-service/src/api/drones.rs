//! Drones by id, and what is planned for each.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::Response,
};
use contracts::{Body, Words as _, drone_management::DronePhase};
use http::StatusCode;
use serde::Deserialize;
use service_kit::{JsonBody, Operation, Problem, Query, check_id, page, reply};
use store::Transaction;

use super::{
    Shared, invalid,
    schemas::{self, DOUBLY_BOOKED},
};
use crate::{
    domain::{DroneStatusView, DroneView, Known, PlanView, Registration},
    operators::{self, RegisterError, Registered},
    store as table,
};

#[derive(Debug, Deserialize)]
pub(super) struct FleetQuery {
    state: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

/// Drones of one answer, unless the query says less or more.
const DRONES_DEFAULT: u32 = 1_000;
const DRONES_MAX: u32 = 20_000;

/// Lists drones in the order of their ids. `Link` leads to the next page.
#[utoipa::path(get, path = "/api/drones",
    params(("state" = Option<schemas::StateWord>, Query), ("limit" = Option<u32>, Query, description = "more than 20000 counts as that"),
        ("after" = Option<String>, Query, description = "those behind this id")),
    responses((status = 200, body = Vec<DroneView>), (status = 400, description = "no such state")))]
pub(super) async fn list_drones(
    State(shared): State<Shared>,
    Query(query): Query<FleetQuery>,
    RawQuery(asked): RawQuery,
) -> Result<Response, Problem> {
    let after = query.after.unwrap_or_default();
    let limit = query.limit.unwrap_or(DRONES_DEFAULT).min(DRONES_MAX);
    let word = query.state.filter(|it| !it.is_empty());
    let found = if word.as_deref() == Some(DOUBLY_BOOKED) {
        shared.store.read(move |reader| table::doubly_booked(reader, &after, limit)).await?
    } else {
        let phase = word.map(|it| {
            let unknown = || invalid("/state", "a phase of a drone is expected, or doubly-booked");
            DronePhase::from_word(&it).ok_or_else(unknown)
        });
        let phase = phase.transpose()?;
        shared.store.read(move |reader| table::list_drones(reader, phase, &after, limit)).await?
    };
    let now = shared.now();
    let view = |it: &Known| DroneView::of(&it.drone, now, &shared.tower.rules);
    let rows: Vec<_> = found.iter().map(view).collect();
    let last = found.last().map(|it| it.drone.id.as_str());
    Ok(page(&rows, limit as usize, asked.as_deref(), last))
}

/// Reads one drone.
#[utoipa::path(get, path = "/api/drones/{id}", responses(
    (status = 200, body = DroneView), (status = 404, description = "no such drone")))]
pub(super) async fn get_drone(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<DroneView>, Problem> {
    let Known { drone, .. } = shared.drone(id).await?;
    Ok(Json(DroneView::of(&drone, shared.now(), &shared.tower.rules)))
}

/// Reads one drone as the original's telemetry shows it.
#[utoipa::path(get, path = "/api/drones/{id}/status", responses(
    (status = 200, body = DroneStatusView), (status = 404, description = "no such drone")))]
pub(super) async fn get_drone_status(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<DroneStatusView>, Problem> {
    let Known { drone, .. } = shared.drone(id).await?;
    Ok(Json(DroneStatusView::of(&drone, shared.now(), &shared.tower.rules)))
}

/// Reads what is planned for one drone.
#[utoipa::path(get, path = "/api/drones/{id}/plan", responses(
    (status = 200, body = PlanView), (status = 404, description = "no such drone")))]
pub(super) async fn get_drone_plan(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<PlanView>, Problem> {
    let (tower, wall) = (shared.tower.clone(), shared.clock.now());
    let found = shared.store.read(move |reader| {
        tower.follow(reader, wall)?;
        let places = tower.fleet().plan_of(&id, tower.now(wall));
        let drone = table::find_drone(reader, &id)?;
        Ok(drone.map(|it| PlanView::of(&it.drone, &places, &tower.clock)))
    });
    found.await?.map(Json).ok_or_else(|| Problem::not_found("no drone has this id"))
}

/// Adds a drone, changes one, takes one out of service or puts it back.
#[utoipa::path(put, path = "/api/drones/{id}", request_body = schemas::RegistrationSchema,
    responses((status = 201, body = DroneView), (status = 204, description = "it was changed"),
        (status = 409, description = "it is at work")))]
pub(super) async fn put_drone(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let value = body.parse()?;
    let wanted = Registration::read(&Body::new(&value)).map_err(Problem::of_faults)?;
    check_id(&id)?;
    let tower = shared.tower.clone();
    let effect = move |transaction: &mut Transaction<'_>| {
        let registered = operators::register(transaction, &tower, &id, &wanted);
        match registered.map_err(register_refusal)? {
            Registered::Added(drone) => {
                let now = tower.now(transaction.now());
                reply::json(201, &DroneView::of(&drone, now, &tower.rules))
            }
            Registered::Changed => Ok(reply::empty(204)),
        }
    };
    shared.run(operation, &body, effect).await
}

fn register_refusal(error: RegisterError) -> Problem {
    match error {
        RegisterError::NoBase => invalid("/base", "a new drone needs a base"),
        RegisterError::Busy => {
            Problem::refusal(StatusCode::CONFLICT, "drone_busy", error.to_string())
        }
        RegisterError::Sql(error) => error.into(),
    }
}
