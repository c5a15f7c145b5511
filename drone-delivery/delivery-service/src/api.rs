//! HTTP: deliveries, their public face, and what their recipients say.

mod confirming;
mod document;
mod samples;
mod told;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use base::{Code, Direction};
use contracts::{Body, month_range, shipping::DeliveryEvent};
use http::{HeaderMap, StatusCode};
use notifications::Outbox;
use runtime::Tasks;
use serde::{Deserialize, Serialize};
use service_kit::{
    Caller, FieldError, JsonBody, MutatingRoute, Operation, Problem, Query, RequestContext, Routes,
    check_id, reply,
};
use store::{Store, StoredReply, Transaction};
use utoipa::ToSchema;

pub(crate) use self::document::Document;
use crate::{
    domain::{
        ChangeError, Delivery, DeliveryBody, DeliveryView, Ending, Order, OwnerView, Reached,
        Reschedule, StatusView,
    },
    events::{self, Audience, Voice},
    listeners::{Full, Listeners},
    positions::Positions,
    store::{self as table, NotifyRequest},
    stream::{self, Changes},
};

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) positions: Arc<Positions>,
    pub(crate) changes: Changes,
    pub(crate) listeners: Listeners,
    pub(crate) audience: Audience,
    pub(crate) outbox: Outbox,
    pub(crate) tasks: Tasks,
    pub(crate) prefer_201_on_replace: bool,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/deliveries/{id}", get_delivery)
        .get("/api/deliveries/public/{id}", get_delivery)
        .get("/api/deliveries/{id}/status", get_status)
        .get("/api/deliveries/public/{id}/status", get_status)
        .get("/api/deliveries/{id}/owner", get_owner)
        .get("/api/deliveries/{id}/events", get_events)
        .get("/api/deliveries/{id}/events/stream", stream_events)
        .get("/api/deliveries/{id}/notifications", told::list_told)
        .get("/api/notifications/unsubscribe/{token}", told::ask_unsubscribe)
        .get("/api/deliveries/summary", summarize)
        .change(samples::put(), put_delivery)
        .change(samples::patch(), patch_delivery)
        .change(samples::delete(), delete_delivery)
        .change(samples::hand_over(), put_carrier)
        .change(samples::notify_me(), notify_me)
        .change(samples::forget_me(), forget_me)
        .get("/api/deliveries/{id}/confirmations", confirming::get_evidence)
        .change(confirming::row(), confirming::confirm)
        .change(samples::unsubscribe(), told::unsubscribe)
        .with_state(shared)
}

/// The rows of everything that changes something, for the conformance tests.
#[must_use]
pub fn rows() -> Vec<MutatingRoute> {
    vec![
        samples::put(),
        samples::patch(),
        samples::delete(),
        samples::hand_over(),
        samples::notify_me(),
        samples::forget_me(),
        confirming::row(),
        samples::unsubscribe(),
    ]
}

/// Reads a delivery.
#[utoipa::path(get, path = "/api/deliveries/{id}", responses(
    (status = 200, body = DeliveryView), (status = 404, description = "no such delivery")))]
async fn get_delivery(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<DeliveryView>, Problem> {
    Ok(Json(DeliveryView::from(&shared.find(&id, &caller).await?)))
}

/// Reads who ships.
#[utoipa::path(get, path = "/api/deliveries/{id}/owner", responses(
    (status = 200, body = OwnerView), (status = 404, description = "no such delivery")))]
async fn get_owner(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<OwnerView>, Problem> {
    Ok(Json(OwnerView::from(&shared.find(&id, &caller).await?.order.owner)))
}

/// Reads stage, position and expected times.
#[utoipa::path(get, path = "/api/deliveries/{id}/status", responses(
    (status = 200, body = StatusView), (status = 404, description = "no such delivery")))]
