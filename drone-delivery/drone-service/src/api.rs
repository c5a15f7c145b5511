//! HTTP: bookings by delivery, drones by id, what an account used in a month.

mod document;
mod samples;

use axum::{
    Json,
    extract::{Path, Query, State},
    response::Response,
};
use base::{Code, SharedClock, Timestamp};
use contracts::{Body, Words as _, drone_management::DronePhase, month_range};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use service_kit::{
    FieldError, JsonBody, MutatingRoute, Operation, Problem, RequestContext, Routes, reply,
};
use store::{Store, StoredReply, Transaction};

pub(crate) use self::document::Document;
use crate::{
    booking::{self, BookError, ReleaseError},
    domain::{
        BookingRequest, BookingView, DroneStatusView, DroneView, Known, Registration,
        UtilizationView,
    },
    metrics::FleetMetrics,
    operators::{self, RegisterError, Registered},
    store::{self as table, BookingState},
    tower::Tower,
};

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) tower: Tower,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: FleetMetrics,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/dronedeliveries/{id}", get_booking)
        .get("/api/dronedeliveries/utilization", utilization)
        .change(samples::put_booking(), put_booking)
        .change(samples::delete_booking(), delete_booking)
        .get("/api/drones", list_drones)
        .get("/api/drones/{id}", get_drone)
        .get("/api/drones/{id}/status", get_drone_status)
        .change(samples::put_drone(), put_drone)
        .with_state(shared)
}

/// The rows of everything that changes something.
#[must_use]
pub fn rows() -> Vec<MutatingRoute> {
    vec![samples::put_booking(), samples::delete_booking(), samples::put_drone()]
}

/// Books a drone for a delivery, or gives the one that is booked.
#[utoipa::path(put, path = "/api/dronedeliveries/{id}", request_body = document::BookingSchema,
    responses((status = 200, description = "the drone's id, as bare text unless JSON is asked for",
            content((String = "text/plain"), (String = "application/json"))),
        (status = 409, description = "no drone is free (retryable), none ever can, it was called \
            off, its package has been picked up, or another trip is booked")))]
async fn put_booking(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    headers: HeaderMap,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let value = body.parse()?;
    let request = BookingRequest::read(&Body::new(&value)).map_err(Problem::of_faults)?;
    check_id(&id)?;
    if request.delivery_id.as_ref().is_some_and(|it| *it != id) {
        return Err(invalid("/deliveryId", "the id in the path is another"));
    }
    let as_json = wants_json(&headers);
    let (tower, metrics) = (shared.tower.clone(), shared.metrics.clone());
    let trace = Some(context.trace.traceparent());
    let effect = move |transaction: &mut Transaction<'_>| {
        let booked = booking::book(transaction, &tower, &id, &request, trace);
        let drone_id = booked.map_err(|it| refusal(it, &metrics))?;
        metrics.decided("booked");
        if as_json { reply::json(200, &drone_id) } else { Ok(reply::text(200, &drone_id)) }
    };
    shared.run(operation, &body, effect).await
}

/// Frees the drone of a delivery; where none was booked, none ever will be.
#[utoipa::path(delete, path = "/api/dronedeliveries/{id}", responses(
    (status = 200, description = "no drone works for it any more, or ever will"),
    (status = 409, description = "its package has been picked up")))]
async fn delete_booking(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let tower = shared.tower.clone();
    let effect =
        move |transaction: &mut Transaction<'_>| match booking::release(transaction, &tower, &id) {
            Ok(()) => Ok(reply::empty(200)),
            Err(error @ ReleaseError::PickedUp) => {
                Err(Problem::refusal(StatusCode::CONFLICT, "picked_up", error.to_string()))
            }
            Err(ReleaseError::Sql(error)) => Err(error.into()),
        };
    shared.run(operation, &body, effect).await
}

