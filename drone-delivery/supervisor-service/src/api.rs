//! HTTP: the work list of what failed, and what a person may do about it.

mod alerts;
mod groups;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::Response,
};
use base::{Code, FailureClass, Timestamp};
use contracts::{
    Body,
    document::{Name, Text},
};
use http::{Method, StatusCode};
use notifications::alerts::AlertDesk;
use saga::{
    Engine, HistoryRow, ListFilter, Record, SagaView, Signal, SignalKind, Signalled, Status,
    StepView,
    machine::{OperatorAction, Verb},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::{
    Change, JsonBody, MutatingRoute, Problem, Query, Repetition, Routes, Sample, SampleCall, page,
};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type},
};
use workflows::{delivery_of, operation_of};

use crate::domain::{FAILED, urgency, verb_of};

/// Rows of a list when none are asked for, and at the most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) engine: Engine,
    pub(crate) desk: AlertDesk,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/failures", list_failures)
        .get("/api/failures/{id}", get_failure)
        .get("/api/alerts", alerts::list_alerts)
        .get("/api/alertgroups", groups::list_groups)
        .change(action_row(), act)
        .change(alerts::row(), alerts::acknowledge)
        .change(groups::row(), groups::acknowledge_group)
        .with_state(shared)
}

/// The rows of everything that changes something.
#[must_use]
pub fn rows() -> Vec<MutatingRoute> {
    vec![action_row(), alerts::row(), groups::row()]
}

/// The OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Supervisor", description = "What failed, and what became of it."),
    paths(
        list_failures,
        get_failure,
        act,
        alerts::list_alerts,
        alerts::acknowledge,
        groups::list_groups,
        groups::acknowledge_group
    ),
    components(schemas(
        StatusWords,
        FailureView,
        FailureDocument,
        StepDocument,
        AuditRow,
        alerts::AlertView,
        alerts::Acknowledgement,
        groups::AlertGroupView,
        groups::LatestView,
        Action
    ))
)]
pub(crate) struct Document;

/// A step of a failed transaction.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StepDocument {
    name: String,
    service: String,
    status: &'static str,
    attempts: u32,
}

/// A transaction that failed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FailureView {
    delivery_id: String,
    transaction_id: String,
    /// delivery, cancel or reschedule.
    operation: &'static str,
    state: &'static str,
    failed_step: Option<String>,
    service_name: Option<String>,
    #[schema(value_type = Option<String>)]
    failure_class: Option<FailureClass>,
    code: Option<String>,
    reason: Option<String>,
    attempts: Option<u32>,
    /// Tries that it got besides the first.
    hand_backs: u32,
    /// What a person is asked for.
    parked: Option<String>,
    owner: Option<String>,
    epoch: u64,
    steps: Vec<StepDocument>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// The same with everything that happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FailureDocument {
    #[serde(flatten)]
    failure: FailureView,
    delivery_request: Value,
    /// Who did what about it, and why.
    audit: Vec<AuditRow>,
    #[schema(value_type = Vec<Object>)]
    history: Vec<HistoryRow>,
}

/// What a person did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AuditRow {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    actor: String,
    action: &'static str,
    note: String,
}

/// What a person wants done.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of the document; the reader takes more spellings")]
struct Action {
    #[schema(inline)]
    action: ActionWord,
    /// Why; kept.
    note: Option<Text>,
    /// Who; `operator` when it is not said.
    actor: Option<Name>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the schema of the document; the saga has the verbs")]
enum ActionWord {
    Retry,
    Compensate,
    Resolve,
}

/// What the list may be narrowed to: some of these, with commas between them.
struct StatusWords;

impl utoipa::PartialSchema for StatusWords {
    fn schema() -> RefOr<Schema> {
        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(FAILED.map(Status::as_str)));
        ArrayBuilder::new().items(words).min_items(Some(1)).into()
    }
}

impl ToSchema for StatusWords {}

impl From<StepView> for StepDocument {
    fn from(StepView { name, service, status, attempts }: StepView) -> Self {
        Self { name, service, status, attempts }
    }
}

impl From<&SagaView> for FailureView {
    fn from(saga: &SagaView) -> Self {
        let cause = saga.cause();
        let service =
            cause.and_then(|cause| saga.definition.steps().iter().find(|it| it.name == cause.step));
        Self {
            delivery_id: delivery_of(&saga.id).to_owned(),
            transaction_id: saga.id.to_string(),
            operation: operation_of(saga.definition.name()),
            state: saga.status().as_str(),
            failed_step: cause.map(|it| it.step.clone()),
            service_name: service.map(|it| it.service.clone()),
            failure_class: cause.map(|it| it.class),
            code: cause.map(|it| it.code.clone()),
            reason: cause.map(|it| it.reason.clone()),
            attempts: cause.map(|it| it.attempts),
            hand_backs: saga.state.hand_backs,
            parked: saga.state.parked_reason().map(str::to_owned),
            owner: saga.owner.as_deref().map(str::to_owned),
            epoch: saga.epoch,
            steps: saga.steps().into_iter().map(Into::into).collect(),
            updated_at: saga.updated_at,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(alias = "status")]
    state: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

/// Transactions that failed, the newest first. `Link` leads to the next page.
#[utoipa::path(get, path = "/api/failures",
    params(("state" = Option<StatusWords>, Query, style = Form, explode = false), ("limit" = Option<u32>, Query, description = "more than 1000 counts as that"),
        ("after" = Option<String>, Query, description = "those older than the transaction of this id")),
    responses((status = 200, body = Vec<FailureView>)))]