async fn get_status(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<StatusView>, Problem> {
    let newest = shared.positions.newest(&id);
    let found = shared
        .store
        .read(move |reader| {
            let Some(delivery) = table::find(reader, &id)?.filter(|it| is_there(it, &caller))
            else {
                return Ok(None);
            };
            // In flight only: at an end the last report of a phase is where it is.
            let flies = !delivery.stage.is_end();
            let written = if flies { table::position(reader, &id)? } else { None };
            Ok(Some(StatusView::of(&delivery, newest.filter(|_| flies).or(written))))
        })
        .await?;
    found.map(Json).ok_or_else(unknown)
}

/// Reads every stage that was reached.
#[utoipa::path(get, path = "/api/deliveries/{id}/events", responses(
    (status = 200, body = Vec<DeliveryEvent>), (status = 404, description = "no such delivery")))]
async fn get_events(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<Vec<DeliveryEvent>>, Problem> {
    let found = shared
        .store
        .read(move |reader| {
            let known = table::find(reader, &id)?.is_some_and(|it| is_there(&it, &caller));
            Ok(if known { Some(table::events(reader, &id, 0)?) } else { None })
        })
        .await?;
    found.map(Json).ok_or_else(unknown)
}

/// Streams the stages as they are reached, as server-sent events: `id` is the number of an event of
/// `GET /api/deliveries/{id}/events`, `event` its name, `data` the event. It ends with the delivery.
#[utoipa::path(get, path = "/api/deliveries/{id}/events/stream",
    params(("Last-Event-ID" = Option<String>, Header, description = "the last event that is there; those after it come")),
    responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 204, description = "the delivery is over, and no event is left: do not come again"),
    (status = 404, description = "no such delivery"),
    (status = 429, description = "the caller listens to as many as he may; see Retry-After"),
    (status = 503, description = "as many listen as may; see Retry-After")))]
async fn stream_events(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let delivery = shared.find(&id, &caller).await?;
    let known = id.clone();
    let events = shared.store.read(move |reader| table::events(reader, &known, 0)).await?;
    let named = headers.get("last-event-id").and_then(|it| it.to_str().ok()?.parse().ok());
    let seen = stream::resume(&events, named);
    let is_over = delivery.stage.is_end() && events.last().is_some_and(|it| it.sequence == seen);
    if is_over {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = shared.listeners.enter(&caller).map_err(no_place)?;
    let (sender, response) = stream::open();
    let heartbeat = Duration::from_secs(u64::from(shared.listeners.config().heartbeat_s));
    let Shared { store, changes, tasks, .. } = shared;
    let feed = stream::Feed { store, changes, id, seen, heartbeat, sender, _place: place };
    tasks.spawn("event stream", |shutdown| feed.run(shutdown));
    Ok(response)
}

/// When a stream of somebody else may have ended.
const STREAM_AGAIN_AFTER: Duration = Duration::from_secs(10);

fn no_place(full: Full) -> Problem {
    let problem = match full {
        Full::OfCaller(_) => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            Problem::refusal(status, "too_many_streams", full.to_string())
        }
        Full::OfAll(_) => Problem::of(Code::Overloaded, full.to_string()),
    };
    problem.retryable(STREAM_AGAIN_AFTER)
}

/// Makes a delivery, or replaces what was asked for.
#[utoipa::path(put, path = "/api/deliveries/{id}", request_body = document::DeliverySchema, responses(
    (status = 201, body = DeliveryView, description = "it is new, or the same again"),
    (status = 204, description = "it was replaced"),
    (status = 409, description = "it is over, or was undone before it was made")))]
async fn put_delivery(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let value = body.parse()?;
    let content = DeliveryBody::read(&Body::new(&value)).map_err(Problem::of_faults)?;
    check_id(&id)?;
    if content.id.as_ref().is_some_and(|it| *it != id) {
        let detail = "the id in the path is another".to_owned();
        return Err(Problem::invalid(vec![FieldError { pointer: "/id".to_owned(), detail }]));
    }
    let (prefer_201, audience) = (shared.prefer_201_on_replace, shared.audience);
    let changes = shared.changes.clone();
    let done = operation
        .run(&shared.store, &body, move |it| {
            put(it, id, content, prefer_201, Voice::new(audience, &context.trace))
        })
        .await;
    changes.notify();
    done
}

