//! HTTP: the public API. Validate, make durable, answer.

mod document;
mod once;
mod samples;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use base::{Code, SharedClock, Timestamp};
use contracts::{
    Body,
    shipping::{CancelRequest, DeliveryRequest, Operation, RescheduleRequest},
};
use http::StatusCode;
use messaging::{Messaging, PublishError, Receipt};
use serde::Serialize;
use serde_json::{Map, Value};
use service_kit::{
    Caller, FieldError, JsonBody, Problem, Profile, RequestContext, Routes, check_id,
    idempotency::Try, reply,
};
use store::{Store, StoredReply};
use telemetry::{SpanKind, Telemetry};

pub(crate) use self::document::Document;
use self::once::Once;
use crate::{
    allowance::{Allowance, Share, ShareError},
    backlog::Backlog,
    disk::Disk,
    domain::{RequestRecord, RequestState, TooLate},
    events::{self, Request},
    store::{self as table, Accepted},
};

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) store: Store,
    pub(crate) allowance: Allowance,
    pub(crate) messaging: Messaging,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) clock: SharedClock,
    pub(crate) telemetry: Telemetry,
    pub(crate) profile: Profile,
    /// How far ahead a pickup time may lie.
    pub(crate) pickup_ahead: Duration,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .change(samples::post(), schedule)
        .change(samples::patch(), reschedule)
        .change(samples::delete(), cancel)
        .get("/api/deliveryrequests/{id}", get_request)
        // Where the original's probes look.
        .get("/api/probe", || async {})
        .get("/actuator/health", || async { Json(serde_json::json!({"status": "UP"})) })
        .with_state(shared)
}

/// Asks for a delivery.
#[utoipa::path(post, path = "/api/deliveryrequests", request_body = document::DeliverySchema,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 200, description =
        "the same key and body give the first reply; kept for 24 h per owner")),
    responses((status = 202, description = "it is durable and will end; `Location` says how far it is"),
        (status = 400, description = "members are missing or malformed; each is named"),
        (status = 403, description = "who asks may order for himself alone"),
        (status = 409, description = "the same key is being served right now"),
        (status = 422, description = "the key was used with another body"),
        (status = 429, description = "the backlog is too long, or the account holds as much as it may; see Retry-After"),
        (status = 503, description = "the log cannot take it; see Retry-After")))]
async fn schedule(
    State(shared): State<Shared>,
    context: RequestContext,
    caller: Caller,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let value = body.parse()?;
    let request = DeliveryRequest::read(&Body::new(&value)).map_err(Problem::of_faults)?;
    if !caller.reaches(&request.owner_id) {
        return Err(of_another());
    }
    shared.check_places(Some(&request.pickup_location), Some(&request.dropoff_location))?;
    check_horizon(request.pickup_time, shared.clock.now(), shared.pickup_ahead)?;
    let (asker, deadline) = (shared.clone(), context.deadline);
    let scope = format!("{}\nPOST /api/deliveryrequests", request.owner_id);
    let once = Once { scope, headers: &headers, body: &body, deadline };
    let share = match shared.room_for(&caller, &request).await {
        Ok(share) => share,
        // Nothing new; who comes again for an answer gets it.
        Err(full) => return shared.replayed(&once).await?.ok_or(full),
    };
    let work = |it: Try| async move {
        let accepted = asker.accept(it.id, request, share.is_some(), value, context).await;
        // Until here it counts as under way, from here on by its row.
        drop(share);
        accepted
    };
    shared.once(once, work).await
}

/// Moves a delivery.
#[utoipa::path(patch, path = "/api/deliveryrequests/{id}",
    request_body = document::RescheduleSchema,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 200, description =
        "the same key and body are one move, with the first reply; kept for 24 h per delivery")),
    responses((status = 200, description = "the move is durable; the bare id"),
        (status = 404, description = "no such request"),
        (status = 409, description = "it is over, or its package has been picked up"),
        (status = 422, description = "the key was used with another body")))]
