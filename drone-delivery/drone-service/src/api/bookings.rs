//! Bookings by delivery, and what an account used.

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use base::{Code, Direction};
use contracts::{Body, Words as _, month_range};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use service_kit::{JsonBody, Operation, Problem, Query, RequestContext, check_id, reply};
use store::{StoredReply, Transaction};

use super::{Shared, invalid, schemas};
use crate::{
    booking::{self, Answer, BookError, Release, ReleaseError},
    domain::{BookingRequest, BookingView, DeclinedView, Known, PromiseView, UtilizationView},
    metrics::FleetMetrics,
    store::{self as table, BookingState, Promise},
};

/// Books a drone for a delivery, or gives the one that is booked.
///
/// The answer is final: a place in the plan of one drone, or a refusal with the earliest time that it
/// could be.
#[utoipa::path(put, path = "/api/dronedeliveries/{id}", request_body = schemas::BookingSchema,
    params(("view" = Option<schemas::BookingViewWord>, Query, description =
        "`booking` answers with the drone and the expected times as JSON"),
        ("decline" = Option<bool>, Query, description =
            "`true` answers 200 and `declined` where it would be refused as `infeasible`")),
    responses((status = 200, description = "the drone's id, as bare text unless JSON is asked for; \
            `Pickup-ETA` and `Delivery-ETA` say when", headers(
                ("Pickup-ETA" = String, description = "RFC 3339"),
                ("Delivery-ETA" = String, description = "RFC 3339")),
            content((String = "text/plain"), (PromiseView = "application/json"),
                (DeclinedView = "application/json"))),
        (status = 400, description = "members are missing or malformed"),
        (status = 409, description = "none in service can ever fly it (`infeasible`), none soon \
            enough (`beyond_horizon`, `past_deadline`, with the earliest time), it was called off, \
            its package has been picked up, or another trip is booked")))]
pub(super) async fn put_booking(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(view): Query<View>,
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
    let (form, declines) = (Form::of(&view, &headers)?, view.decline);
    let (tower, metrics) = (shared.tower.clone(), shared.metrics.clone());
    let trace = Some(context.trace.traceparent());
    let effect = move |transaction: &mut Transaction<'_>| {
        let booked = booking::book(transaction, &tower, &id, &request, trace);
        if let (Err(BookError::Infeasible { reason }), true) = (&booked, declines) {
            metrics.decided("declined");
            let reason = reason.clone();
            return reply::json(200, &DeclinedView { drone_id: None, declined: true, reason });
        }
        let answer = booked.map_err(|it| refusal(it, &metrics))?;
        metrics.decided("booked");
        form.reply(answer)
    };
    shared.run(operation, &body, effect).await
}

#[derive(Debug, Deserialize)]
pub(super) struct View {
    view: Option<String>,
    #[serde(default)]
    decline: bool,
}

/// How a client wants to be answered.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// The original's: the bare id.
    Text,
    /// The original's for those who ask for JSON: the id as a JSON string.
    JsonText,
    /// The drone and the expected times.
    Booking,
}

impl Form {
    fn of(view: &View, headers: &HeaderMap) -> Result<Self, Problem> {
        match view.view.as_deref().filter(|it| !it.is_empty()) {
            Some("booking") => Ok(Self::Booking),
            Some(_) => Err(invalid("/view", "booking is expected, or nothing")),
            None if wants_json(headers) => Ok(Self::JsonText),
            None => Ok(Self::Text),
        }
    }

    fn reply(self, answer: Answer) -> Result<StoredReply, Problem> {
        let Answer { drone_id, expected } = answer;
        let reply = match self {
            Self::Text => reply::text(200, &drone_id),
            Self::JsonText => reply::json(200, &drone_id)?,
            Self::Booking => {
                let (pickup_eta, eta) = expected.map(|it| (it.pickup, it.arrival)).unzip();
                reply::json(200, &PromiseView { drone_id, pickup_eta, eta })?
            }
        };
        let Some(Promise { pickup, arrival }) = expected else { return Ok(reply) };
        let reply = reply.header("pickup-eta", &pickup.to_rfc3339());
        Ok(reply.header("delivery-eta", &arrival.to_rfc3339()))
    }
}

