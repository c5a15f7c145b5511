//! What somebody should look at, and that somebody does.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use base::{Code, Timestamp};
use contracts::{Body, document::Name};
use http::{Method, StatusCode};
use notifications::alerts::AlertRow;
use serde::{Deserialize, Serialize};
use serde_json::json;
use service_kit::{Change, JsonBody, MutatingRoute, Problem, Repetition, Sample, SampleCall};
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
}

/// Alerts, the critical ones first, then the newest; those that somebody looks after with `all`.
#[utoipa::path(get, path = "/api/alerts", params(("all" = Option<bool>, Query)),
    responses((status = 200, body = Vec<AlertView>)))]
pub(super) async fn list_alerts(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<AlertView>>, Problem> {
    let rows = shared.desk.list(wanted.all).await?;
    Ok(Json(rows.into_iter().map(Into::into).collect()))
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
