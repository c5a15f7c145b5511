//! HTTP: where transactions stand. Nothing can be changed here: requests come over the log.

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::Response,
};
use base::{Code, Timestamp};
use contracts::topics;
use messaging::Messaging;
use saga::{Engine, HistoryRow, ListFilter, SagaView, Status, StepView};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::{Problem, Query, Routes, page};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type},
};
use workflows::{CREATE, create_id, delivery_of, operation_of};

use crate::events::ROLE;

/// Rows of a list when none are asked for, and at the most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// What every handler shares.
#[derive(Debug, Clone)]
pub struct Shared {
    pub(crate) engine: Engine,
    pub(crate) messaging: Messaging,
}

/// Every route of the service.
#[must_use]
pub fn routes(shared: Shared) -> Routes<()> {
    Routes::new()
        .get("/api/transactions/{id}", get_transaction)
        .get("/api/transactions", list_transactions)
        .get("/api/sagas/{id}", get_saga)
        .get("/api/sagas", list_sagas)
        .get("/api/partitions", partitions)
        .with_state(shared)
}

/// The OpenAPI document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Scheduler", description = "Sees each request through."),
    paths(get_transaction, list_transactions, get_saga, list_sagas, partitions),
    components(schemas(StatusWords, TransactionView, StepDocument, SagaDocument))
)]
pub(crate) struct Document;

/// A step of a transaction.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StepDocument {
    name: String,
    service: String,
    status: &'static str,
    attempts: u32,
}

/// A transaction, as the original's vocabulary has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TransactionView {
    delivery_id: String,
    transaction_id: String,
    /// delivery, cancel or reschedule.
    operation: &'static str,
    state: &'static str,
    /// The instance that works on it.
    locked_by: Option<String>,
    /// Tries that the Supervisor gave it besides the first.
    failure_count: u32,
    failed_step: Option<String>,
    reason: Option<String>,
    steps: Vec<StepDocument>,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A saga with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SagaDocument {
    id: String,
    definition: String,
    version: u32,
    definition_hash: String,
    status: &'static str,
    owner: Option<String>,
    epoch: u64,
    trace: Option<String>,
    cause: Option<Value>,
    parked: Option<String>,
    steps: Vec<StepDocument>,
    /// What it was asked for, when one saga was asked for: a thousand of them would be megabytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Its records, when one saga was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    history: Option<Vec<HistoryRow>>,
}

/// What the lists may be narrowed to: some of these, with commas between them.
struct StatusWords;

impl utoipa::PartialSchema for StatusWords {
    fn schema() -> RefOr<Schema> {
        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Status::ALL.map(Status::as_str)));
        ArrayBuilder::new().items(words).min_items(Some(1)).into()
    }
}

impl ToSchema for StatusWords {}

impl From<StepView> for StepDocument {
    fn from(StepView { name, service, status, attempts }: StepView) -> Self {
        Self { name, service, status, attempts }
    }
}

impl From<&SagaView> for TransactionView {
    fn from(saga: &SagaView) -> Self {
        let cause = saga.cause();
        Self {
            delivery_id: delivery_of(&saga.id).to_owned(),
            transaction_id: saga.id.to_string(),
            operation: operation_of(saga.definition.name()),
            state: saga.status().as_str(),
            locked_by: saga.owner.as_deref().map(str::to_owned),
            failure_count: saga.state.hand_backs,
            failed_step: cause.map(|it| it.step.clone()),
            reason: cause.map(|it| format!("{}: {}", it.reason, it.code)),
            steps: saga.steps().into_iter().map(Into::into).collect(),
            accepted_at: saga.accepted_at,
            updated_at: saga.updated_at,
        }
    }
}

impl From<&SagaView> for SagaDocument {
    fn from(saga: &SagaView) -> Self {
        Self {
            id: saga.id.to_string(),
            definition: saga.definition.name().to_owned(),
            version: saga.definition.version(),
            definition_hash: saga.definition.hash().to_owned(),
            status: saga.status().as_str(),
            owner: saga.owner.as_deref().map(str::to_owned),
            epoch: saga.epoch,
            trace: saga.trace.as_deref().map(str::to_owned),
            cause: saga.cause().and_then(|it| serde_json::to_value(it).ok()),
            parked: saga.state.parked_reason().map(str::to_owned),
            steps: saga.steps().into_iter().map(Into::into).collect(),
            input: None,
            accepted_at: saga.accepted_at,
            updated_at: saga.updated_at,
            history: None,
        }
    }
}

