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
const ALERT: &str = "/api/alerts/{id}/acknowledgement";
const GROUP: &str = "/api/alertgroups/{id}/acknowledgement";

pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    listed(&shared, "/api/alerts").await
}

/// The same by their reasons.
pub(crate) async fn groups(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    listed(&shared, "/api/alertgroups").await
}

async fn listed(shared: &Shared, path: &'static str) -> Result<Json<Value>, Problem> {
    let call = Call::get(KEEPER, path).route(path);
    let reply = answered(shared.client.call(call).await?)?;
    Ok(Json(reply.json().unwrap_or_else(|| json!([]))))
}

pub(crate) async fn acknowledge(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, Problem> {
    lead_on(&shared, ALERT, &id, &body).await
}

pub(crate) async fn acknowledge_group(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, Problem> {
    lead_on(&shared, GROUP, &id, &body).await
}

async fn lead_on(
    shared: &Shared,
    route: &'static str,
    id: &str,
    body: &JsonBody,
) -> Result<StatusCode, Problem> {
    let path = route.replace("{id}", &segment(id));
    let call = Call::new(KEEPER, Method::PUT, path).json(&body.parse()?).route(route);
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
    led_on(ALERT, "an_alert_that_somebody_looks_after_stays_with_who_said_so_first", |n| {
        sample(ALERT, n)
    })
}

pub(crate) fn group_row() -> MutatingRoute {
    led_on(GROUP, "alerts_of_one_reason_are_one_group_that_is_looked_after_as_one", |n| {
        sample(GROUP, n)
    })
}

fn led_on(path: &'static str, proof: &'static str, sample: fn(u32) -> Sample) -> MutatingRoute {
    MutatingRoute { change: Change::Put, path, repetition: Repetition::ProvenBy(proof), sample }
}

fn sample(route: &str, n: u32) -> Sample {
    let path = route.replace("{id}", &format!("sample-{n}"));
    let call = SampleCall::new(Method::PUT, path, Some(json!({})));
    Sample { before: Vec::new(), call, other_body: None, undo: None }
}
