//! HTTP: packages by id, and what one account shipped in a month.

use axum::{
    Json,
    extract::{Path, State},
    response::Response,
};
use base::{Code, SharedClock};
use contracts::{
    Body,
    document::{Name, Text},
    month_range,
};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::{
    Change, JsonBody, MutatingRoute, Operation, Problem, Query, Repetition, Routes, Sample,
    SampleCall, check_id, reply,
};
use store::{Store, StoredReply, Transaction};
use utoipa::{OpenApi, ToSchema};

use crate::{
    domain::{Package, PackageChange, object_id},
    store::{self as table, Put},
};

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The packages.
    pub store: Store,
    /// The time.
    pub clock: SharedClock,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/packages/{id}", get_package)
        .change(put_row(), put_package)
        .change(create_row(), create_package)
        .change(patch_row(), patch_package)
        .change(delete_row(), delete_package)
        .get("/api/packages/summary/{owner}", summarize)
        .with_state(shared)
}

/// The rows of everything that changes something, for the conformance tests.
#[must_use]
pub fn rows() -> Vec<MutatingRoute> {
    vec![put_row(), create_row(), patch_row(), delete_row()]
}

/// The OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Package", description = "What is shipped."),
    paths(get_package, put_package, create_package, patch_package, delete_package, summarize),
    components(schemas(Package, PackageBody, Summary))
)]
pub(crate) struct Document;

/// What a client says about a package; every member may be left out.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the schema of the document; the reader takes more spellings")]
struct PackageBody {
    size: Option<contracts::PackageSize>,
    /// Kilograms.
    #[schema(minimum = 0, maximum = 1000000)]
    weight: Option<f64>,
    /// Anything to find it by.
    tag: Option<Text>,
    /// The account that ships it.
    owner_id: Option<Name>,
    /// The delivery that refers to it.
    delivery_id: Option<Name>,
}

/// What an account shipped in a month.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Summary {
    /// Kilograms.
    total_weight: f64,
}

/// Reads one package.
#[utoipa::path(get, path = "/api/packages/{id}", responses(
    (status = 200, body = Package), (status = 404, description = "no such package")))]
async fn get_package(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Package>, Problem> {
    let found = shared.store.read(move |reader| table::find(reader, &id)).await?;
    found.map(Json).ok_or_else(unknown)
}

/// Registers or replaces a package.
#[utoipa::path(put, path = "/api/packages/{id}", request_body = Option<PackageBody>, responses(
    (status = 201, body = Package, description = "it is new"),
    (status = 204, description = "it was replaced"),
    (status = 409, description = "it belongs to another account")))]
async fn put_package(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let change = read_change(&body)?;
    check_id(&id)?;
    operation.run(&shared.store, &body, move |it| put(it, &id, change)).await
}

/// Registers a package under an id that is made up here.
#[utoipa::path(put, path = "/api/packages", request_body = Option<PackageBody>, responses(
    (status = 201, body = Package)))]
async fn create_package(
    State(shared): State<Shared>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let change = read_change(&body)?;
    let seconds = u64::try_from(shared.clock.now().as_millis() / 1_000).unwrap_or(0);
    let id = object_id(seconds, fastrand::u64(..));
    operation.run(&shared.store, &body, move |it| put(it, &id, change)).await
}

fn put(
    transaction: &mut Transaction<'_>,
    id: &str,
    change: PackageChange,
) -> Result<StoredReply, Problem> {
    match table::put(transaction, id, change)? {
        (Put::Created, package) => reply::json(201, &package),
        (Put::Replaced, _) => Ok(reply::empty(204)),
        (Put::OtherOwner, _) => {
            let detail = "the package belongs to another account";
            Err(Problem::refusal(StatusCode::CONFLICT, "other_owner", detail))
        }
    }
}

/// Changes what is named.
#[utoipa::path(patch, path = "/api/packages/{id}", request_body = PackageBody, responses(
    (status = 204), (status = 400, description = "nothing is named, or something is malformed"),
    (status = 404, description = "no such package")))]
