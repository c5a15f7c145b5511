//! Alerts by their reasons, and that somebody looks after all of one.

use axum::{
    Json,
    extract::{Path, State},
};
use base::{Code, Timestamp};
use http::{Method, StatusCode};
use notifications::alerts::AlertGroup;
use serde::Serialize;
use serde_json::json;
use service_kit::{
    Change, JsonBody, MutatingRoute, Problem, Query, Repetition, Sample, SampleCall,
};
use utoipa::ToSchema;

use super::{
    Shared,
    alerts::{Acknowledgement, Wanted, read_actor},
};

/// What one service says for one reason.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertGroupView {
    id: String,
    /// What the alerts have in common.
    reason: String,
    /// The gravest of them: `warning` or `critical`.
    severity: String,
    /// Who raised them.
    service: String,
    #[schema(value_type = String, format = DateTime)]
    first_seen: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_seen: Timestamp,
    /// How often they were raised, all of them.
    count: u64,
    /// How many there are.
    alerts: u64,
    latest: LatestView,
}

/// The alert of a group that was heard of last.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LatestView {
    delivery_id: Option<String>,
    text: String,
}

impl From<AlertGroup> for AlertGroupView {
    fn from(group: AlertGroup) -> Self {
        let latest = LatestView { delivery_id: group.latest.delivery_id, text: group.latest.text };
        Self {
            id: group.id,
            reason: group.reason,
            severity: group.severity,
            service: group.service,
            first_seen: group.first_seen,
            last_seen: group.last_seen,
            count: group.count,
            alerts: group.alerts,
            latest,
        }
    }
}

/// Alerts by their reasons, critical ones first, then the newest; those that somebody looks after with
/// `all`.
#[utoipa::path(get, path = "/api/alertgroups", params(("all" = Option<bool>, Query)),
    responses((status = 200, body = Vec<AlertGroupView>)))]
pub(super) async fn list_groups(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<AlertGroupView>>, Problem> {
    let groups = shared.desk.groups(wanted.all).await?;
    Ok(Json(groups.into_iter().map(Into::into).collect()))
}

/// Somebody looks after every alert of a group. A later one of the same reason is news again.
#[utoipa::path(put, path = "/api/alertgroups/{id}/acknowledgement", params(("id" = String, Path)),
    request_body = Acknowledgement,
    responses((status = 204), (status = 404, description = "no such group")))]
pub(super) async fn acknowledge_group(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, Problem> {
    let actor = read_actor(&body)?;
    let known = shared.desk.acknowledge_group(&id, &actor).await;
    match known.map_err(|it| Problem::of(Code::StoreUnavailable, it.to_string()))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("no group of alerts has this id")),
    }
}

pub(super) fn row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/alertgroups/{id}/acknowledgement",
        repetition: Repetition::ProvenBy(
            "alerts_of_one_reason_are_one_group_that_is_looked_after_as_one",
        ),
        sample: |n| Sample {
            before: Vec::new(),
            call: SampleCall::new(
                Method::PUT,
                format!("/api/alertgroups/sample-{n}/acknowledgement"),
                Some(json!({"actor": "ann"})),
            ),
            other_body: None,
            undo: None,
        },
    }
}