/// Frees the drone of a delivery; where none was booked, none ever will be.
#[utoipa::path(delete, path = "/api/dronedeliveries/{id}", responses(
    (status = 200, description = "no drone works for it any more, or ever will"),
    (status = 409, description = "its package has been picked up, or the drone of a delivery that is \
        being called off was lost")))]
pub(super) async fn delete_booking(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let tower = shared.tower.clone();
    let release = match operation.direction() {
        Some(Direction::Do) => Release::Cancel,
        Some(Direction::Undo) | None => Release::Undo,
    };
    let refused = |code: &'static str, error: ReleaseError| {
        Err(Problem::refusal(StatusCode::CONFLICT, code, error.to_string()))
    };
    let effect = move |transaction: &mut Transaction<'_>| match booking::release(
        transaction,
        &tower,
        &id,
        release,
    ) {
        Ok(()) => Ok(reply::empty(200)),
        Err(error @ ReleaseError::PickedUp) => refused("picked_up", error),
        Err(error @ ReleaseError::Lost) => refused("drone_lost", error),
        Err(ReleaseError::Sql(error)) => Err(error.into()),
    };
    shared.run(operation, &body, effect).await
}

/// Reads a booking.
#[utoipa::path(get, path = "/api/dronedeliveries/{id}", responses(
    (status = 200, body = BookingView), (status = 404, description = "none, or released")))]
pub(super) async fn get_booking(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<BookingView>, Problem> {
    let (tower, wall) = (shared.tower.clone(), shared.clock.now());
    let found = shared.store.read(move |reader| {
        let Some(it) = table::find_booking(reader, &id)? else { return Ok(None) };
        let (Some(trip), Some(drone_id)) = (it.trip, it.drone_id) else { return Ok(None) };
        match it.state {
            BookingState::Released => return Ok(None),
            BookingState::Active if it.took_off => {
                let drone = table::find_drone(reader, &drone_id)?;
                let clock = tower.clock;
                let view = |Known { drone, .. }| {
                    BookingView::flying(it.delivery_id, it.revision, &trip, &drone, &clock)
                };
                return Ok(drone.map(view));
            }
            BookingState::Active => {
                tower.follow(reader, wall)?;
                let place = tower.fleet().place_of(&it.delivery_id, tower.now(wall));
                if let Some(place) = place {
                    let clock = tower.clock;
                    let view = BookingView::planned(it.revision, &trip, drone_id, &place, &clock);
                    return Ok(Some(view));
                }
            }
            BookingState::Delivered | BookingState::Lost => {}
        }
        let state = it.state.word();
        Ok(Some(BookingView::over(it.delivery_id, it.revision, &trip, drone_id, state)))
    });
    found.await?.map(Json).ok_or_else(|| Problem::not_found("no drone is booked for it"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Month {
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
pub(super) async fn utilization(
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

/// The original answers with bare text, and with a JSON string to those who ask for JSON.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    accepted.is_some_and(|it| it.to_ascii_lowercase().contains("application/json"))
}

fn refusal(error: BookError, metrics: &FleetMetrics) -> Problem {
    let detail = error.to_string();
    let code = match error {
        BookError::Infeasible { .. } => "infeasible",
        BookError::BeyondHorizon { .. } => "beyond_horizon",
        BookError::PastDeadline { .. } => "past_deadline",
        BookError::Released => "released",
        BookError::PickedUp => "picked_up",
        BookError::Lost => "drone_lost",
        BookError::OtherTrip => "other_trip",
        BookError::StaleRevision { .. } => "stale_revision",
        BookError::NotBooked => "not_booked",
        BookError::Sql(error) => return error.into(),
    };
    metrics.decided(code);
    // 409 and not 503: this instance is well, and another would say the same. None of them is worth
    // the same request again.
    Problem::refusal(StatusCode::CONFLICT, code, detail)
}