/// The transaction of a delivery.
#[utoipa::path(get, path = "/api/transactions/{id}", params(("id" = String, Path)),
    responses((status = 200, body = TransactionView),
        (status = 404, description = "no such delivery")))]
async fn get_transaction(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<TransactionView>, Problem> {
    // The delivery's own transaction, or that of the whole id.
    let id = if id.contains('/') { id } else { create_id(&id) };
    let saga = shared.engine.get(&id).await?;
    let saga = saga.ok_or_else(|| Problem::not_found("no transaction has this id"))?;
    Ok(Json((&saga).into()))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(alias = "status")]
    state: Option<String>,
    definition: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

/// Transactions of deliveries, the newest first. `Link` leads to the next page.
#[utoipa::path(get, path = "/api/transactions",
    params(("state" = Option<StatusWords>, Query, style = Form, explode = false), ("limit" = Option<u32>, Query, description = "more than 1000 counts as that"),
        ("after" = Option<String>, Query, description = "those older than the transaction of this id")),
    responses((status = 200, body = Vec<TransactionView>)))]
async fn list_transactions(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let wanted = Wanted { definition: Some(CREATE.to_owned()), ..wanted };
    listed::<TransactionView>(&shared, filter(wanted)?, query.as_deref()).await
}

async fn listed<T: Serialize + for<'a> From<&'a SagaView>>(
    shared: &Shared,
    filter: ListFilter,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let limit = filter.limit;
    let sagas = shared.engine.list(filter).await?;
    let rows: Vec<T> = sagas.iter().map(Into::into).collect();
    Ok(page(&rows, limit, query, sagas.last().map(|it| it.id.as_ref())))
}

/// One saga with its history. The slashes of its id are percent-encoded.
#[utoipa::path(get, path = "/api/sagas/{id}", params(("id" = String, Path)),
    responses((status = 200, body = SagaDocument), (status = 404, description = "no such saga")))]
async fn get_saga(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<SagaDocument>, Problem> {
    let saga = shared.engine.get(&id).await?;
    let saga = saga.ok_or_else(|| Problem::not_found("no saga has this id"))?;
    let history = Some(shared.engine.history(&id).await?);
    let input = Some((*saga.input).clone());
    Ok(Json(SagaDocument { input, history, ..(&saga).into() }))
}

/// Sagas, the newest first. `Link` leads to the next page.
#[utoipa::path(get, path = "/api/sagas",
    params(("status" = Option<StatusWords>, Query, style = Form, explode = false), ("definition" = Option<String>, Query),
        ("limit" = Option<u32>, Query, description = "more than 1000 counts as that"),
        ("after" = Option<String>, Query, description = "those older than the saga of this id")),
    responses((status = 200, body = Vec<SagaDocument>)))]
async fn list_sagas(
    State(shared): State<Shared>,
    Query(wanted): Query<Wanted>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    listed::<SagaDocument>(&shared, filter(wanted)?, query.as_deref()).await
}

fn filter(wanted: Wanted) -> Result<ListFilter, Problem> {
    let Wanted { state, definition, limit, after } = wanted;
    let read = |word: &str| {
        Status::parse(word).ok_or_else(|| {
            let known: Vec<&str> = Status::ALL.iter().map(|it| it.as_str()).collect();
            let detail = format!("`{word}` is none of {}", known.join(", "));
            Problem::of(Code::InvalidRequest, detail)
        })
    };
    let words = state.as_deref().map(|it| it.split(',')).into_iter().flatten();
    Ok(ListFilter {
        status: words.map(str::trim).map(read).collect::<Result<_, _>>()?,
        definition,
        under: None,
        after,
        limit: limit.unwrap_or(LIMIT).min(LIMIT_MAX),
    })
}

/// How far the intake is, and who works.
#[utoipa::path(get, path = "/api/partitions", responses((status = 200, body = Object)))]
async fn partitions(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    let instances = shared.engine.instances().await?;
    let lag = shared.messaging.lag(ROLE, topics::DELIVERY_REQUESTS).await;
    let lag = lag.map_err(|it| Problem::of(Code::LogUnavailable, it.to_string()))?;
    Ok(Json(json!({
        "topic": topics::DELIVERY_REQUESTS,
        "lag": {"records": lag.records, "seconds": lag.seconds},
        "committed": lag.committed,
        "openSagas": shared.engine.open_count(),
        "instances": instances,
    })))
}