async fn reschedule(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    caller: Caller,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let value = body.parse()?;
    let request = RescheduleRequest::read(&Body::new(&value)).map_err(Problem::of_faults)?;
    let RescheduleRequest { pickup_location, dropoff_location, .. } = &request;
    shared.check_places(pickup_location.as_deref(), dropoff_location.as_deref())?;
    check_horizon(request.pickup_time, shared.clock.now(), shared.pickup_ahead)?;
    check_id(&id)?;
    let record = shared.find(&id, &caller).await?.record;
    let request = RescheduleRequest { delivery_id: id.clone(), ..request };
    let (asker, deadline) = (shared.clone(), context.deadline);
    let scope = format!("PATCH /api/deliveryrequests/{id}");
    let ask = |this: Try| async move {
        // What may have been asked for is asked for again under its id: whoever serves the delivery
        // has decided about it, or will, and it has one answer.
        if !this.is_again {
            record.check_open().map_err(too_late)?;
        }
        asker.ask(Operation::Reschedule, &id, this.id, &request, &context).await?;
        // The original labels the bare text so.
        let reply = StoredReply { status: 200, headers: Vec::new(), body: id.into_bytes() };
        Ok(reply.header("content-type", "application/json"))
    };
    let once = Once { scope, headers: &headers, body: &body, deadline };
    shared.once(once, ask).await
}

/// Calls a delivery off.
#[utoipa::path(delete, path = "/api/deliveryrequests/{id}",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 200, description =
        "the same key is one cancel, with the first reply; kept for 24 h per delivery")),
    responses((status = 204, description = "the cancel is durable; a read of the request says what became of it"),
        (status = 404, description = "no such request"),
        (status = 409, description = "it is over, or its package has been picked up")))]
async fn cancel(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    context: RequestContext,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_id(&id)?;
    // Nothing durable for an id that nobody has.
    let record = shared.find(&id, &caller).await?.record;
    let (asker, deadline) = (shared.clone(), context.deadline);
    let scope = format!("DELETE /api/deliveryrequests/{id}");
    let ask = |this: Try| async move {
        match record.check_open() {
            Err(TooLate::Ended(RequestState::Cancelled)) => return Ok(reply::empty(204)),
            Err(error) if !this.is_again => return Err(too_late(error)),
            Err(_) | Ok(()) => {}
        }
        let request = CancelRequest { delivery_id: id.clone(), reason: None };
        asker.ask(Operation::Cancel, &id, this.id, &request, &context).await?;
        Ok(reply::empty(204))
    };
    let once = Once { scope, headers: &headers, body: &[], deadline };
    shared.once(once, ask).await
}

/// Reads where a request stands.
#[utoipa::path(get, path = "/api/deliveryrequests/{id}",
    responses((status = 200, body = RequestRecord), (status = 404, description = "no such request")))]
