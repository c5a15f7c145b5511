//! What an account used in a month, gathered from those who know. Nothing of it is kept here, and nothing has
//! a price.
//!
//! All are asked at once. One that has no answer in time is named, and what the others said is shown: who
//! wants to know how much was carried is not kept waiting for how far it flew.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
};
use base::Code;
use contracts::month_range;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use service_kit::{Call, CallReply, Caller, Client, Problem, Query, RequestContext, segment};
use utoipa::ToSchema;

use super::{Shared, account_id};

/// Longest wait for one of those who are asked. It ends well before the edge gives up, so that what the
/// others said is still told.
const PART_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
pub(super) struct Month {
    year: i16,
    month: i8,
}

/// What an account used in a month. What could not be had is null, and named in `missing`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct InvoiceView {
    owner_id: String,
    year: i16,
    month: i8,
    deliveries: Option<DeliveriesView>,
    packages: Option<PackagesView>,
    drones: Option<DronesView>,
    missing: Vec<MissingView>,
}

/// Deliveries that were made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct DeliveriesView {
    count: u64,
}

/// Packages that were registered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PackagesView {
    /// Kilograms.
    total_weight: f64,
}

/// What drones flew.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DronesView {
    /// Miles.
    traveled_miles: f64,
    /// Hours between take-off and landing.
    assigned_hours: f64,
}

/// A part that could not be had.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MissingView {
    /// The member that is null.
    part: &'static str,
    /// Who would know.
    service: &'static str,
    /// Why there is no answer, as in the code of a problem.
    code: String,
    /// Whether the same question may be answered later.
    retryable: bool,
}

/// One of those who are asked.
struct Part {
    name: &'static str,
    service: &'static str,
    path: String,
    route: &'static str,
}

/// What an account used in a month: deliveries, kilograms, what drones flew. A part that could not be had is
/// null, and `missing` says which and why.
#[utoipa::path(get, path = "/api/invoices/{ownerId}",
    params(("ownerId" = inline(contracts::document::Name), Path), ("year" = inline(contracts::document::Year), Query),
        ("month" = inline(contracts::document::Month), Query)),
    responses((status = 200, body = InvoiceView), (status = 400, description = "no such month"),
        (status = 404, description = "no such account")))]
pub(super) async fn get_invoice(
    State(shared): State<Shared>,
    Path(owner): Path<String>,
    Query(Month { year, month }): Query<Month>,
    caller: Caller,
    context: RequestContext,
) -> Result<Json<InvoiceView>, Problem> {
    let owner_id = account_id(owner)?.as_str().to_owned();
    if month_range(year, month).is_none() {
        return Err(Problem::of(Code::InvalidRequest, "year and month name no month"));
    }
    if !caller.reaches(&owner_id) {
        return Err(Problem::not_found("no account of this name is there"));
    }
    let (owner, of_month) = (segment(&owner_id), format!("year={year}&month={month}"));
    let asked = [
        Part {
            name: "deliveries",
            service: "delivery",
            path: format!("/api/deliveries/summary?ownerId={owner}&{of_month}"),
            route: "/api/deliveries/summary",
        },
        Part {
            name: "packages",
            service: "package",
            path: format!("/api/packages/summary/{owner}?{of_month}"),
            route: "/api/packages/summary/{owner}",
        },
        Part {
            name: "drones",
            service: "drone",
            path: format!("/api/dronedeliveries/utilization?ownerId={owner}&{of_month}"),
            route: "/api/dronedeliveries/utilization",
        },
    ];
    let [deliveries, packages, drones] = &asked;
    let (client, mut missing) = (&shared.client, Vec::new());
    let (deliveries, packages, drones) = tokio::join!(
        ask(client, &context, deliveries, None),
        ask(client, &context, packages, None),
        // Where nothing was flown there is nothing: the original's answer.
        ask(client, &context, drones, Some(DronesView::default())),
    );
    let deliveries = shown(deliveries, &mut missing);
    let packages = shown(packages, &mut missing);
    let drones = shown(drones, &mut missing);
    Ok(Json(InvoiceView { owner_id, year, month, deliveries, packages, drones, missing }))
}

/// Asks one of them; `none` is what 404 stands for.
async fn ask<T: DeserializeOwned>(
    client: &Client,
    context: &RequestContext,
    part: &Part,
    none: Option<T>,
) -> Result<T, MissingView> {
    let call = Call::get(part.service, part.path.clone()).route(part.route).on_behalf_of(context);
    let answered = client.call(Call { timeout: Some(PART_WITHIN), ..call }).await;
    let missing = |code: String, retryable| {
        tracing::warn!(
            part = part.name,
            service = part.service,
            code,
            "a part of an invoice is missing"
        );
        MissingView { part: part.name, service: part.service, code, retryable }
    };
    match (answered, none) {
        (Ok(reply), Some(none)) if reply.status == 404 => Ok(none),
        (Ok(reply), _) => read(&reply).map_err(|(code, retryable)| missing(code, retryable)),
        (Err(error), _) => {
            Err(missing(error.code().as_str().to_owned(), error.code().is_retryable()))
        }
    }
}

/// What was answered, or the code of why it is of no use.
fn read<T: DeserializeOwned>(reply: &CallReply) -> Result<T, (String, bool)> {
    let malformed = || (Code::UpstreamMalformed.as_str().to_owned(), false);
    if reply.status == 200 {
        return serde_json::from_slice(&reply.body).map_err(|_| malformed());
    }
    Err(reply.problem().map_or_else(malformed, |it| (it.code.into_owned(), it.retryable)))
}

fn shown<T>(part: Result<T, MissingView>, missing: &mut Vec<MissingView>) -> Option<T> {
    part.map_err(|it| missing.push(it)).ok()
}