fn put(
    transaction: &mut Transaction<'_>,
    id: String,
    content: DeliveryBody,
    prefer_201: bool,
    voice: Voice<'_>,
) -> Result<StoredReply, Problem> {
    if table::is_buried(transaction, &id)? {
        return Err(Problem::of(Code::Undone, "the delivery was undone before it was made"));
    }
    let Some(mut delivery) = table::find(transaction, &id)? else {
        return make(transaction, id, content.order, voice);
    };
    // The original's workflow takes only 201 for an answer, also when it asks the same again.
    let same = delivery.order == content.order;
    if !same {
        delivery.replace(content.order).map_err(refusal)?;
        table::replace(transaction, &delivery)?;
    }
    if same || prefer_201 { created(&delivery) } else { Ok(reply::empty(204)) }
}

/// Makes a delivery that was not there.
pub(crate) fn make(
    transaction: &mut Transaction<'_>,
    id: String,
    order: Order,
    voice: Voice<'_>,
) -> Result<StoredReply, Problem> {
    let delivery = Delivery::create(id, order);
    table::insert(transaction, &delivery)?;
    let reached = vec![delivery.stage];
    events::announce(transaction, &delivery, &reached, voice)?;
    created(&delivery)
}

fn created(delivery: &Delivery) -> Result<StoredReply, Problem> {
    let location = format!("/api/deliveries/{}", service_kit::segment(&delivery.id));
    Ok(reply::json(201, &DeliveryView::from(delivery))?.header("location", &location))
}

/// Moves a delivery.
#[utoipa::path(patch, path = "/api/deliveries/{id}", request_body = document::RescheduleSchema,
    responses((status = 200), (status = 404, description = "no such delivery"),
        (status = 409, description = "it is over, or its package has been picked up")))]
async fn patch_delivery(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let change = read_reschedule(&body)?;
    let audience = shared.audience;
    let effect = move |transaction: &mut Transaction<'_>| {
        change_delivery(transaction, &id, Voice::new(audience, &context.trace), |it| {
            it.reschedule(change)
        })?;
        Ok(reply::empty(200))
    };
    shared.run(operation, &body, effect).await
}

fn read_reschedule(body: &JsonBody) -> Result<Reschedule, Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let members = content.members();
    let change = Reschedule {
        pickup: members.optional_location("pickup"),
        dropoff: members.optional_location("dropoff"),
        deadline: members.optional_text("deadline"),
        pickup_time: members.optional_time("pickupTime"),
        revision: members.optional_count("revision"),
    };
    content.finish(change).map_err(Problem::of_faults)
}

#[derive(Debug, Deserialize)]
struct Cancellation {
    /// The undo of a workflow: leaves a tombstone where nothing was made yet.
    #[serde(default)]
    compensate: bool,
}

/// Calls a delivery off.
#[utoipa::path(delete, path = "/api/deliveries/{id}",
    params(("id" = String, Path), ("compensate" = Option<bool>, Query)),
    responses((status = 200, description = "it is called off"),
        (status = 404, description = "no such delivery"),
        (status = 409, description = "its package has been picked up")))]
async fn delete_delivery(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(cancellation): Query<Cancellation>,
    context: RequestContext,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let (ending, reason) = match operation.direction() {
        Some(Direction::Undo) => (Ending::Failed, "the workflow that made it was undone"),
        Some(Direction::Do) | None => (Ending::Cancelled, "it was called off"),
    };
    let audience = shared.audience;
    let effect = move |transaction: &mut Transaction<'_>| {
        if cancellation.compensate && table::find(transaction, &id)?.is_none() {
            table::bury(transaction, &id)?;
            return Ok(reply::empty(200));
        }
        let reason = Some(reason.to_owned());
        change_delivery(transaction, &id, Voice::new(audience, &context.trace), |it| {
            it.call_off(ending, reason)
        })?;
        Ok(reply::empty(200))
    };
    shared.run(operation, &body, effect).await
}