/// Reads a booking.
#[utoipa::path(get, path = "/api/dronedeliveries/{id}", responses(
    (status = 200, body = BookingView), (status = 404, description = "none, or released")))]
async fn get_booking(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<BookingView>, Problem> {
    let clock = shared.tower.clock;
    let found = shared.store.read(move |reader| {
        let Some(it) = table::find_booking(reader, &id)? else { return Ok(None) };
        let (Some(trip), Some(drone_id)) = (it.trip, it.drone_id) else { return Ok(None) };
        if it.state == BookingState::Active {
            let drone = table::find_drone(reader, &drone_id)?;
            let view = |Known { drone, .. }| {
                BookingView::active(it.delivery_id, it.revision, &trip, &drone, &clock)
            };
            return Ok(drone.map(view));
        }
        let over = it.state != BookingState::Released;
        let state = it.state.word();
        Ok(over.then(|| BookingView::over(it.delivery_id, it.revision, &trip, drone_id, state)))
    });
    found.await?.map(Json).ok_or_else(|| Problem::not_found("no drone is booked for it"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Month {
    owner_id: Option<String>,
    year: Option<i16>,
    month: Option<i8>,
}

/// Miles and hours that drones flew for an account in a month.
#[utoipa::path(get, path = "/api/dronedeliveries/utilization",
    params(("ownerId" = inline(contracts::document::Name), Query), ("year" = inline(contracts::document::Year), Query),
        ("month" = inline(contracts::document::Month), Query)),
    responses((status = 200, body = UtilizationView), (status = 400, description = "no such month"),
        (status = 404, description = "nothing was flown")))]
async fn utilization(
    State(shared): State<Shared>,
    Query(month): Query<Month>,
) -> Result<Json<UtilizationView>, Problem> {
    let range = month.year.zip(month.month).and_then(|(year, month)| month_range(year, month));
    let owner = month.owner_id.filter(|it| !it.trim().is_empty());
    let ((from, to), owner) = range.zip(owner).ok_or_else(|| {
        Problem::of(Code::InvalidRequest, "ownerId, year and month name no month of an account")
    })?;
    let used = shared.store.read(move |reader| table::utilization(reader, &owner, from, to));
    let (metres, seconds) = used.await?;
    UtilizationView::of(metres, seconds)
        .map(Json)
        .ok_or_else(|| Problem::not_found("no drone flew for the account in this month"))
}

#[derive(Debug, Deserialize)]
struct FleetQuery {
    state: Option<String>,
    limit: Option<u32>,
}

/// Drones of one answer, unless the query says less or more.
const DRONES_DEFAULT: u32 = 1_000;
const DRONES_MAX: u32 = 20_000;
/// Asks for what must never be.
const DOUBLY_BOOKED: &str = "doubly-booked";

/// Lists drones in the order of their ids.
#[utoipa::path(get, path = "/api/drones",
    params(("state" = Option<document::StateWord>, Query), ("limit" = Option<u32>, Query, description = "more than 20000 counts as that")),
    responses((status = 200, body = Vec<DroneView>), (status = 400, description = "no such state")))]
async fn list_drones(
    State(shared): State<Shared>,
    Query(query): Query<FleetQuery>,
) -> Result<Json<Vec<DroneView>>, Problem> {
    let limit = query.limit.unwrap_or(DRONES_DEFAULT).min(DRONES_MAX);
    let word = query.state.filter(|it| !it.is_empty());
    let found = if word.as_deref() == Some(DOUBLY_BOOKED) {
        shared.store.read(move |reader| table::doubly_booked(reader, limit)).await?
    } else {
        let phase = word.map(|it| {
            let unknown = || invalid("/state", "a phase of a drone is expected, or doubly-booked");
            DronePhase::from_word(&it).ok_or_else(unknown)
        });
        let phase = phase.transpose()?;
        shared.store.read(move |reader| table::list_drones(reader, phase, limit)).await?
    };
    let now = shared.now();
    let view = |it: &Known| DroneView::of(&it.drone, now, &shared.tower.rules);
    Ok(Json(found.iter().map(view).collect()))
}

