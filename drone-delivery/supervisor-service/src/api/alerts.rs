//! What somebody should look at, and that somebody does.

use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use base::{Code, Timestamp};
use contracts::{Body, document::Name};
use http::{Method, StatusCode};
use notifications::alerts::{AlertPlace, AlertRow, SHOWN_MAX};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::{
    Change, JsonBody, MutatingRoute, Problem, Query, Repetition, Sample, SampleCall, page,
};
use utoipa::ToSchema;

use super::Shared;

/// Something that a person should look at.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertView {
    id: String,
    /// `warning` or `critical`.
    severity: String,
    /// Who raised it.
    service: String,
    delivery_id: Option<String>,
    /// The same of all that have the same cause.
    reason: String,
    text: String,
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// How often it was raised.
    count: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    acknowledged_at: Option<Timestamp>,
    acknowledged_by: Option<String>,
}

/// Who looks after an alert.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of the document; the reader takes more spellings")]
pub(super) struct Acknowledgement {
    /// `operator` when it is not said.
    actor: Option<Name>,
}

impl From<AlertRow> for AlertView {
    fn from(row: AlertRow) -> Self {
        Self {
            id: row.id,
            severity: row.severity,
            service: row.service,
            delivery_id: row.delivery_id,
            reason: row.reason,
            text: row.text,
            first_seen: row.first_seen,
            last_seen: row.last_seen,
            count: row.count,
            acknowledged_at: row.acknowledged_at,
            acknowledged_by: row.acknowledged_by,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    pub(super) all: bool,
    limit: Option<u32>,
    after: Option<String>,
}

/// Alerts, the critical ones first, then the newest; those that somebody looks after with `all`. `Link`
/// leads to the next page.
#[utoipa::path(get, path = "/api/alerts", params(("all" = Option<bool>, Query),
        ("limit" = Option<u32>, Query, description = "1000 when it is not said; more counts as that"),
        ("after" = Option<String>, Query, description = "those behind the place that `Link` names")),
    responses((status = 200, body = Vec<AlertView>),
        (status = 400, description = "`after` is no place of the list")))]
pub(super) async fn list_alerts(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let nowhere = || Problem::of(Code::InvalidRequest, "`after` is no place of the list");
    let after = wanted.after.as_deref().map(|it| AlertPlace::parse(it).ok_or_else(nowhere));
    let limit = wanted.limit.unwrap_or(SHOWN_MAX).min(SHOWN_MAX);
    let rows = shared.desk.page(wanted.all, after.transpose()?, limit).await?;
    let last = rows.last().map(|it| it.place().to_string());
    let views: Vec<AlertView> = rows.into_iter().map(Into::into).collect();
    Ok(page(&views, limit as usize, query.as_deref(), last.as_deref()))
}

/// Somebody looks after an alert. Who said so first stays.
#[utoipa::path(put, path = "/api/alerts/{id}/acknowledgement", params(("id" = String, Path)),
    request_body = Acknowledgement,
    responses((status = 204), (status = 404, description = "no such alert")))]
pub(super) async fn acknowledge(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, Problem> {
    let actor = read_actor(&body)?;
    let known = shared.desk.acknowledge(&id, &actor).await;
    match known.map_err(|it| Problem::of(Code::StoreUnavailable, it.to_string()))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("no alert has this id")),
    }
}

pub(super) fn read_actor(body: &JsonBody) -> Result<String, Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let actor = content.members().optional_name("actor");
    content.finish(actor.unwrap_or_else(|| "operator".to_owned())).map_err(Problem::of_faults)
}

pub(super) fn row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/alerts/{id}/acknowledgement",
        repetition: Repetition::ProvenBy(
            "an_alert_that_somebody_looks_after_stays_with_who_said_so_first",
        ),
        sample: |n| Sample {
            before: Vec::new(),
            call: SampleCall::new(
                Method::PUT,
                format!("/api/alerts/sample-{n}/acknowledgement"),
                Some(json!({"actor": "ann"})),
            ),
            other_body: None,
            undo: None,
        },
    }
}