async fn get_request(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<Json<RequestRecord>, Problem> {
    let table::Found { mut record, position, .. } = shared.find(&id, &caller).await?;
    let taken =
        position.is_some_and(|(partition, offset)| shared.backlog.is_taken(partition, offset));
    if record.state == RequestState::Accepted && taken {
        record.state = RequestState::Scheduling;
    }
    Ok(Json(record.shown()))
}

impl Shared {
    /// Whether anything new is taken in.
    fn check_room(&self) -> Result<(), Problem> {
        if !self.backlog.has_room() {
            let detail = "the Scheduler is too far behind; come back later";
            return Err(Problem::of(Code::Backlog, detail));
        }
        if !self.disk.has_room() {
            return Err(Problem::of(Code::StoreUnavailable, "the disk is nearly full"));
        }
        Ok(())
    }

    /// Room for what is asked, as long as the share lives that those have who order for themselves.
    async fn room_for(
        &self,
        caller: &Caller,
        request: &DeliveryRequest,
    ) -> Result<Option<Share>, Problem> {
        self.check_room()?;
        let Some(owner) = caller.bound_to()? else { return Ok(None) };
        let now = self.clock.now();
        let share = self.allowance.share(&self.store, owner, request.pickup_time, now);
        share.await.map(Some).map_err(no_room)
    }

    /// The request of an id, where it is there for who asks: another's is not.
    async fn find(&self, id: &str, caller: &Caller) -> Result<table::Found, Problem> {
        let known = id.to_owned();
        let found = self.store.read(move |reader| table::find(reader, &known)).await?;
        // One whose owner is not known is nobody's own.
        let found = found.filter(|it| caller.reaches(it.owner_id.as_deref().unwrap_or_default()));
        found.ok_or_else(unknown)
    }

    fn new_id(&self) -> String {
        let mut random = base::Random::with_seed(fastrand::u64(..));
        random.uuid_v7(self.clock.now()).to_string()
    }

    /// In profile strict a text that is no place is refused; in demo it stands for a place.
    fn check_places(&self, pickup: Option<&str>, dropoff: Option<&str>) -> Result<(), Problem> {
        if self.profile == Profile::Demo {
            return Ok(());
        }
        let places = [("/pickupLocation", pickup), ("/dropOffLocation", dropoff)];
        let unknown = |(pointer, text): (&str, Option<&str>)| {
            let detail = "`lat,lon[,alt]` or a name of the gazetteer is expected".to_owned();
            let known = text.is_none_or(|it| contracts::places::find(it).is_some());
            (!known).then(|| FieldError { pointer: pointer.to_owned(), detail })
        };
        let errors: Vec<_> = places.into_iter().filter_map(unknown).collect();
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
    }

    /// Makes a request durable, then answers.
    async fn accept(
        &self,
        id: String,
        mut request: DeliveryRequest,
        counts: bool,
        sent: Value,
        context: RequestContext,
    ) -> Result<StoredReply, Problem> {
        if request.package_info.package_id.is_empty()
            || request.package_info.package_id == request.delivery_id
        {
            request.package_info.package_id.clone_from(&id);
        }
        request.delivery_id.clone_from(&id);
        // The id of the message is the delivery's: a request that is repeated under its key after
        // a crash is the same message again.
        let receipt =
            self.publish(Operation::Delivery, &id, id.clone(), &request, &context).await?;
        let Receipt { partition, offset, .. } = receipt;
        let row = Accepted {
            id: id.clone(),
            owner_id: request.owner_id,
            position: (partition, offset),
            counts,
            pickup_at: request.pickup_time,
        };
        let kept = self.store.write(move |it| table::accept(it, &row)).await;
        if let Err(error) = kept {
            // It is durable and will end: what is missing is only our own early view of it.
            tracing::warn!(delivery = id, %error, "an accepted request is not in the read model yet");
        }
        let location = format!("{}/api/deliveryrequests/{id}", context.version_prefix);
        Ok(reply::json(202, &echo_of(sent, &id))?.header("location", &location))
    }

    /// Makes a cancel or a move durable.
    async fn ask<B: Serialize>(
        &self,
        operation: Operation,
        id: &str,
        message_id: String,
        request: &B,
        context: &RequestContext,
    ) -> Result<(), Problem> {
        self.publish(operation, id, message_id.clone(), request, context).await?;
        let row = id.to_owned();
        let ask = move |it: &mut store::Transaction<'_>| {
            table::ask(it, &row, message_id, operation.as_str())
        };
        if let Err(error) = self.store.write(ask).await {
            tracing::warn!(delivery = id, %error, "an operation is not in the read model yet");
        }
        Ok(())
    }

    async fn publish<B: Serialize>(
        &self,
        operation: Operation,
        id: &str,
        message_id: String,
        request: &B,
        context: &RequestContext,
    ) -> Result<Receipt, Problem> {
        // By this span a trace is found when only the delivery is known.
        let mut span =
            self.telemetry.span("accept request", SpanKind::Internal, Some(&context.trace));
        span.attribute("delivery.id", id);
        span.attribute("operation", operation.as_str());
        let request = Request {
            operation,
            delivery_id: id,
            message_id,
            body: request,
            trace: span.context(),
            now: self.clock.now(),
        };
        let published = events::publish(&self.messaging, request).await;
        if let Err(error) = &published {
            span.fail(error.to_string());
        }
        published.map_err(|it| refusal(&it))
    }
}

/// A time that is farther ahead than anybody plans is refused at once.
fn check_horizon(
    wanted: Option<Timestamp>,
    now: Timestamp,
    ahead: Duration,
) -> Result<(), Problem> {
    let latest = now + ahead;
    if wanted.is_none_or(|it| it <= latest) {
        return Ok(());
    }
    let detail =
        format!("nobody plans that far ahead; the latest that can be asked for is {latest}");
    Err(Problem::invalid(vec![FieldError { pointer: "/pickupTime".to_owned(), detail }]))
}