async fn patch_package(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    let change = read_change(&body)?;
    if change == PackageChange::default() {
        return Err(Problem::of(Code::InvalidRequest, "no member to change is named"));
    }
    operation
        .run(&shared.store, &body, move |transaction| {
            table::merge(transaction, &id, change)?.ok_or_else(unknown)?;
            Ok(reply::empty(204))
        })
        .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    delivery_id: Option<String>,
}

/// Takes a delivery's reference away; the last takes the package with it.
#[utoipa::path(delete, path = "/api/packages/{id}",
    params(("id" = String, Path), ("deliveryId" = Option<String>, Query)),
    responses((status = 204, description = "it does not refer to it any more, or never did")))]
async fn delete_package(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(reference): Query<Reference>,
    operation: Operation,
    body: JsonBody,
) -> Result<Response, Problem> {
    operation
        .run(&shared.store, &body, move |transaction| {
            table::release(transaction, &id, reference.delivery_id.as_deref())?;
            Ok(reply::empty(204))
        })
        .await
}

#[derive(Debug, Deserialize)]
struct Month {
    year: i16,
    month: i8,
}

/// Kilograms that an account shipped in a month.
#[utoipa::path(get, path = "/api/packages/summary/{owner}",
    params(("owner" = String, Path), ("year" = inline(contracts::document::Year), Query),
        ("month" = inline(contracts::document::Month), Query)),
    responses((status = 200, body = Summary), (status = 400, description = "no such month")))]
async fn summarize(
    State(shared): State<Shared>,
    Path(owner): Path<String>,
    Query(month): Query<Month>,
) -> Result<Json<Summary>, Problem> {
    let (from, to) = month_range(month.year, month.month)
        .ok_or_else(|| Problem::of(Code::InvalidRequest, "year and month name no month"))?;
    let total_weight =
        shared.store.read(move |it| table::total_weight(it, &owner, from, to)).await?;
    Ok(Json(Summary { total_weight }))
}

/// A body may be missing, or null as a missing member may be: every member has a default.
fn read_change(body: &JsonBody) -> Result<PackageChange, Problem> {
    let value = if body.is_empty() { Value::Null } else { body.parse()? };
    let value = if value.is_null() { json!({}) } else { value };
    PackageChange::read(&Body::new(&value)).map_err(Problem::of_faults)
}

fn unknown() -> Problem {
    Problem::not_found("no package has this id")
}

fn sample_path(n: u32) -> String {
    format!("/api/packages/sample-{n}")
}

fn put_call(n: u32, weight: f64) -> SampleCall {
    let content: Value = json!({"size": "Small", "weight": weight, "deliveryId": format!("d{n}")});
    SampleCall::new(Method::PUT, sample_path(n), Some(content))
}

fn delete_call(n: u32) -> SampleCall {
    SampleCall::new(Method::DELETE, format!("{}?deliveryId=d{n}", sample_path(n)), None)
}

fn put_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/packages/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: Vec::new(),
            call: put_call(n, 1.0),
            other_body: put_call(n, 2.0).body,
            undo: Some(delete_call(n)),
        },
    }
}

fn create_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/packages",
        repetition: Repetition::Keyed,
        sample: |_| Sample {
            before: Vec::new(),
            call: SampleCall::new(Method::PUT, "/api/packages", Some(json!({"weight": 1}))),
            other_body: Some(json!({"weight": 2})),
            undo: None,
        },
    }
}

fn patch_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Patch,
        path: "/api/packages/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: vec![put_call(n, 1.0)],
            call: SampleCall::new(Method::PATCH, sample_path(n), Some(json!({"weight": 3}))),
            other_body: Some(json!({"weight": 4})),
            undo: None,
        },
    }
}

fn delete_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Delete,
        path: "/api/packages/{id}",
        repetition: Repetition::Keyed,
        sample: |n| Sample {
            before: vec![put_call(n, 1.0)],
            call: delete_call(n),
            other_body: None,
            undo: None,
        },
    }
}
