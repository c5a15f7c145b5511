//! The Supervisor's list of what somebody should look at, led on to the page.
//!
//! The page keeps no copy: what one operator looks after, the next one sees.

use axum::{
    Json,
    extract::{Path, State},
    http::{Method, StatusCode},
};
use serde_json::{Value, json};
use service_kit::{
    Call, CallReply, Change, JsonBody, MutatingRoute, Problem, Repetition, Sample, SampleCall,
    segment,
};

use super::Shared;

/// Who keeps the list.
const KEEPER: &str = "supervisor";

pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    let call = Call::get(KEEPER, "/api/alerts").route("/api/alerts");
    let reply = answered(shared.client.call(call).await?)?;
    Ok(Json(reply.json().unwrap_or_else(|| json!([]))))
}

pub(crate) async fn acknowledge(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, Problem> {
    let path = format!("/api/alerts/{}/acknowledgement", segment(&id));
    let call = Call::new(KEEPER, Method::PUT, path).json(&body.parse()?);
    let call = call.route("/api/alerts/{id}/acknowledgement");
    answered(shared.client.call(call).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

fn answered(reply: CallReply) -> Result<CallReply, Problem> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    Err(reply.problem().unwrap_or_else(Problem::internal))
}

pub(crate) fn row() -> MutatingRoute {
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
                Some(json!({})),
            ),
            other_body: None,
            undo: None,
        },
    }
}