async fn list_failures(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let read = |word: &str| {
        Status::parse(word).filter(|it| FAILED.contains(it)).ok_or_else(|| {
            let known: Vec<&str> = FAILED.iter().map(|it| it.as_str()).collect();
            let detail = format!("`{word}` is none of {}", known.join(", "));
            Problem::of(Code::InvalidRequest, detail)
        })
    };
    let status = match &wanted.state {
        Some(words) => words.split(',').map(str::trim).map(read).collect::<Result<_, _>>()?,
        None => FAILED.to_vec(),
    };
    let limit = wanted.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let filter = ListFilter { status, limit, after: wanted.after, ..ListFilter::default() };
    let sagas = shared.engine.list(filter).await?;
    let rows: Vec<FailureView> = sagas.iter().map(Into::into).collect();
    let last = sagas.last().map(|it| it.id.as_ref());
    Ok(page(&rows, limit, query.as_deref(), last))
}

/// One failed transaction with its history, by its delivery or by its own id.
#[utoipa::path(get, path = "/api/failures/{id}", params(("id" = String, Path)),
    responses((status = 200, body = FailureDocument),
        (status = 404, description = "nothing of that delivery failed")))]
async fn get_failure(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<FailureDocument>, Problem> {
    let saga = find(&shared.engine, &id).await?;
    let history = shared.engine.history(&saga.id).await?;
    let acted = |row: &HistoryRow| match &row.record {
        Record::OperatorActed(OperatorAction { actor, verb, reason }) => Some(AuditRow {
            at: row.at,
            actor: actor.clone(),
            action: verb.as_str(),
            note: reason.clone(),
        }),
        _ => None,
    };
    Ok(Json(FailureDocument {
        failure: (&saga).into(),
        delivery_request: (*saga.input).clone(),
        audit: history.iter().filter_map(acted).collect(),
        history,
    }))
}

/// Acts on a failed transaction.
#[utoipa::path(put, path = "/api/failures/{id}/action", params(("id" = String, Path)),
    request_body = Action,
    responses((status = 202, body = FailureView, description = "it will be done"),
        (status = 404, description = "nothing of that delivery failed"),
        (status = 409, description = "it does not fit where the transaction stands")))]
async fn act(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<(StatusCode, Json<FailureView>), Problem> {
    let (verb, action) = read_action(&body)?;
    let actor = action.actor.clone();
    let saga = find(&shared.engine, &id).await?;
    if let Some(refusal) = saga.state.refusal(&saga.definition, verb) {
        return Err(Problem::conflict(refusal));
    }
    // The same wish at the same point of the history is the same word, however often it is sent.
    let word = Signal {
        id: format!("operator/{}/{}", saga.state.records, verb.as_str()),
        kind: SignalKind::Operator(action),
    };
    let said = shared.engine.signal(&saga.id, word).await;
    match said.map_err(|it| Problem::of(Code::StoreUnavailable, it.to_string()))? {
        Signalled::Delivered(_) | Signalled::Known => {
            // Whoever acts looks after what was said; where that is not written down, it stays on
            // the list, and nothing is lost.
            let looked_after = shared.desk.acknowledge_delivery(delivery_of(&saga.id), &actor);
            if let Err(error) = looked_after.await {
                tracing::warn!(%error, "the alerts of a delivery stay on the list");
            }
            Ok((StatusCode::ACCEPTED, Json((&saga).into())))
        }
        Signalled::Waiting | Signalled::UnknownDefinition => {
            Err(Problem::conflict("the transaction is gone"))
        }
    }
}

fn read_action(body: &JsonBody) -> Result<(Verb, OperatorAction), Problem> {
    let value = body.parse()?;
    let content = Body::new(&value);
    let members = content.members();
    let word = members.name("action");
    let verb = verb_of(&word);
    if verb.is_none() {
        members.fault("action", "retry, compensate or resolve is expected");
    }
    let reason = members.optional_text("note").or_else(|| members.optional_text("reason"));
    let actor = members.optional_name("actor").unwrap_or_else(|| "operator".to_owned());
    let verb = content.finish(verb).map_err(Problem::of_faults)?;
    let verb = verb.ok_or_else(Problem::internal)?;
    Ok((verb, OperatorAction { actor, verb, reason: reason.unwrap_or_default() }))
}

/// The transaction that is meant: by its own id, or the one of a delivery that needs somebody most.
async fn find(engine: &Engine, id: &str) -> Result<SagaView, Problem> {
    let unknown = || Problem::not_found("nothing of that delivery failed");
    if id.contains('/') {
        return engine.get(id).await?.ok_or_else(unknown);
    }
    let filter = ListFilter { under: Some(id.to_owned()), limit: LIMIT, ..ListFilter::default() };
    let sagas = engine.list(filter).await?;
    let most = sagas.into_iter().filter_map(|it| Some((urgency(&it)?, it))).min_by_key(|it| it.0);
    most.map(|it| it.1).ok_or_else(unknown)
}

fn action_row() -> MutatingRoute {
    MutatingRoute {
        change: Change::Put,
        path: "/api/failures/{id}/action",
        repetition: Repetition::ProvenBy("an_action_that_is_sent_again_and_again_is_taken_once"),
        sample: |n| Sample {
            before: Vec::new(),
            call: SampleCall::new(
                Method::PUT,
                format!("/api/failures/sample-{n}/action"),
                Some(json!({"action": "retry", "note": "a sample"})),
            ),
            other_body: None,
            undo: None,
        },
    }
}