/// Members of a request that are shown again; of any other nothing is kept, whatever a client thinks that
/// it sets by them.
const SHOWN: [&str; 8] = [
    "ownerId",
    "pickupLocation",
    "dropOffLocation",
    "pickupTime",
    "deadline",
    "expedited",
    "confirmationRequired",
    "packageInfo",
];
const SHOWN_OF_PACKAGE: [&str; 4] = ["packageId", "size", "weight", "tag"];

/// What the client sent and we read, with the id that the delivery got.
fn echo_of(mut sent: Value, id: &str) -> Value {
    if let Some(members) = sent.as_object_mut() {
        keep(members, &SHOWN);
        let package = members.iter_mut().find(|it| it.0.eq_ignore_ascii_case("packageInfo"));
        if let Some(package) = package.and_then(|it| it.1.as_object_mut()) {
            keep(package, &SHOWN_OF_PACKAGE);
        }
        members.insert("deliveryId".to_owned(), Value::from(id));
    }
    sent
}

fn keep(members: &mut Map<String, Value>, shown: &[&str]) {
    members.retain(|name, _| shown.iter().any(|it| name.eq_ignore_ascii_case(it)));
}

/// Nothing of the other account is told by it: it is the answer also where there is none.
fn of_another() -> Problem {
    let errors = vec![FieldError {
        pointer: "/ownerId".to_owned(),
        detail: "who asks may order for himself alone".to_owned(),
    }];
    let detail = "another's account cannot be ordered for";
    Problem { errors, ..Problem::refusal(StatusCode::FORBIDDEN, "other_account", detail) }
}

/// When to come back for room: deliveries end in minutes.
const ROOM_AFTER: Duration = Duration::from_secs(60);

fn no_room(error: ShareError) -> Problem {
    let code = match error {
        ShareError::Open { .. } => "too_many_open",
        ShareError::Booked { .. } => "too_many_booked",
        ShareError::Unknown(error) => return error.into(),
    };
    let status = StatusCode::TOO_MANY_REQUESTS;
    Problem::refusal(status, code, error.to_string()).retryable(ROOM_AFTER)
}

fn unknown() -> Problem {
    Problem::not_found("no request has this id")
}

fn too_late(error: TooLate) -> Problem {
    let code = match error {
        TooLate::PickedUp => "picked_up",
        TooLate::Ended(_) => "request_ended",
    };
    Problem::refusal(StatusCode::CONFLICT, code, error.to_string())
}

/// Never 202: the log did not say that it has it.
fn refusal(error: &PublishError) -> Problem {
    match error {
        PublishError::TooLarge { .. } => Problem::of(Code::BodyTooLarge, error.to_string()),
        PublishError::Overloaded => Problem::of(Code::Overloaded, error.to_string()),
        PublishError::Unavailable { .. }
        | PublishError::Unknown { .. }
        | PublishError::Refused { .. } => Problem::of(Code::LogUnavailable, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pickup_time_beyond_the_horizon_is_refused_with_the_latest_that_is_not() {
        let (now, ahead) = (Timestamp::from_millis(0), Duration::from_secs(86_400));
        assert!(check_horizon(None, now, ahead).is_ok());
        assert!(check_horizon(Some(now + ahead), now, ahead).is_ok());
        let late = Some(now + ahead + Duration::from_millis(1));
        let refused = check_horizon(late, now, ahead).unwrap_err();
        assert_eq!(
            (refused.status, &*refused.errors[0].pointer),
            (StatusCode::BAD_REQUEST, "/pickupTime")
        );
        assert!(refused.errors[0].detail.ends_with("1970-01-02T00:00:00.000Z"));
    }

    #[test]
    fn the_echo_is_what_was_sent_and_read_with_our_id() {
        let sent = json!({"DeliveryId": "theirs", "ownerid": "o", "status": "Completed", "droneId": "x",
            "packageInfo": {"Weight": 1, "ownerId": "other"}});
        let expected = json!({"deliveryId": "ours", "ownerid": "o", "packageInfo": {"Weight": 1}});
        assert_eq!(echo_of(sent, "ours"), expected);
    }
}