/// Reads one drone.
#[utoipa::path(get, path = "/api/drones/{id}", responses(
    (status = 200, body = DroneView), (status = 404, description = "no such drone")))]
async fn get_drone(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<DroneView>, Problem> {
    let Known { drone, .. } = shared.drone(id).await?;
    Ok(Json(DroneView::of(&drone, shared.now(), &shared.tower.rules)))
}

/// Reads one drone as the original's telemetry shows it.
#[utoipa::path(get, path = "/api/drones/{id}/status", responses(
    (status = 200, body = DroneStatusView), (status = 404, description = "no such drone")))]
async fn get_drone_status(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<DroneStatusView>, Problem> {
    let Known { drone, .. } = shared.drone(id).await?;
    Ok(Json(DroneStatusView::of(&drone, shared.now(), &shared.tower.rules)))
}

/// Adds a drone, changes one, takes one out of service or puts it back.
#[utoipa::path(put, path = "/api/drones/{id}", request_body = document::RegistrationSchema,
    responses((status = 201, body = DroneView), (status = 204, description = "it was changed"),
        (status = 409, description = "it is at work")))]
async fn put_drone(
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

impl Shared {
    /// Runs a change; then whoever moves drones looks at once.
    async fn run(
        &self,
        operation: Operation,
        body: &[u8],
        effect: impl FnOnce(&mut Transaction<'_>) -> Result<StoredReply, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        let done = operation.run(&self.store, body, effect).await;
        match &done {
            // What the copy took in on the way may not have been committed.
            Err(problem) if problem.status.is_server_error() => self.tower.mark_stale(),
            Ok(_) | Err(_) => self.tower.ring(),
        }
        done
    }

    async fn drone(&self, id: String) -> Result<Known, Problem> {
        let found = self.store.read(move |reader| table::find_drone(reader, &id)).await?;
        found.ok_or_else(|| Problem::not_found("no drone has this id"))
    }

    fn now(&self) -> Timestamp {
        self.tower.now(self.clock.now())
    }
}

/// The original answers with bare text, and with a JSON string to those who ask for JSON.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    accepted.is_some_and(|it| it.to_ascii_lowercase().contains("application/json"))
}

fn invalid(pointer: &str, detail: &str) -> Problem {
    let error = FieldError { pointer: pointer.to_owned(), detail: detail.to_owned() };
    Problem::invalid(vec![error])
}

/// Characters of an id.
const ID_CHARS_MAX: usize = 200;

fn check_id(id: &str) -> Result<(), Problem> {
    let fits = !id.trim().is_empty()
        && id.chars().count() <= ID_CHARS_MAX
        && !id.chars().any(char::is_control);
    let detail = "an id has 1 to 200 characters, none of them a control character";
    if fits { Ok(()) } else { Err(Problem::of(Code::InvalidRequest, detail)) }
}

fn refusal(error: BookError, metrics: &FleetMetrics) -> Problem {
    let detail = error.to_string();
    let code = match error {
        BookError::Infeasible | BookError::InfeasibleForBooked => "infeasible",
        BookError::Busy { .. } => "fleet_busy",
        BookError::Released => "released",
        BookError::PickedUp => "picked_up",
        BookError::Lost => "drone_lost",
        BookError::OtherTrip => "other_trip",
        BookError::StaleRevision { .. } => "stale_revision",
        BookError::NotBooked => "not_booked",
        BookError::Sql(error) => return error.into(),
    };
    metrics.decided(code);
    let problem = Problem::refusal(StatusCode::CONFLICT, code, detail);
    match error {
        // 409 and not 503: this instance is well, and another would say the same.
        BookError::Busy { retry_after } => problem.retryable(retry_after),
        _ => problem,
    }
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