/// Whether somebody serves a delivery.
#[derive(Debug, Serialize, ToSchema)]
struct Served {
    /// False when it is over.
    served: bool,
}

/// Says what was found for a delivery that no drone flies any more: a carrier, or nobody.
#[utoipa::path(put, path = "/api/deliveries/{id}/carrier", request_body = document::CarrierSchema,
    responses((status = 200, body = Served, description = "whether the carrier is to leave"),
        (status = 404, description = "no such delivery")))]
async fn put_carrier(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let booked = read_carrier(&body)?;
    let audience = shared.audience;
    let effect = move |transaction: &mut Transaction<'_>| {
        let voice = Voice::new(audience, &context.trace);
        let mut delivery = table::find(transaction, &id)?.ok_or_else(unknown)?;
        let before = delivery.clone();
        let reached = delivery.hand_over(booked);
        if delivery != before {
            events::commit(transaction, &delivery, &reached, voice)?;
        }
        let served = !delivery.stage.is_end();
        if before.awaits_carrier && served {
            events::reassigned(transaction, &delivery, voice)?;
        }
        reply::json(200, &Served { served })
    };
    shared.run(operation, &body, effect).await
}

fn read_carrier(body: &JsonBody) -> Result<bool, Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let members = content.members();
    if members.get("booked").is_none() {
        members.fault("booked", "true or false is expected");
    }
    content.finish(members.flag_or("booked", false)).map_err(Problem::of_faults)
}

/// Asks to hear how a delivery ends, or its request where no delivery comes of it.
#[utoipa::path(post, path = "/api/deliveries/{id}/notifymerequests",
    request_body = document::NotifySchema,
    responses((status = 204, description = "kept, also before there is a delivery of this id"),
        (status = 400, description = "a member is wrong, or the id"),
        (status = 404, description = "another's delivery")))]
async fn notify_me(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    check_id(&id)?;
    let asker = caller.bound_to()?.map(str::to_owned);
    let request = NotifyRequest { asker, ..read_notify_request(&body)? };
    let effect = move |transaction: &mut Transaction<'_>| {
        check_asking(transaction, &id, &caller, Early::MayCome)?;
        table::keep_notify_request(transaction, &id, &request)?;
        Ok(reply::empty(204))
    };
    shared.run(operation, &body, effect).await
}

fn read_notify_request(body: &JsonBody) -> Result<NotifyRequest, Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let members = content.members();
    let request = NotifyRequest {
        email_address: members.optional_mail_address("emailAddress"),
        sms: members.optional_phone_number("sms"),
        language: members.optional_text("language").unwrap_or_default(),
        asker: None,
    };
    if request.email_address.is_none() && request.sms.is_none() {
        members.fault("emailAddress", "an e-mail address or a phone number is needed");
    }
    content.finish(request).map_err(Problem::of_faults)
}

/// Erases the addresses of [`notify_me`].
#[utoipa::path(delete, path = "/api/deliveries/{id}/notifymerequests",
    responses((status = 204, description = "none is kept any more"),
        (status = 404, description = "another's delivery")))]
async fn forget_me(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let effect = move |transaction: &mut Transaction<'_>| {
        check_asking(transaction, &id, &caller, Early::MustHaveCome)?;
        table::erase_notify_request(transaction, &id)?;
        Ok(reply::empty(204))
    };
    shared.run(operation, &body, effect).await
}

/// Whether somebody may ask about a delivery of which nobody has heard yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Early {
    MayCome,
    MustHaveCome,
}

/// Refuses who asks about another's delivery, or has another's address replaced or erased.
fn check_asking(
    transaction: &Transaction<'_>,
    id: &str,
    caller: &Caller,
    early: Early,
) -> Result<(), Problem> {
    let Some(owner) = caller.bound_to()? else { return Ok(()) };
    let is_his = match (table::find(transaction, id)?, table::notify_request(transaction, id)?) {
        (Some(delivery), _) => is_there(&delivery, caller),
        // Before there is a delivery an address is his who gave it.
        (None, Some(kept)) => kept.asker.as_deref() == Some(owner),
        (None, None) => early == Early::MayCome,
    };
    if is_his { Ok(()) } else { Err(unknown()) }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Month {
    owner_id: String,
    year: i16,
    month: i8,
}

/// How many deliveries an account made in a month.
#[derive(Debug, Serialize, ToSchema)]
struct Summary {
    count: u64,
}

/// Counts an account's deliveries of a month.
#[utoipa::path(get, path = "/api/deliveries/summary",
    params(("ownerId" = String, Query), ("year" = inline(contracts::document::Year), Query),
        ("month" = inline(contracts::document::Month), Query)),
    responses((status = 200, body = Summary), (status = 400, description = "no such month"),
        (status = 404, description = "no such account")))]
async fn summarize(
    State(shared): State<Shared>,
    Query(month): Query<Month>,
    caller: Caller,
) -> Result<Json<Summary>, Problem> {
    let (from, to) = month_range(month.year, month.month)
        .ok_or_else(|| Problem::of(Code::InvalidRequest, "year and month name no month"))?;
    let owner = month.owner_id;
    if !caller.reaches(&owner) {
        return Err(Problem::not_found("no account of this name is there"));
    }
    let count = shared.store.read(move |reader| table::count(reader, &owner, from, to)).await?;
    Ok(Json(Summary { count }))
}

impl Shared {
    /// The delivery of an id, where it is there for who asks: another's is not.
    async fn find(&self, id: &str, caller: &Caller) -> Result<Delivery, Problem> {
        let known = id.to_owned();
        let found = self.store.read(move |reader| table::find(reader, &known)).await?;
        found.filter(|it| is_there(it, caller)).ok_or_else(unknown)
    }

    /// Runs a change, and tells readers of the stream.
    async fn run(
        &self,
        operation: Operation,
        body: &[u8],
        effect: impl FnOnce(&mut Transaction<'_>) -> Result<StoredReply, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        let done = operation.run(&self.store, body, effect).await;
        self.changes.notify();
        done
    }
}

/// Applies a change to a delivery that must be there, and keeps what it made of it.
fn change_delivery(
    transaction: &mut Transaction<'_>,
    id: &str,
    voice: Voice<'_>,
    change: impl FnOnce(&mut Delivery) -> Result<Reached, ChangeError>,
) -> Result<(), Problem> {
    let mut delivery = table::find(transaction, id)?.ok_or_else(unknown)?;
    let before = delivery.clone();
    let reached = change(&mut delivery).map_err(refusal)?;
    if delivery != before {
        events::commit(transaction, &delivery, &reached, voice)?;
    }
    Ok(())
}

/// Whether a delivery is there for who asks.
fn is_there(delivery: &Delivery, caller: &Caller) -> bool {
    caller.reaches(&delivery.order.owner.account_id)
}

/// Where an id is kept, it is one that the others can show.
fn unknown() -> Problem {
    Problem::not_found("no delivery has this id")
}

fn refusal(error: ChangeError) -> Problem {
    let code = match error {
        ChangeError::Ended { .. } => "delivery_ended",
        ChangeError::PickedUp => "picked_up",
        ChangeError::TooEarly => "too_early",
        ChangeError::OtherConfirmation { .. } => "other_confirmation",
    };
    Problem::refusal(StatusCode::CONFLICT, code, error.to_string())
}
